"""A process that commits and says so, until it is killed: ``python writer.py DIR SEED``."""

import random
import sys
import time
from pathlib import Path

from contract.sample import SampleBatch, ValueKind, columns_of
from gateway.journal.cursors import Cursor
from gateway.journal.log import Journal, Transaction


def main():
    rng = random.Random(int(sys.argv[2]))  # noqa: S311 - repeatable
    journal = Journal(Path(sys.argv[1]))
    value = int(sys.argv[3])
    _say("open")
    while True:
        count = rng.randint(1, 400)
        values = list(range(value, value + count))
        part = columns_of(ValueKind.INT, [1] * count, values, [0] * count, values)
        transaction = Transaction(
            batch=SampleBatch((part,)),
            marks={("s", "position"): value + count},
            cursors={"hub": Cursor(journal.last_sequence)},
        )
        head = journal.commit(transaction, time.time_ns() // 1000)
        _say(f"{head.sequence} {value} {value + count}")
        value += count
        if rng.random() < 0.1:
            journal.trim(max(0, journal.last_sequence - 30))


def _say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
