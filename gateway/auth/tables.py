"""Rows of ``gateway.db``: the setup code, users and sessions. Blocking; one thread at a time.

Secrets are never stored: the setup code and session tokens as SHA-256 (both have over 60 random
bits, so a slow hash adds nothing), passwords as Argon2id.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgspec
from sqlite_utils import Database

from runtime.sqlite import open_durable

SCHEMA_VERSION = 1
_SCHEMA = """
create table setup (
  id integer primary key check (id = 1), code_hash blob not null, created_us integer not null,
  claimed_us integer) strict;
create table users (
  name text primary key, folded text not null unique, password_hash text not null,
  created_us integer not null, disabled_us integer) strict;
create table sessions (
  token_hash blob primary key, user text not null references users (name) on delete cascade,
  address text not null, created_us integer not null, seen_us integer not null) strict;
create index sessions_by_user on sessions (user, created_us);
pragma user_version = 1;
"""


class UserRow(msgspec.Struct, frozen=True, kw_only=True):
    """A user who may sign in."""

    name: str
    password_hash: str


class SessionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A session of a user who may still sign in."""

    user: str
    created_us: int
    seen_us: int


class AuthTables:
    """The statements; each is one transaction."""

    def __init__(self, path: Path) -> None:
        """Open or create the database.

        Raises:
            sqlite3.DatabaseError: the file is damaged, or from a newer program.
        """
        self._connection = open_durable(path)
        path.chmod(0o600)
        self._database = Database(self._connection)
        version = self._connection.execute("pragma user_version").fetchone()[0]
        if version == 0:
            self._connection.executescript(f"begin immediate;{_SCHEMA}commit;")
        elif version != SCHEMA_VERSION:
            self._connection.close()
            raise sqlite3.DatabaseError(f"{path} is of schema {version}, from a newer program")

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def claimed(self) -> bool:
        """Say whether somebody owns the box."""
        return self._one("select 1 from users limit 1") is not None

    def has_setup_code(self) -> bool:
        """Say whether a setup code was ever made."""
        return self._one("select 1 from setup where id = 1") is not None

    def put_setup_code(self, code_hash: bytes, now_us: int) -> None:
        """Replace the setup code."""
        self._database.execute(
            "insert or replace into setup (id, code_hash, created_us) values (1, ?, ?)",
            (code_hash, now_us),
        )

    def setup_code_hash(self) -> bytes | None:
        """Return the hash of the setup code that is still good."""
        row = self._one("select code_hash from setup where id = 1 and claimed_us is null")
        return row["code_hash"] if row else None

    def claim(self, code_hash: bytes, name: str, password_hash: str, now_us: int) -> bool:
        """Use the setup code up and make the first user; False when it was used before."""
        with self._database.atomic():
            used = self._database.execute(
                "update setup set claimed_us = ? where id = 1 and code_hash = ?"
                " and claimed_us is null and not exists (select 1 from users)",
                (now_us, code_hash),
            )
            if used.rowcount != 1:
                return False
            self._database.execute(
                "insert into users (name, folded, password_hash, created_us) values (?, ?, ?, ?)",
                (name, name.casefold(), password_hash, now_us),
            )
        return True

    def user(self, name: str) -> UserRow | None:
        """Return a user who is not disabled; case does not matter (index: users.folded)."""
        row = self._one(
            "select name, password_hash from users where folded = ? and disabled_us is null",
            name.casefold(),
        )
        return UserRow(**row) if row else None

    def put_session(
        self, token_hash: bytes, user: str, address: str, now_us: int, keep_count: int
    ) -> None:
        """Add a session; the user's oldest beyond ``keep_count`` end (index: sessions_by_user)."""
        with self._database.atomic():
            self._database.execute(
                "insert into sessions (token_hash, user, address, created_us, seen_us)"
                " values (?, ?, ?, ?, ?)",
                (token_hash, user, address, now_us, now_us),
            )
            self._database.execute(
                "delete from sessions where user = ? and token_hash not in (select token_hash"
                " from sessions where user = ? order by created_us desc, rowid desc limit ?)",
                (user, user, keep_count),
            )

    def session(self, token_hash: bytes) -> SessionRow | None:
        """Return a session by its primary key, unless its user was disabled."""
        row = self._one(
            "select s.user, s.created_us, s.seen_us from sessions s join users u on u.name = s.user"
            " where s.token_hash = ? and u.disabled_us is null",
            token_hash,
        )
        return SessionRow(**row) if row else None

    def touch_session(self, token_hash: bytes, now_us: int) -> None:
        """Note that a session was used."""
        self._database.execute(
            "update sessions set seen_us = ? where token_hash = ?", (now_us, token_hash)
        )

    def end_session(self, token_hash: bytes) -> None:
        """End one session."""
        self._database.execute("delete from sessions where token_hash = ?", (token_hash,))

    def end_sessions_of(self, user: str) -> None:
        """End all sessions of a user (index: sessions_by_user)."""
        self._database.execute("delete from sessions where user = ?", (user,))

    def end_old_sessions(self, created_before_us: int, seen_before_us: int) -> None:
        """Forget what is over; a full scan of few rows, at sign-in only."""
        self._database.execute(
            "delete from sessions where created_us < ? or seen_us < ?",
            (created_before_us, seen_before_us),
        )

    def _one(self, sql: str, *values: object) -> dict[str, Any] | None:
        return next(iter(self._database.query(sql, list(values))), None)
