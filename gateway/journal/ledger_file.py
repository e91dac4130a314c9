"""The loss ledger of a journal file, read without the gateway."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec

from contract.upload import Loss
from gateway.errors import JournalError
from gateway.journal.log import DATABASE_NAME


def read_ledger(directory: Path, limit: int) -> list[Loss]:
    """Return the newest entries, newest first. Raises JournalError."""
    path = directory / DATABASE_NAME
    if not path.exists():
        raise JournalError(f"there is no journal in {directory}")
    try:
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)
        try:
            # losses PRIMARY KEY, from its end
            rows = db.execute("SELECT entry FROM losses ORDER BY id DESC LIMIT ?", (limit,))
            return [msgspec.msgpack.decode(row[0], type=Loss) for row in rows]
        finally:
            db.close()
    except sqlite3.Error as error:
        raise JournalError(f"{path}: {error}") from error
