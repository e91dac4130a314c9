"""Commands to an edge node: NCMD and DCMD payloads read against the tables of the birth.

Bytes come from anyone who may publish to the command topic: nothing here raises for them. What is
not carried out is counted with a reason.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from sparkplug_b.birth import BornScope
from sparkplug_b.codec import decode
from sparkplug_b.datatype import INTEGER_RANGE, STRING_TYPES, DataType
from sparkplug_b.decoder import Limits
from sparkplug_b.errors import DecodeError, EncodeError
from sparkplug_b.payload import Metric, Value
from sparkplug_b.scalar import to_wire

NODE_REBIRTH: Final = "Node Control/Rebirth"
DEVICE_REBIRTH: Final = "Device Control/Rebirth"
COMMAND_LIMITS: Final = Limits(
    payload_bytes_max=256 * 1024, metrics_count_max=10_000, items_count_max=100_000
)

CommandDrop = Literal[
    "retained",  # delivered with the retain flag: of unknown age
    "topic",  # not a command topic of this node
    "malformed",  # not a payload, or over the limits
    "unknown_metric",  # no such metric in the last birth
    "no_value",  # neither a value nor is_null
    "type_mismatch",  # the value does not fit the metric's data type
    "rebirth_not_true",  # a rebirth request with another value than true
]

_FLOAT_TYPES: Final = frozenset({DataType.FLOAT, DataType.DOUBLE})
_BLOB_TYPES: Final = frozenset({DataType.BYTES, DataType.FILE})


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a host asks for.

    Attributes:
        kind: `rebirth` of the node (`device_id` None) or of one device; `write` of a value.
        name: name of the metric, also where the command came by alias.
        data_type: the metric's data type as the birth gave it.
        value: fits `data_type`; None: the host asks for null.
        time_ms: the metric's timestamp, else the payload's; None: the host sent none. A host that
            counts in ns is read right (`normalise_ms`).
    """

    kind: Literal["rebirth", "write"]
    device_id: str | None
    name: str
    alias: int | None
    data_type: DataType
    value: Value | None
    time_ms: int | None


def read_commands(
    payload: bytes, device_id: str | None, scope: BornScope | None
) -> tuple[list[Command], list[CommandDrop]]:
    """Read a command payload against the birth of its node or device (None: not born)."""
    try:
        types = scope.types if scope else None
        message = decode(payload, types=types, limits=COMMAND_LIMITS, normalise=True, inflate=True)
    except DecodeError:
        return [], ["malformed"]
    commands: list[Command] = []
    drops: list[CommandDrop] = []
    for metric in message.metrics:
        found = _read(metric, device_id, scope, message.timestamp_ms)
        if isinstance(found, Command):
            commands.append(found)
        else:
            drops.append(found)
    return commands, drops


def _read(
    metric: Metric, device_id: str | None, scope: BornScope | None, sent_ms: int | None
) -> Command | CommandDrop:
    name = metric.name
    if name is None and metric.alias is not None and scope is not None:
        name = scope.name_of_alias.get(metric.alias)
    if name is None:
        return "unknown_metric"
    time_ms = metric.time_ms if metric.time_ms is not None else sent_ms
    if name == NODE_REBIRTH and device_id is None:
        return _rebirth(metric, None, name, time_ms)
    if name == DEVICE_REBIRTH and device_id is not None and scope is not None:
        return _rebirth(metric, device_id, name, time_ms)
    return _write(metric, device_id, name, scope, time_ms)


def _write(
    metric: Metric,
    device_id: str | None,
    name: str,
    scope: BornScope | None,
    time_ms: int | None,
) -> Command | CommandDrop:
    data_type = scope.types.get(name) if scope is not None else None
    if data_type is None:
        return "unknown_metric"
    if metric.value is None and not metric.is_null:
        return "no_value"
    try:
        value = None if metric.value is None else _fit(metric.value, metric.data_type, data_type)
    except EncodeError:
        return "type_mismatch"
    return Command(
        kind="write",
        device_id=device_id,
        name=name,
        alias=metric.alias,
        data_type=data_type,
        value=value,
        time_ms=time_ms,
    )


def _rebirth(
    metric: Metric, device_id: str | None, name: str, time_ms: int | None
) -> Command | CommandDrop:
    if metric.value is not True:
        return "rebirth_not_true"
    return Command(
        kind="rebirth",
        device_id=device_id,
        name=name,
        alias=metric.alias,
        data_type=DataType.BOOLEAN,
        value=True,
        time_ms=time_ms,
    )


def _fit(value: Value, said: DataType | None, born: DataType) -> Value:
    """Return the value as the born type, from the type the command gave; EncodeError if it cannot.

    Integers pass between integer types within range, integers and floats into floats, texts
    between text types: what loses nothing but the precision of a float.
    """
    if not said or said is born:
        return value
    if born in INTEGER_RANGE and said in INTEGER_RANGE:
        to_wire(born, value)
        return value
    if born in _FLOAT_TYPES and (said in _FLOAT_TYPES or said in INTEGER_RANGE):
        to_wire(born, value)
        assert isinstance(value, int | float)
        return float(value)
    for group in (STRING_TYPES, _BLOB_TYPES):
        if born in group and said in group:
            return value
    raise EncodeError(f"{said.name} for {born.name}")
