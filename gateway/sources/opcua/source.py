"""An OPC UA server as a source: one session after another, for ever.

A session: connect, find the tags, take over what an earlier session left at the server (or create
subscriptions and monitored items anew), publish. What was not read in between is entered in the
loss ledger with its range. A node that fails faults its own tag and is tried again every
``RETRY_TROUBLES_S``; its neighbours go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import anyio
import anyio.abc
import msgspec
import numpy as np
from asyncua.ua.uaerrors import UaError
from numpy.typing import NDArray

from contract.config import OpcUaSourceConfig
from contract.mapping import KIND_OF
from contract.sample import SampleBatch
from gateway.errors import SourceError, WriteRefusedError
from gateway.sources import base
from gateway.sources.base import Mark, SourcePort, SourceReport, SourceState, TagSpec, TagTrouble
from gateway.sources.opcua import subscribe
from gateway.sources.opcua.access import Access, Pki, target_of
from gateway.sources.opcua.convert import TagColumns, to_batch
from gateway.sources.opcua.decode import Notification
from gateway.sources.opcua.discover import FoundTag, IndexedTag, discover, register_splits
from gateway.sources.opcua.explorer import Explorer, short_session
from gateway.sources.opcua.publish import Arrived, PublishLoop
from gateway.sources.opcua.selection import Selection
from gateway.sources.opcua.session import Session, SessionToken, open_session
from gateway.sources.opcua.subscribe import Subscription
from runtime.clock import Clock
from runtime.log import logger

RETRY_TROUBLES_S = 30.0
RETRY_TROUBLES_S_MAX = 600.0
_OVERFLOW_MASK = np.uint32(0x0480)
"""Info type DataValue with the overflow bit: OPC 10000-4, 7.39.1."""
NEVER_MONITORED = -1


class OpcUaSource:
    """One OPC UA server. ``run_session`` is one session; the engine calls it again."""

    def __init__(
        self, config: OpcUaSourceConfig, clock: Clock, directory: Path, access: Access | None = None
    ) -> None:
        self._config = config
        self._access = access or Access(target_of(config), Pki(directory / "pki", clock))
        self._token = SessionToken(directory / f"{config.name}.session")
        self._loop: PublishLoop | None = None
        self._taken_over = False
        self._selection = Selection(config, directory / f"{config.name}.selection", clock)
        self._clock = clock
        self.explorer = Explorer(self._selection, partial(short_session, self._access), clock)
        self._tags = TagColumns()
        self._groups = {group.name: group for group in config.groups}
        self._known: dict[str, Subscription] = {}  # by group: what the server may still hold
        self._monitored = 0  # fingerprint of what they read
        self._held_by = 0  # key of the session that holds them all; 0 while that is not so
        self._unfound: list[TagTrouble] = []
        self._refused: list[TagTrouble] = []
        self._state: SourceReport = SourceReport(state="starting", endpoint=config.endpoint)
        self._tags_total = 0
        self._values_count = 0
        self._sessions_count = 0
        self._last_value_s: float | None = None
        self._gap_from_us: int | None = None
        self._gap_to_us = 0  # server's time when all was subscribed; 0 before
        self._gap_is_noted = False
        self._seen_us: NDArray[np.int64] = np.zeros(0, dtype=np.int64)  # by tag: last source time
        self._seen_before_us = 0  # the same for tags that this process has not seen yet

    @property
    def name(self) -> str:
        """The source's name in the configuration."""
        return self._config.name

    def status(self) -> SourceReport:
        """Return what to show of the source now."""
        troubles = self._troubles()
        return msgspec.structs.replace(
            self._state,
            tags_total=self._tags_total,
            values_count=self._values_count,
            sessions_count=self._sessions_count,
            last_value_s=self._last_value_s,
            troubles=troubles[:100],
            troubles_count=len(troubles),
            pending=self._selection.pending,
        )

    async def write(self, address: str, value: object) -> None:  # noqa: ARG002 - the seam's
        """Refuse: the OPC UA Write service is not used yet."""
        raise WriteRefusedError("not_supported", "writing over OPC UA is not supported yet")

    async def run_session(self, port: SourcePort) -> None:
        """Connect, register, read until the session is lost; see ``sources.base.Source``."""
        self._say("connecting")
        try:
            async with open_session(self._access, self._token) as session:
                self._sessions_count += 1
                self.explorer.attach(session)
                await self._collect(session, port)
        except (SourceError, OSError, TimeoutError, UaError) as error:
            raise self._lost(error) from error
        except BaseExceptionGroup as group:
            expected, other = group.split((SourceError, OSError, TimeoutError, UaError))
            if expected is None or other is not None:
                raise
            raise self._lost(expected) from group
        finally:
            self.explorer.attach(None)
            if self._state.state in {"connecting", "up"}:
                self._say("waiting", "an unexpected error, see the log")

    def _lost(self, error: BaseException) -> SourceError:
        if self._taken_over and (self._loop is None or not self._loop.responses_count):
            # what was taken over never answered: it may be gone at the server
            logger().info("opcua.takeover_failed", source=self.name)
            self._known, self._monitored = {}, NEVER_MONITORED
            self._token.forget()
        lost = base.as_source_error(error)
        self._state = base.waiting_report(self._config.endpoint, lost)
        return lost

    async def _collect(self, session: Session, port: SourcePort) -> None:
        self._seen_before_us = self._stored_before_us(port)
        discovery = await discover(session, self._config, self._selection, self._clock)
        indexes = self._register(discovery.found, port.register)
        tags = list(zip(indexes, discovery.found, strict=True))
        self._unfound = discovery.troubles
        self._tags_total = len(tags) + len(discovery.troubles)
        async with anyio.create_task_group() as tasks:
            loop = PublishLoop(session, self._arrive(port), self._miss(port))
            self._loop = loop
            self._refuse_unknown(session, port)
            self._taken_over = await self._take_over(session, port, loop, tags)
            session.holds_subscriptions = True
            if self._taken_over:
                tasks.start_soon(loop.run)
            else:
                self._open_gap(port)
                await self._subscribe(session, port, loop, tasks, tags)
                self._gap_to_us = await session.server_time_us() or self._clock.wall_us()
            port.up()
            self._say("up", notices=session.notices)
            logger().info(
                "opcua.session_opened",
                source=self.name,
                tags_count=len(tags),
                troubles_count=len(self._troubles()),
            )
            await self._mend_troubles(session, port, tags)

    def _register(
        self, found: Sequence[FoundTag], register: Callable[[Sequence[TagSpec]], list[int]]
    ) -> list[int]:
        indexes = register([tag.spec for tag in found])
        self._tags.set(
            [
                (index, KIND_OF[tag.spec.data_type], tag.spec.gain, tag.spec.offset)
                for index, tag in zip(indexes, found, strict=True)
            ]
        )
        register_splits(self._tags, indexes, found)
        more = len(self._tags.kind) - len(self._seen_us)
        before_us = np.full(more, self._seen_before_us, dtype=np.int64)
        self._seen_us = np.append(self._seen_us, before_us)
        return indexes

    def _stored_before_us(self, port: SourcePort) -> int:
        """Return from when on a value may be missing that no process has read; 0 for the first.

        A value waits at the server for its group to publish: it may be older than what is stored.
        """
        stored_us = port.last_stored_time_us() or 0
        wait_us = 1000 * max(group.publishing_interval_ms for group in self._config.groups)
        return max(0, stored_us - wait_us)

    def _refuse_unknown(self, session: Session, port: SourcePort) -> None:
        """End a resumed session that holds other subscriptions than those remembered, or a part.

        So it is after a death between subscribing and the first commit. Raises SourceError: the
        next session is a new one.
        """
        remembered = self._held_by or port.marks().get("session", 0)
        if session.resumed and session.key != remembered:
            session.holds_subscriptions = False
            raise SourceError("the session held subscriptions that are not known: a new one comes")

    async def _take_over(
        self, session: Session, port: SourcePort, loop: PublishLoop, tags: Sequence[IndexedTag]
    ) -> bool:
        """Take over the subscriptions of the last session, of this process or of one before it.

        Only when they read exactly the tags wanted now. Whatever the server holds and was not made
        durable is asked for again. Returns False when they have to be made anew.
        """
        known = self._known or self._remembered(port.marks())
        monitored = self._monitored or port.marks().get("monitored", 0)
        if not known or monitored != subscribe.fingerprint(tags, self._refused):
            return False
        subscriptions = list(known.values())
        held: list[list[int]] | None = [[] for _ in subscriptions]
        if not session.resumed:
            held = await subscribe.transfer(session, subscriptions)
            if held is None:
                logger().info("opcua.transfer_refused", source=self.name)
                return False
        self._known, self._monitored, self._held_by = known, monitored, session.key
        for subscription, available in zip(subscriptions, held or (), strict=True):
            loop.add(subscription)
            # after a resume the first notification shows the gap, and the loop asks for it
            await loop.catch_up(subscription, available)
        logger().info("opcua.subscriptions_taken_over", source=self.name, count=len(subscriptions))
        return True

    def _remembered(self, marks: dict[str, int]) -> dict[str, Subscription]:
        """Return the subscriptions that a former process left, from the durable marks."""
        remembered: dict[str, Subscription] = {}
        for name, group in self._groups.items():
            number, position = marks.get(f"{name}/id", 0), marks.get(f"{name}/sequence", 0)
            if number and position:
                remembered[name] = Subscription(
                    id=number,
                    group=name,
                    publishing_interval_ms=group.publishing_interval_ms,
                    keep_alive_s=subscribe.KEEP_ALIVE_S,
                    next_sequence=subscribe.following(position),
                )
        return remembered

    async def _subscribe(
        self,
        session: Session,
        port: SourcePort,
        loop: PublishLoop,
        tasks: anyio.abc.TaskGroup,
        tags: Sequence[IndexedTag],
    ) -> None:
        """Create everything anew; publishing starts with the first subscription."""
        left = self._known or self._remembered(port.marks())
        if left:
            await subscribe.delete(session, [s.id for s in left.values()])
        self._known, self._monitored, self._held_by = {}, NEVER_MONITORED, 0
        self._refused = []
        for name, members in subscribe.by_group(tags).items():
            group = self._groups[name]
            subscription = await subscribe.create_subscription(session, group)
            loop.add(subscription)
            if not self._known:
                tasks.start_soon(loop.run)
                await subscribe.watch_model(session, subscription)
            self._known[name] = subscription
            self._refused += await subscribe.monitor(session, subscription, group, members)
        self._monitored, self._held_by = subscribe.fingerprint(tags, self._refused), session.key

    async def _mend_troubles(
        self, session: Session, port: SourcePort, tags: list[IndexedTag]
    ) -> None:
        """Hold the session; try tags in trouble again, without touching their neighbours.

        Looking costs the server and us as much as the first time: ever more seldom while it is
        in vain.
        """
        pause_s = RETRY_TROUBLES_S
        while True:
            is_due = await self._selection.pause(session, pause_s)
            in_trouble = len(self._troubles())
            refused = {t.address for t in self._refused}
            again = [item for item in tags if item[1].spec.address in refused]
            if self._unfound or is_due:
                new = await self._found_since(session, port, tags)
                tags += new
                again += new
            if again:
                await self._monitor_more(session, again)
                self._monitored = subscribe.fingerprint(tags, self._refused)
            is_better = len(self._troubles()) < in_trouble
            pause_s = RETRY_TROUBLES_S if is_better else min(2 * pause_s, RETRY_TROUBLES_S_MAX)

    async def _found_since(
        self, session: Session, port: SourcePort, tags: list[IndexedTag]
    ) -> list[IndexedTag]:
        known = [tag for _, tag in tags]
        discovery = await discover(session, self._config, self._selection, self._clock, known)
        self._unfound = discovery.troubles
        if gone := discovery.gone(tags):
            tags[:] = [item for item in tags if item[0] not in gone]
            port.register([tag.spec for _, tag in tags])
            self._tags.forget(gone)
        return list(zip(self._register(discovery.found, port.add), discovery.found, strict=True))

    async def _monitor_more(self, session: Session, tags: Sequence[IndexedTag]) -> None:
        self._refused = []
        for name, members in subscribe.by_group(tags).items():
            subscription = self._known.get(name)
            if subscription is not None:
                self._refused += await subscribe.monitor(
                    session, subscription, self._groups[name], members
                )

    def _arrive(self, port: SourcePort) -> Arrived:
        async def arrived(
            subscription: Subscription, notification: Notification, stored: Callable[[], None]
        ) -> None:
            batch, misfits = to_batch(notification.segments, self._tags, self._clock.wall_us())
            self._values_count += notification.items_count
            self._selection.note_events(notification.events)
            self._last_value_s = self._clock.monotonic_s()
            if len(misfits):
                port.drop("type_changed", len(misfits))
            self._note_overflows(port, batch)
            self._close_gap(port, batch)
            group = subscription.group
            marks = (
                Mark(f"{group}/id", subscription.id),
                Mark(f"{group}/sequence", notification.sequence_number),
                Mark("monitored", self._monitored),
                Mark("session", self._held_by),
            )
            await port.put(batch, marks, stored)

        return arrived

    def _note_overflows(self, port: SourcePort, batch: SampleBatch) -> None:
        """Enter what the server says it discarded.

        The overflow bit stands on the first value kept: what is missing lies between it and the
        value of its tag that came before.
        """
        for columns in batch.columns:
            overflowed = (columns.status & _OVERFLOW_MASK) == _OVERFLOW_MASK
            if overflowed.any():
                before_us = self._seen_us[columns.tag[overflowed]]
                times_us = columns.time_us[overflowed]
                tags = np.unique(columns.tag[overflowed])
                port.lose(
                    "server_overflow",
                    int(np.where(before_us > 0, before_us, times_us).min()),
                    int(times_us.max()),
                    tag=int(tags[0]) if len(tags) == 1 else None,
                    detail=f"the server's queue overflowed for {len(tags)} tags: raise queue_size",
                )
            self._seen_us[columns.tag] = columns.time_us

    def _open_gap(self, port: SourcePort) -> None:
        """Note from when on changes are unseen; a gap that was never closed stays open."""
        if self._gap_from_us is None:
            self._gap_from_us = port.last_stored_time_us()
        self._gap_to_us, self._gap_is_noted = 0, False

    def _close_gap(self, port: SourcePort, batch: SampleBatch) -> None:
        """After subscribing anew, enter what changed unseen since the last durable sample.

        With the first values, lest a crash forget it; and where those come before the last tag is
        subscribed, once more then.
        """
        if self._gap_from_us is None or not len(batch):
            return
        if self._gap_is_noted and not self._gap_to_us:
            return
        port.lose(
            "session_gap",
            self._gap_from_us,
            max(batch.time_range_us()[1], self._gap_from_us, self._gap_to_us),
            detail="changes between the last stored sample and the new subscription were not read",
        )
        self._gap_is_noted = True
        if self._gap_to_us:
            self._gap_from_us = None

    def _miss(self, port: SourcePort) -> Callable[[Subscription, int, str], None]:
        def missed(subscription: Subscription, sequence: int, why: str) -> None:
            now_us = self._clock.wall_us()
            since_us = port.last_stored_time_us() or now_us
            detail = f"group {subscription.group}: notification {sequence}: {why}"
            port.lose("missed_notification", min(since_us, now_us), now_us, detail=detail)

        return missed

    def _troubles(self) -> list[TagTrouble]:
        return self._unfound + self._refused

    def _say(self, state: SourceState, reason: str = "", notices: Sequence[str] = ()) -> None:
        end = self._config.endpoint
        self._state = SourceReport(state=state, endpoint=end, reason=reason, notices=list(notices))
