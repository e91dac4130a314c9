"""Sparkplug B 3.0.0: payload codec, topics, sessions of edge node and host. Pure protocol.

No I/O, no clock, nothing of ours imported: data types (`datatype`), payload data (`payload`),
bytes (`codec`; `columns` for DATA at speed), topics (`topic`), the session (`edge`), the primary
host's STATE (`state`), a host application's session (`host`).
"""

from sparkplug_b.birth import BirthMetric, DeviceBirth
from sparkplug_b.birth_size import BirthFit
from sparkplug_b.codec import decode, decode_columns, encode
from sparkplug_b.columns import EncodedMetrics, MetricColumn, data_payload, encode_metrics
from sparkplug_b.command import Command, CommandDrop
from sparkplug_b.compression import COMPRESSED_UUID, CompressionAlgorithm, compressed
from sparkplug_b.datatype import DataType, Quality, pack_array, unpack_array
from sparkplug_b.decoder import DEFAULT_LIMITS, Limits, TypeTable
from sparkplug_b.edge import (
    EdgeNodeSession,
    EdgeOptions,
    OutboundMessage,
    SessionState,
    next_bd_seq,
)
from sparkplug_b.errors import (
    DecodeCause,
    DecodeError,
    DeviceStateError,
    DuplicateAliasError,
    DuplicateNameError,
    EncodeError,
    NotBornError,
    NotConnectedError,
    PacketTooLargeError,
    SessionError,
    SparkplugError,
    TopicError,
)
from sparkplug_b.host import HostSession, HostSessionState
from sparkplug_b.host_drops import Dropped
from sparkplug_b.host_event import (
    CommandToSend,
    DeviceOffline,
    DeviceOnline,
    HostDrop,
    HostEvent,
    HostMetric,
    HostOptions,
    MetricValues,
    NodeOffline,
    NodeOnline,
    OfflineReason,
)
from sparkplug_b.host_node import HostNode
from sparkplug_b.host_scope import HostScope
from sparkplug_b.metric_columns import MetricColumns
from sparkplug_b.payload import (
    DataSet,
    MetaData,
    Metric,
    Parameter,
    Payload,
    PropertySet,
    PropertySetList,
    PropertyValue,
    Template,
    Value,
)
from sparkplug_b.state import HostState, PrimaryHost, parse_state
from sparkplug_b.timestamp import TimestampUnit, normalise_ms
from sparkplug_b.topic import (
    StateTopic,
    Topic,
    advise_metric_name,
    check_id,
    check_metric_name,
    check_metric_names,
    device_topic,
    node_topic,
    parse_topic,
    state_topic,
)

__all__ = [
    "COMPRESSED_UUID",
    "DEFAULT_LIMITS",
    "BirthFit",
    "BirthMetric",
    "Command",
    "CommandDrop",
    "CommandToSend",
    "CompressionAlgorithm",
    "DataSet",
    "DataType",
    "DecodeCause",
    "DecodeError",
    "DeviceBirth",
    "DeviceOffline",
    "DeviceOnline",
    "DeviceStateError",
    "Dropped",
    "DuplicateAliasError",
    "DuplicateNameError",
    "EdgeNodeSession",
    "EdgeOptions",
    "EncodeError",
    "EncodedMetrics",
    "HostDrop",
    "HostEvent",
    "HostMetric",
    "HostNode",
    "HostOptions",
    "HostScope",
    "HostSession",
    "HostSessionState",
    "HostState",
    "Limits",
    "MetaData",
    "Metric",
    "MetricColumn",
    "MetricColumns",
    "MetricValues",
    "NodeOffline",
    "NodeOnline",
    "NotBornError",
    "NotConnectedError",
    "OfflineReason",
    "OutboundMessage",
    "PacketTooLargeError",
    "Parameter",
    "Payload",
    "PrimaryHost",
    "PropertySet",
    "PropertySetList",
    "PropertyValue",
    "Quality",
    "SessionError",
    "SessionState",
    "SparkplugError",
    "StateTopic",
    "Template",
    "TimestampUnit",
    "Topic",
    "TopicError",
    "TypeTable",
    "Value",
    "advise_metric_name",
    "check_id",
    "check_metric_name",
    "check_metric_names",
    "compressed",
    "data_payload",
    "decode",
    "decode_columns",
    "device_topic",
    "encode",
    "encode_metrics",
    "next_bd_seq",
    "node_topic",
    "normalise_ms",
    "pack_array",
    "parse_state",
    "parse_topic",
    "state_topic",
    "unpack_array",
]
