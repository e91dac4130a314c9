"""What a host application is told, and what it may be told to bear: events, reasons, options.

Events are plain data in the order in which they happened; a caller stores and publishes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from sparkplug_b.datatype import DataType
from sparkplug_b.decoder import DEFAULT_LIMITS, Limits
from sparkplug_b.edge_message import OutboundMessage
from sparkplug_b.payload import MetaData, PropertySet, Value

HostDrop = Literal[
    "topic",  # not a topic of this namespace
    "retained",  # a node's message delivered with the retain flag: of unknown age
    "command",  # NCMD, DCMD: our own or another host's
    "foreign_state",  # STATE of another host
    "state",  # our own STATE topic, but no STATE body
    "not_connected",  # came after the connection was given up
    "malformed",  # not a payload, over the limits, or a value that is not of its type
    "no_seq",  # a message without a seq of 0 to 255
    "no_bd_seq",  # an NBIRTH without bdSeq: taken, but every NDEATH will match
    "no_name",  # a metric of a birth without a name
    "bad_name",  # a metric of a birth whose name holds control characters, and its data
    "name_twice",  # a metric name twice in one birth: the first counts
    "alias_clash",  # an alias twice in one birth, or data by such an alias: means none of them
    "before_birth",  # data, device birth or death before the birth it needs
    "after_gap",  # given up with the gap before it: only an NBIRTH is believed
    "gap",  # a gap in seq that was not filled in time
    "duplicate",  # the same message again
    "superseded",  # belongs to the time before the last NBIRTH
    "death_bd_seq",  # NDEATH of another session
    "death_duplicate",  # NDEATH or DDEATH of what is not online
    "unknown_metric",  # neither alias nor name stands in the birth
    "retyped",  # data says another data type than the birth
    "no_value",  # data with neither a value nor is_null
    "bad_time",  # a timestamp over 2^63: the time of receipt is taken
    "nodes_max",  # over the limit of nodes
    "devices_max",  # over the limit of devices of a node
    "metrics_max",  # over the limit of metrics of a node, its devices included
]

OfflineReason = Literal[
    "death",  # NDEATH or DDEATH
    "node_death",  # of a device: its node died
    "connection_lost",  # the host lost its own connection: nothing is known
    "not_reborn",  # of a device: an NBIRTH came, its DBIRTH did not in time
]


class HostOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a host bears and how long it waits.

    Source: Sparkplug 3.0, tck-id-operational-behavior-host-reordering-param.

    Attributes:
        group_ids: groups to subscribe; empty: all.
        reorder_timeout_ms: how long a gap in seq may stay open; 0: a gap is given up at once.
        reorder_messages_max: held back per node while a gap is open; 1 to 255.
        reorder_bytes_max: held back per node while a gap is open.
        is_released_after_gap: take what was held when a gap is given up, unless an NBIRTH may be
            among what is lost; False drops it.
        device_birth_timeout_ms: how long after an NBIRTH a known device may wait for its DBIRTH.
        rebirth_interval_ms: between two requests to one node.
        rebirth_requests_max: to one node that answers none and sends nothing amiss meanwhile.
        is_typed_command: write data types into commands: the text says should not, peers need it.
        nodes_max: nodes known, offline ones included.
        devices_max: devices of one node.
        metrics_max: metrics of one node, its devices included.
        limits: of one payload.
        is_normalised: read timestamps of 1e15 and more as ns (`normalise_ms`): for nodes of
            Factory+ (ACS 6). Events are in ms either way. Our own STATE and commands are in ms.
        is_inflated: read compressed payloads (`compression.py`), within `limits`.
    """

    group_ids: tuple[str, ...] = ()
    reorder_timeout_ms: int = 5_000
    reorder_messages_max: int = 64
    reorder_bytes_max: int = 8 * 1024 * 1024
    is_released_after_gap: bool = True
    device_birth_timeout_ms: int = 5_000
    rebirth_interval_ms: int = 10_000
    rebirth_requests_max: int = 5
    is_typed_command: bool = True
    nodes_max: int = 10_000
    devices_max: int = 1_000
    metrics_max: int = 200_000
    limits: Limits = DEFAULT_LIMITS
    is_normalised: bool = False
    is_inflated: bool = True


class HostMetric(msgspec.Struct, kw_only=True):
    """A metric as its birth gave it, with its current value.

    Attributes:
        data_type: UNKNOWN where the birth gave none; values are raw then.
        value: None is null. Stale is said by the scope, for all its metrics at once.
    """

    name: str
    alias: int | None
    data_type: DataType
    value: Value | None
    time_ms: int
    is_transient: bool
    properties: PropertySet | None
    metadata: MetaData | None


class NodeOnline(msgspec.Struct, frozen=True, kw_only=True):
    """An NBIRTH was taken; a MetricValues with its values follows.

    Attributes:
        is_rebirth: the node was online with the same bdSeq.
        metrics: by name; kept up to date by later data, not to be changed.
    """

    group_id: str
    node_id: str
    bd_seq: int | None
    time_ms: int
    is_rebirth: bool
    metrics: Mapping[str, HostMetric]


class NodeOffline(msgspec.Struct, frozen=True, kw_only=True):
    """The node is offline and its own metrics are stale; events of its devices came before."""

    group_id: str
    node_id: str
    time_ms: int
    reason: OfflineReason
    stale_names: tuple[str, ...]


class DeviceOnline(msgspec.Struct, frozen=True, kw_only=True):
    """A DBIRTH was taken; a MetricValues with its values follows. `metrics` as in NodeOnline."""

    group_id: str
    node_id: str
    device_id: str
    time_ms: int
    is_rebirth: bool
    metrics: Mapping[str, HostMetric]


class DeviceOffline(msgspec.Struct, frozen=True, kw_only=True):
    """The device is offline and its metrics are stale since `time_ms`."""

    group_id: str
    node_id: str
    device_id: str
    time_ms: int
    reason: OfflineReason
    stale_names: tuple[str, ...]


class MetricValues(msgspec.Struct, frozen=True, kw_only=True):
    """Values of one node (`device_id` None) or device, as columns in the order of the payload.

    Attributes:
        origin: a birth repeats current values, data is new.
        values: None is null.
        is_historical: of each row; True did not change the current value.
        is_transient: of each row; True is not to be stored.
        properties: of the rows that have some, by row; `Quality` among them.
        metadata: of the rows that have some, by row: of a FILE, or of one part of a large value.
    """

    group_id: str
    node_id: str
    device_id: str | None
    origin: Literal["birth", "data"]
    received_ms: int
    names: Sequence[str]
    data_types: Sequence[DataType]
    times_ms: Sequence[int]
    values: Sequence[Value | None]
    is_historical: Sequence[bool]
    is_transient: Sequence[bool]
    properties: Mapping[int, PropertySet]
    metadata: Mapping[int, MetaData] = msgspec.field(default_factory=dict)


class CommandToSend(msgspec.Struct, frozen=True, kw_only=True):
    """A message to publish at once: a rebirth request, or our own STATE put right."""

    kind: Literal["rebirth", "state"]
    message: OutboundMessage


HostEvent = NodeOnline | NodeOffline | DeviceOnline | DeviceOffline | MetricValues | CommandToSend
