"""The tree of edge nodes and devices: who is online, since when, why not; kept over restarts.

A node is on one MQTT server at a time: the one of its newest NBIRTH. What another server still
says of it (a late NDEATH, data of the session before) is ignored and counted as ``other_server``.
All is in memory; ``save`` writes what changed, in one transaction. Bound: HostOptions.nodes_max,
devices_max.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import anyio
import msgspec
from sqlalchemy import select, update

from central.database import Database
from central.fleet.registry import member_id_of
from central.fleet.tables import Gateway
from central.ingest.sparkplug.pieces import micros_of
from central.ingest.sparkplug.tables import ID_LENGTH_MAX, EdgeNode, EdgeScope
from sparkplug_b.host_event import (
    DeviceOffline,
    DeviceOnline,
    HostMetric,
    MetricValues,
    NodeOffline,
    NodeOnline,
)

State = Literal["online", "offline", "stale"]
NodeKey = tuple[str, str]
NodeEvent = NodeOnline | NodeOffline | DeviceOnline | DeviceOffline | MetricValues
_STALE_REASONS = frozenset({"connection_lost", "not_reborn"})


class MetricInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A metric as the last birth gave it."""

    name: str
    data_type: int
    alias: int | None = None
    is_transient: bool = False


class ScopeRecord(msgspec.Struct, kw_only=True):
    """A node itself (``device`` "") or one of its devices.

    Attributes:
        reason: why it is not online: death, node_death, connection_lost, not_reborn, hub_restarted.
        metrics: msgpack of list[MetricInfo], as it is kept.
    """

    device: str
    state: State = "stale"
    reason: str = "no_birth"
    since_us: int = 0
    births_count: int = 0
    metrics_count: int = 0
    metrics: bytes = b"\x90"


class NodeRecord(msgspec.Struct, kw_only=True):
    """An edge node; times are of the hub's clock.

    Attributes:
        id: of the row; 0 before it was saved.
        member_number: of the member that its samples belong to; None before any was stored.
        server: the MQTT server of its newest birth.
        not_stored: why its values are not stored; "" when they are.
        drops: what was not used of its messages, by cause.
    """

    group_id: str
    node_id: str
    id: int = 0
    member_number: int | None = None
    server: str = ""
    bd_seq: int | None = None
    last_seen_us: int = 0
    rebirths_requested_count: int = 0
    not_stored: str = ""
    drops: dict[str, int] = {}
    own: ScopeRecord = msgspec.field(default_factory=lambda: ScopeRecord(device=""))
    devices: dict[str, ScopeRecord] = {}

    @property
    def key(self) -> NodeKey:
        """Return (group id, node id)."""
        return self.group_id, self.node_id

    def scope(self, device: str | None) -> ScopeRecord | None:
        """Return the node's own record, or a device's; None when it is not known."""
        return self.devices.get(device) if device else self.own


class Nodes:
    """All edge nodes, by (group id, node id)."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._nodes: dict[NodeKey, NodeRecord] = {}
        self._dirty: set[NodeKey] = set()
        self._dirty_scopes: set[tuple[NodeKey, str]] = set()
        self._changed = anyio.Event()

    async def wait_for_change(self) -> None:
        """Wait until somebody was born or went offline since the last ``save``."""
        await self._changed.wait()

    def get(self, key: NodeKey) -> NodeRecord | None:
        """Return a node; None when it was never heard of."""
        return self._nodes.get(key)

    def all(self) -> Iterable[NodeRecord]:
        """Return every node."""
        return self._nodes.values()

    def seen(self, key: NodeKey, server: str, now_us: int) -> NodeRecord | None:
        """Note that a node was heard of; None when its id is too long to be kept."""
        node = self._nodes.get(key)
        if node is None:
            if max(map(len, key)) > ID_LENGTH_MAX:
                return None
            node = NodeRecord(group_id=key[0], node_id=key[1], server=server)
            node.own.since_us = now_us
            self._nodes[key] = node
        node.last_seen_us = now_us
        self._dirty.add(key)
        return node

    def apply(self, server: str, event: NodeEvent) -> bool:
        """Take an event of a server over; False: it is of a session that is not the newest."""
        key = (event.group_id, event.node_id)
        node = self._nodes.get(key)
        if node is None:
            return False
        if isinstance(event, NodeOnline):
            node.server = server
            node.bd_seq = event.bd_seq
        elif node.server != server:
            self.count(key, "other_server", 1)
            return False
        if isinstance(event, MetricValues):
            return True
        self._dirty.add(key)
        if isinstance(event, NodeOnline | NodeOffline):
            return self._change(node, "", event)
        if len(event.device_id) > ID_LENGTH_MAX:
            return True  # its values cannot be stored either; samples.py counts them
        return self._change(node, event.device_id, event)

    def count(self, key: NodeKey, cause: str, count: int) -> None:
        """Count what was not used of a node's messages."""
        node = self._nodes.get(key)
        if node is not None and count:
            node.drops[cause] = node.drops.get(cause, 0) + count
            self._dirty.add(key)

    def note(self, key: NodeKey, **changes: int | str | None) -> None:
        """Set fields of a node."""
        node = self._nodes.get(key)
        if node is not None:
            for field, value in changes.items():
                setattr(node, field, value)
            self._dirty.add(key)

    def count_rebirth(self, key: NodeKey) -> None:
        """Count a rebirth request."""
        node = self._nodes.get(key)
        if node is not None:
            node.rebirths_requested_count += 1
            self._dirty.add(key)

    def all_stale(self, now_us: int, reason: str) -> None:
        """Mark what is online as stale: nobody listens to it."""
        for key, node in self._nodes.items():
            for scope in (node.own, *node.devices.values()):
                if scope.state == "online":
                    scope.state, scope.reason, scope.since_us = "stale", reason, now_us
                    self._dirty.add(key)
                    self._dirty_scopes.add((key, scope.device))

    async def load(self) -> None:
        """Read everything; births' metric lists stay in the database."""
        columns = [c for c in EdgeScope.__table__.columns if c.name != "metrics"]
        async with self._database.reading() as session:
            rows = (await session.scalars(select(EdgeNode))).all()
            scopes = (await session.execute(select(*columns))).all()
            members = await session.execute(
                select(Gateway.id, Gateway.number).where(Gateway.kind == "sparkplug")
            )
            numbers = {member_id: number for member_id, number in members}  # noqa: C416 - typed
        by_id = {row.id: _node(row) for row in rows}
        for node in by_id.values():
            node.member_number = numbers.get(member_id_of(*node.key))
        for scope in scopes:
            node = by_id[scope.edge_node_id]
            record = ScopeRecord(
                device=scope.device,
                state=scope.state,
                reason=scope.reason,
                since_us=scope.since_us,
                births_count=scope.births_count,
                metrics_count=scope.metrics_count,
                metrics=b"",
            )
            if scope.device:
                node.devices[scope.device] = record
            else:
                node.own = record
        self._nodes = {node.key: node for node in by_id.values()}
        self._dirty.clear()
        self._dirty_scopes.clear()

    async def metrics(self, node: NodeRecord, device: str) -> list[MetricInfo]:
        """Return the metrics of the last birth of a node or device."""
        scope = node.scope(device)
        content = scope.metrics if scope is not None else b""
        if not content and node.id:
            async with self._database.reading() as session:
                content = (
                    await session.scalar(
                        select(EdgeScope.metrics).where(
                            EdgeScope.edge_node_id == node.id, EdgeScope.device == device
                        )
                    )
                    or b""
                )
        return msgspec.msgpack.decode(content or b"\x90", type=list[MetricInfo])

    async def save(self) -> None:
        """Write what changed since the last time, in one transaction."""
        keys, scopes = self._dirty, self._dirty_scopes
        if not keys and not scopes:
            return
        self._dirty, self._dirty_scopes = set(), set()
        self._changed = anyio.Event()
        try:
            await self._write(keys, scopes)
        except BaseException:
            self._dirty |= keys
            self._dirty_scopes |= scopes
            raise

    async def _write(self, keys: set[NodeKey], scopes: set[tuple[NodeKey, str]]) -> None:
        fresh: list[tuple[NodeRecord, EdgeNode]] = []
        async with self._database.transaction() as session:
            for key in keys | {key for key, _ in scopes}:
                node = self._nodes[key]
                if node.id:
                    await session.execute(
                        update(EdgeNode).where(EdgeNode.id == node.id).values(_columns(node))
                    )
                else:
                    row = EdgeNode(group_id=key[0], node_id=key[1], **_columns(node))
                    session.add(row)
                    fresh.append((node, row))
            await session.flush()
            ids = {node.key: row.id for node, row in fresh}
            for key, device in scopes:
                node = self._nodes[key]
                scope = node.scope(device)
                assert scope is not None
                values = {
                    "state": scope.state,
                    "reason": scope.reason,
                    "since_us": scope.since_us,
                    "births_count": scope.births_count,
                    "metrics_count": scope.metrics_count,
                } | ({"metrics": scope.metrics} if scope.metrics else {})
                place = {"edge_node_id": node.id or ids[key], "device": device}
                known = await session.execute(
                    update(EdgeScope).filter_by(**place).values(values)
                    .returning(EdgeScope.edge_node_id)
                )  # fmt: skip
                if known.first() is None:
                    session.add(EdgeScope(**place, **({"metrics": b"\x90"} | values)))
        for node, row in fresh:
            node.id = row.id
        for key, device in scopes:
            written = self._nodes[key].scope(device)
            if written is not None and (key, device) not in self._dirty_scopes:
                written.metrics = b""  # the database has it; it is read back when asked for

    def _change(
        self,
        node: NodeRecord,
        device: str,
        event: NodeOnline | NodeOffline | DeviceOnline | DeviceOffline,
    ) -> bool:
        scope = (
            node.own if not device else node.devices.setdefault(device, ScopeRecord(device=device))
        )
        self._dirty_scopes.add((node.key, device))
        self._changed.set()
        since_us = micros_of(event.time_ms)
        scope.since_us = node.last_seen_us if since_us is None else since_us
        if isinstance(event, NodeOnline | DeviceOnline):
            scope.state, scope.reason = "online", ""
            scope.births_count += 1
            scope.metrics_count = len(event.metrics)
            scope.metrics = _packed(event.metrics)
        else:
            is_stale = event.reason in _STALE_REASONS
            scope.state, scope.reason = "stale" if is_stale else "offline", event.reason
        return True


def _packed(metrics: Mapping[str, HostMetric]) -> bytes:
    return msgspec.msgpack.encode(
        [
            MetricInfo(
                name=m.name, data_type=int(m.data_type), alias=m.alias, is_transient=m.is_transient
            )
            for m in metrics.values()
        ]
    )


def _columns(node: NodeRecord) -> dict[str, object]:
    return {
        "server": node.server,
        "state": node.own.state,
        "reason": node.own.reason,
        "since_us": node.own.since_us,
        "bd_seq": node.bd_seq,
        "last_seen_us": node.last_seen_us,
        "births_count": node.own.births_count,
        "rebirths_requested_count": node.rebirths_requested_count,
        "not_stored": node.not_stored,
        "drops": msgspec.json.encode(node.drops).decode(),
    }


def _node(row: EdgeNode) -> NodeRecord:
    return NodeRecord(
        group_id=row.group_id,
        node_id=row.node_id,
        id=row.id,
        server=row.server,
        bd_seq=row.bd_seq,
        last_seen_us=row.last_seen_us,
        rebirths_requested_count=row.rebirths_requested_count,
        not_stored=row.not_stored,
        drops=msgspec.json.decode(row.drops, type=dict[str, int]),
        own=ScopeRecord(
            device="",
            state=msgspec.convert(row.state, State),
            reason=row.reason,
            since_us=row.since_us,
            births_count=row.births_count,
        ),
    )
