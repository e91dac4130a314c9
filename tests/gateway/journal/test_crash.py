"""kill -9 at random moments: every commit that was reported is there, once, in one chain."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.journal.log import Journal
from gateway.journal.reader import JournalReader

WRITER = Path(__file__).with_name("writer.py")
ROOT = WRITER.parents[3]


def write_until_killed(directory, seed, value, after_s):
    """Run a writer, kill it after some commits and a moment; return what it reported."""
    with subprocess.Popen(
        [sys.executable, str(WRITER), str(directory), str(seed), str(value)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    ) as process:
        assert process.stdout.readline() == "open\n"
        lines = [process.stdout.readline()]
        deadline_s = time.monotonic() + after_s
        while time.monotonic() < deadline_s:
            lines.append(process.stdout.readline())
        process.kill()
        lines += process.stdout.read().splitlines(keepends=True)
    return [tuple(map(int, line.split())) for line in lines if line.endswith("\n")]


@pytest.mark.slow
@pytest.mark.faults
def test_every_reported_commit_is_there_once_after_each_kill(tmp_path):
    rng = random.Random(20261123)  # noqa: S311 - repeatable
    epoch, reported, head, value = None, {}, 0, 0
    for seed in range(8):
        for sequence, first, end in write_until_killed(tmp_path, seed, value, rng.uniform(0, 0.12)):
            assert sequence not in reported
            reported[sequence] = (first, end)
            head = max(head, sequence)
        with Journal(tmp_path) as journal:
            epoch = epoch or journal.epoch
            assert journal.epoch == epoch
            # one commit may be durable that nobody was told of
            assert head <= journal.last_sequence <= head + 1
            reader = JournalReader(tmp_path, epoch)
            # verifies the chain from the first row kept to the last
            rows = reader.rows(
                journal.first_sequence, journal.last_sequence, bytes_max=10**9, rows_max=10**6
            )
            reader.close()
            assert [row.sequence for row in rows] == list(
                range(journal.first_sequence, journal.last_sequence + 1)
            )
            assert rows[-1].hash == journal.last_hash
            for row in rows:
                values = row.batch().columns[0].value.tolist()
                if row.sequence in reported:
                    first, end = reported[row.sequence]
                    assert values == list(range(first, end))
            # the mark and the cursor are of the same commit as the last row
            assert journal.marks() == {("s", "position"): values[-1] + 1}
            assert journal.cursors()["hub"].confirmed == journal.last_sequence - 1
            head, value = journal.last_sequence, values[-1] + 1
    assert head > 8
