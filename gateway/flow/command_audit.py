"""The audit of commands: who wanted to write what, when, and what came of it.

``DIR/commands.db``, one row a command. The row of a write is durable before the write goes out;
one whose outcome was not noted because the process ended says so (``unknown``). Bounded: beyond
``ROWS_MAX`` rows and ``AGE_DAYS_MAX`` days the oldest go. Blocking; one thread at a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
from sqlite_utils import Database

from gateway.errors import AuditError
from runtime.sqlite import PragmaRefusedError, open_durable

DATABASE_NAME = "commands.db"
ROWS_MAX = 100_000
AGE_DAYS_MAX = 400
TEXT_CHARS_MAX = 200
_DAY_US = 86_400_000_000
SCHEMA_VERSION = 1
_SCHEMA = """
create table commands (
  id integer primary key autoincrement, received_us integer not null, origin text not null,
  device text not null, name text not null, source text not null, address text not null,
  value text not null, sent_ms integer, outcome text not null, reason text not null,
  message text not null, finished_us integer) strict;
create index commands_by_time on commands (received_us);
create index commands_pending on commands (outcome) where outcome = 'pending';
pragma user_version = 1;
"""

Outcome = Literal["pending", "written", "refused", "failed", "unknown"]


class AuditedCommand(msgspec.Struct, frozen=True, kw_only=True):
    """One command and what came of it.

    Attributes:
        id: grows with every command, from 1.
        received_us: when it came, µs since 1970 UTC.
        origin: who asked: the broker and the topic.
        device: Sparkplug device; "" for the node itself.
        name: the metric's.
        source: the source the tag is of; "" when the metric is no tag.
        address: the tag's in its source.
        value: as text, cut at ``TEXT_CHARS_MAX``.
        sent_ms: when the host says it sent it.
        outcome: pending: being written; written; refused: by us or by the source; failed: no
            session, or no answer in time; unknown: the gateway ended before it was known.
        reason: of a refusal or failure, a stable word.
        message: the same for people.
        finished_us: when the outcome was known.
    """

    id: int = 0
    received_us: int
    origin: str
    device: str
    name: str
    source: str = ""
    address: str = ""
    value: str
    sent_ms: int | None = None
    outcome: Outcome
    reason: str = ""
    message: str = ""
    finished_us: int | None = None


class CommandAudit:
    """The table. Opened at first use: a damaged file stops writes, not the gateway."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / DATABASE_NAME
        self._database: Database | None = None

    def add(self, commands: Sequence[AuditedCommand]) -> list[int]:
        """Add commands, durably; return their ids.

        Raises:
            AuditError: they are not kept.
        """
        ids: list[int] = []
        try:
            database = self._open()
            with database.atomic():
                for command in commands:
                    fields = msgspec.structs.asdict(command)
                    del fields["id"]
                    names, places = ", ".join(fields), ", ".join(f":{name}" for name in fields)
                    added = database.execute(
                        f"insert into commands ({names}) values ({places})",  # noqa: S608 - fields
                        fields,
                    )
                    ids.append(added.lastrowid or 0)
                newest_us = max(command.received_us for command in commands)
                # by primary key and by commands_by_time
                database.execute("delete from commands where id <= ?", (ids[-1] - ROWS_MAX,))
                before_us = newest_us - AGE_DAYS_MAX * _DAY_US
                database.execute("delete from commands where received_us < ?", (before_us,))
        except (sqlite3.Error, OSError, PragmaRefusedError) as error:
            raise AuditError(f"{self._path.name}: {error}") from error
        return ids

    def finish(self, command_id: int, outcome: Outcome, told: tuple[str, str], now_us: int) -> None:
        """Note what came of a pending command; ``told`` is reason and message.

        Raises:
            AuditError: it is not kept.
        """
        try:
            self._open().execute(
                "update commands set outcome = ?, reason = ?, message = ?, finished_us = ?"
                " where id = ?",
                (outcome, *told, now_us, command_id),
            )
        except (sqlite3.Error, OSError, PragmaRefusedError) as error:
            raise AuditError(f"{self._path.name}: {error}") from error

    def newest(self, limit: int) -> list[AuditedCommand]:
        """Return the newest commands, newest first.

        Raises:
            AuditError: the file cannot be read.
        """
        try:
            rows = self._open().query("select * from commands order by id desc limit ?", [limit])
            return [AuditedCommand(**row) for row in rows]
        except (sqlite3.Error, OSError, PragmaRefusedError) as error:
            raise AuditError(f"{self._path.name}: {error}") from error

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _open(self) -> Database:
        if self._database is not None:
            return self._database
        connection = open_durable(self._path)
        try:
            self._path.chmod(0o600)
            version = connection.execute("pragma user_version").fetchone()[0]
            if version == 0:
                connection.executescript(f"begin immediate;{_SCHEMA}commit;")
            elif version != SCHEMA_VERSION:
                raise sqlite3.DatabaseError(f"schema {version} is of a newer program")
            # by commands_pending
            connection.execute("update commands set outcome = 'unknown' where outcome = 'pending'")
        except BaseException:
            connection.close()
            raise
        self._database = Database(connection)
        return self._database
