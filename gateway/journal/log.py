"""The journal: one row per commit, durable when ``commit`` returns.

SQLite WAL with ``synchronous=FULL``: one fsync a commit (runtime/sqlite.py says why FULL). A row's
identity is (gateway, epoch, sequence), its hash is chained to the row before it, so that a missing,
changed or doubled row can be shown (docs/formats/journal.md). The epoch is random and made with the
file, so an identity is never used twice. One process owns the file (``JournalLockedError``).

All calls block: the writer's belong to one thread, reads go through ``reader.JournalReader``.
Limits: the size limit is the caller's (``retention.py``); a commit that fails leaves everything as
it was, and the batch is not stored.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import msgspec

from contract.batch import FIRST_HASH, chain_hash, encode_batch
from contract.sample import SampleBatch
from contract.upload import NO_LOSS, Loss, TagDefinition
from gateway.errors import JournalError, JournalLockedError
from gateway.journal.cursors import Cursor
from gateway.journal.tables import CREATE, FORMAT
from runtime.sqlite import PragmaRefusedError, open_durable

DATABASE_NAME = "journal.db"
LOCK_NAME = "journal.lock"


@dataclass(slots=True)
class RowHead:
    """A row without its payload."""

    sequence: int
    hash: bytes
    samples_count: int
    first_time_us: int
    last_time_us: int
    committed_us: int
    payload_bytes: int


@dataclass(slots=True)
class Transaction:
    """What one commit makes durable together; every part may be empty.

    ``payload`` is ``batch`` encoded: ``commit`` fills it in, once for all attempts.
    """

    batch: SampleBatch | None = None
    payload: bytes = b""
    tags: Sequence[TagDefinition] = ()
    losses: Sequence[Loss] = ()
    marks: dict[tuple[str, str], int] = field(default_factory=dict)
    cursors: dict[str, Cursor] = field(default_factory=dict)
    snapshot: SampleBatch | None = None


class Journal:
    """The writer's side. Open it once; use it from one thread at a time.

    Attributes:
        is_full: the last commit failed for want of room on the disk.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.is_full = False
        self._lock: IO[bytes] = _lock(directory / LOCK_NAME)
        try:
            self._db = self._open(directory / DATABASE_NAME)
        except BaseException:
            self._lock.close()
            raise

    def _open(self, path: Path) -> sqlite3.Connection:
        try:
            db = open_durable(path)
            if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                _create(db)
            self._load(db)
        except (sqlite3.Error, PragmaRefusedError) as error:
            raise JournalError(f"{path}: {error}") from error
        return db

    def _load(self, db: sqlite3.Connection) -> None:
        meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
        if meta.get("format") != FORMAT:
            raise JournalError(
                f"the journal has format {meta.get('format')}, this program reads {FORMAT}"
            )
        self.epoch: str = meta["epoch"]
        # rows PRIMARY KEY, from its end
        row = db.execute(
            "SELECT sequence, hash FROM rows ORDER BY sequence DESC LIMIT 1"
        ).fetchone()
        last = db.execute("SELECT value FROM meta WHERE key = 'trimmed_hash'").fetchone()
        trimmed = meta.get("trimmed_to", 0)
        self.last_sequence: int = row[0] if row else trimmed
        self.last_hash: bytes = row[1] if row else (last[0] if last else FIRST_HASH)
        first = db.execute("SELECT min(sequence) FROM rows").fetchone()[0]
        self.first_sequence: int = first if first is not None else self.last_sequence + 1
        total = db.execute("SELECT count(*), total(length(payload)) FROM rows").fetchone()
        self.rows_count: int = total[0]
        self.payload_bytes: int = int(total[1])
        self.last_loss_id: int = db.execute("SELECT coalesce(max(id), 0) FROM losses").fetchone()[0]
        self.losses_count = 0  # since it was opened, without notes for which nothing is missing

    def commit(self, transaction: Transaction, now_us: int) -> RowHead | None:
        """Make a transaction durable; return the new row's head when it has samples.

        Raises:
            JournalError: nothing of it is stored (disk full, I/O error); try again or give way.
        """
        batch = transaction.batch
        if batch is not None and len(batch) and not transaction.payload:
            transaction.payload = encode_batch(batch)
        payload = transaction.payload
        head = self._head(batch, payload, now_us) if batch is not None and payload else None
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._write(transaction, head, payload)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self.is_full = error.sqlite_errorcode == sqlite3.SQLITE_FULL
            self._roll_back()
            raise JournalError(f"{type(error).__name__}: {error}") from error
        self.is_full = False
        if head is not None:
            assert head.sequence == self.last_sequence + 1
            self.last_sequence, self.last_hash = head.sequence, head.hash
            self.rows_count += 1
            self.payload_bytes += head.payload_bytes
        if transaction.losses:
            self.last_loss_id = transaction.losses[-1].id
            self.losses_count += _real(transaction.losses)
        return head

    def _head(self, batch: SampleBatch, payload: bytes, now_us: int) -> RowHead:
        sequence = self.last_sequence + 1
        first_us, last_us = batch.time_range_us()
        return RowHead(
            sequence,
            chain_hash(self.last_hash, self.epoch, sequence, payload),
            len(batch),
            first_us,
            last_us,
            now_us,
            len(payload),
        )

    def _write(self, transaction: Transaction, head: RowHead | None, payload: bytes) -> None:
        db = self._db
        if transaction.tags:
            db.executemany(
                "INSERT INTO tags VALUES (?, ?)",
                [(t.index, msgspec.msgpack.encode(t)) for t in transaction.tags],
            )
        if head is not None:
            db.execute(
                "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    head.sequence,
                    head.hash,
                    head.samples_count,
                    head.first_time_us,
                    head.last_time_us,
                    head.committed_us,
                    payload,
                ),
            )
        if transaction.marks:
            db.executemany(
                "INSERT INTO marks VALUES (?, ?, ?) "
                "ON CONFLICT (source, key) DO UPDATE SET position = excluded.position",
                [(source, key, at) for (source, key), at in transaction.marks.items()],
            )
        if transaction.cursors:
            db.executemany(
                "INSERT INTO cursors VALUES (?, ?, ?) ON CONFLICT (consumer) "
                "DO UPDATE SET confirmed = excluded.confirmed, beyond = excluded.beyond",
                [(name, c.confirmed, c.beyond_bytes()) for name, c in transaction.cursors.items()],
            )
        if transaction.losses:
            db.executemany(
                "INSERT INTO losses VALUES (?, ?)",
                [(loss.id, msgspec.msgpack.encode(loss)) for loss in transaction.losses],
            )
        if transaction.snapshot is not None and len(transaction.snapshot):
            at = head.sequence if head is not None else self.last_sequence
            db.execute(
                "INSERT OR REPLACE INTO snapshot VALUES (1, ?, ?)",
                (at, encode_batch(transaction.snapshot)),
            )

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise JournalError(f"cannot roll back: {error}") from error

    def trim(self, to_sequence: int, losses: Sequence[Loss] = ()) -> int:
        """Delete rows up to ``to_sequence`` and enter ``losses`` in the same commit.

        Returns the bytes of payload given back. Raises JournalError.
        """
        # the last row's number and hash have to stay known: they are never used again
        to_sequence = min(to_sequence, self.last_sequence)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            # rows PRIMARY KEY range
            freed, count = self._db.execute(
                "SELECT total(length(payload)), count(*) FROM rows WHERE sequence <= ?",
                (to_sequence,),
            ).fetchone()
            row = self._db.execute(
                "SELECT hash FROM rows WHERE sequence = ?", (to_sequence,)
            ).fetchone()
            self._db.execute("DELETE FROM rows WHERE sequence <= ?", (to_sequence,))
            if row is not None:
                self._db.executemany(
                    "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                    [("trimmed_to", to_sequence), ("trimmed_hash", row[0])],
                )
            self._write(Transaction(losses=losses), None, b"")
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise JournalError(f"cannot trim: {error}") from error
        self.first_sequence = max(self.first_sequence, to_sequence + 1)
        self.rows_count -= count
        self.payload_bytes -= int(freed)
        if losses:
            self.last_loss_id = losses[-1].id
            self.losses_count += _real(losses)
        return int(freed)

    def expired_to(self, before_us: int, rows_max: int) -> int:
        """Return the last of the oldest ``rows_max`` rows committed before a moment; 0 for none.

        Raises JournalError.
        """
        # rows PRIMARY KEY, from its start: what is expired stands there
        found = self._fetch(
            "SELECT max(sequence) FROM"
            " (SELECT sequence, committed_us FROM rows ORDER BY sequence LIMIT ?)"
            " WHERE committed_us < ?",
            (rows_max, before_us),
        )
        return found[0][0] or 0

    def oldest(self, rows_max: int) -> list[RowHead]:
        """Return the oldest rows' heads, oldest first. Raises JournalError."""
        rows = self._fetch(
            "SELECT sequence, hash, samples_count, first_time_us, last_time_us, committed_us,"
            " length(payload) FROM rows ORDER BY sequence LIMIT ?",
            (rows_max,),
        )
        return [RowHead(*fields) for fields in rows]

    def _fetch(self, query: str, arguments: tuple[int, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(query, arguments).fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"cannot read: {error}") from error

    def outline(self, points: int = 500) -> list[tuple[int, int, int, int]]:
        """Return rows at even steps: (sequence, committed_us, samples, rows stood for)."""
        step = max(1, self.rows_count // points)
        found: list[tuple[int, int, int, int]] = []
        for sequence in range(self.first_sequence + step - 1, self.last_sequence + 1, step):
            # rows PRIMARY KEY
            row = self._db.execute(
                "SELECT committed_us, samples_count FROM rows WHERE sequence = ?", (sequence,)
            ).fetchone()
            if row is not None:
                found.append((sequence, row[0], row[1], step))
        return found

    def tags(self) -> list[TagDefinition]:
        """Return all tag definitions in order of index."""
        rows = self._db.execute("SELECT definition FROM tags ORDER BY tag").fetchall()
        return [msgspec.msgpack.decode(row[0], type=TagDefinition) for row in rows]

    def marks(self) -> dict[tuple[str, str], int]:
        """Return all durable marks by (source, key)."""
        rows = self._db.execute("SELECT source, key, position FROM marks").fetchall()
        return {(source, key): position for source, key, position in rows}

    def cursors(self) -> dict[str, Cursor]:
        """Return all cursors by consumer."""
        rows = self._db.execute("SELECT consumer, confirmed, beyond FROM cursors").fetchall()
        return {name: Cursor.of(confirmed, beyond) for name, confirmed, beyond in rows}

    def checkpoint(self, *, shrink: bool) -> None:
        """Move the write-ahead log into the file; ``shrink`` gives its room back to the disk.

        Raises JournalError.
        """
        self._fetch(f"PRAGMA wal_checkpoint({'TRUNCATE' if shrink else 'RESTART'})", ())

    def free_bytes(self) -> int:
        """Return the room that deleted rows left inside the file. Raises JournalError."""
        pages = self._fetch("PRAGMA freelist_count", ())[0][0]
        size = self._fetch("PRAGMA page_size", ())[0][0]
        return int(pages * size)

    def file_bytes(self) -> int:
        """Return what the journal takes on disk, its write-ahead log included."""
        names = (DATABASE_NAME, f"{DATABASE_NAME}-wal", f"{DATABASE_NAME}-shm")
        paths = [self._directory / name for name in names]
        return sum(path.stat().st_size for path in paths if path.exists())

    def close(self) -> None:
        """Close the file and let go of the lock."""
        self._db.close()
        self._lock.close()

    def __enter__(self) -> Self:
        """Return the journal itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


def _create(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    for statement in CREATE:
        db.execute(statement)
    db.executemany(
        "INSERT INTO meta VALUES (?, ?)",
        [("format", FORMAT), ("epoch", secrets.token_hex(16))],
    )
    db.execute("COMMIT")


def _lock(path: Path) -> IO[bytes]:
    try:
        handle = path.open("ab")
    except OSError as error:
        raise JournalError(f"{path}: {error}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise JournalLockedError(
            f"another process ({_holder(path)}) uses this data directory: stop it first"
        ) from error
    handle.truncate(0)
    handle.write(str(os.getpid()).encode())
    handle.flush()
    return handle


def _holder(path: Path) -> str:
    try:
        return f"pid {path.read_text(encoding='ascii') or 'unknown'}"
    except OSError:
        return "pid unknown"


def _real(losses: Sequence[Loss]) -> int:
    return sum(loss.reason not in NO_LOSS for loss in losses)
