"""Watchdogs of a session: a subscription that is silent, and one that no longer tells changes.

*Keep-alive*: each subscription has to answer within ``SILENT_KEEP_ALIVES`` of its keep-alive
intervals; one that was deleted behind our back does not, while its neighbours go on. *Data*: a
group with ``silence_s_max`` that told no change for so long is held against the server: where
values differ from ours, and no change came after all, its subscription is dead. Both end the
session with ``DeadSubscriptionError``, so that all is built anew. Task: ``run``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from asyncua.ua.uaerrors import UaError

from contract.config import GroupConfig
from contract.sample import SampleBatch
from gateway.errors import SourceError
from gateway.sources.base import SourcePort
from gateway.sources.opcua.convert import TagColumns, to_batch
from gateway.sources.opcua.discover import IndexedTag
from gateway.sources.opcua.limits import CallLimits
from gateway.sources.opcua.monitor import own_deadband
from gateway.sources.opcua.poll import read_notification
from gateway.sources.opcua.session import Session
from gateway.sources.opcua.subscribe import Subscription
from runtime.clock import Clock

LOOK_S = 1.0
SILENT_KEEP_ALIVES = 4.0
SILENT_S_MIN = 20.0
COMPARED_MAX = 200
"""Tags of a group that are held against the server at once: others in turn, the next time."""


class DeadSubscriptionError(SourceError):
    """Raised when a subscription no longer tells what it should: it must not be taken over."""


class Watchdog:
    """Watches the subscriptions of one session."""

    def __init__(
        self,
        session: Session,
        groups: Mapping[str, GroupConfig],
        tags: TagColumns,
        limits: CallLimits,
        clock: Clock,
    ) -> None:
        self._session = session
        self._groups = groups
        self._tags = tags
        self._at_once = min(COMPARED_MAX, limits.nodes_per_read)
        self._clock = clock
        self._answered: dict[str, tuple[int, float]] = {}  # responses so far, and since when
        self._data_s: dict[str, float] = {}
        self._turn: dict[str, int] = {}

    def told(self, group: str) -> None:
        """Note that a group told a change."""
        self._data_s[group] = self._clock.monotonic_s()

    async def run(
        self,
        port: SourcePort,
        subscriptions: Mapping[str, Subscription],
        members: Mapping[str, Sequence[IndexedTag]],
    ) -> None:
        """Watch for as long as the session holds.

        Raises:
            DeadSubscriptionError: see the module.
            SourceError: the session is lost.
        """
        while True:
            await self._clock.sleep_s(LOOK_S)
            for name, subscription in list(subscriptions.items()):
                self._check_answers(name, subscription)
                silence_s = self._groups[name].silence_s_max
                if silence_s is not None and self._silent_s(name) > silence_s:
                    await self._compare(port, name, subscription, members.get(name, ()))

    def _check_answers(self, name: str, subscription: Subscription) -> None:
        now_s = self._clock.monotonic_s()
        count, since_s = self._answered.get(name, (-1, now_s))
        if subscription.responses_count != count:
            self._answered[name] = (subscription.responses_count, now_s)
            return
        limit_s = max(SILENT_S_MIN, SILENT_KEEP_ALIVES * subscription.keep_alive_s)
        if now_s - since_s > limit_s:
            raise DeadSubscriptionError(
                f"connected, but the subscription of group {name} has not answered for"
                f" {limit_s:.0f} s: all is subscribed anew"
            )

    def _silent_s(self, name: str) -> float:
        now_s = self._clock.monotonic_s()
        return now_s - self._data_s.setdefault(name, now_s)

    async def _compare(
        self,
        port: SourcePort,
        name: str,
        subscription: Subscription,
        members: Sequence[IndexedTag],
    ) -> None:
        """Hold some tags against the server; raise when it knows other values for good."""
        told_s = self._data_s[name]
        turn = self._turn.get(name, 0) % max(1, len(members))
        part = members[turn : turn + self._at_once]
        self._turn[name] = turn + len(part)
        if not await self._differing(port, name, part):
            self._data_s[name] = self._clock.monotonic_s()
            return
        # it may be on its way: after two rounds of sampling and publishing it has come
        wait_ms = 2 * (
            self._groups[name].sampling_interval_ms + subscription.publishing_interval_ms
        )
        await self._clock.sleep_s(wait_ms / 1000 + LOOK_S)
        if self._data_s[name] != told_s:
            return
        differing = await self._differing(port, name, part)
        if differing and self._data_s[name] == told_s:
            raise DeadSubscriptionError(
                f"connected, but group {name} told no change for"
                f" {self._groups[name].silence_s_max:g} s, while {len(differing)} of {len(part)}"
                f" tags have other values at the server (as {differing[0]}): all is subscribed anew"
            )

    async def _differing(
        self, port: SourcePort, name: str, tags: Sequence[IndexedTag]
    ) -> list[str]:
        """Return the names of tags whose value at the server is not the last one reported."""
        if not tags:
            return []
        try:
            notification = await read_notification(self._session, tags)
        except SourceError as error:
            if not isinstance(error.__cause__, UaError):
                raise
            # it refuses to read so many: fewer the next time, and no verdict now
            self._at_once = max(1, len(tags) // 2)
            return []
        batch, _ = to_batch(notification.segments, self._tags, self._clock.wall_us())
        by_index = dict(tags)
        group = self._groups[name]
        found = []
        for index, value in _rows(batch):
            tag = by_index[index]
            width = max(tag.spec.deadband, own_deadband(tag, group) or 0.0, 0.0)
            if _differ(port.last_value(index), value, width):
                found.append(tag.spec.name)
        return found


def _rows(batch: SampleBatch) -> list[tuple[int, Any]]:
    rows: list[tuple[int, Any]] = []
    for columns in batch.columns:
        values = columns.value
        if values is None:
            continue  # a status alone: nothing to compare
        held = values.tolist() if isinstance(values, np.ndarray) else values
        rows += zip(columns.tag.tolist(), held, strict=True)
    return rows


def _differ(ours: Any, theirs: Any, width: float) -> bool:
    if isinstance(ours, (int, float)) and isinstance(theirs, (int, float)):
        if ours != ours and theirs != theirs:  # noqa: PLR0124 - both are NaN
            return False
        return not abs(ours - theirs) <= width
    return bool(ours != theirs)
