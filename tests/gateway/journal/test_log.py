"""What a commit reported is there, in a chain; what failed left nothing behind."""

import sqlite3
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.batch import FIRST_HASH, chain_hash, decode_batch, encode_batch
from contract.sample import EMPTY_BATCH
from contract.upload import Loss, TagDefinition
from gateway.errors import JournalError, JournalLockedError, RowDamagedError
from gateway.journal.cursors import Cursor
from gateway.journal.ledger_file import read_ledger
from gateway.journal.log import DATABASE_NAME, LOCK_NAME, Journal, Transaction
from gateway.journal.reader import JournalReader
from tests.contract.batches import batches, doubles, rows_of

NOW_US = 1_800_000_000_000_000


def commit(journal, *values, now_us=NOW_US, **parts):
    batch = doubles(*[(1, value) for value in values]) if values else None
    return journal.commit(Transaction(batch=batch, **parts), now_us)


def read(journal, directory, first=1, last=10**9, bytes_max=10**9, rows_max=10**9):
    reader = JournalReader(directory, journal.epoch)
    try:
        return reader.rows(first, last, bytes_max=bytes_max, rows_max=rows_max)
    finally:
        reader.close()


def values_of(rows):
    return [row.batch().columns[0].value.tolist() for row in rows]


def tag(index, name="t"):
    return TagDefinition(index=index, name=name, device="d", data_type=10, source="s", address="a")


def loss(number, **changed):
    fields = {"first_time_us": 1, "last_time_us": 2, "recorded_time_us": 3} | changed
    return Loss(id=number, **{"reason": "session_gap"} | fields)


def test_a_commit_is_read_back_with_its_figures(tmp_path):
    with Journal(tmp_path) as journal:
        head = journal.commit(Transaction(batch=doubles((1, 1.5, 30), (2, 2.5, 10))), NOW_US)
        (row,) = read(journal, tmp_path)
        assert (head.sequence, head.samples_count, head.committed_us) == (1, 2, NOW_US)
        assert (head.first_time_us, head.last_time_us) == (10, 30)
        assert head.payload_bytes == len(row.payload) == journal.payload_bytes
        assert row.hash == head.hash == chain_hash(FIRST_HASH, journal.epoch, 1, row.payload)
        assert rows_of(row.batch()) == rows_of(doubles((1, 1.5, 30), (2, 2.5, 10)))


@given(st.lists(batches(rows_max=4), min_size=1, max_size=4))
@settings(max_examples=15, deadline=None)
def test_whatever_is_committed_comes_back_in_order_and_in_one_chain(tmp_path_factory, contents):
    directory = tmp_path_factory.mktemp("journal")
    with Journal(directory) as journal:
        for content in contents:
            journal.commit(Transaction(batch=content), NOW_US)
        rows = read(journal, directory)
        assert [rows_of(row.batch()) for row in rows] == [rows_of(content) for content in contents]
        previous = FIRST_HASH
        for sequence, row in enumerate(rows, 1):
            assert row.sequence == sequence
            assert row.hash == chain_hash(previous, journal.epoch, sequence, row.payload)
            previous = row.hash
        assert previous == journal.last_hash


def test_a_commit_without_samples_makes_no_row(tmp_path):
    with Journal(tmp_path) as journal:
        assert journal.commit(Transaction(batch=EMPTY_BATCH, tags=[tag(0)]), NOW_US) is None
        assert journal.last_sequence == 0
        assert journal.tags() == [tag(0)]


def test_everything_of_a_transaction_is_kept(tmp_path):
    cursors = {"hub": Cursor(3, [(5, 6)]), "sparkplug": Cursor(1)}
    with Journal(tmp_path) as journal:
        commit(
            journal,
            1.0,
            tags=[tag(0), tag(1, "u")],
            losses=[loss(1), loss(2, tag=4, count=9)],
            marks={("s", "a"): 7, ("s", "b"): 2**32 - 1},
            cursors=cursors,
            snapshot=doubles((1, 1.0, 5)),
        )
        commit(journal, marks={("s", "a"): 8}, cursors={"hub": Cursor(9)})
    with Journal(tmp_path) as journal:
        assert journal.tags() == [tag(0), tag(1, "u")]
        assert journal.marks() == {("s", "a"): 8, ("s", "b"): 2**32 - 1}
        assert journal.cursors() == {"hub": Cursor(9), "sparkplug": Cursor(1)}
        assert journal.last_loss_id == 2
        reader = JournalReader(tmp_path, journal.epoch)
        assert [entry.id for entry in reader.losses(0, 10)] == [1, 2]
        assert reader.losses(1, 10) == [loss(2, tag=4, count=9)]
        assert [entry.id for entry in reader.newest_losses(1)] == [2]
        sequence, snapshot = reader.snapshot()
        assert (sequence, rows_of(snapshot)) == (1, rows_of(doubles((1, 1.0, 5))))
        reader.close()
    assert [entry.id for entry in read_ledger(tmp_path, 10)] == [2, 1]


def test_a_journal_opened_again_goes_on_in_sequence_chain_and_epoch(tmp_path):
    with Journal(tmp_path) as journal:
        epoch = journal.epoch
        commit(journal, 1.0)
        commit(journal, 2.0)
        before = (
            journal.last_sequence,
            journal.last_hash,
            journal.rows_count,
            journal.payload_bytes,
        )
    with Journal(tmp_path) as journal:
        after = (
            journal.last_sequence,
            journal.last_hash,
            journal.rows_count,
            journal.payload_bytes,
        )
        assert (journal.epoch, after) == (epoch, before)
        commit(journal, 3.0)
        assert values_of(read(journal, tmp_path)) == [[1.0], [2.0], [3.0]]


def test_another_journal_has_another_epoch(tmp_path):
    epochs = set()
    for name in "abc":
        (tmp_path / name).mkdir()
        with Journal(tmp_path / name) as journal:
            assert len(journal.epoch) == 32
            epochs.add(journal.epoch)
    assert len(epochs) == 3


# -- reading ---


def test_reading_stops_at_its_limits_but_gives_at_least_one_row(tmp_path):
    with Journal(tmp_path) as journal:
        for value in range(5):
            commit(journal, float(value))
        assert len(read(journal, tmp_path, rows_max=2)) == 2
        assert len(read(journal, tmp_path, bytes_max=1)) == 1
        size = journal.payload_bytes // 5
        assert len(read(journal, tmp_path, bytes_max=2 * size)) == 2
        assert [row.sequence for row in read(journal, tmp_path, 2, 3)] == [2, 3]
        assert read(journal, tmp_path, 6, 9) == []


def test_a_reader_sees_a_commit_as_soon_as_it_is_reported(tmp_path):
    with Journal(tmp_path) as journal:
        reader = JournalReader(tmp_path, journal.epoch)
        for value in range(5):
            head = commit(journal, float(value))
            (row,) = reader.rows(head.sequence, head.sequence, bytes_max=10**9, rows_max=9)
            assert row.hash == head.hash
        assert [row.sequence for row in reader.recent(2)] == [5, 4]
        assert reader.samples_between(2, 4) == (3, NOW_US)
        reader.close()


def change(directory, statement, *arguments):
    db = sqlite3.connect(directory / DATABASE_NAME)
    db.execute(statement, arguments)
    db.commit()
    db.close()


@pytest.fixture
def five_rows(tmp_path):
    with Journal(tmp_path) as journal:
        for value in range(5):
            commit(journal, float(value))
        yield journal, tmp_path


@pytest.mark.parametrize("at", [0, 100, -1])
def test_a_flipped_byte_is_named_by_its_row(five_rows, at):
    journal, directory = five_rows
    payload = bytearray(read(journal, directory, 3, 3)[0].payload)
    payload[at] ^= 1
    change(directory, "UPDATE rows SET payload = ? WHERE sequence = 3", bytes(payload))
    assert [row.sequence for row in read(journal, directory)] == [1, 2]
    with pytest.raises(RowDamagedError) as caught:
        read(journal, directory, 3)
    assert caught.value.sequence == 3
    assert [row.sequence for row in read(journal, directory, 4)] == [4, 5]


def test_a_row_that_was_swapped_for_another_is_named(five_rows):
    journal, directory = five_rows
    change(
        directory,
        "UPDATE rows SET payload = (SELECT payload FROM rows WHERE sequence = 1),"
        " hash = (SELECT hash FROM rows WHERE sequence = 1) WHERE sequence = 4",
    )
    with pytest.raises(RowDamagedError) as caught:
        read(journal, directory, 4)
    assert caught.value.sequence == 4


def test_a_row_of_another_epoch_is_named(five_rows):
    journal, directory = five_rows
    payload = encode_batch(doubles((1, 9.0)))
    foreign = chain_hash(read(journal, directory, 1, 1)[0].hash, "f" * 32, 2, payload)
    change(directory, "UPDATE rows SET payload = ?, hash = ? WHERE sequence = 2", payload, foreign)
    with pytest.raises(RowDamagedError):
        read(journal, directory, 2)


def test_a_missing_row_is_left_out_and_the_rows_behind_it_are_read(five_rows):
    journal, directory = five_rows
    change(directory, "DELETE FROM rows WHERE sequence = 3")
    assert [row.sequence for row in read(journal, directory)] == [1, 2, 4, 5]


def test_a_row_with_a_right_hash_that_does_not_decode_is_named(five_rows):
    journal, directory = five_rows
    payload = b"no batch"
    link = chain_hash(read(journal, directory, 4, 4)[0].hash, journal.epoch, 5, payload)
    change(directory, "UPDATE rows SET payload = ?, hash = ? WHERE sequence = 5", payload, link)
    (row,) = read(journal, directory, 5)
    with pytest.raises(RowDamagedError) as caught:
        row.batch()
    assert caught.value.sequence == 5


def test_the_hash_before_a_row_is_given_for_an_upload(five_rows):
    journal, directory = five_rows
    rows = read(journal, directory)
    reader = JournalReader(directory, journal.epoch)
    assert reader.hash_before(1) == FIRST_HASH
    assert reader.hash_before(4) == rows[2].hash
    journal.trim(3)
    assert reader.hash_before(4) == rows[2].hash
    with pytest.raises(RowDamagedError):
        reader.hash_before(3)
    reader.close()


# -- trimming ---


def test_trimming_keeps_the_chain_and_the_numbers(five_rows):
    journal, directory = five_rows
    rows = read(journal, directory)
    freed = journal.trim(2, [loss(1)])
    assert freed == sum(len(row.payload) for row in rows[:2])
    assert (journal.first_sequence, journal.rows_count, journal.last_loss_id) == (3, 3, 1)
    assert journal.payload_bytes == sum(len(row.payload) for row in rows[2:])
    assert [row.sequence for row in read(journal, directory)] == [3, 4, 5]
    commit(journal, 9.0)
    assert read(journal, directory, 6)[0].hash == journal.last_hash


def test_a_journal_trimmed_to_nothing_goes_on_where_it_was(five_rows):
    journal, directory = five_rows
    last_hash = journal.last_hash
    journal.trim(5)
    assert (journal.rows_count, journal.payload_bytes, journal.first_sequence) == (0, 0, 6)
    journal.close()
    with Journal(directory) as again:
        assert (again.last_sequence, again.last_hash, again.first_sequence) == (5, last_hash, 6)
        head = commit(again, 6.0)
        assert head.sequence == 6
        assert head.hash == chain_hash(
            last_hash, again.epoch, 6, read(again, directory, 6)[0].payload
        )


def test_trimming_beyond_the_newest_row_never_uses_a_number_twice(five_rows):
    journal, directory = five_rows
    last_hash = journal.last_hash
    journal.trim(99)
    journal.close()
    with Journal(directory) as again:
        assert (again.last_sequence, again.last_hash) == (5, last_hash)
        assert commit(again, 1.0).sequence == 6


def test_a_damaged_first_row_after_trimming_is_still_found(five_rows):
    journal, directory = five_rows
    journal.trim(2)
    payload = bytearray(read(journal, directory, 3, 3)[0].payload)
    payload[-1] ^= 1
    change(directory, "UPDATE rows SET payload = ? WHERE sequence = 3", bytes(payload))
    with pytest.raises(RowDamagedError):
        read(journal, directory, 3)


def test_the_oldest_rows_and_the_expired_ones_are_told(tmp_path):
    with Journal(tmp_path) as journal:
        assert journal.expired_to(NOW_US, 10) == 0
        for number in range(6):
            commit(journal, float(number), now_us=NOW_US + number)
        assert journal.expired_to(NOW_US, 10) == 0
        assert journal.expired_to(NOW_US + 3, 10) == 3
        assert journal.expired_to(NOW_US + 100, 4) == 4
        assert [head.sequence for head in journal.oldest(2)] == [1, 2]


@pytest.mark.parametrize("points", [2, 5, 500])
def test_the_outline_stands_for_every_row(tmp_path, points):
    with Journal(tmp_path) as journal:
        for number in range(11):
            commit(journal, float(number), now_us=NOW_US + number)
        journal.trim(2)
        outline = journal.outline(points)
        assert all(committed_us == NOW_US + sequence - 1 for sequence, committed_us, *_ in outline)
        stood_for = sum(rows for *_, rows in outline)
        assert 9 - max(1, 9 // points) < stood_for <= 9


# -- what goes wrong ---


def test_a_commit_that_fails_leaves_everything_as_it_was(tmp_path):
    with Journal(tmp_path) as journal:
        commit(journal, 1.0, tags=[tag(0)], losses=[loss(1)])
        before = (journal.last_sequence, journal.last_hash, journal.payload_bytes)
        # the tag's number is taken: the statement before the row succeeded, this one fails
        with pytest.raises(JournalError):
            commit(journal, 2.0, tags=[tag(1), tag(0)], losses=[loss(2)], marks={("s", "m"): 1})
        assert (journal.last_sequence, journal.last_hash, journal.payload_bytes) == before
        assert (journal.last_loss_id, journal.marks(), journal.tags()) == (1, {}, [tag(0)])
        assert commit(journal, 3.0).sequence == 2
        assert values_of(read(journal, tmp_path)) == [[1.0], [3.0]]


def test_a_transaction_is_encoded_once_for_all_attempts(tmp_path):
    with Journal(tmp_path) as journal:
        transaction = Transaction(batch=doubles((1, 1.0)), losses=[loss(1), loss(1)])
        with pytest.raises(JournalError):
            journal.commit(transaction, NOW_US)
        payload = transaction.payload
        transaction.losses = ()
        journal.commit(transaction, NOW_US)
        assert transaction.payload is payload
        assert rows_of(decode_batch(payload)) == rows_of(transaction.batch)


def test_a_locked_file_is_a_journal_error_and_nothing_is_lost(tmp_path):
    with Journal(tmp_path) as journal:
        journal._db.execute("PRAGMA busy_timeout=10").fetchone()
        other = sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="locked"):
            commit(journal, 1.0)
        with pytest.raises(JournalError):
            journal.trim(1)
        other.execute("ROLLBACK")
        other.close()
        assert commit(journal, 1.0).sequence == 1


def test_a_file_of_a_later_format_is_not_touched(tmp_path):
    Journal(tmp_path).close()
    change(tmp_path, "UPDATE meta SET value = 2 WHERE key = 'format'")
    with pytest.raises(JournalError, match="format 2"):
        Journal(tmp_path)
    change(tmp_path, "UPDATE meta SET value = 1 WHERE key = 'format'")
    Journal(tmp_path).close()


def test_a_file_that_is_no_database_is_a_journal_error(tmp_path):
    (tmp_path / DATABASE_NAME).write_bytes(b"this is not a database, it only lies here" * 100)
    with pytest.raises(JournalError):
        Journal(tmp_path)


def test_a_directory_that_is_missing_is_a_journal_error(tmp_path):
    with pytest.raises(JournalError):
        Journal(tmp_path / "missing")
    with pytest.raises(JournalError):
        read_ledger(tmp_path / "missing", 1)


def test_a_second_opening_is_refused_and_names_the_owner(tmp_path):
    with Journal(tmp_path):
        with pytest.raises(JournalLockedError):
            Journal(tmp_path)
        script = "import sys; from pathlib import Path; from gateway.journal.log import Journal;"
        script += "Journal(Path(sys.argv[1]))"
        second = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode
        assert "JournalLockedError" in second.stderr
        assert f"pid {(tmp_path / LOCK_NAME).read_text()}" in second.stderr
    Journal(tmp_path).close()


def test_a_journal_that_could_not_be_opened_lets_go_of_its_lock(tmp_path):
    (tmp_path / DATABASE_NAME).write_bytes(b"x" * 5000)
    for _ in range(2):
        with pytest.raises(JournalError) as caught:
            Journal(tmp_path)
        assert not isinstance(caught.value, JournalLockedError)


def test_the_file_is_in_the_mode_that_survives_a_power_cut(tmp_path):
    with Journal(tmp_path) as journal:
        pragma = {
            name: journal._db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous")
        }
        assert pragma == {"journal_mode": "wal", "synchronous": 2}
        commit(journal, 1.0)
        assert journal.file_bytes() >= journal.payload_bytes


def test_notes_of_the_ledger_are_not_counted_as_losses(tmp_path):
    with Journal(tmp_path) as journal:
        notes = [loss(1, reason="revised"), loss(2), loss(3, reason="source_time_jump")]
        commit(journal, losses=notes)
        commit(journal, losses=[loss(4, reason="filled_from_history", closes=2)])
        assert (journal.last_loss_id, journal.losses_count) == (4, 1)
