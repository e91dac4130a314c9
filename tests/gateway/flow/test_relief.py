"""Size, retention and a full disk: what goes is named in the ledger, and commits go on."""

import os
import sqlite3
import subprocess

import numpy as np
import pytest

from contract.config import JournalConfig
from contract.sample import SampleBatch, ValueKind
from gateway.errors import JournalError
from gateway.flow import relief as relief_module
from gateway.flow.relief import RESERVE_NAME
from gateway.journal.cursors import Cursor
from gateway.journal.log import DATABASE_NAME, Transaction
from tests.contract.batches import columns
from tests.gateway.flow.parts import Middle
from tests.gateway.manual_clock import ManualClock

RANDOM = np.random.default_rng(7)
ROW_BYTES = 20_000


def opened(directory, **config):
    return Middle(directory, config=JournalConfig(**config), clock=ManualClock())


def commit(middle, *, tend=True, size=ROW_BYTES):
    """Commit one row that does not compress; two samples in it."""
    rows = [(1, 1000 + n, 0, RANDOM.bytes(size // 2)) for n in range(2)]
    batch = SampleBatch((columns(ValueKind.BYTES, rows),))
    head = middle.journal.commit(Transaction(batch=batch), middle.clock.wall_us())
    if tend:
        middle.relief.tend(middle.clock.wall_us())
    return head


def rows_in_ledger(middle):
    """The rows that the ledger names, and the samples it counts in them."""
    entries = middle.ledger()
    assert [entry.id for entry in entries] == list(range(1, len(entries) + 1))
    assert {entry.reason for entry in entries} <= {"journal_full"}
    rows = [n for e in entries for n in range(e.first_sequence, e.last_sequence + 1)]
    assert len(set(rows)) == len(rows)
    return rows, sum(entry.count for entry in entries)


def check_that_nothing_is_lost_unsaid(middle, committed):
    kept = [row.sequence for row in middle.rows()]
    gone, samples = rows_in_ledger(middle)
    assert sorted(gone + kept) == committed
    assert samples == 2 * len(gone)
    return gone


# -- retention ---


def test_rows_expire_when_everybody_has_them_and_their_window_is_over(tmp_path):
    middle = opened(tmp_path, retention_hours=1)
    middle.cursors = {"hub": Cursor(4), "sparkplug": Cursor(6)}
    for _ in range(5):
        commit(middle, size=100)
    middle.clock.pass_s(3601)
    for _ in range(3):
        commit(middle, size=100)
    assert [row.sequence for row in middle.rows()] == [5, 6, 7, 8]
    middle.cursors["hub"] = Cursor(8)
    middle.clock.pass_s(60)
    middle.relief.tend(middle.clock.wall_us())
    assert [row.sequence for row in middle.rows()] == [6, 7, 8]
    assert middle.ledger() == []
    middle.close()


def test_without_consumers_the_window_alone_decides(tmp_path):
    middle = opened(tmp_path, retention_hours=1)
    commit(middle, size=100)
    middle.clock.pass_s(3599)
    middle.relief.tend(middle.clock.wall_us())
    assert len(middle.rows()) == 1
    middle.clock.pass_s(20)
    middle.relief.tend(middle.clock.wall_us())
    assert middle.journal.rows_count == 0
    middle.close()


# -- the size limit ---


def test_at_the_size_limit_the_oldest_rows_go_and_the_ledger_names_them(tmp_path):
    middle = opened(tmp_path, max_bytes=1_000_000)
    middle.cursors = {"hub": Cursor(0)}
    committed = []
    for _ in range(120):
        committed.append(commit(middle).sequence)
        assert middle.journal.payload_bytes <= 1_000_000
    gone = check_that_nothing_is_lost_unsaid(middle, committed)
    assert gone
    assert middle.relief.dropped_rows == len(gone)
    assert "hub" in middle.ledger()[0].detail
    assert (middle.ledger()[0].first_time_us, middle.ledger()[0].last_time_us) == (1000, 1001)
    middle.close()


def test_rows_that_everybody_has_go_without_an_entry(tmp_path):
    middle = opened(tmp_path, max_bytes=1_000_000)
    middle.cursors = {"hub": Cursor(10**6)}
    for _ in range(120):
        commit(middle)
    assert middle.journal.payload_bytes <= 1_000_000
    assert middle.ledger() == []
    middle.close()


def test_one_row_larger_than_the_limit_is_not_kept_for_ever(tmp_path):
    middle = opened(tmp_path, max_bytes=100_000)
    for _ in range(3):
        commit(middle, size=300_000)
        assert middle.journal.rows_count <= 1
    middle.close()


# -- a write that fails for another reason than room ---


def test_a_failed_write_on_a_disk_with_room_drops_nothing(tmp_path):
    middle = opened(tmp_path)
    middle.cursors = {"hub": Cursor(0)}
    for _ in range(30):
        commit(middle, size=100)
    middle.journal._db.execute("PRAGMA busy_timeout=10").fetchone()
    other = sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalError):
        commit(middle, size=100)
    other.execute("ROLLBACK")
    other.close()
    middle.relief.ease()
    assert middle.journal.rows_count == 30
    assert (tmp_path / RESERVE_NAME).exists()
    middle.close()


# -- a full disk ---


@pytest.fixture
def disk(tmp_path):
    """Give a function that mounts a disk of so many bytes."""
    mounted = []

    def mount(size):
        path = tmp_path / f"disk{len(mounted)}"
        path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a small disk needs the right to mount: {done.stderr.strip()}")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(directory):
    """Take all the room there is, as another program would."""
    with (directory / "ballast").open("ab", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(4096))
        except OSError:
            pass
    assert os.statvfs(directory).f_bavail == 0
    return directory / "ballast"


def commit_until_full(middle, committed):
    for _ in range(400):
        committed.append(commit(middle, tend=False).sequence)


@pytest.mark.parametrize("size", ["3m", "8m"])
def test_a_disk_smaller_than_the_limit_keeps_the_newest_rows_for_ever(disk, size):
    directory = disk(size)
    middle = opened(directory)
    middle.cursors = {"hub": Cursor(0)}
    committed = []
    for _ in range(600):
        try:
            committed.append(commit(middle).sequence)
        except JournalError:
            middle.relief.ease()
            committed.append(commit(middle).sequence)
    gone = check_that_nothing_is_lost_unsaid(middle, committed)
    assert gone == list(range(1, len(gone) + 1))
    assert middle.journal.rows_count > 20
    middle.close()


def test_a_disk_filled_by_others_fails_whole_commits_until_the_reserve_is_given_back(disk):
    directory = disk("24m")
    middle = opened(directory)
    middle.cursors = {"hub": Cursor(0)}
    committed = [commit(middle).sequence for _ in range(100)]
    assert (directory / RESERVE_NAME).stat().st_size == relief_module.RESERVE_BYTES
    ballast = fill(directory)
    with pytest.raises(JournalError, match="full"):
        commit_until_full(middle, committed)
    # nothing of the failed commit is there
    before = (middle.journal.last_sequence, middle.journal.last_hash)
    assert [row.sequence for row in middle.rows()] == committed
    assert middle.rows()[-1].hash == before[1]
    middle.relief.ease()
    assert not (directory / RESERVE_NAME).exists()
    assert middle.journal.last_sequence == before[0]
    # from now on it lives within what it has, though the disk stays short
    committed += [commit(middle).sequence for _ in range(300)]
    gone = check_that_nothing_is_lost_unsaid(middle, committed)
    assert gone
    assert not (directory / RESERVE_NAME).exists()
    ballast.unlink()
    middle.clock.pass_s(60)
    committed.append(commit(middle).sequence)
    assert (directory / RESERVE_NAME).exists()
    assert check_that_nothing_is_lost_unsaid(middle, committed) == gone
    middle.close()


def test_a_disk_that_stays_full_whatever_is_freed_recovers_when_there_is_room(disk):
    directory = disk("24m")
    middle = opened(directory)
    middle.cursors = {"hub": Cursor(0)}
    committed = [commit(middle).sequence for _ in range(50)]
    for _ in range(20):
        ballast = fill(directory)
        try:
            committed.append(commit(middle).sequence)
        except JournalError:
            middle.relief.ease()
    ballast.unlink()
    for _ in range(20):
        try:
            committed.append(commit(middle).sequence)
        except JournalError:
            middle.relief.ease()
    assert len(committed) >= 69
    check_that_nothing_is_lost_unsaid(middle, committed)
    middle.close()


async def test_the_intake_gets_over_a_full_disk_with_everything_it_read(disk):
    directory = disk("24m")
    middle = Middle(directory)
    middle.cursors = {"hub": Cursor(0)}
    tag = SampleBatch((columns(ValueKind.BYTES, [(1, 1, 0, b"")]),))
    async with middle.running():
        await middle.put("first", tag)
        await middle.until(lambda: middle.stored)
        fill(directory)
        for number in range(400):
            batch = SampleBatch((columns(ValueKind.BYTES, [(1, 1, 0, RANDOM.bytes(2000))]),))
            await middle.put(number, batch)
        await middle.until(lambda: len(middle.stored) == 401)
    assert middle.stored[1:] == list(range(400))
    kept = sum(len(row.batch()) for row in middle.rows())
    gone = sum(entry.count for entry in middle.ledger())
    assert kept + gone == middle.intake.counters.stored == 401
    middle.close()
