"""An OPC UA server as a source: one session after another, for ever.

A session: connect, find the tags, take over what an earlier session left at the server (or create
subscriptions and monitored items anew), publish and poll, watch, fill gaps from history. What was
not read in between is entered in the loss ledger with its range (gaps.py). A node that fails faults
its own tag and is tried again every ``RETRY_TROUBLES_S``; its neighbours go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import anyio
import anyio.abc
import msgspec
from asyncua.ua.uaerrors import UaError

from contract.config import OpcUaSourceConfig
from contract.mapping import KIND_OF
from contract.sample import SampleBatch, concatenate
from contract.upload import Loss
from gateway.errors import SourceError
from gateway.sources import base
from gateway.sources.base import Done, SourcePort, SourceReport, SourceState, TagSpec, TagTrouble
from gateway.sources.opcua.access import Access, Pki, target_of
from gateway.sources.opcua.convert import TagColumns, to_batch
from gateway.sources.opcua.decode import Notification
from gateway.sources.opcua.discover import (
    Discovery,
    FoundTag,
    IndexedTag,
    discover,
    register_splits,
)
from gateway.sources.opcua.explorer import Explorer, short_session
from gateway.sources.opcua.gaps import Gaps
from gateway.sources.opcua.hands import Hands
from gateway.sources.opcua.heal import Healer
from gateway.sources.opcua.history import History
from gateway.sources.opcua.limits import CallLimits, read_limits
from gateway.sources.opcua.monitor import Monitor
from gateway.sources.opcua.poll import PolledGroup
from gateway.sources.opcua.publish import Arrived, PublishLoop
from gateway.sources.opcua.redundancy import RedundantSet
from gateway.sources.opcua.selection import Selection
from gateway.sources.opcua.session import Session, SessionToken, open_session
from gateway.sources.opcua.subscribe import Subscription, by_group
from gateway.sources.opcua.subscriptions import Subscriptions
from gateway.sources.opcua.watchdog import DeadSubscriptionError, Watchdog
from runtime.clock import Clock
from runtime.log import logger

RETRY_TROUBLES_S = 30.0
RETRY_TROUBLES_S_MAX = 600.0
_REPORT_EVERY_SAMPLE = -1.0
_EXPECTED = (SourceError, OSError, TimeoutError, UaError)


class OpcUaSource:
    """One OPC UA server. ``run_session`` is one session; the engine calls it again."""

    def __init__(
        self, config: OpcUaSourceConfig, clock: Clock, directory: Path, access: Access | None = None
    ) -> None:
        self._config = config
        self._access = access or Access(target_of(config), Pki(directory / "pki", clock))
        self._directory = directory
        self._token = SessionToken(directory / f"{config.name}.session")
        self._selection = Selection(config, directory / f"{config.name}.selection", clock)
        self.explorer = Explorer(self._selection, partial(short_session, self._access), clock)
        self._loop: PublishLoop | None = None
        self._watchdog: Watchdog | None = None
        self._healer: Healer | None = None
        self._taken_over = False
        self._clock = clock
        self._columns = TagColumns()
        self._groups = {group.name: group for group in config.groups}
        self._polled = {
            group.name: PolledGroup(group, clock) for group in config.groups if group.mode == "poll"
        }
        self._subscriptions = Subscriptions(config.name, self._groups)
        self._servers = RedundantSet([config.endpoint, *config.endpoints], clock)
        self.hands = Hands(config, clock)
        self._gaps = Gaps(config.groups, clock)
        self._tags: list[IndexedTag] = []
        self._unfound: list[TagTrouble] = []
        self._state: SourceReport = SourceReport(state="starting", endpoint=config.endpoint)
        self._tags_total = 0
        self._values_count = 0
        self._sessions_count = 0
        self._filled_count = 0
        self._open_losses: Callable[[], list[Loss]] = list
        self._last_value_s: float | None = None

    @property
    def name(self) -> str:
        """The source's name in the configuration."""
        return self._config.name

    def status(self) -> SourceReport:
        """Return what to show of the source now."""
        troubles = self._troubles()
        polled = [group.report() for group in self._polled.values()]
        healer = self._healer
        return msgspec.structs.replace(
            self._state,
            endpoint=self._servers.endpoint,
            tags_total=self._tags_total,
            values_count=self._values_count,
            sessions_count=self._sessions_count,
            last_value_s=self._last_value_s,
            troubles=troubles[:100],
            troubles_count=len(troubles),
            pending=self._selection.pending,
            groups=self._subscriptions.reports() + polled,
            open_losses_count=len(self._open_losses()),
            filled_count=self._filled_count + (healer.filled_count if healer is not None else 0),
            notices=self._state.notices + self._notices() + self.hands.notices(),
            profile=self.hands.detected.shown,
        )

    async def write(self, address: str, value: object) -> Done:
        """Write a tag of the allow-list, once; see ``sources.base.Source``."""
        return await self.hands.write(address, value)

    def _notices(self) -> list[str]:
        notices = []
        unfiltered = self._subscriptions.unfiltered
        if unfiltered:
            notices.append(
                f"the server applies no deadband to {len(unfiltered)} tags, such as"
                f" {unfiltered[0][1].spec.name}: the gateway does, where their range is known"
            )
        if self._healer is not None and self._healer.note and self._open_losses():
            notices.append(self._healer.note)
        return notices

    async def run_session(self, port: SourcePort) -> None:
        """Connect, register, read until the session is lost; see ``sources.base.Source``."""
        self._say("connecting")
        self._open_losses = port.open_losses
        try:
            before = self._servers.endpoint
            endpoint = await self._servers.choose(self._open_for_question)
            if endpoint != before:
                # what the other server may hold cannot be had here, nor its session resumed
                self._subscriptions.forget()
                self._token.forget()
            async with open_session(self._access.at(endpoint), self._token) as session:
                self.explorer.attach(session)
                self._sessions_count += 1
                await self._collect(session, port)
        except _EXPECTED as error:
            raise self._lost(error) from error
        except BaseExceptionGroup as group:
            expected, other = group.split(_EXPECTED)
            if expected is None or other is not None:
                raise
            raise self._lost(expected) from group
        finally:
            self.explorer.attach(None)
            self.hands.end()
            if self._state.state in {"connecting", "up"}:
                self._say("waiting", "an unexpected error, see the log")

    def _open_for_question(self, endpoint: str) -> AbstractAsyncContextManager[Session]:
        """Open a session that is closed at the end of its block, with nothing hanging on it."""
        token = SessionToken(self._directory / f"{self.name}.question")
        return open_session(self._access.at(endpoint), token)

    def _lost(self, error: BaseException) -> SourceError:
        never_answered = self._loop is None or not self._loop.responses_count
        if _is_dead(error) or (self._taken_over and never_answered):
            # it is dead, or gone at the server: neither it nor its session is used again
            logger().info("opcua.subscriptions_dead", source=self.name)
            self._subscriptions.forget()
            self._token.forget()
        lost = base.as_source_error(error)
        self._state = base.waiting_report(self._servers.endpoint, lost)
        return lost

    async def _collect(self, session: Session, port: SourcePort) -> None:
        self._gaps.begin(port)
        self._loop, self._taken_over = None, False
        await self.hands.recognise(session)
        discovery = await self._discover(session)
        self._tags = self._register(discovery.found, port.register)
        self.hands.begin(session, lambda: self._tags)
        self._unfound = discovery.troubles
        self._tags_total = len(self._tags) + len(discovery.troubles)
        limits = self.hands.limits(await read_limits(session))
        monitor = Monitor(session, limits, self._config.pacing, self._clock)
        self._watchdog = Watchdog(session, self._groups, self._columns, limits, self._clock)
        self._begin_healing(History(session, limits, self._clock))
        async with anyio.create_task_group() as tasks:
            await self._start_reading(session, port, monitor, tasks)
            self._start_polling(session, port, limits, tasks)
            port.up()
            self._say("up", notices=session.notices)
            logger().info(
                "opcua.session_opened",
                source=self.name,
                tags_count=len(self._tags),
                troubles_count=len(self._troubles()),
            )
            self._start_watching(session, port, tasks)
            await self._mend_troubles(session, port, monitor)

    # -- the tasks of a session -------------------------------------------------------------------

    async def _start_reading(
        self,
        session: Session,
        port: SourcePort,
        monitor: Monitor,
        tasks: anyio.abc.TaskGroup,
    ) -> None:
        """Take subscriptions over or make them, and publish."""
        subscribed = self._subscribed()
        loop = self._loop = PublishLoop(session, self._arrive(port), self._miss(port))
        subscriptions = self._subscriptions
        tasks.start_soon(loop.run)
        if not subscribed:
            self._gaps.open(port)
            self._gaps.all_subscribed(await self._server_time_us(session))
            return
        subscriptions.refuse_unknown(session, port)
        self._taken_over = await subscriptions.take_over(session, port, loop, subscribed)
        session.holds_subscriptions = True
        if not self._taken_over:
            self._gaps.open(port)
            await subscriptions.make(port, loop, monitor, subscribed)
            subscriptions.note_revised(port, self._clock.wall_us())
            made = {name: known.id for name, known in subscriptions.known.items()}
            await self.hands.refresh(session, made)
            self._gaps.all_subscribed(await self._server_time_us(session))

    def _subscribed(self) -> list[IndexedTag]:
        return [tag for tag in self._tags if tag[1].group not in self._polled]

    async def _server_time_us(self, session: Session) -> int:
        return await session.server_time_us() or self._clock.wall_us()

    def _start_polling(
        self,
        session: Session,
        port: SourcePort,
        limits: CallLimits,
        tasks: anyio.abc.TaskGroup,
    ) -> None:
        for name, group in self._polled.items():
            members = partial(self._members, name)
            tasks.start_soon(
                group.run, session, port, limits, members, partial(self._polled_in, port)
            )

    def _members(self, group: str) -> list[IndexedTag]:
        return [t for t in self._tags if t[1].group == group and t[1].is_monitored]

    def _begin_healing(self, history: History) -> None:
        if self._healer is not None:
            self._filled_count += self._healer.filled_count
        self._healer = None
        if self._config.fill_gaps:
            self._healer = Healer(history, self._columns, self._gaps, self._clock)

    def _start_watching(
        self, session: Session, port: SourcePort, tasks: anyio.abc.TaskGroup
    ) -> None:
        assert self._watchdog is not None
        members = by_group([tag for tag in self._tags if tag[1].events is None])
        tasks.start_soon(self._watchdog.run, port, self._subscriptions.known, members)
        if not self._servers.is_single:
            tasks.start_soon(self._servers.watch, session, self._open_for_question)
        if self._healer is not None:
            tasks.start_soon(
                self._healer.run,
                port,
                lambda: [(i, tag.node_id) for i, tag in self._tags if tag.is_monitored],
                lambda: {} if self._loop is None else self._loop.responses(),
            )

    # -- tags -------------------------------------------------------------------------------------

    def _register(
        self, found: Sequence[FoundTag], register: Callable[[Sequence[TagSpec]], list[int]]
    ) -> list[IndexedTag]:
        indexes = register([self._spec(tag) for tag in found])
        self._columns.set(
            [
                (index, KIND_OF[tag.spec.data_type], tag.spec.gain, tag.spec.offset)
                for index, tag in zip(indexes, found, strict=True)
            ]
        )
        register_splits(self._columns, indexes, found)
        self._gaps.grow(len(self._columns.kind))
        return list(zip(indexes, found, strict=True))

    def _spec(self, tag: FoundTag) -> TagSpec:
        """Return a tag's specification; where times alone are changes, unchanged values count."""
        by_time = self._groups[tag.group].trigger == "status_value_timestamp"
        if by_time and tag.spec.deadband == 0:
            return msgspec.structs.replace(tag.spec, deadband=_REPORT_EVERY_SAMPLE)
        return tag.spec

    async def _mend_troubles(self, session: Session, port: SourcePort, monitor: Monitor) -> None:
        """Hold the session; try tags in trouble again, without touching their neighbours.

        Looking costs the server and us as much as the first time: ever more seldom while it is
        in vain.
        """
        pause_s = RETRY_TROUBLES_S
        subscriptions = self._subscriptions
        while True:
            is_due = await self._selection.pause(session, pause_s)
            in_trouble = len(self._troubles())
            refused = {t.address for t in subscriptions.refused}
            again = [item for item in self._tags if item[1].spec.address in refused]
            if self._unfound or is_due:
                new = await self._found_since(session, port)
                self._tags += new
                again += new
            again = [tag for tag in again if tag[1].group not in self._polled]
            if again and self._loop is not None:
                session.holds_subscriptions = True
                await subscriptions.monitor_more(port, self._loop, monitor, again)
                subscriptions.now_monitored(self._subscribed())
            is_better = len(self._troubles()) < in_trouble
            pause_s = RETRY_TROUBLES_S if is_better else min(2 * pause_s, RETRY_TROUBLES_S_MAX)

    async def _discover(self, session: Session, known: Sequence[FoundTag] = ()) -> Discovery:
        discovery = await discover(session, self._config, self._selection, self._clock, known)
        self.hands.add_streams(discovery, session, known)
        return discovery

    async def _found_since(self, session: Session, port: SourcePort) -> list[IndexedTag]:
        discovery = await self._discover(session, [tag for _, tag in self._tags])
        self._unfound = discovery.troubles
        if gone := discovery.gone(self._tags):
            self._tags = [item for item in self._tags if item[0] not in gone]
            port.register([self._spec(tag) for _, tag in self._tags])
            self._columns.forget(gone)
        return self._register(discovery.found, port.add)

    # -- what arrives -----------------------------------------------------------------------------

    def _arrive(self, port: SourcePort) -> Arrived:
        async def arrived(
            subscription: Subscription, notification: Notification, stored: Callable[[], None]
        ) -> None:
            self._selection.note_events(notification.events)
            batch = self._take_in(port, notification)
            if self._watchdog is not None:
                self._watchdog.told(subscription.group)
            marks = self._subscriptions.marks(subscription, notification.sequence_number)
            await port.put(batch, marks, stored)

        return arrived

    async def _polled_in(self, port: SourcePort, notification: Notification) -> None:
        await port.put(self._take_in(port, notification), (), _nothing_to_acknowledge)

    def _take_in(self, port: SourcePort, notification: Notification) -> SampleBatch:
        batch, misfits = to_batch(notification.segments, self._columns, self._clock.wall_us())
        self._values_count += notification.items_count
        self._last_value_s = self._clock.monotonic_s()
        if len(misfits):
            port.drop("type_changed", len(misfits))
        self._gaps.arrived(port, batch)
        events = self.hands.take_in(port, notification.events)
        self._values_count += len(events)
        self._gaps.heard(port, events)
        return concatenate((batch, events)) if len(events) else batch

    def _miss(self, port: SourcePort) -> Callable[[Subscription, int, str], None]:
        def missed(subscription: Subscription, sequence: int, why: str) -> None:
            self._gaps.missed(port, subscription.group, sequence, why)

        return missed

    def _troubles(self) -> list[TagTrouble]:
        polled = [trouble for group in self._polled.values() for trouble in group.troubles]
        return self._unfound + self._subscriptions.refused + polled

    def _say(self, state: SourceState, reason: str = "", notices: Sequence[str] = ()) -> None:
        end = self._servers.endpoint
        self._state = SourceReport(state=state, endpoint=end, reason=reason, notices=list(notices))


def _nothing_to_acknowledge() -> None:
    """Take note that polled samples are stored: the server is not told of that."""


def _is_dead(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_is_dead(part) for part in error.exceptions)
    return isinstance(error, DeadSubscriptionError)
