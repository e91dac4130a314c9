"""An older hub's database is brought up to date with everything in it."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from sqlalchemy import Connection, text

from central.database import Database
from central.database.engine import alembic_config
from central.fleet.ca import open_ca
from central.fleet.registry import Registry
from central.ingest.definitions import Definitions
from runtime.clock import SystemClock

CLOCK = SystemClock()
ROWS = (
    (
        "INSERT INTO gateways (number, id, name, site, version, enrolled_us)"
        " VALUES (7, 'gw-old', 'Press', '', '0.1', 1)"
    ),
    (
        "INSERT INTO certificates (serial, gateway_number, fingerprint, issued_us, expires_us)"
        " VALUES ('aa', 7, 'ff', 1, 2)"
    ),
    (
        "INSERT INTO epochs (id, gateway_number, epoch, first_seen_us, head_sequence, head_time_us)"
        " VALUES (3, 7, '00000000000000000000000000000000', 1, 0, 0)"
    ),
)


def _migrate(connection: Connection, revision: str) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    if revision == "0001":
        command.upgrade(config, revision)
        for row in ROWS:
            connection.execute(text(row))
    else:
        command.downgrade(config, "0001")


async def test_gateways_of_before_are_gateways_and_their_epochs_go_by_source_time(
    tmp_path: Path,
) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'hub.db'}")
    async with database.engine.begin() as connection:
        await connection.run_sync(_migrate, "0001")
    await database.migrate()
    registry = Registry(database, open_ca(tmp_path / "ca", CLOCK), CLOCK)
    member = await registry.member("gw-old")
    assert (member.number, member.kind, member.certificate_expires_us) == (7, "gateway", 2)
    (state,) = await Definitions(database, CLOCK).load()
    assert state.last_rule == "newest"
    number = await registry.edge_node("G:1", "N%")
    assert number != 7
    assert (await registry.member("sp:G%3A1:N%25")).number == number
    assert [m.id for m in await registry.members()] == ["gw-old"]
    assert [m.id for m in await registry.members("sparkplug")] == ["sp:G%3A1:N%25"]
    await database.close()


async def test_the_newest_step_can_be_undone(tmp_path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'hub.db'}")
    async with database.engine.begin() as connection:
        await connection.run_sync(_migrate, "0001")
    await database.migrate()
    async with database.engine.begin() as connection:
        await connection.run_sync(_migrate, "back")
        columns = await connection.execute(text("SELECT * FROM gateways"))
        assert "kind" not in columns
    await database.close()
