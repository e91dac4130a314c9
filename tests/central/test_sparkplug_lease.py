"""Of several hubs one is the host: the lease on one real database, with clocks that are ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from central.database import Database
from central.ingest.sparkplug.lease import Lease, hub_id
from tests.gateway.manual_clock import ManualClock

LEASE_S = 15.0


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'hub.db'}")
    await database.migrate()
    yield database
    await database.close()


def hub(database: Database, name: str) -> tuple[Lease, ManualClock]:
    clock = ManualClock()
    return Lease(database, "sparkplug-host", name, LEASE_S, clock), clock


def move(seconds: float, *clocks: ManualClock) -> None:
    for clock in clocks:
        clock.pass_s(seconds)


async def test_one_hub_takes_the_lease_and_keeps_it_as_long_as_it_renews(
    database: Database,
) -> None:
    one, clock_one = hub(database, "one")
    two, clock_two = hub(database, "two")
    assert await one.take()
    for _ in range(10):
        assert not await two.take()
        move(LEASE_S / 3, clock_one, clock_two)
        assert one.is_held
        assert await one.renew()
    assert (one.taken_count, two.taken_count, two.is_held) == (1, 0, False)


async def test_a_silent_holder_stops_by_itself_before_another_hub_may_take_over(
    database: Database,
) -> None:
    one, clock_one = hub(database, "one")
    two, clock_two = hub(database, "two")
    assert await one.take()
    assert not await two.take(), "only now it has seen the holder's version"
    both: list[tuple[bool, bool]] = []
    for _ in range(16):
        move(1.0, clock_one, clock_two)
        taken = await two.take()
        both.append((one.is_held, two.is_held))
        if taken:
            break
    assert (True, True) not in both
    assert both[-1] == (False, True)
    assert not await one.renew(), "the old holder learns that it is none"
    assert one.lost_count == 1


async def test_wall_clocks_that_differ_decide_nothing(database: Database) -> None:
    one, clock_one = hub(database, "one")
    two, clock_two = hub(database, "two")
    clock_two.step_wall_s(1_000_000)
    assert await one.take()
    assert not await two.take()
    move(LEASE_S / 2, clock_one, clock_two)
    assert await one.renew()
    move(LEASE_S * 0.6, clock_one, clock_two)
    assert not await two.take(), "the renewal started its wait anew"


async def test_a_lease_given_back_and_one_of_our_own_are_taken_at_once(
    database: Database,
) -> None:
    one, _ = hub(database, "one")
    two, _ = hub(database, "two")
    assert await one.take()
    await one.release()
    assert not one.is_held
    assert await two.take()
    again, _ = hub(database, "two")
    assert await again.take(), "the same hub after a crash"
    assert not await two.renew()


async def test_hubs_that_try_at_the_same_moment_do_not_both_get_it(database: Database) -> None:
    hubs = [hub(database, f"hub{n}")[0] for n in range(5)]
    taken: list[str] = []

    async def take(lease: Lease) -> None:
        if await lease.take():
            taken.append(lease.holder)

    async with anyio.create_task_group() as tasks:
        for lease in hubs:
            tasks.start_soon(take, lease)
    assert len(taken) == 1


def test_a_data_directory_keeps_its_hub_id(tmp_path: Path) -> None:
    first = hub_id(tmp_path)
    assert first.startswith("hub-")
    assert hub_id(tmp_path) == first
