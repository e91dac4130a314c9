"""What a gateway may do to a machine, and the events it takes: off unless the document says so.

``writable: true`` puts a tag on the write allow-list, ``methods`` lists the methods that may be
called, ``conditions.acknowledge`` allows to acknowledge alarms, ``events`` are read as tags.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from contract.config_group import GroupConfig
from contract.config_id import Id
from contract.config_names import fault_of_id, fault_of_metric, fault_of_node
from contract.config_shape import joined, nearest, shown
from contract.errors import Fault

READ_BACK_MS_MAX = 4_000
SERVER_NODE = "ns=0;i=2253"


class WriteConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of what may be written to a writable tag, beside those that its server tells.

    Attributes:
        low: least value, in the tag's own unit (scaled); None: the data type's and the range's.
        high: most value.
        read_back_ms: how long the value may take to read back as written; 0: it is not read back.
    """

    low: float | None = None
    high: float | None = None
    read_back_ms: Annotated[int, Meta(ge=0, le=READ_BACK_MS_MAX)] = 1_000


class MethodConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A method that people may call through the gateway.

    Attributes:
        name: what it is called by here.
        object: node of the object it belongs to.
        method: node of the method.
    """

    name: Id
    object: Annotated[str, Meta(min_length=3, max_length=4096)]
    method: Annotated[str, Meta(min_length=3, max_length=4096)]


class ConditionsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be done to alarms and conditions."""

    acknowledge: bool = False


class EventConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stream of events that becomes a tag: one JSON text a sample, none ever left out.

    Attributes:
        name: metric name of the tag.
        group: the subscription group it is published with.
        device: Sparkplug device; the source's name when left out.
        node: the notifier; the Server object hears of everything.
        types: only events of these types and of their subtypes; all when empty.
        severity_min: only events at least as severe (1 to 1000).
        queue_size: events that the server keeps between two publishes.
        refresh: have the server tell the conditions that still hold after each new connection.
        record: false: Sparkplug historians are told not to keep it.
    """

    name: Annotated[str, Meta(min_length=1, max_length=1024)]
    group: Annotated[str, Meta(min_length=1, max_length=64)]
    device: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    node: Annotated[str, Meta(min_length=3, max_length=4096)] = SERVER_NODE
    types: Annotated[
        list[Annotated[str, Meta(min_length=3, max_length=4096)]], Meta(max_length=50)
    ] = []
    severity_min: Annotated[int, Meta(ge=1, le=1000)] = 1
    queue_size: Annotated[int, Meta(ge=1, le=10_000)] = 1_000
    refresh: bool = True
    record: bool = True


def write_faults(write: WriteConfig, path: str, *, writable: bool) -> Iterator[Fault]:
    """Check the write limits of a tag; ``path`` is the tag's."""
    at = joined(path, "write")
    if not writable:
        yield Fault(
            code="config.conflict",
            path=at,
            message="limits for writing are given, but the tag is not writable",
            remedy="add writable: true, or leave write out",
        )
    for name, limit in (("low", write.low), ("high", write.high)):
        if limit is not None and not math.isfinite(limit):
            yield Fault(
                code="config.out_of_range",
                path=joined(at, name),
                message="has to be a finite number, not NaN or infinity",
            )
    if write.low is not None and write.high is not None and write.low > write.high:
        yield Fault(
            code="config.out_of_range",
            path=joined(at, "low"),
            message="the least value is above the most: nothing could be written",
            remedy="exchange low and high",
        )


def method_faults(methods: Sequence[tuple[int, MethodConfig]], source: str) -> Iterator[Fault]:
    """Check the methods of a source; ``source`` is its path."""
    seen: dict[str, str] = {}
    for index, method in methods:
        path = f"{source}.methods[{index}]"
        for name, node in (("object", method.object), ("method", method.method)):
            fault = fault_of_node(node, joined(path, name))
            if fault is not None:
                yield fault
        first = seen.setdefault(method.name, path)
        if first != path:
            yield Fault(
                code="config.duplicate_method",
                path=joined(path, "name"),
                message=f"the method name {shown(method.name)} is taken by {first}",
                remedy="give each method a name of its own",
            )


def event_faults(
    events: Sequence[tuple[int, EventConfig]],
    groups: Sequence[tuple[int, GroupConfig]],
    group_names: set[str] | None,
    source: str,
) -> Iterator[Fault]:
    """Check the event streams of a source; ``group_names`` is None when not all can be read."""
    polled = {group.name for _, group in groups if group.mode == "poll"}
    for index, event in events:
        path = f"{source}.events[{index}]"
        found = [
            fault_of_metric(event.name, joined(path, "name")),
            fault_of_node(event.node, joined(path, "node")),
            *(fault_of_node(node, f"{path}.types[{n}]") for n, node in enumerate(event.types)),
        ]
        if event.device is not None:
            found.append(fault_of_id(event.device, joined(path, "device"), "device"))
        yield from (fault for fault in found if fault is not None)
        if event.group in polled:
            yield Fault(
                code="config.conflict",
                path=joined(path, "group"),
                message=f"group {shown(event.group)} is polled: events only come by subscription",
                remedy="name a group with mode subscribe",
            )
        elif group_names is not None and event.group not in group_names:
            yield Fault(
                code="config.unknown_group",
                path=joined(path, "group"),
                message=f"the source has no group {shown(event.group)}",
                remedy=nearest(event.group, group_names) or "add the group",
            )
