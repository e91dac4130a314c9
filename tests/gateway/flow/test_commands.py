"""Writes that hosts ask for: allow-list, queues, audit; no write goes out that is not in it."""

import contextlib
import sqlite3

import anyio
import pytest

from gateway.errors import AuditError, SourceError, WriteRefusedError
from gateway.flow import command_audit, commands
from gateway.flow.command_audit import AuditedCommand, CommandAudit
from gateway.flow.commands import CommandDesk
from gateway.flow.tags import TagTable
from gateway.sinks.base import WriteCommand
from gateway.sources.base import TagSpec
from runtime.clock import SystemClock
from sparkplug_b import DataType
from tests.gateway.manual_clock import ManualClock
from tests.gateway.sinks.broker_host import until

DEADLINE_S = 10


class Machine:
    """A source that remembers what was written, or does what ``trouble`` says."""

    def __init__(self, name="s"):
        self.name = name
        self.written = []
        self.trouble = None

    async def write(self, address, value):
        if self.trouble is not None:
            await self.trouble()
        self.written.append((address, value))


class Desk:
    """A desk over tags 0 (writable) and 1 (not) of source ``s``, 2 (writable) of ``t``."""

    def __init__(self, directory, clock=None, sources=None):
        self.machine, self.other = Machine(), Machine("t")
        self.tags = TagTable([])
        self.tags.register("s", [tag("w", writable=True), tag("r")])
        self.tags.register("t", [tag("x", device="Oven", writable=True)])
        self.audit = CommandAudit(directory)
        self.clock = clock or SystemClock()
        found = sources or [self.machine, self.other]
        self.desk = CommandDesk(self.tags, found, self.audit, self.clock)

    async def entries(self, count):
        """Wait until so many commands have an outcome; newest last."""
        with anyio.fail_after(DEADLINE_S):
            while True:
                found = await self.desk.newest(1_000)
                if len(found) >= count and all(e.outcome != "pending" for e in found):
                    return found[::-1]
                await anyio.sleep(0.005)


def tag(name, device="Press", **changed):
    return TagSpec(
        name=name, device=device, data_type=DataType.DOUBLE, address=f"nsu=u;s={name}", **changed
    )


def wish(number, value=1.0, name=None):
    return WriteCommand(
        tag=number,
        device="Press",
        name=name or f"tag{number}",
        value=value,
        origin="mqtt://h:1883 spBv1.0/G/DCMD/N/Press",
        sent_ms=77,
    )


@contextlib.asynccontextmanager
async def running(directory, **options):
    at = Desk(directory, **options)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(at.desk.run)
            yield at
            tasks.cancel_scope.cancel()
    finally:
        at.desk.close()


async def test_a_tag_of_the_allow_list_is_written_and_audited(tmp_path):
    async with running(tmp_path) as at:
        assert at.desk.submit(wish(0, 2.5))
        (entry,) = await at.entries(1)
        assert at.machine.written == [("nsu=u;s=w", 2.5)]
        assert (entry.outcome, entry.reason, entry.value) == ("written", "", "2.5")
        assert (entry.source, entry.address, entry.sent_ms) == ("s", "nsu=u;s=w", 77)
        assert entry.origin == "mqtt://h:1883 spBv1.0/G/DCMD/N/Press"
        assert entry.received_us <= entry.finished_us
        assert at.desk.counts == {"written": 1}


async def test_nothing_else_is_written_and_that_is_audited_too(tmp_path):
    async with running(tmp_path) as at:
        assert not at.desk.submit(wish(1))
        assert not at.desk.submit(wish(None, name="Properties/Software Version"))
        at.desk.refuse(wish(0), "too_old")
        entries = await at.entries(3)
        assert at.machine.written == []
        assert [e.reason for e in entries] == ["not_writable", "not_a_tag", "too_old"]
        assert {e.outcome for e in entries} == {"refused"}
        assert "writable: true" in entries[0].message


async def test_a_tag_that_leaves_the_allow_list_while_its_write_waits_is_not_written(tmp_path):
    async with running(tmp_path) as at:
        entered, release = anyio.Event(), anyio.Event()

        async def hold():
            entered.set()
            await release.wait()

        at.machine.trouble = hold
        at.desk.submit(wish(0, 1.0))
        at.desk.submit(wish(0, 2.0))
        await entered.wait()
        at.tags.register("s", [tag("w"), tag("r")])
        release.set()
        entries = await at.entries(2)
        assert [value for _, value in at.machine.written] == [1.0]
        assert [e.reason for e in entries] == ["", "not_writable"]


async def test_what_the_source_answers_is_the_outcome(tmp_path):
    async def refuse():
        raise WriteRefusedError("bad_not_writable", "BadNotWritable")

    async def lose():
        raise SourceError("no session")

    async with running(tmp_path) as at:
        for number, trouble in enumerate((refuse, lose, None), start=1):
            at.machine.trouble = trouble
            at.desk.submit(wish(0))
            entries = await at.entries(number)
    assert [(e.outcome, e.reason) for e in entries] == [
        ("refused", "bad_not_writable"), ("failed", "no_session"), ("written", "")
    ]  # fmt: skip


async def test_a_source_that_never_answers_stops_nobody_else(tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "WRITE_TIMEOUT_S", 0.1)
    async with running(tmp_path) as at:
        at.machine.trouble = anyio.sleep_forever
        at.desk.submit(wish(0, 1.0))
        at.desk.submit(wish(2, 2.0))
        entries = await at.entries(2)
        assert at.other.written == [("nsu=u;s=x", 2.0)]
    assert sorted((e.outcome, e.reason) for e in entries) == [
        ("failed", "timeout"), ("written", "")
    ]  # fmt: skip


async def test_more_than_the_queue_holds_is_refused_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "WAITING_MAX", 3)
    at = Desk(tmp_path)
    assert [at.desk.submit(wish(0, float(n))) for n in range(5)] == [True] * 3 + [False] * 2
    # another source has a queue of its own
    assert at.desk.submit(wish(2))
    assert at.desk.counts == {"queue_full": 2}
    at.desk.close()


async def test_refusals_beyond_what_waits_for_the_disk_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "REFUSALS_MAX", 4)
    at = Desk(tmp_path)
    for _ in range(10):
        at.desk.submit(wish(1))
    assert at.desk.counts == {"not_writable": 10, "unaudited": 6}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(at.desk.run)
        assert len(await at.entries(4)) == 4
        tasks.cancel_scope.cancel()
    at.desk.close()


async def test_a_write_that_waited_too_long_is_not_carried_out(tmp_path):
    clock = ManualClock()
    at = Desk(tmp_path, clock)
    at.desk.submit(wish(0))
    clock.pass_s(commands.WAIT_S_MAX + 1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(at.desk.run)
        (entry,) = await at.entries(1)
        tasks.cancel_scope.cancel()
    assert (entry.reason, at.machine.written) == ("waited_too_long", [])
    at.desk.close()


async def test_without_an_audit_nothing_is_written(tmp_path):
    (tmp_path / command_audit.DATABASE_NAME).write_bytes(b"no database" * 1_000)
    async with running(tmp_path) as at:
        at.desk.submit(wish(0))
        await until(lambda: at.desk.counts == {"audit_failed": 1, "unaudited": 1})
        assert at.machine.written == []
        with pytest.raises(AuditError):
            await at.desk.newest(1)


# -- the table ---


def entry(number, outcome="refused", received_us=None):
    return AuditedCommand(
        received_us=received_us or number, origin="o", device="d", name=f"n{number}", value="1",
        outcome=outcome,
    )  # fmt: skip


def test_the_newest_come_first_and_survive_a_restart(tmp_path):
    audit = CommandAudit(tmp_path)
    audit.add([entry(n) for n in range(1, 6)])
    audit.close()
    again = CommandAudit(tmp_path)
    assert [c.name for c in again.newest(3)] == ["n5", "n4", "n3"]
    assert (tmp_path / command_audit.DATABASE_NAME).stat().st_mode & 0o777 == 0o600
    again.close()


def test_a_write_whose_end_the_gateway_did_not_see_is_unknown(tmp_path):
    audit = CommandAudit(tmp_path)
    audit.add([entry(1, "pending"), entry(2, "pending")])
    audit.finish(2, "written", ("", ""), 9)
    audit.close()
    again = CommandAudit(tmp_path)
    assert [c.outcome for c in again.newest(9)] == ["written", "unknown"]
    again.close()


def test_the_oldest_go_beyond_the_limit_of_rows_and_of_age(tmp_path, monkeypatch):
    monkeypatch.setattr(command_audit, "ROWS_MAX", 10)
    audit = CommandAudit(tmp_path)
    audit.add([entry(n) for n in range(1, 26)])
    assert [c.name for c in audit.newest(99)] == [f"n{n}" for n in range(25, 15, -1)]
    late_us = (command_audit.AGE_DAYS_MAX + 1) * 86_400_000_000
    audit.add([entry(26, received_us=late_us)])
    assert [c.name for c in audit.newest(99)] == ["n26"]
    audit.close()


def test_a_table_of_a_newer_program_is_not_touched(tmp_path):
    connection = sqlite3.connect(tmp_path / command_audit.DATABASE_NAME)
    connection.execute("pragma user_version = 9")
    connection.close()
    with pytest.raises(AuditError, match="newer program"):
        CommandAudit(tmp_path).newest(1)
