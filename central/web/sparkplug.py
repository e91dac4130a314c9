"""``/api/sparkplug``: edge nodes as the hub's Sparkplug host sees them."""

from __future__ import annotations

import base64
import math
from typing import Annotated, Any

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from central.errors import UnknownNodeError
from central.fleet.registry import member_id_of
from central.ingest.last import Value
from central.ingest.sparkplug.link import LinkState
from central.ingest.sparkplug.nodes import MetricInfo, NodeRecord, ScopeRecord, State
from central.ingest.sparkplug.pieces import micros_of
from central.web.guard import DATA_READ, FLEET_READ
from central.web.parts import Parts
from runtime.http import permit

Limit = Annotated[int, QueryParameter(ge=1, le=1000)]
Offset = Annotated[int, QueryParameter(ge=0, le=10_000_000)]
Search = Annotated[str, QueryParameter(max_length=200)]


class ServerAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An MQTT server as this hub sees it; counters count since this hub became the host."""

    name: str
    address: str
    state: LinkState
    reason: str
    since_us: int
    connects_count: int
    messages_count: int
    inbox_count: int
    inbox_dropped_count: int


class HostAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The Sparkplug host.

    Attributes:
        is_configured: whether this hub has a document for it.
        is_host: whether this hub is the host now; of several hubs one is.
        holder: the hub that holds the lease; "" for none.
        holder_url: its address.
        pending_samples_count: values that wait to be spooled.
        dropped_samples_count: values dropped because they could not be stored fast enough.
        not_stored_samples_count: values of nodes that are excluded, or are our own gateways.
        unstorable: values that have no place in a series, by cause.
    """

    is_configured: bool
    host_id: str
    is_host: bool
    holder: str
    holder_url: str
    servers: list[ServerAnswer]
    stored_samples_count: int
    pending_samples_count: int
    dropped_samples_count: int
    not_stored_samples_count: int
    unstorable: dict[str, int]


class ScopeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A device, or the edge node itself (``device`` "")."""

    device: str
    state: State
    reason: str
    since_us: int
    births_count: int
    metrics_count: int


class NodeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An edge node.

    Attributes:
        state: online; offline (it died); stale (nobody listens to it, or it was not born again).
        reason: death, connection_lost, hub_restarted, no_birth, not_reborn; "" while online.
        since_us: of the state.
        bd_seq: of its newest birth.
        gateway: the id under which its tags and samples are read; null before any was stored.
        not_stored: why its values are not stored; "" when they are.
        gaps_count: gaps in seq that were not filled in time.
        drops: what was not used of its messages, by cause.
    """

    group: str
    node: str
    server: str
    state: State
    reason: str
    since_us: int
    last_seen_us: int
    bd_seq: int | None
    gateway: str | None
    not_stored: str
    births_count: int
    rebirths_requested_count: int
    gaps_count: int
    drops: dict[str, int]
    metrics_count: int
    devices_count: int


class NodesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of edge nodes; ``total`` counts all that match."""

    total: int
    nodes: list[NodeAnswer]


class MetricAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of the last birth; value and time are null where this hub does not know them.

    Bytes are base64; arrays, DataSets and templates have no value here.
    """

    name: str
    data_type: int
    alias: int | None
    is_transient: bool
    is_stale: bool
    value: Value
    time_us: int | None


class NodeDetail(msgspec.Struct, frozen=True, kw_only=True):
    """An edge node, its devices, and a page of the metrics of one of them (or of itself)."""

    node: NodeAnswer
    devices: list[ScopeAnswer]
    device: str
    metrics_total: int
    metrics: list[MetricAnswer]


@get("/api/sparkplug", opt=permit(FLEET_READ), tags=["sparkplug"], operation_id="readSparkplugHost")
async def read_host(parts: NamedDependency[Parts]) -> HostAnswer:
    """Say how the Sparkplug host is."""
    host, bridge = parts.sparkplug, parts.sparkplug.bridge
    view = await host.lease.view()
    return HostAnswer(
        is_configured=host.document is not None,
        host_id=host.document.host_id if host.document is not None else "",
        is_host=host.is_host,
        holder=view.holder if view is not None else "",
        holder_url=view.url if view is not None else "",
        servers=[
            ServerAnswer(
                name=link.label,
                address=link.address,
                state=link.state,
                reason=link.reason,
                since_us=link.since_us,
                connects_count=link.connects_count,
                messages_count=link.messages_count,
                inbox_count=link.inbox_count,
                inbox_dropped_count=link.inbox_dropped_count,
            )
            for link in host.links
        ],
        stored_samples_count=bridge.stored_count,
        pending_samples_count=bridge.pending_count,
        dropped_samples_count=bridge.dropped_count,
        not_stored_samples_count=bridge.not_stored_count,
        unstorable={str(cause): count for cause, count in bridge.unstorable.items()},
    )


@get(
    "/api/sparkplug/nodes",
    opt=permit(FLEET_READ),
    tags=["sparkplug"],
    operation_id="listSparkplugNodes",
)
async def list_nodes(
    parts: NamedDependency[Parts],
    search: Search = "",
    in_state: FromQuery[State | None] = None,
    offset: Offset = 0,
    limit: Limit = 100,
) -> NodesAnswer:
    """List edge nodes by words of ``GROUP/NODE`` and state, in order of name."""
    await parts.sparkplug.refresh()
    words = search.lower().split()
    found = sorted(
        (
            node
            for node in parts.sparkplug.nodes.all()
            if (in_state is None or node.own.state == in_state)
            and all(word in "/".join(node.key).lower() for word in words)
        ),
        key=lambda node: node.key,
    )
    page = found[offset : offset + limit]
    return NodesAnswer(total=len(found), nodes=[_node_answer(node) for node in page])


@get(
    "/api/sparkplug/nodes/{group:str}/{node:str}",
    opt=permit(DATA_READ),
    tags=["sparkplug"],
    operation_id="readSparkplugNode",
)
async def read_node(  # noqa: PLR0913, PLR0917 - a path of two, and a page
    parts: NamedDependency[Parts],
    group: FromPath[str],
    node: FromPath[str],
    device: Annotated[str, QueryParameter(max_length=200)] = "",
    search: Search = "",
    offset: Offset = 0,
    limit: Limit = 100,
) -> NodeDetail:
    """Return an edge node, its devices, and a page of metrics of ``device`` ("": its own)."""
    host = parts.sparkplug
    await host.refresh()
    record = host.nodes.get((group, node))
    if record is None or record.scope(device) is None:
        raise UnknownNodeError("this edge node or device was never heard of")
    words = search.lower().split()
    metrics = [
        metric
        for metric in await host.nodes.metrics(record, device)
        if all(word in metric.name.lower() for word in words)
    ]
    return NodeDetail(
        node=_node_answer(record),
        devices=[_scope_answer(record.devices[name]) for name in sorted(record.devices)],
        device=device,
        metrics_total=len(metrics),
        metrics=await _metric_answers(parts, record, device, metrics[offset : offset + limit]),
    )


def _node_answer(node: NodeRecord) -> NodeAnswer:
    return NodeAnswer(
        group=node.group_id,
        node=node.node_id,
        server=node.server,
        state=node.own.state,
        reason=node.own.reason,
        since_us=node.own.since_us,
        last_seen_us=node.last_seen_us,
        bd_seq=node.bd_seq,
        gateway=member_id_of(*node.key) if node.member_number is not None else None,
        not_stored=node.not_stored,
        births_count=node.own.births_count,
        rebirths_requested_count=node.rebirths_requested_count,
        gaps_count=node.drops.get("gap", 0),
        drops=node.drops,
        metrics_count=node.own.metrics_count,
        devices_count=len(node.devices),
    )


def _scope_answer(scope: ScopeRecord) -> ScopeAnswer:
    return ScopeAnswer(
        device=scope.device,
        state=scope.state,
        reason=scope.reason,
        since_us=scope.since_us,
        births_count=scope.births_count,
        metrics_count=scope.metrics_count,
    )


async def _metric_answers(
    parts: Parts, node: NodeRecord, device: str, page: list[MetricInfo]
) -> list[MetricAnswer]:
    """Join a page with live values, or with what was last stored where this hub has heard none."""
    live = parts.sparkplug.scope_of(node, device)
    kept: dict[str, tuple[Value, int]] = {}
    if live is None and node.member_number is not None:
        names = [metric.name for metric in page]
        for name, tag_id in await parts.tags.ids_of(node.member_number, device, names):
            last = parts.last_values.get(tag_id)
            if last is not None:
                kept[name] = (last.value, last.time_us)
    scope = node.scope(device)
    answers: list[MetricAnswer] = []
    for metric in page:
        value, time_us = kept.get(metric.name, (None, None))
        known = live.metrics.get(metric.name) if live is not None else None
        if known is not None:
            value, time_us = _shown(known.value), micros_of(known.time_ms)
        answers.append(
            MetricAnswer(
                name=metric.name,
                data_type=metric.data_type,
                alias=metric.alias,
                is_transient=metric.is_transient,
                is_stale=scope is None or scope.state != "online",
                value=value,
                time_us=time_us,
            )
        )
    return answers


def _shown(value: Any) -> Value:  # noqa: ANN401 - what the decoder gives
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int | str) else None


HANDLERS: list[Any] = [
    read_host,
    list_nodes,
    read_node,
]
