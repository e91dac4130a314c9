"""Tags, rows and a tag view for the tests of sinks."""

from contract.batch import encode_batch
from contract.upload import TagDefinition
from gateway.sinks.base import LastValue, Row


def definition(index, data_type, *, device="d", name=None, **changed):
    fields = {
        "index": index,
        "name": name or f"tag{index}",
        "device": device,
        "data_type": int(data_type),
        "source": "s",
        "address": f"nsu=u;i={index}",
    }
    return TagDefinition(**fields | changed)


def row(batch, sequence=1, hash_=b"h" * 32):
    first, last = batch.time_range_us()
    payload = encode_batch(batch)
    return Row(sequence, hash_, len(batch), first, last, 0, payload, batch)


class Tags:
    """A ``TagView`` that tests change by hand."""

    def __init__(self, *definitions):
        self.definitions = list(definitions)
        self.generation = 0
        self.used = list(definitions)
        self.values = {}
        self.writable = set()
        self.down = set()
        self.liveness = 0
        self.next_death_s = None

    def use(self, *definitions):
        self.used = list(definitions)
        self.generation += 1

    def in_use(self):
        return list(self.used)

    def definitions_from(self, index, limit):
        return self.definitions[index : index + limit]

    def last(self, tag):
        return self.values.get(tag)

    def report(self, tag, value, status=0, time_us=5_000_000):
        self.values[tag] = LastValue(value, status, time_us)

    def is_writable(self, tag):
        return tag in self.writable

    def source_is_up(self, name):
        return name not in self.down
