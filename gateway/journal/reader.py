"""Reading the journal beside the writer, over a connection of its own.

Each row's hash is checked against the row before it; a damaged row is named, not hidden. Calls
block and belong to one thread at a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from contract.batch import FIRST_HASH, chain_hash, decode_batch
from contract.errors import BatchError
from contract.sample import SampleBatch
from contract.upload import Loss
from gateway.errors import JournalError, RowDamagedError
from gateway.journal.log import DATABASE_NAME


@dataclass(slots=True)
class StoredRow:
    """A row as it lies in the file."""

    sequence: int
    hash: bytes
    samples_count: int
    first_time_us: int
    last_time_us: int
    committed_us: int
    payload: bytes

    @property
    def times_us(self) -> tuple[int, int]:
        """First and last source time."""
        return self.first_time_us, self.last_time_us

    def batch(self) -> SampleBatch:
        """Decode the row. Raises RowDamagedError."""
        try:
            return decode_batch(self.payload)
        except BatchError as error:
            raise RowDamagedError(self.sequence, str(error), self.times_us) from error


_SELECT = (
    "SELECT sequence, hash, samples_count, first_time_us, last_time_us, committed_us, payload"
    " FROM rows "
)
_ROWS_AT_ONCE = 50
_SELECT_RANGE = _SELECT + "WHERE sequence BETWEEN ? AND ? ORDER BY sequence"
_SELECT_NEWEST = _SELECT + "ORDER BY sequence DESC LIMIT ?"


class JournalReader:
    """Reads rows, losses and the snapshot of a journal that this process writes."""

    def __init__(self, directory: Path, epoch: str) -> None:
        self._epoch = epoch
        uri = f"file:{directory / DATABASE_NAME}?mode=ro"
        try:
            self._db = sqlite3.connect(
                uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5.0
            )
        except sqlite3.Error as error:
            raise JournalError(f"{directory}: {error}") from error

    def rows(self, first: int, last: int, *, bytes_max: int, rows_max: int) -> list[StoredRow]:
        """Return rows from ``first`` on, in order, until ``last`` or a limit; at least one.

        Rows that are no longer there are left out. Raises JournalError, RowDamagedError.
        """
        found: list[StoredRow] = []
        size = 0
        previous = self._hash_of(first - 1)
        try:
            # rows PRIMARY KEY range
            for fields in self._db.execute(_SELECT_RANGE, (first, last)):
                row = StoredRow(*fields)
                self._check(row, previous if row.sequence == first + len(found) else None)
                previous = row.hash
                found.append(row)
                size += len(row.payload)
                if size >= bytes_max or len(found) >= rows_max:
                    break
        except sqlite3.Error as error:
            raise JournalError(f"cannot read rows {first} to {last}: {error}") from error
        except RowDamagedError:
            if not found:
                raise
        return found

    def _hash_of(self, sequence: int) -> bytes | None:
        """Return a row's hash; None when it is unknown here (trimmed away)."""
        if sequence == 0:
            return FIRST_HASH
        try:
            row = self._db.execute(
                "SELECT hash FROM rows WHERE sequence = ?", (sequence,)
            ).fetchone()
            if row is not None:
                return bytes(row[0])
            meta = dict(
                self._db.execute(
                    "SELECT key, value FROM meta WHERE key IN ('trimmed_to', 'trimmed_hash')"
                ).fetchall()
            )
        except sqlite3.Error as error:
            raise JournalError(f"cannot read row {sequence}: {error}") from error
        return bytes(meta["trimmed_hash"]) if meta.get("trimmed_to") == sequence else None

    def hash_before(self, sequence: int) -> bytes:
        """Return the hash of the row before one, for an upload. Raises RowDamagedError."""
        found = self._hash_of(sequence - 1)
        if found is None:
            raise RowDamagedError(sequence, "the hash of the row before it is not known any more")
        return found

    def _check(self, row: StoredRow, previous: bytes | None) -> None:
        if previous is None:
            return
        if chain_hash(previous, self._epoch, row.sequence, row.payload) != row.hash:
            raise RowDamagedError(
                row.sequence, "its hash does not fit the row before it", row.times_us
            )

    def recent(self, rows_max: int) -> list[StoredRow]:
        """Return the newest rows, newest first. Raises JournalError."""
        try:
            return [StoredRow(*fields) for fields in self._db.execute(_SELECT_NEWEST, (rows_max,))]
        except sqlite3.Error as error:
            raise JournalError(f"cannot read the newest rows: {error}") from error

    def overlapping(
        self, times_us: tuple[int, int], committed_us: tuple[int, int]
    ) -> Iterator[StoredRow]:
        """Yield rows with source times within a range, of those committed within another.

        Both ends of both are included. Raises JournalError.
        """
        at = self._first_committed(committed_us[0])
        while at is not None:
            try:
                # rows PRIMARY KEY range
                found = self._db.execute(
                    _SELECT + "WHERE sequence >= ? ORDER BY sequence LIMIT ?", (at, _ROWS_AT_ONCE)
                ).fetchall()
            except sqlite3.Error as error:
                raise JournalError(f"cannot read rows from {at} on: {error}") from error
            at = None
            for row in (StoredRow(*fields) for fields in found):
                if row.committed_us > committed_us[1]:
                    return
                at = row.sequence + 1
                if row.first_time_us <= times_us[1] and row.last_time_us >= times_us[0]:
                    yield row

    def _first_committed(self, from_us: int) -> int | None:
        """Find the first row committed at or after a moment: rows stand in order of commits."""
        try:
            first, last = self._db.execute(
                "SELECT min(sequence), max(sequence) FROM rows"
            ).fetchone()
            if first is None:
                return None
            while first < last:
                middle = (first + last) // 2
                # rows PRIMARY KEY; committed_us stands before the payload
                row = self._db.execute(
                    "SELECT committed_us FROM rows WHERE sequence = ?", (middle,)
                ).fetchone()
                if row is not None and row[0] >= from_us:
                    last = middle
                else:
                    first = middle + 1
        except sqlite3.Error as error:
            raise JournalError(f"cannot look for rows by their commit: {error}") from error
        return int(first)

    def samples_between(self, first: int, last: int) -> tuple[int, int | None]:
        """Return the samples in rows ``first`` to ``last``, and when the first was committed."""
        try:
            row = self._db.execute(
                "SELECT total(samples_count), min(committed_us) FROM rows"
                " WHERE sequence BETWEEN ? AND ?",
                (first, last),
            ).fetchone()
        except sqlite3.Error as error:
            raise JournalError(f"cannot count rows {first} to {last}: {error}") from error
        return int(row[0]), row[1]

    def snapshot(self) -> tuple[int, SampleBatch] | None:
        """Return the last values that were kept, and as of which row; None if there are none."""
        try:
            row = self._db.execute("SELECT sequence, payload FROM snapshot").fetchone()
            return (row[0], decode_batch(row[1])) if row else None
        except (sqlite3.Error, BatchError) as error:
            raise JournalError(f"cannot read the snapshot: {error}") from error

    def losses(self, after_id: int, limit: int) -> list[Loss]:
        """Return ledger entries with ids above ``after_id``, oldest first."""
        return self._losses(
            "SELECT entry FROM losses WHERE id > ? ORDER BY id LIMIT ?", after_id, limit
        )

    def newest_losses(self, limit: int) -> list[Loss]:
        """Return the newest ledger entries, newest first."""
        return self._losses(
            "SELECT entry FROM losses WHERE id > ? ORDER BY id DESC LIMIT ?", 0, limit
        )

    def _losses(self, query: str, after_id: int, limit: int) -> list[Loss]:
        try:
            rows: Sequence[tuple[bytes]] = self._db.execute(query, (after_id, limit)).fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"cannot read the loss ledger: {error}") from error
        return [msgspec.msgpack.decode(row[0], type=Loss) for row in rows]

    def close(self) -> None:
        """Close the connection."""
        self._db.close()
