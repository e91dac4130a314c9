"""An outlet over a real journal: rows come once a session, whole, live ones first."""

import sqlite3
from random import Random

import anyio
import anyio.lowlevel
import pytest

from gateway.errors import JournalError, SinkError
from gateway.flow import outlet as outlet_module
from gateway.flow.drive import drive_sink
from gateway.journal.cursors import Cursor
from gateway.journal.log import DATABASE_NAME
from gateway.sinks.base import SinkReport
from tests.gateway.flow.parts import DEADLINE_S, Middle, backoff


@pytest.fixture
async def middle(tmp_path):
    middle = Middle(tmp_path)
    async with middle.running():
        yield middle
    middle.close()


@pytest.fixture
def outlet(middle):
    outlet = middle.outlet()
    yield outlet
    outlet.close()


async def commit(middle, *values):
    """One row for each value."""
    for value in values:
        await middle.put_value(value)
        await middle.until(lambda wanted=value: middle.stored[-1:] == [wanted])


async def take(outlet, timeout_s=DEADLINE_S):
    with anyio.fail_after(DEADLINE_S):
        return await outlet.next(timeout_s)


def values(portion):
    return [v for row in portion.rows for v in row.batch.columns[0].value.tolist()]


async def test_rows_of_a_session_are_live_and_those_before_it_backlog(middle, outlet):
    await commit(middle, 1, 2)
    outlet.begin()
    await commit(middle, 3)
    live = await take(outlet)
    assert (live.lane, values(live)) == ("live", [3.0])
    backlog = await take(outlet)
    assert (backlog.lane, values(backlog)) == ("backlog", [1.0, 2.0])
    assert backlog.samples_count == 2
    assert await outlet.next(0) is None


async def test_a_row_is_the_same_from_memory_and_from_the_file(middle, outlet):
    outlet.begin()
    await commit(middle, 1)
    (live,) = (await take(outlet)).rows
    outlet.begin()
    (read,) = (await take(outlet)).rows
    for name in ("sequence", "hash", "samples_count", "first_time_us", "last_time_us"):
        assert getattr(live, name) == getattr(read, name)
    assert (live.payload, live.committed_us) == (read.payload, read.committed_us)


async def test_what_was_not_confirmed_comes_again_and_what_was_does_not(middle, outlet):
    outlet.begin()
    await commit(middle, 1, 2, 3)
    portion = await take(outlet)
    assert values(portion) == [1.0, 2.0, 3.0]
    outlet.confirm(2, 2)
    outlet.end()
    await commit(middle, 4)
    outlet.begin()
    again = []
    while (portion := await take(outlet, 0.1)) is not None:
        again += values(portion)
    assert again == [1.0, 3.0, 4.0]
    assert outlet.head[0] == 4


async def test_a_wait_ends_when_a_row_comes_when_woken_and_when_its_time_is_over(middle, outlet):
    outlet.begin()
    found = []

    async def wait():
        found.append(await outlet.next())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await commit(middle, 1)
    assert values(found[0]) == [1.0]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        outlet.wake()
    assert found[1] is None
    outlet.wake()
    assert await outlet.next() is None
    assert await outlet.next(0.01) is None


async def test_for_a_consumer_of_live_rows_only_nothing_is_kept_from_outside_its_sessions(
    middle, outlet
):
    outlet.is_live_only = True
    await commit(middle, 1, 2)
    assert outlet.lanes.pending_rows == 0
    outlet.begin()
    await commit(middle, 3, 4)
    assert values(await take(outlet)) == [3.0, 4.0]
    assert await outlet.next(0) is None
    # lost before it was confirmed: not told again
    outlet.end()
    await commit(middle, 5)
    outlet.begin()
    assert outlet.lanes.pending_rows == 0
    assert await outlet.next(0) is None


async def test_the_backlog_is_paced_and_live_rows_pass_it(middle):
    outlet = middle.outlet(rate=10.0)
    await commit(middle, *range(4))
    outlet_module_limit = outlet_module.BACKLOG_ROWS_PER_PORTION
    assert outlet_module_limit > 4
    outlet.begin()
    first = await take(outlet)
    assert first.lane == "backlog"
    await commit(middle, 99)
    live = await take(outlet)
    assert (live.lane, values(live)) == ("live", [99.0])
    outlet.close()


async def test_the_pace_is_kept_over_portions(middle, monkeypatch):
    monkeypatch.setattr(outlet_module, "BACKLOG_ROWS_PER_PORTION", 1)
    started_s = middle.clock.monotonic_s()
    outlet = middle.outlet(rate=20.0)  # the bucket starts a quarter full: five samples
    await commit(middle, *range(9))
    outlet.begin()
    taken = []
    while len(taken) < 9:
        taken += values(await take(outlet))
    # nine samples: the last one goes when eight are paid for, five at once and 20 a second
    assert middle.clock.monotonic_s() - started_s >= 3 / 20
    assert taken == [float(n) for n in range(9)]
    outlet.close()


@pytest.mark.parametrize(
    "limit",
    ["BACKLOG_ROWS_PER_PORTION", "BACKLOG_SAMPLES_PER_PORTION", "BACKLOG_BYTES_PER_PORTION"],
)
async def test_portions_of_the_backlog_are_limited_but_never_empty(
    middle, outlet, monkeypatch, limit
):
    monkeypatch.setattr(outlet_module, limit, 1)
    await commit(middle, 1, 2, 3)
    outlet.begin()
    assert [values(await take(outlet)) for _ in range(3)] == [[1.0], [2.0], [3.0]]


async def test_a_damaged_row_is_entered_in_the_ledger_and_passed(middle, outlet):
    await commit(middle, 1, 2, 3)
    db = sqlite3.connect(middle.directory / DATABASE_NAME)
    db.execute("UPDATE rows SET payload = x'00' WHERE sequence = 2")
    db.commit()
    db.close()
    outlet.begin()
    taken = []
    while (portion := await take(outlet, 0.1)) is not None:
        taken += values(portion)
    assert taken == [1.0, 3.0]
    await middle.until(lambda: middle.journal.last_loss_id == 1)
    (entry,) = middle.ledger()
    assert (entry.reason, entry.first_sequence, entry.last_sequence) == ("row_damaged", 2, 2)
    # only its own time: a wider range would explain losses that it has nothing to do with
    damaged = next(head for head in middle.journal.oldest(3) if head.sequence == 2)
    assert (entry.first_time_us, entry.last_time_us) == (
        damaged.first_time_us,
        damaged.last_time_us,
    )
    outlet.confirm(1, 3)
    assert outlet.lanes.pending_rows == 0


async def test_rows_that_were_dropped_are_passed(middle, outlet):
    await commit(middle, 1, 2, 3)
    middle.journal.trim(2)
    outlet.begin()
    assert values(await take(outlet)) == [3.0]
    outlet.confirm(3, 3)
    assert outlet.lanes.confirmed == Cursor(3)
    middle.journal.trim(3)
    outlet.begin()
    assert await outlet.next(0) is None


async def test_a_confirmation_is_kept_by_the_journal(middle, outlet):
    outlet.begin()
    await commit(middle, 1, 2)
    await take(outlet)
    outlet.confirm(1, 1)
    await commit(middle, 3)
    assert middle.journal.cursors() == {"hub": Cursor(1)}
    assert outlet.last_confirmed_s is not None


async def test_the_hash_before_a_row_and_the_ledger_are_read_for_an_upload(middle, outlet):
    await commit(middle, 1, 2)
    assert await outlet.hash_before(2) == middle.committed[0].head.hash
    assert await outlet.losses_after(0, 10) == []
    assert outlet.epoch == middle.journal.epoch


@pytest.mark.parametrize("seed", range(6))
async def test_every_row_reaches_a_sink_that_keeps_losing_its_connection(middle, monkeypatch, seed):
    rng = Random(seed)  # noqa: S311 - repeatable
    monkeypatch.setattr(outlet_module, "BACKLOG_ROWS_PER_PORTION", 3)
    outlet = middle.outlet()
    received, confirmed = [], set()

    async def produce():
        for value in range(60):
            await middle.put_value(value)
            if rng.random() < 0.5:
                await anyio.lowlevel.checkpoint()

    async def consume():
        while (
            outlet.lanes.confirmed.confirmed < middle.journal.last_sequence
            or len(set(received)) < 60
        ):
            outlet.begin()
            for _ in range(rng.randint(1, 6)):
                portion = await outlet.next(0.02)
                if portion is None:
                    continue
                numbers = {row.sequence for row in portion.rows}
                assert not numbers & confirmed
                received.extend(values(portion))
                if rng.random() < 0.6:
                    outlet.confirm(portion.rows[0].sequence, portion.rows[-1].sequence)
                    confirmed.update(numbers)
            outlet.end()

    with anyio.fail_after(DEADLINE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(produce)
            await middle.until(lambda: middle.stored)
            tasks.start_soon(consume)
    assert set(received) == {float(v) for v in range(60)}
    outlet.close()


class Flaky:
    """A sink whose sessions last for one portion; it confirms every other one."""

    name = "flaky"

    def __init__(self):
        self.received = []
        self.sessions = 0

    def report(self):
        return SinkReport(state="waiting")

    async def run_session(self, outlet):
        self.sessions += 1
        outlet.begin()
        portion = await outlet.next()
        self.received += values(portion)
        if self.sessions % 2 == 0:
            outlet.confirm(portion.rows[0].sequence, portion.rows[-1].sequence)
        if self.sessions % 3 == 0:
            raise JournalError("cannot read")
        raise SinkError("lost")


async def test_the_engine_starts_a_sink_again_for_ever(middle, outlet):
    sink = Flaky()

    async def drive():
        while True:
            try:
                await drive_sink(sink, outlet, middle.clock, backoff())
            except JournalError:
                assert not outlet.lanes.is_open

    await commit(middle, *range(5))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drive)
        await middle.until(lambda: outlet.lanes.pending_rows == 0)
        tasks.cancel_scope.cancel()
    assert set(sink.received) == {float(n) for n in range(5)}
