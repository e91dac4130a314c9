"""Open the database, bring its schema up to date, give out sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, MetaData, event
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase

_NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
_SQLITE_PRAGMAS = (
    ("busy_timeout=10000", 10000),
    ("journal_mode=wal", "wal"),
    ("synchronous=full", None),
    ("foreign_keys=on", None),
)


class Base(DeclarativeBase):
    """The parent of every table; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(naming_convention=_NAMING)


class PragmaError(Exception):
    """Raised when SQLite does not take a pragma that durability rests on."""


class Database:
    """The engine and its sessions."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.engine: AsyncEngine = create_async_engine(url)
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine.sync_engine, "connect", _set_pragmas)
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    async def migrate(self) -> None:
        """Bring the schema to the newest revision; nothing happens when it is there."""
        async with self.engine.begin() as connection:
            await connection.run_sync(_upgrade)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Give a session whose changes are committed durably at the end, or not at all."""
        async with self._sessions() as session, session.begin():
            yield session

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """Give a session for reading."""
        async with self._sessions() as session:
            yield session

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


def alembic_config() -> Config:
    """Return Alembic's configuration; the connection is passed in its attributes."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _upgrade(connection: Connection) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _set_pragmas(connection: Any, _record: object) -> None:  # noqa: ANN401 - a DBAPI connection
    cursor = connection.cursor()
    for pragma, wanted in _SQLITE_PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
        row = cursor.fetchone()
        if wanted is not None and (row is None or row[0] != wanted):
            raise PragmaError(f"PRAGMA {pragma} answered {row}")
    cursor.execute("PRAGMA synchronous")
    row = cursor.fetchone()
    if row is None or row[0] != 2:
        raise PragmaError(f"synchronous is {row}, expected FULL (2)")
    cursor.close()
