"""The subscriptions of a source, over its sessions: taken over where they live, else made anew.

What an earlier session, or an earlier process, left at the server is used again only when it reads
exactly the tags that are wanted now, in the way that is wanted now. Whatever the server holds and
was not made durable is asked for again.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import msgspec

from contract.config import GroupConfig
from gateway.errors import SourceError
from gateway.sources.base import GroupReport, Mark, SourcePort, TagTrouble
from gateway.sources.opcua import subscribe
from gateway.sources.opcua.discover import IndexedTag
from gateway.sources.opcua.monitor import Monitor, Monitored, own_deadband
from gateway.sources.opcua.publish import PublishLoop
from gateway.sources.opcua.session import Session
from gateway.sources.opcua.subscribe import Subscription
from runtime.log import logger

NEVER_MONITORED = -1
_SLACK = 1.01
"""Servers round: less than this over what was asked is as asked."""


class Subscriptions:
    """One subscription per group; ``known`` is what the server may still hold, by group.

    Attributes:
        refused: tags that the server does not monitor.
        unfiltered: tags whose deadband it does not apply: the gateway does, where it can.
    """

    def __init__(self, source: str, groups: Mapping[str, GroupConfig]) -> None:
        self._source = source
        self._groups = groups
        self.known: dict[str, Subscription] = {}
        self.refused: list[TagTrouble] = []
        self.unfiltered: list[IndexedTag] = []
        self._monitored = 0  # fingerprint of what they read
        self._held_by = 0  # key of the session that holds them all; 0 while that is not so
        self._made: dict[str, Monitored] = {}
        self._revised: dict[str, int] = {}  # by group: what was entered in the ledger

    def forget(self) -> None:
        """Forget what the server may hold: it is dead, or another server's."""
        self.known, self._monitored = {}, NEVER_MONITORED

    def refuse_unknown(self, session: Session, port: SourcePort) -> None:
        """End a resumed session that holds other subscriptions than those remembered, or a part.

        So it is after a death between subscribing and the first commit. Raises SourceError: the
        next session is a new one.
        """
        remembered = self._held_by or port.marks().get("session", 0)
        if session.resumed and session.key != remembered:
            session.holds_subscriptions = False
            raise SourceError("the session held subscriptions that are not known: a new one comes")

    async def take_over(
        self, session: Session, port: SourcePort, loop: PublishLoop, tags: Sequence[IndexedTag]
    ) -> bool:
        """Take over what the last session left; False when all has to be made anew."""
        known = self.known or self._remembered(port.marks())
        monitored = self._monitored or port.marks().get("monitored", 0)
        if not known or monitored != self._fingerprint(tags):
            return False
        subscriptions = list(known.values())
        held: list[list[int]] | None = [[] for _ in subscriptions]
        if not session.resumed:
            held = await subscribe.transfer(session, subscriptions)
            if held is None:
                logger().info("opcua.transfer_refused", source=self._source)
                return False
        self.known, self._monitored, self._held_by = known, monitored, session.key
        for subscription, available in zip(subscriptions, held or (), strict=True):
            loop.add(subscription)
            # after a resume the first notification shows the gap, and the loop asks for it
            await loop.catch_up(subscription, available)
        logger().info("opcua.subscriptions_taken_over", source=self._source, count=len(known))
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

    async def make(
        self,
        port: SourcePort,
        loop: PublishLoop,
        monitor: Monitor,
        tags: Sequence[IndexedTag],
    ) -> None:
        """Create everything anew; the loop publishes from the first subscription on."""
        left = self.known or self._remembered(port.marks())
        if left:
            await subscribe.delete(monitor.session, [s.id for s in left.values()])
        self.known, self._monitored, self._held_by = {}, NEVER_MONITORED, 0
        self.refused, self.unfiltered, self._made = [], [], {}
        await self._monitor(port, loop, monitor, tags)
        self._monitored, self._held_by = self._fingerprint(tags), monitor.session.key

    async def monitor_more(
        self,
        port: SourcePort,
        loop: PublishLoop,
        monitor: Monitor,
        more: Sequence[IndexedTag],
    ) -> None:
        """Monitor tags that were refused before, or found later."""
        self.refused = []
        await self._monitor(port, loop, monitor, more)

    async def _monitor(
        self,
        port: SourcePort,
        loop: PublishLoop,
        monitor: Monitor,
        tags: Sequence[IndexedTag],
    ) -> None:
        for name, members in subscribe.by_group(tags).items():
            group = self._groups[name]
            subscription = self.known.get(name)
            if subscription is None:
                subscription = await subscribe.create_subscription(monitor.session, group)
                loop.add(subscription)
                if not self.known:
                    await subscribe.watch_model(monitor.session, subscription)
                self.known[name] = subscription
            self._take(port, group, await monitor.create(subscription, group, members))

    def now_monitored(self, tags: Sequence[IndexedTag]) -> None:
        """Note that these tags are what is read now, apart from those refused."""
        self._monitored = self._fingerprint(tags)

    def marks(self, subscription: Subscription, sequence: int) -> tuple[Mark, ...]:
        """Return what has to be durable with a notification."""
        group = subscription.group
        marks = (
            Mark(f"{group}/id", subscription.id),
            Mark(f"{group}/sequence", sequence),
            Mark("monitored", self._monitored),
            Mark("session", self._held_by),
        )
        revised = self._revised.get(group)
        return marks if revised is None else (*marks, Mark(f"{group}/revised", revised))

    # -- what the server made of it ---------------------------------------------------------------

    def _take(self, port: SourcePort, group: GroupConfig, made: Monitored) -> None:
        self.refused += made.troubles
        self.unfiltered += made.unfiltered
        held = self._made.setdefault(group.name, made)
        if held is not made:
            held.items_count += made.items_count
            for mine, new in (
                (held.sampling_ms, made.sampling_ms),
                (held.queue_size, made.queue_size),
            ):
                for number in (new.low, new.high):
                    if number is not None:
                        mine.add(number)
        self._apply_deadbands(port, group, made.unfiltered)

    def _apply_deadbands(
        self, port: SourcePort, group: GroupConfig, tags: Sequence[IndexedTag]
    ) -> None:
        """Let the gateway leave out what the server should have."""
        specs = []
        for _, tag in tags:
            width = own_deadband(tag, group)
            if width is not None and width > tag.spec.deadband:
                specs.append(msgspec.structs.replace(tag.spec, deadband=width))
        if specs:
            port.add(specs)

    def note_revised(self, port: SourcePort, now_us: int) -> None:
        """Enter in the ledger, once, where a server gives less than was asked for."""
        for name, subscription in self.known.items():
            made = self._made.get(name)
            if made is None or not made.items_count:
                continue
            less = _less(self._groups[name], subscription, made)
            number = zlib.crc32(less.encode()) if less else 0
            if number != self._revised.get(name, port.marks().get(f"{name}/revised", 0)):
                self._revised[name] = number
                if less:
                    port.lose("revised", now_us, now_us, detail=f"group {name}: {less}")

    def reports(self) -> list[GroupReport]:
        """Return each subscribed group as it is read."""
        found = []
        for name, group in self._groups.items():
            if group.mode != "subscribe":
                continue
            subscription, made = self.known.get(name), self._made.get(name)
            found.append(
                GroupReport(
                    name=name,
                    mode="subscribe",
                    items_count=made.items_count if made is not None else 0,
                    requested=_requested(group),
                    revised=_revised(subscription, made),
                )
            )
        return found

    def _fingerprint(self, tags: Sequence[IndexedTag]) -> int:
        """Return a number that stands for what is monitored, the same in every process."""
        without = {trouble.address for trouble in self.refused}
        monitored = [f"{t.group}:{index}" for index, t in tags if t.spec.address not in without]
        groups = [msgspec.json.encode(self._groups[g]).decode() for g in sorted(self._groups)]
        return zlib.crc32(",".join(sorted(monitored) + groups).encode()) or 1


def _requested(group: GroupConfig) -> dict[str, float]:
    return {
        "sampling_interval_ms": group.sampling_interval_ms,
        "publishing_interval_ms": group.publishing_interval_ms,
        "queue_size": group.queue_size,
    }


def _revised(subscription: Subscription | None, made: Monitored | None) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    if subscription is not None:
        interval_ms = subscription.publishing_interval_ms
        found["publishing_interval_ms"] = [interval_ms, interval_ms]
    if made is not None:
        for name, given in (
            ("sampling_interval_ms", made.sampling_ms),
            ("queue_size", made.queue_size),
        ):
            if given.low is not None and given.high is not None:
                found[name] = [given.low, given.high]
    return found


def _less(group: GroupConfig, subscription: Subscription, made: Monitored) -> str:
    """Say what a server gives less of than was asked; "" when it gives all."""
    parts = []
    slowest_ms, fewest = made.sampling_ms.high, made.queue_size.low
    asked_ms = group.sampling_interval_ms
    if asked_ms and slowest_ms is not None and slowest_ms > asked_ms * _SLACK:
        parts.append(f"it samples every {slowest_ms:g} ms instead of {asked_ms} ms")
    if subscription.publishing_interval_ms > group.publishing_interval_ms * _SLACK:
        parts.append(
            f"it publishes every {subscription.publishing_interval_ms:g} ms"
            f" instead of {group.publishing_interval_ms} ms"
        )
    if fewest is not None and fewest < group.queue_size:
        parts.append(f"it queues {fewest:g} changes of a tag instead of {group.queue_size}")
    return "; ".join(parts)
