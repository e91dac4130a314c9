"""The intake: back-pressure, one commit for many, told after the commit, nothing let go."""

from random import Random

import anyio
import pytest

from contract.sample import EMPTY_BATCH, SampleBatch, ValueKind
from contract.upload import TagDefinition
from gateway.flow import intake as intake_module
from gateway.flow.ledger import LossNote
from gateway.flow.tags import TagTable
from gateway.journal.cursors import Cursor
from gateway.sources.base import Mark, TagSpec
from sparkplug_b.datatype import DataType
from tests.contract.batches import bits_of, columns, doubles, rows_of
from tests.gateway.flow.parts import DEADLINE_S, Middle


@pytest.fixture
def middle(tmp_path):
    middle = Middle(tmp_path)
    yield middle
    middle.close()


async def test_what_was_put_is_stored_and_then_told(middle):
    async with middle.running():
        await middle.put_value(1)
        await middle.until(lambda: middle.stored == [1])
        assert [row.head.sequence for row in middle.committed] == [1]
    assert middle.values() == [1.0]
    counters = middle.intake.counters
    assert (counters.read, counters.stored, counters.in_flight, counters.commits) == (1, 1, 0, 1)
    assert counters.payload_bytes == middle.journal.payload_bytes
    assert middle.committed[0].payload == middle.rows()[0].payload


async def test_what_arrived_together_is_one_commit(middle):
    for value in (1, 2, 3):
        await middle.put_value(value)
    async with middle.running():
        await middle.until(lambda: len(middle.stored) == 3)
    assert len(middle.rows()) == 1
    assert middle.values() == [1.0, 2.0, 3.0]


async def test_a_commit_waits_for_its_interval_and_gathers_meanwhile(tmp_path):
    middle = Middle(tmp_path, interval_s=0.2)
    async with middle.running():
        started_s = middle.clock.monotonic_s()
        await middle.put_value(0)
        await middle.until(lambda: middle.stored)
        for value in (1, 2, 3):
            await middle.put_value(value)
            await anyio.lowlevel.checkpoint()
        await middle.until(lambda: len(middle.stored) == 4)
        assert middle.clock.monotonic_s() - started_s >= 0.2
    assert [len(row.batch()) for row in middle.rows()] == [1, 3]
    middle.close()


async def test_a_full_intake_makes_sources_wait(middle, monkeypatch):
    monkeypatch.setattr(intake_module, "SAMPLES_MAX", 2)
    passed = []

    async def source():
        for value in range(5):
            await middle.put_value(value)
            passed.append(value)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source)
        await anyio.wait_all_tasks_blocked()
        assert passed == [0, 1]
        assert middle.intake.counters.in_flight == 2
        async with middle.running():
            await middle.until(lambda: len(middle.stored) == 5)
    assert middle.values() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert max(len(row.batch()) for row in middle.rows()) <= 2


async def test_texts_weigh_more_than_numbers(middle, monkeypatch):
    monkeypatch.setattr(intake_module, "SAMPLES_MAX", 10)
    text = SampleBatch((columns(ValueKind.TEXT, [(1, 1, 0, "x" * 32 * 9)]),))
    async with anyio.create_task_group() as tasks:
        await middle.put("a", text)
        tasks.start_soon(middle.put, "b", text)
        await anyio.wait_all_tasks_blocked()
        assert middle.intake.counters.read == 1
        async with middle.running():
            await middle.until(lambda: len(middle.stored) == 2)


async def test_a_batch_larger_than_the_intake_passes_alone(middle, monkeypatch):
    monkeypatch.setattr(intake_module, "SAMPLES_MAX", 2)
    with anyio.fail_after(DEADLINE_S):
        await middle.put("big", doubles(*[(1, float(v)) for v in range(7)]))
    async with middle.running():
        await middle.until(lambda: middle.stored)
    assert len(middle.values()) == 7


async def test_a_failing_commit_is_tried_again_with_the_same_content(middle):
    middle.journal.failures = 3
    middle.intake.lose(LossNote(reason="session_gap", first_time_us=1, last_time_us=2))
    middle.intake.confirm("hub", Cursor(0))
    await middle.put("a", doubles((1, 1.0)), marks=[Mark("m", 5)])
    async with middle.running():
        await middle.until(lambda: middle.journal.failures == 0 and middle.stored)
        await middle.put_value(2)
        await middle.until(lambda: len(middle.stored) == 2)
    attempts = middle.journal.attempts[:4]
    assert all(attempt is attempts[0] for attempt in attempts)
    assert middle.values() == [1.0, 2.0]
    assert len(middle.ledger()) == 1
    assert middle.journal.marks() == {("s", "m"): 5}
    assert middle.intake.counters.write_errors == 3
    assert middle.intake.counters.last_error == ""


async def test_an_error_that_nobody_foresaw_costs_no_sample_and_no_definition(middle):
    middle.journal.surprises = 2
    await middle.put("a", doubles((1, 1.0)), marks=[Mark("m", 5)])
    async with middle.running():
        await middle.until(lambda: middle.stored == ["a"])
        await middle.put_value(2)
        await middle.until(lambda: len(middle.stored) == 2)
    assert middle.values() == [1.0, 2.0]
    assert middle.journal.marks() == {("s", "m"): 5}
    assert middle.ledger() == []


async def test_a_batch_that_can_never_be_stored_is_named_in_the_ledger_and_the_next_goes_on(middle):
    middle.journal.surprises = 3
    await middle.put("poison", doubles((1, 1.0), (2, 2.0)))
    async with middle.running():
        await middle.until(lambda: middle.stored == ["poison"])
        await middle.put_value(3)
        await middle.until(lambda: len(middle.stored) == 2)
    (loss,) = middle.ledger()
    assert (loss.reason, loss.count) == ("journal_write_failed", 2)
    assert middle.intake.counters.dropped == {"journal_write_failed": 2}
    assert middle.values() == [3.0]


async def test_nothing_is_told_while_the_commit_fails(middle):
    middle.journal.failures = 10**9
    async with middle.running():
        await middle.put_value(1)
        await middle.until(lambda: len(middle.journal.attempts) > 3)
        assert (middle.stored, middle.committed) == ([], [])
        assert middle.intake.counters.last_error == "the disk refuses"
        middle.check_counters()
        middle.journal.failures = 0
        await middle.until(lambda: middle.stored)


async def test_what_is_filtered_whole_is_told_too_and_makes_no_row(middle):
    async with middle.running():
        await middle.put_value(1)
        await middle.until(lambda: len(middle.stored) == 1)
        await middle.put("same", doubles((1, 1.0)), marks=[Mark("m", 9)])
        await middle.until(lambda: len(middle.stored) == 2)
    assert middle.values() == [1.0]
    assert middle.journal.marks() == {("s", "m"): 9}
    counters = middle.intake.counters
    assert (counters.stored, counters.filtered, counters.commits) == (1, 1, 1)
    assert middle.intake.filtered_by_reason == {"unchanged": 1, "deadband": 0}


async def test_an_empty_batch_keeps_its_mark(middle):
    async with middle.running():
        await middle.put("empty", EMPTY_BATCH, marks=[Mark("m", 3)])
        await middle.until(lambda: middle.stored)
    assert middle.journal.marks() == {("s", "m"): 3}


async def test_a_tag_is_durable_no_later_than_its_first_sample(middle):
    definition = TagDefinition(index=0, name="t", device="d", data_type=10, source="s", address="a")
    waiting = [definition]
    middle.intake.take_definitions = lambda: [waiting.pop()] if waiting else []
    async with middle.running():
        await middle.put_value(1)
        await middle.until(lambda: middle.stored)
        assert middle.journal.tags() == [definition]


async def test_at_the_end_everything_that_was_taken_is_durable(middle):
    async with middle.running():
        for value in range(20):
            await middle.put_value(value)
    assert len(middle.stored) == 20
    assert middle.values() == [float(v) for v in range(20)]
    assert middle.intake.counters.in_flight == 0


async def test_the_last_values_are_kept_now_and_then_as_of_their_row(middle):
    async with middle.running():
        await middle.put_value(1)
        await middle.until(lambda: middle.stored)
        assert middle.snapshot() is None
        middle.intake._snapshot_due_s = 0.0
        await middle.put_value(2)
        await middle.until(lambda: len(middle.stored) == 2)
        sequence, kept = middle.snapshot()
        assert sequence == 2
        assert [row[4] for row in rows_of(kept)] == [bits_of(2.0)]


async def test_counters_hold_at_every_step_of_a_mixed_load(middle):
    rng = Random(5)  # noqa: S311 - repeatable
    port = middle.port("s", TagTable([]))

    async def source(name):
        for turn in range(40):
            rows = [(rng.randrange(5), float(rng.randrange(3))) for _ in range(rng.randint(1, 9))]
            await middle.put((name, turn), doubles(*rows))
            if rng.random() < 0.3:
                port.drop("type_changed", rng.randint(1, 3))
                middle.check_counters()
            if rng.random() < 0.2:
                middle.journal.failures = 1
            if rng.random() < 0.4:
                await anyio.lowlevel.checkpoint()

    async with middle.running():
        async with anyio.create_task_group() as tasks:
            for name in "abc":
                tasks.start_soon(source, name)
        await middle.until(lambda: len(middle.stored) == 120)
    counters = middle.intake.counters
    assert counters.in_flight == 0
    assert counters.stored == len(middle.values())
    assert counters.dropped["type_changed"] > 0
    assert counters.filtered == sum(middle.intake.filtered_by_reason.values())
    # each source is told in the order it put
    for name in "abc":
        turns = [turn for who, turn in middle.stored if who == name]
        assert turns == sorted(turns)


async def test_losses_of_one_kind_in_one_commit_are_one_entry_and_numbered_on(middle):
    for first in (10, 5):
        middle.intake.lose(
            LossNote(
                reason="session_gap", source="s", first_time_us=first, last_time_us=20, count=1
            )
        )
    async with middle.running():
        await middle.until(lambda: middle.journal.last_loss_id == 1)
        middle.intake.lose(LossNote(reason="session_gap", first_time_us=1, last_time_us=2))
        await middle.until(lambda: middle.journal.last_loss_id == 2)
    first, second = middle.ledger()
    assert (first.first_time_us, first.last_time_us, first.count) == (5, 20, 2)
    assert (first.id, second.id) == (1, 2)


async def test_a_cursor_is_kept_with_the_next_commit(middle):
    cursor = Cursor(1)
    async with middle.running():
        middle.intake.confirm("hub", cursor)
        cursor.add(2, 9)
        await middle.put_value(1)
        await middle.until(lambda: middle.stored)
        assert middle.journal.cursors() == {"hub": Cursor(1)}


# -- what a source sees ---


async def test_a_port_registers_tags_with_their_deadbands_and_knows_what_is_durable(middle):
    tags = TagTable([])
    middle.intake.take_definitions = tags.take_unsaved
    port = middle.port("line1", tags)
    spec = TagSpec(name="t", device="d", data_type=DataType.DOUBLE, address="a", deadband=5.0)
    assert port.register([spec]) == [0]
    assert port.add([TagSpec(name="u", device="d", data_type=DataType.DOUBLE, address="b")]) == [1]
    assert (port.last_stored_time_us(), port.marks()) == (None, {})
    stored = anyio.Event()
    async with middle.running():
        batch = doubles((0, 1.0, 100), (0, 2.0, 200), (1, 1.0, 150), (1, 1.5, 160))
        await port.put(batch, [Mark("m", 1)], stored.set)
        with anyio.fail_after(DEADLINE_S):
            await stored.wait()
        assert port.last_stored_time_us() == 200
        assert port.marks() == {"m": 1}
        assert middle.port("other", tags).marks() == {}
        port.lose("session_gap", 1, 2, tag=1, count=4, detail="why")
        await middle.until(lambda: middle.journal.last_loss_id == 1)
    assert [(row[1], row[2]) for row in rows_of(middle.rows()[0].batch())] == [
        (0, 100),
        (1, 150),
        (1, 160),
    ]
    (entry,) = middle.ledger()
    assert (entry.source, entry.tag, entry.count, entry.detail) == ("line1", 1, 4, "why")
