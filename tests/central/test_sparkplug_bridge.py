"""The bridge into the spool: its bound, a spool that refuses, the ledger, what restarts find."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from central.database import Database
from central.errors import SpoolFullError
from central.fleet.ca import open_ca
from central.fleet.registry import Registry
from central.ingest.completeness import Completeness
from central.ingest.definitions import Definitions
from central.ingest.drain import Drain, DrainSettings
from central.ingest.last import LastValues
from central.ingest.sparkplug.bridge import Bridge, Stores
from central.ingest.spool import Spool
from central.ingest.watermarks import Watermarks
from central.timeseries.ducklake import DuckLakeStore
from runtime.clock import SystemClock
from sparkplug_b import DataType
from tests.central.test_sparkplug_samples import T, event

KEY = ("Plant", "Line1")
CLOCK = SystemClock()


class Parts:
    """The real parts of a hub's ingest, without its tasks."""

    def __init__(self, directory: Path, spool_bytes_max: int = 10**9) -> None:
        self.database = Database(f"sqlite+aiosqlite:///{directory / 'hub.db'}")
        self.definitions = Definitions(self.database, CLOCK)
        self.watermarks = Watermarks(self.definitions)
        self.spool = Spool(directory / "spool", spool_bytes_max)
        self.last_values = LastValues()
        self.store = DuckLakeStore(directory / "lake", CLOCK)
        settings = DrainSettings(linger_s=0.01, flush_interval_s=60, flush_samples=10**6)
        self.drain = Drain(self.store, self.spool, self.last_values, self.database, CLOCK, settings)
        self.registry = Registry(self.database, open_ca(directory / "ca", CLOCK), CLOCK)

    def bridge(self, pending_samples_max: int = 10**6) -> Bridge:
        stores = Stores(
            registry=self.registry,
            watermarks=self.watermarks,
            definitions=self.definitions,
            spool=self.spool,
            drain=self.drain,
            last_values=self.last_values,
        )
        return Bridge(stores, CLOCK, linger_s=0.001, pending_samples_max=pending_samples_max)

    async def open(self) -> None:
        await self.database.migrate()
        await self.store.open()
        await self.last_values.load(self.database)
        self.drain.put(await self.watermarks.rebuild(self.store, self.spool))

    async def close(self) -> None:
        self.spool.close()
        await self.store.close()
        await self.database.close()


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    parts = Parts(tmp_path)
    await parts.open()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(parts.spool.run)
        yield parts
        tasks.cancel_scope.cancel()
    await parts.close()


def put(bridge: Bridge, *values: float, at: int = T, historical: bool = False) -> None:
    for step, value in enumerate(values):
        row = ("Speed", DataType.DOUBLE, at + step, value, historical)
        bridge.put(KEY, bridge.node(KEY).tags.take(event(row)))


async def test_rows_are_numbered_chained_and_durable_and_history_stands_apart(
    parts: Parts, tmp_path: Path
) -> None:
    bridge = parts.bridge()
    put(bridge, 1.0, 2.0)
    put(bridge, 0.5, at=T + 99_000, historical=True)
    assert await bridge.flush()
    put(bridge, 3.0, at=T + 10)
    assert await bridge.flush()
    assert (bridge.stored_count, bridge.rows_count, bridge.pending_count) == (4, 3, 0)
    await parts.store.close()
    again = Parts(tmp_path)
    await again.database.migrate()
    await again.store.open()
    found = await again.watermarks.rebuild(again.store, again.spool)
    assert sorted((d.row.last_rule, d.row.sequence, len(d.row.batch)) for d in found) == [
        ("arrival", 1, 2),
        ("arrival", 2, 1),
        ("history", 1, 1),
    ]
    again.drain.put(found)
    await again.drain.flush()
    assert all(state.is_chain_verified for state in again.watermarks.all())
    number = (await again.registry.member("sp:Plant:Line1")).number
    tag = int(again.watermarks.of_gateway(number)[0].tag_ids[0])
    last = again.last_values.get(tag)
    assert last is not None
    assert last.value == 3.0, "history is newer by its time, and still not current"
    columns = await again.store.raw(tag, 0, (T + 10**6) * 1000, 10)
    assert columns.value == [1.0, 2.0, 3.0, 0.5]
    await again.close()


async def test_beyond_its_bound_the_oldest_are_dropped_and_entered_in_the_ledger(
    parts: Parts,
) -> None:
    bridge = parts.bridge(pending_samples_max=1000)
    put(bridge, *map(float, range(1010)))
    assert (bridge.pending_count, bridge.dropped_count) == (1000, 10)
    assert await bridge.flush()
    assert bridge.stored_count == 1000
    number = (await parts.registry.member("sp:Plant:Line1")).number
    (loss,) = await Completeness(parts.database, parts.watermarks).losses(number, 10)
    assert (loss.reason, loss.count) == ("intake_full", 10)
    assert (loss.first_time_us, loss.last_time_us) == (T * 1000, (T + 9) * 1000)


async def test_what_the_spool_refuses_is_kept_in_order_and_stored_later(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge = parts.bridge()
    real = parts.spool.append
    refused = []

    async def full(records):
        refused.append(len(records))
        raise SpoolFullError("the hub's spool is full")

    row = ("Speed", DataType.DOUBLE, T, 1.0)
    bridge.put(KEY, bridge.node(KEY).tags.take(event(row, origin="birth")))
    monkeypatch.setattr(parts.spool, "append", full)
    assert not await bridge.flush()
    put(bridge, 2.0, at=T + 1)
    assert not await bridge.flush()
    assert (bridge.pending_count, bridge.failures_count, bridge.stored_count) == (2, 2, 0)
    monkeypatch.setattr(parts.spool, "append", real)
    assert await bridge.flush()
    assert (bridge.pending_count, bridge.stored_count, refused) == (0, 2, [1, 2])


async def test_losses_of_one_reason_are_one_entry_until_it_is_written(parts: Parts) -> None:
    bridge = parts.bridge()
    put(bridge, 1.0)
    assert await bridge.flush()
    for time_us in (T * 1000, T * 1000 + 5):
        bridge.lose(KEY, "session_gap", time_us, "the connection was lost")
    bridge.lose(KEY, "missed_notification", T * 1000, "messages did not come")
    assert await bridge.flush()
    bridge.lose(KEY, "session_gap", T * 1000 + 9, "the connection was lost")
    assert await bridge.flush()
    number = (await parts.registry.member("sp:Plant:Line1")).number
    losses = await Completeness(parts.database, parts.watermarks).losses(number, 10)
    assert sorted((loss.id, loss.reason) for loss in losses) == [
        (1, "session_gap"),
        (2, "missed_notification"),
        (3, "session_gap"),
    ]
