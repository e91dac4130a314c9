"""Polled groups: tags that are read in turns, for servers that cannot subscribe or must not.

Each cycle reads all tags of a group, in parts that the server takes, over registered node ids
where it gives them. Source times are the server's. A node that fails faults its own tag. A cycle
that cannot begin in time is left out, counted and entered in the ledger. Task: ``run``, a child of
the session. Source: OPC 10000-4, 5.9.5 (RegisterNodes) and 5.11.2 (Read).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from asyncua import ua
from asyncua.ua.uaerrors import UaError

from contract.config import GroupConfig
from gateway.errors import SourceError
from gateway.sources.base import GroupReport, SourcePort, TagTrouble
from gateway.sources.opcua.decode import Notification
from gateway.sources.opcua.discover import IndexedTag
from gateway.sources.opcua.fallback import from_asyncua
from gateway.sources.opcua.limits import CallLimits
from gateway.sources.opcua.session import Session
from gateway.sources.opcua.subscribe import call
from runtime.clock import Clock
from runtime.log import logger

Polled = Callable[[Notification], Awaitable[None]]
"""Takes what one cycle read; waits as back-pressure."""


class PolledGroup:
    """One polled group of a source, over its sessions."""

    def __init__(self, group: GroupConfig, clock: Clock) -> None:
        self.name = group.name
        self._group = group
        self._clock = clock
        self._interval_s = group.interval_ms / 1000
        self._at_once = 0
        self._items_count = 0
        self.missed_cycles_count = 0
        self.cycles_count = 0
        self.troubles: list[TagTrouble] = []

    async def run(
        self,
        session: Session,
        port: SourcePort,
        limits: CallLimits,
        members: Callable[[], Sequence[IndexedTag]],
        polled: Polled,
    ) -> None:
        """Read in turns until the session is lost; ``members`` may grow. Raises SourceError."""
        self._at_once = limits.nodes_per_read
        tags: Sequence[IndexedTag] = ()
        node_ids: list[Any] = []
        due_s = self._clock.monotonic_s()
        while True:
            if len(members()) != len(tags):
                tags = members()
                self._items_count = len(tags)
                node_ids = await self._register(session, limits, tags)
            await self._cycle(session, tags, node_ids, polled)
            now_s = self._clock.monotonic_s()
            late = int((now_s - due_s) / self._interval_s)
            if late:
                self._note_missed(port, late)
            due_s += (late + 1) * self._interval_s
            await self._clock.sleep_s(max(0.0, due_s - now_s))

    def _note_missed(self, port: SourcePort, cycles: int) -> None:
        self.missed_cycles_count += cycles
        now_us = self._clock.wall_us()
        port.lose(
            "poll_missed",
            now_us - cycles * self._group.interval_ms * 1000,
            now_us,
            count=cycles * self._items_count,
            detail=f"group {self.name}: {cycles} cycles of {self._group.interval_ms} ms were late",
        )

    async def _register(
        self, session: Session, limits: CallLimits, tags: Sequence[IndexedTag]
    ) -> list[Any]:
        """Return node ids that the server reads faster; its own where it registers none."""
        node_ids = [tag.node_id for _, tag in tags]
        registered: list[Any] = []
        for start in range(0, len(node_ids), limits.nodes_per_register):
            request = ua.RegisterNodesRequest()
            part = node_ids[start : start + limits.nodes_per_register]
            request.Parameters.NodesToRegister = part
            try:
                response = await call(session, request, ua.RegisterNodesResponse)
            except SourceError as error:
                if not isinstance(error.__cause__, UaError):
                    raise
                logger().info("opcua.nodes_not_registered", group=self.name, reason=str(error))
                return node_ids
            registered += response.Parameters.RegisteredNodeIds or []
        return registered if len(registered) == len(node_ids) else node_ids

    async def _cycle(
        self, session: Session, tags: Sequence[IndexedTag], node_ids: list[Any], polled: Polled
    ) -> None:
        troubles: list[TagTrouble] = []
        start = 0
        while start < len(node_ids):
            part = node_ids[start : start + self._at_once]
            values = await self._read(session, part)
            if values is None:
                continue
            members = tags[start : start + len(part)]
            start += len(part)
            troubles += _troubles(members, values)
            await polled(_notification(members, values))
        self.troubles = troubles
        self.cycles_count += 1

    async def _read(self, session: Session, node_ids: list[Any]) -> list[Any] | None:
        """Read values; None when the server takes fewer at once: fewer are asked next time."""
        try:
            return await _read(session, node_ids)
        except SourceError as error:
            if not isinstance(error.__cause__, UaError):
                raise
            if len(node_ids) > 1:
                self._at_once = len(node_ids) // 2
                return None
            code = getattr(error.__cause__, "code", None) or ua.StatusCodes.BadUnexpectedError
            return [ua.DataValue(StatusCode=ua.StatusCode(code))]

    def report(self) -> GroupReport:
        """Return the group as it is read."""
        return GroupReport(
            name=self.name,
            mode="poll",
            items_count=self._items_count,
            requested={"interval_ms": self._group.interval_ms},
            missed_cycles_count=self.missed_cycles_count,
        )


async def read_notification(session: Session, tags: Sequence[IndexedTag]) -> Notification:
    """Read the present values of tags, of one call's number, as if they had been notified.

    Raises SourceError.
    """
    values = await _read(session, [tag.node_id for _, tag in tags])
    return _notification(tags, values)


async def _read(session: Session, node_ids: list[Any]) -> list[Any]:
    request = ua.ReadRequest()
    request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
    request.Parameters.NodesToRead = [_value_of(node_id) for node_id in node_ids]
    response = await call(session, request, ua.ReadResponse)
    results = list(response.Results or [])
    if len(results) != len(node_ids):
        raise SourceError(f"{len(results)} values came for {len(node_ids)} nodes")
    return results


def _value_of(node_id: Any) -> Any:
    wanted = ua.ReadValueId()
    wanted.NodeId = node_id
    wanted.AttributeId = ua.AttributeIds.Value
    return wanted


def _troubles(tags: Sequence[IndexedTag], values: Sequence[Any]) -> list[TagTrouble]:
    """Name the tags that cannot be read at all; a bad value of one that can is a sample."""
    return [
        TagTrouble(
            tag=tag.spec.name,
            address=tag.spec.address,
            code=str(value.StatusCode.name),
            message=f"the server does not read this node: {value.StatusCode.name}",
        )
        for (_, tag), value in zip(tags, values, strict=True)
        if _is_refused(value)
    ]


def _is_refused(value: Any) -> bool:
    return value.StatusCode is not None and str(value.StatusCode.name) in {
        "BadNodeIdUnknown",
        "BadNodeIdInvalid",
        "BadAttributeIdInvalid",
        "BadUserAccessDenied",
        "BadNotReadable",
    }


def _notification(tags: Sequence[IndexedTag], values: Sequence[Any]) -> Notification:
    """Return read values in the form of a notification: the same way goes on from here."""
    change = ua.DataChangeNotification()
    change.MonitoredItems = [
        _item(index, value) for (index, _), value in zip(tags, values, strict=True)
    ]
    message = ua.NotificationMessage()
    message.NotificationData = [change]
    return from_asyncua(0, message)


def _item(index: int, value: Any) -> Any:
    item = ua.MonitoredItemNotification()
    item.ClientHandle = index
    item.Value = value
    return item
