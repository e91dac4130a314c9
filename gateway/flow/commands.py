"""Writes that hosts ask for: allow-list, bounded queues, one worker a source, audit.

Promises: only tags on the write allow-list are written (``writable`` in the configuration); a
write is in the audit before it goes out; every command that was refused is counted and audited.
What people ask for (``flow.actions``) goes the same way: one queue and one audit for all.
Limits: ``WAITING_MAX`` writes wait for a source, further ones are refused (``queue_full``); one
that waited ``WAIT_S_MAX`` is refused too; a source has ``WRITE_TIMEOUT_S`` for each.
``REFUSALS_MAX`` refusals wait for the audit's disk, further ones are only counted (``unaudited``).
``submit`` and ``refuse`` run on the event loop and never block; ``run`` is the one task.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread
import msgspec

from gateway.errors import AuditError, SourceError, WriteRefusedError
from gateway.flow.command_audit import TEXT_CHARS_MAX, AuditedCommand, CommandAudit, Outcome
from gateway.flow.tags import TagTable
from gateway.sinks.base import WriteCommand
from gateway.sources.base import Done, Source
from runtime.clock import Clock
from runtime.log import logger

WAITING_MAX = 100
REFUSALS_MAX = 1_000
WRITE_TIMEOUT_S = 10.0
WAIT_S_MAX = 30.0
SAY_AGAIN_S = 10.0
FLUSH_TIMEOUT_S = 2.0

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_REFUSALS = {
    "not_writable": "the tag is not on the write allow-list: writable: true would put it there",
    "not_a_tag": "the metric is none of a source's tags",
    "no_source": "the tag's source is not running",
    "queue_full": f"{WAITING_MAX} writes wait for this source already",
    "waited_too_long": f"the write waited for {WAIT_S_MAX:.0f} s",
    "too_old": "the command was sent too long ago",
    "audit_failed": "it cannot be audited",
    "not_allowed": "the configuration does not allow it for this source",
}
_NOTHING = Done()


Told = Callable[[AuditedCommand, Done], None]
"""Told what came of an order, and what the device answered."""


@dataclass(slots=True)
class Order:
    """Something to be done to a source's device.

    Attributes:
        command: who wants what; its tag, where it has one, has to be on the allow-list.
        source: the source's name; "" when it is none's.
        address: what it is done to, in the source.
        perform: does it; None for what is only refused.
        told: called once, on the event loop, when the outcome is known.
        since_s: monotonic time since when it waits.
    """

    command: WriteCommand
    source: str = ""
    address: str = ""
    perform: Callable[[], Awaitable[Done | None]] | None = None
    told: Told | None = None
    since_s: float = 0.0


class CommandDesk:
    """See ``sinks.base.CommandPort``.

    Attributes:
        counts: commands by outcome or reason of refusal; ``unaudited`` beside them.
    """

    def __init__(
        self, tags: TagTable, sources: Sequence[Source], audit: CommandAudit, clock: Clock
    ) -> None:
        self._tags = tags
        self._sources = {source.name: source for source in sources}
        self._audit = audit
        self._clock = clock
        self._waiting: dict[str, deque[Order]] = {name: deque() for name in self._sources}
        self._arrived = {name: anyio.Event() for name in self._sources}
        self._refused: deque[AuditedCommand] = deque()
        self._refusal_came = anyio.Event()
        self._one_thread = anyio.CapacityLimiter(1)
        self._said_s = -SAY_AGAIN_S
        self._unsaid_count = 0
        self.counts: Counter[str] = Counter()

    def submit(self, command: WriteCommand) -> bool:
        """Take a write or refuse it; see ``sinks.base.CommandPort``."""
        order = self.order_of(command)
        if command.tag is None:
            self.refuse_order(order, "not_a_tag")
            return False
        return self.take(order)

    def refuse(self, command: WriteCommand, reason: str) -> None:
        """Count, audit and say that a write is not carried out."""
        self.refuse_order(self.order_of(command), reason)

    def order_of(self, command: WriteCommand) -> Order:
        """Return the order that writes a command's tag."""
        if command.tag is None:
            return Order(command)
        definition = self._tags.definitions[command.tag]
        source = self._sources.get(definition.source)
        perform = partial(source.write, definition.address, command.value) if source else None
        return Order(command, definition.source, definition.address, perform)

    def take(self, order: Order) -> bool:
        """Take an order or refuse it."""
        reason = self._reason_against(order)
        if reason:
            self.refuse_order(order, reason)
            return False
        order.since_s = self._clock.monotonic_s()
        self._waiting[order.source].append(order)
        self._arrived[order.source].set()
        return True

    def _reason_against(self, order: Order) -> str:
        tag = order.command.tag
        if tag is not None and tag not in self._tags.writable:
            return "not_writable"
        if order.perform is None or order.source not in self._sources:
            return "no_source"
        return "queue_full" if len(self._waiting[order.source]) >= WAITING_MAX else ""

    def refuse_order(self, order: Order, reason: str) -> None:
        """Count, audit and say that an order is not carried out."""
        self.counts[reason] += 1
        self._say(order.command, reason)
        entry = self._entry(order, "refused", reason)
        if len(self._refused) >= REFUSALS_MAX:
            self.counts["unaudited"] += 1
        else:
            self._refused.append(entry)
            self._refusal_came.set()
        if order.told is not None:
            order.told(entry, _NOTHING)

    async def newest(self, limit: int) -> list[AuditedCommand]:
        """Return the newest commands, newest first. Raises AuditError."""
        return await self._in_thread(self._audit.newest, limit)

    async def run(self) -> None:
        """Carry out what is submitted until cancelled; refusals that wait are still audited."""
        try:
            async with anyio.create_task_group() as tasks:
                for source in self._sources.values():
                    tasks.start_soon(self._serve, source)
                while True:
                    await self._refusal_came.wait()
                    self._refusal_came = anyio.Event()
                    await self._audit_refusals()
        finally:
            with anyio.move_on_after(FLUSH_TIMEOUT_S, shield=True):
                await self._audit_refusals()

    def close(self) -> None:
        """Close the audit."""
        self._audit.close()

    async def _serve(self, source: Source) -> None:
        waiting = self._waiting[source.name]
        while True:
            if not waiting:
                self._arrived[source.name] = anyio.Event()
                await self._arrived[source.name].wait()
            order = waiting.popleft()
            tag = order.command.tag
            if self._clock.monotonic_s() - order.since_s > WAIT_S_MAX:
                self.refuse_order(order, "waited_too_long")
            elif tag is not None and tag not in self._tags.writable:
                self.refuse_order(order, "not_writable")  # taken off the list while it waited
            else:
                await self._carry_out(order)

    async def _carry_out(self, order: Order) -> None:
        command, perform = order.command, order.perform
        assert perform is not None, "what cannot be done is refused when it comes"
        entry = self._entry(order, "pending", "")
        try:
            (number,) = await self._in_thread(self._audit.add, [entry])
        except AuditError as error:
            logger().error("commands.audit_failed", error=str(error), remedy="see the data disk")
            self.refuse_order(order, "audit_failed")
            return
        outcome, done = await _performed(perform)
        reason, message = done.note, done.message
        self.counts[outcome] += 1
        logger().info(
            "commands.write_ended",
            device=command.device,
            metric=command.name,
            outcome=outcome,
            reason=reason,
        )
        now_us = self._clock.wall_us()
        try:
            await self._in_thread(self._audit.finish, number, outcome, (reason, message), now_us)
        except AuditError as error:
            logger().error("commands.audit_failed", error=str(error), remedy="see the data disk")
        if order.told is not None:
            ended = {"id": number, "outcome": outcome, "finished_us": now_us}
            told = {"reason": reason, "message": message}
            order.told(msgspec.structs.replace(entry, **ended, **told), done)

    async def _audit_refusals(self) -> None:
        entries = list(self._refused)
        self._refused.clear()
        if not entries:
            return
        try:
            await self._in_thread(self._audit.add, entries)
        except AuditError as error:
            self.counts["unaudited"] += len(entries)
            logger().error("commands.audit_failed", error=str(error), remedy="see the data disk")

    def _entry(self, order: Order, outcome: Outcome, reason: str) -> AuditedCommand:
        now_us = self._clock.wall_us()
        command = order.command
        return AuditedCommand(
            received_us=now_us,
            origin=command.origin,
            device=command.device,
            name=command.name,
            source=order.source,
            address=order.address,
            value=_shown(command.value),
            sent_ms=command.sent_ms,
            outcome=outcome,
            reason=reason,
            message=_REFUSALS.get(reason, ""),
            finished_us=None if outcome == "pending" else now_us,
        )

    def _say(self, command: WriteCommand, reason: str) -> None:
        """Log a refusal, once in a while: hosts may repeat themselves."""
        now_s = self._clock.monotonic_s()
        if now_s - self._said_s < SAY_AGAIN_S:
            self._unsaid_count += 1
            return
        logger().warning(
            "commands.write_refused",
            device=command.device,
            metric=command.name[:TEXT_CHARS_MAX],
            reason=reason,
            origin=command.origin,
            more_count=self._unsaid_count,
        )
        self._said_s, self._unsaid_count = now_s, 0

    async def _in_thread(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        return await anyio.to_thread.run_sync(
            partial(function, *arguments), limiter=self._one_thread
        )


async def _performed(perform: Callable[[], Awaitable[Done | None]]) -> tuple[Outcome, Done]:
    """Perform, within the deadline; return the outcome, and reason and message as a note."""
    try:
        with anyio.fail_after(WRITE_TIMEOUT_S):
            done = await perform()
    except WriteRefusedError as error:
        return "refused", Done(note=error.reason, message=str(error))
    except SourceError as error:
        return "failed", Done(note="no_session", message=str(error))
    except TimeoutError:
        message = "no answer in time: whether it was carried out is not known"
        return "failed", Done(note="timeout", message=message)
    return "written", done or _NOTHING


def _shown(value: Any) -> str:  # noqa: ANN401 - of the tag's kind
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = "null" if value is None else str(value)
    return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 1] + "…"
