"""OPC UA built-in types against Sparkplug data types and value kinds.

Arrays travel packed as Sparkplug packs them (3.0, 6.4.17); what Sparkplug has no type for
(structures, node ids, localized text, matrices) travels as text.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from asyncua import ua

from contract.mapping import KIND_OF
from contract.sample import ValueKind
from sparkplug_b.datatype import DataType, pack_array

EPOCH_TICKS = 116_444_736_000_000_000
"""1970-01-01 in 100 ns since 1601-01-01."""

SCALAR: dict[int, DataType] = {
    1: DataType.BOOLEAN,
    2: DataType.INT8,
    3: DataType.UINT8,
    4: DataType.INT16,
    5: DataType.UINT16,
    6: DataType.INT32,
    7: DataType.UINT32,
    8: DataType.INT64,
    9: DataType.UINT64,
    10: DataType.FLOAT,
    11: DataType.DOUBLE,
    12: DataType.STRING,
    13: DataType.DATETIME,
    14: DataType.STRING,  # Guid
    15: DataType.BYTES,
    16: DataType.STRING,  # XmlElement
    17: DataType.STRING,  # NodeId
    18: DataType.STRING,  # ExpandedNodeId
    19: DataType.UINT32,  # StatusCode
    20: DataType.STRING,  # QualifiedName
    21: DataType.STRING,  # LocalizedText
    22: DataType.STRING,  # ExtensionObject
    29: DataType.INT32,  # Enumeration
}
ARRAY: dict[int, DataType] = {
    1: DataType.BOOLEAN_ARRAY,
    2: DataType.INT8_ARRAY,
    3: DataType.UINT8_ARRAY,
    4: DataType.INT16_ARRAY,
    5: DataType.UINT16_ARRAY,
    6: DataType.INT32_ARRAY,
    7: DataType.UINT32_ARRAY,
    8: DataType.INT64_ARRAY,
    9: DataType.UINT64_ARRAY,
    10: DataType.FLOAT_ARRAY,
    11: DataType.DOUBLE_ARRAY,
    12: DataType.STRING_ARRAY,
    13: DataType.DATETIME_ARRAY,
    29: DataType.INT32_ARRAY,
}


def data_type_of(type_id: int, *, is_array: bool) -> DataType:
    """Return the Sparkplug type that a tag of this OPC UA built-in type gets."""
    table = ARRAY if is_array else SCALAR
    return table.get(type_id, DataType.STRING)


def hold(type_id: int, value: Any, *, is_array: bool) -> tuple[ValueKind, Any]:
    """Turn a value that asyncua decoded into what its value kind holds.

    ``type_id`` is the variant's built-in type. Raises ValueError, TypeError or OverflowError for a
    value that does not fit the type it names.
    """
    if is_array and isinstance(value, list) and any(isinstance(v, list) for v in value):
        return ValueKind.TEXT, as_text(value)  # a matrix
    data_type = data_type_of(type_id, is_array=is_array)
    kind = KIND_OF[data_type]
    if value is None:
        return (kind, b"") if kind is ValueKind.BYTES else (ValueKind.NULL, None)
    if kind is ValueKind.TEXT:
        return kind, as_text(value)
    if is_array:
        return kind, pack_array(data_type, [_element(data_type, v) for v in value])
    if kind is ValueKind.BYTES:
        return kind, bytes(value)
    return kind, _number(data_type, value)


def _number(data_type: DataType, value: Any) -> int | float:
    if data_type is DataType.DATETIME:
        return micros(value)
    if KIND_OF[data_type] is ValueKind.DOUBLE:
        return float(value)
    return int(getattr(value, "value", value))


def _element(data_type: DataType, value: Any) -> Any:
    if data_type is DataType.DATETIME_ARRAY:
        return micros(value) // 1000
    if data_type is DataType.STRING_ARRAY:
        return "" if value is None else readable(str(value)).replace("\0", "�")
    return value


def micros(moment: datetime) -> int:
    """Return µs since 1970 UTC of a datetime; a naive one is taken as UTC, as asyncua means it."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def iso(moment: datetime, *, timespec: str = "auto") -> str:
    """Return a time as ISO 8601 in UTC; a naive one is taken as UTC, as asyncua means it."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def as_text(value: Any) -> str:
    """Write a value without a Sparkplug type as text: itself, or JSON for lists."""
    if isinstance(value, (list, tuple)):
        return json.dumps([_json_ready(v) for v in value], ensure_ascii=False)
    if isinstance(value, ua.LocalizedText):
        return readable(value.Text or "")
    if isinstance(value, ua.QualifiedName):
        return readable(value.Name or "")
    if isinstance(value, ua.NodeId):
        return readable(value.to_string())
    if isinstance(value, ua.XmlElement):
        return readable(value.Value or "")
    return readable(str(value))


def _json_ready(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [_json_ready(v) for v in value]
    return as_text(value)


def readable(text: str) -> str:
    """Return text as UTF-8 can carry it: asyncua keeps bytes that are no UTF-8 as surrogates."""
    if text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
