"""Filling gaps: historical rows of their own, closing entries, and what the journal holds."""

import anyio
import numpy as np
import pytest

from contract.sample import EMPTY_BATCH, SampleBatch
from gateway.flow.intake import FUTURE_US
from gateway.flow.ledger import OpenLosses
from gateway.flow.tags import TagTable
from gateway.sources.base import Filling, Mark
from tests.contract.batches import doubles, rows_of
from tests.gateway.flow.parts import DEADLINE_S, Middle


@pytest.fixture
def middle(tmp_path):
    middle = Middle(tmp_path)
    yield middle
    middle.close()


def historical(*samples, time_us=1):
    batch = doubles(*samples)
    for part in batch.columns:
        part.time_us[:] = time_us
    return SampleBatch(batch.columns, is_historical=True)


async def test_history_is_a_row_of_its_own_and_moves_no_last_value_back(middle):
    port = middle.port("s", TagTable([]))
    async with middle.running():
        await middle.put_value(5.0)
        await middle.until(lambda: middle.stored == [5.0])
        before = middle.intake.last_time_us["s"]
        # the same value as the last one, and an older time: history is stored as it is
        await port.put_history(historical((1, 5.0), (1, 4.0)), [Mark("heal/entry", 3)], [])
        assert middle.intake.last_value(1) == 5.0
        assert middle.intake.last_time_us["s"] == before
        await middle.put_value(6.0)
        await middle.until(lambda: middle.stored == [5.0, 6.0])
    kinds = [(row.batch().is_historical, row.samples_count) for row in middle.rows()]
    assert kinds == [(False, 1), (True, 2), (False, 1)]
    assert middle.journal.marks()["s", "heal/entry"] == 3
    assert middle.intake.counters.stored == 4


async def test_a_closing_entry_is_in_the_commit_of_the_samples_and_ends_the_open_one(middle):
    port = middle.port("s", TagTable([]))
    async with middle.running():
        port.lose("session_gap", 10, 20)
        port.lose("server_overflow", 10, 20, tag=4)
        port.lose("revised", 1, 1)
        await middle.until(lambda: len(port.open_losses()) == 2)
        gap, overflow = port.open_losses()
        one = Filling(loss=gap, tag=4, count=2)
        await port.put_history(historical((4, 1.0)), [], [one])
        assert port.open_losses() == [gap, overflow]  # the gap's other tags are missing still
        await port.put_history(EMPTY_BATCH, [], [Filling(loss=gap, tag=None, count=0)])
        assert port.open_losses() == [overflow]
        assert [(f.closes, f.tag, f.count) for f in port.fillings()] == [
            (gap.id, 4, 2),
            (gap.id, None, 0),
        ]
        assert middle.port("other", TagTable([])).open_losses() == []
    ledger = middle.ledger()
    assert [loss.id for loss in ledger] == [1, 2, 3, 4, 5]
    assert ledger[3].reason == "filled_from_history"
    # the next process reads the same from the file
    again = OpenLosses(ledger)
    assert again.open("s") == [overflow]


async def test_history_of_a_session_that_ended_meanwhile_is_not_stored(middle):
    port = middle.port("s", TagTable([]))
    with anyio.move_on_after(0.01):
        await port.put_history(historical((1, 5.0)), [Mark("heal/entry", 3)], [])
    async with middle.running():
        await middle.put_value(1.0)
        await middle.until(lambda: middle.stored == [1.0])
    assert [row.batch().is_historical for row in middle.rows()] == [False]
    assert middle.intake.marks == {}
    assert middle.intake.counters.in_flight == 0


async def test_the_journal_says_what_it_holds_of_a_range(middle):
    port = middle.port("s", TagTable([]))
    async with middle.running():
        with anyio.fail_after(DEADLINE_S):
            for n in range(3):
                await middle.put_value(float(n), tag=n)
                await middle.until(lambda wanted=n: len(middle.stored) == wanted + 1)
        now_us = middle.clock.wall_us()
        port.lose("session_gap", 0, now_us)
        await middle.until(port.open_losses)
        (gap,) = port.open_losses()
        times = {row[1]: row[2] for held in middle.rows() for row in rows_of(held.batch())}
        tags, times_us = await port.held(gap, np.array([0, 2], np.uint32), 0, now_us)
        assert sorted(zip(tags.tolist(), times_us.tolist(), strict=True)) == [
            (0, times[0]),
            (2, times[2]),
        ]
        tags, _ = await port.held(gap, np.array([0, 2], np.uint32), times[2] + 1, now_us)
        assert tags.tolist() == []


async def test_a_time_far_in_the_future_does_not_say_how_far_a_source_is(middle):
    ahead = doubles((1, 1.0), (2, 2.0))
    (part,) = ahead.columns
    now_us = middle.clock.wall_us()
    part.time_us[:] = [now_us, now_us + 2 * FUTURE_US]
    async with middle.running():
        await middle.put("x", ahead)
        await middle.until(lambda: middle.stored == ["x"])
    assert middle.intake.last_time_us["s"] == now_us
