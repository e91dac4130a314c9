"""A tag's recent values from the journal, with rows that were filled later."""

import pytest

from contract.sample import SampleBatch, ValueKind
from gateway.journal.log import Journal, Transaction
from gateway.journal.reader import JournalReader
from gateway.journal.trend import trend
from tests.contract.batches import columns


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path) as journal:
        yield journal


def batch(*samples, is_historical=False):
    rows = [(0, time_us, 0, value) for time_us, value in samples]
    return SampleBatch((columns(ValueKind.DOUBLE, rows),), is_historical=is_historical)


def test_what_was_filled_later_stands_in_its_place_and_does_not_end_the_search(tmp_path, journal):
    journal.commit(Transaction(batch=batch((100, 1.0))), 1)
    journal.commit(Transaction(batch=batch((400, 4.0))), 2)
    journal.commit(Transaction(batch=batch((10, 0.1), (200, 2.0), is_historical=True)), 3)
    journal.commit(Transaction(batch=batch((20, 0.2), is_historical=True)), 4)
    reader = JournalReader(tmp_path, journal.epoch)
    time_us, value, complete = trend(reader, 4, 0, 50, 100)
    assert (time_us.tolist(), value.tolist(), complete) == ([100, 200, 400], [1.0, 2.0, 4.0], True)
    reader.close()
