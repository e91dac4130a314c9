"""A sample against a Sparkplug metric: value kinds, data types and quality."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.sample import STATUS_GOOD, STATUS_SEVERITY_MASK, ValueKind
from sparkplug_b.datatype import DataType

KIND_OF: dict[DataType, ValueKind] = {
    DataType.INT8: ValueKind.INT,
    DataType.INT16: ValueKind.INT,
    DataType.INT32: ValueKind.INT,
    DataType.INT64: ValueKind.INT,
    DataType.UINT8: ValueKind.INT,
    DataType.UINT16: ValueKind.INT,
    DataType.UINT32: ValueKind.INT,
    DataType.UINT64: ValueKind.UINT,
    DataType.FLOAT: ValueKind.DOUBLE,
    DataType.DOUBLE: ValueKind.DOUBLE,
    DataType.BOOLEAN: ValueKind.INT,
    DataType.DATETIME: ValueKind.INT,
    DataType.STRING: ValueKind.TEXT,
    DataType.TEXT: ValueKind.TEXT,
    DataType.UUID: ValueKind.TEXT,
    DataType.BYTES: ValueKind.BYTES,
    DataType.FILE: ValueKind.BYTES,
} | {DataType(number): ValueKind.BYTES for number in range(22, 35)}
"""The value kind that holds each data type a tag can have."""

QUALITY_GOOD = 192
QUALITY_BAD = 0
QUALITY_STALE = 500
"""Sparkplug 3.0, 6.4.16: the values of the ``Quality`` property."""


def quality_of(status: NDArray[np.uint32]) -> NDArray[np.int32]:
    """Return the Sparkplug quality of OPC UA status codes.

    Good (severity 00) is 192; Uncertain and Bad are 0, but for Uncertain_LastUsableValue and
    Uncertain_NoCommunicationLastUsable, whose value is old: 500.
    """
    severity = status & np.uint32(STATUS_SEVERITY_MASK)
    quality = np.where(severity == 0, QUALITY_GOOD, QUALITY_BAD)
    code = status & np.uint32(0xFFFF0000)
    last_usable = (code == 0x40900000) | (code == 0x408F0000)
    return np.where(last_usable, QUALITY_STALE, quality).astype(np.int32)


def metric_value(data_type: DataType, value: Any) -> Any:  # noqa: ANN401 - a value of any kind
    """Turn one held value into what a Sparkplug metric of the type carries (births, the UI)."""
    if value is None:
        return None
    if data_type is DataType.BOOLEAN:
        return bool(value)
    if data_type is DataType.DATETIME:
        return int(value) // 1000
    if data_type in {DataType.FLOAT, DataType.DOUBLE}:
        return float(value)
    if KIND_OF[data_type] in {ValueKind.INT, ValueKind.UINT}:
        return int(value)
    return value


STATUS_BAD = 0x80000000
STATUS_UNCERTAIN = 0x40000000
STATUS_LAST_USABLE = 0x40900000
"""OPC UA Uncertain_LastUsableValue: the edge node says that its value is old."""
STATUS_NO_COMMUNICATION = 0x408F0000
"""OPC UA Uncertain_NoCommunicationLastUsable: the host knows that nobody reports the value."""


def status_of_quality(quality: object) -> int:
    """Return the OPC UA status code of a ``Quality`` property; what is not understood is uncertain.

    192 is good, 0 bad, 500 stale (Sparkplug 3.0, 6.4.16). Other numbers go by the two top bits of
    an OPC Data Access quality (0xC0 good, 0x40 uncertain), which many nodes send.
    """
    if isinstance(quality, bool) or not isinstance(quality, int):
        return STATUS_UNCERTAIN
    if quality == QUALITY_STALE:
        return STATUS_LAST_USABLE
    if not 0 <= quality <= 0xFFFF:
        return STATUS_UNCERTAIN
    severity = quality & 0xC0
    if severity == QUALITY_GOOD:
        return STATUS_GOOD
    return STATUS_UNCERTAIN if severity == 0x40 else STATUS_BAD
