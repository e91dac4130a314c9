"""The fast encoder of DATA metrics: columns in, concatenated `metrics` fields out.

Promise: the bytes equal those that protobuf (upb) writes for the same metrics, byte for byte; a
property test holds it to that. No object per sample: many rows become a byte matrix
(`column_matrix.py`); few rows, texts and blobs go through plain Python (`column_rows.py`), which is
faster there. Figures: README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sparkplug_b.column_matrix import encode_matrix
from sparkplug_b.column_rows import encode_rows
from sparkplug_b.column_wire import (
    HISTORICAL,
    TRANSIENT,
    WireColumn,
    value_tag,
    varint,
    wire_values,
)
from sparkplug_b.datatype import DataType, Quality
from sparkplug_b.errors import EncodeError
from sparkplug_b.timestamp import NS_PER_MS, TimestampUnit

#: Up to this many rows plain Python is faster than the fixed cost of some 30 numpy calls
#: (measured, README.md).
SMALL_ROWS_MAX: Final = 40

_TIME_MS_MAX_IN_NS: Final = ((1 << 63) - 1) // NS_PER_MS


@dataclass(slots=True)
class MetricColumn:
    """Values of one data type, one row per metric, in the order they are sent.

    Attributes:
        data_type: type of all rows; not written (DATA carries no data type).
        alias: alias of each row.
        time_ms: acquisition time of each row, ms since 1970 UTC, not negative.
        values: float array for FLOAT and DOUBLE, integer array for integers and DATETIME (ms),
            bool (or 0 and 1) for BOOLEAN, strings for STRING, TEXT and UUID, bytes for BYTES, FILE
            and packed arrays. Rows that are null are not looked at.
        quality: None when all are good; else a `Quality` per row: rows other than GOOD (192) carry
            the property.
        null: rows sent as `is_null` without a value; None when there are none.
        time_ns: the same times, ns since 1970 UTC, for writing in ns without cutting them to ms;
            None: `time_ms` is all that is known. Not looked at when writing in ms.
    """

    data_type: DataType
    alias: NDArray[np.uint64]
    time_ms: NDArray[np.int64]
    values: NDArray[Any] | Sequence[str] | Sequence[bytes]
    quality: NDArray[np.int32] | None = None
    null: NDArray[np.bool_] | None = None
    time_ns: NDArray[np.int64] | None = None


@dataclass(slots=True)
class EncodedMetrics:
    """Encoded rows: row i, tag and length included, ends in `body` at `ends[i]`."""

    body: bytes
    ends: NDArray[np.int64]


def encode_metrics(
    column: MetricColumn,
    *,
    is_historical: bool = False,
    is_transient: bool = False,
    timestamp_unit: TimestampUnit = "ms",
) -> EncodedMetrics:
    """Encode a column as DATA metrics: alias, timestamp, value; no name, no data type.

    `is_historical` and `is_transient` go for every row: one column holds rows of one kind. DateTime
    values are ms in either unit.

    Source: Sparkplug 3.0, tck-id-payloads-metric-timestamp-in-UTC, -metric-datatype-not-req,
    -name-birth-data-requirement, -alias-data-cmd-requirement.

    Raises:
        EncodeError: sparkplug.encode, when lengths differ, a time is negative or a value does not
            fit the data type.
    """
    row_count = len(column.alias)
    tag = value_tag(column.data_type)
    _check_shape(column, row_count)
    if row_count == 0:
        return EncodedMetrics(b"", np.empty(0, np.int64))
    null = column.null if column.null is not None and column.null.any() else None
    quality = column.quality
    if quality is not None and not (quality != Quality.GOOD).any():
        quality = None
    wire = WireColumn(
        alias=column.alias.astype(np.uint64, copy=False),
        timestamp=_timestamps(column, timestamp_unit),
        tag=tag,
        values=wire_values(column.data_type, column.values, null),
        quality=quality,
        null=null,
        flags=HISTORICAL * is_historical + TRANSIENT * is_transient,
    )
    few = row_count <= SMALL_ROWS_MAX or isinstance(wire.values, list)
    return EncodedMetrics(*(encode_rows(wire) if few else encode_matrix(wire)))


def data_payload(
    body: bytes | memoryview,
    *,
    timestamp_ms: int,
    seq: int,
    uuid: str | None = None,
    timestamp_unit: TimestampUnit = "ms",
) -> bytes:
    """Wrap encoded metrics in a payload: timestamp (written in its unit), metrics, seq, uuid.

    Source: Sparkplug 3.0, tck-id-payloads-ndata-timestamp, -seq; tck-id-payloads-ddata-timestamp,
    -seq.

    Raises:
        EncodeError: sparkplug.encode, when seq is not 0 to 255 or the time is no uint64.
    """
    if not 0 <= seq <= 255:
        raise EncodeError(f"{seq} is not 0 to 255", field="seq")
    timestamp = timestamp_ms if timestamp_unit == "ms" else timestamp_ms * NS_PER_MS
    if not 0 <= timestamp < 1 << 64:
        raise EncodeError(f"{timestamp_ms} is no time", field="timestamp")
    tail = b"\x18" + varint(seq)
    if uuid is not None:
        text = uuid.encode()
        tail += b"\x22" + varint(len(text)) + text
    return b"".join((b"\x08", varint(timestamp), body, tail))


def _timestamps(column: MetricColumn, unit: TimestampUnit) -> NDArray[np.int64]:
    time_ms = column.time_ms.astype(np.int64, copy=False)
    if unit == "ms":
        return time_ms
    if column.time_ns is not None:
        return column.time_ns.astype(np.int64, copy=False)
    if int(time_ms.max()) > _TIME_MS_MAX_IN_NS:
        raise EncodeError("a time after 2262 in ns", field="time_ms")
    return time_ms * NS_PER_MS


def _check_shape(column: MetricColumn, row_count: int) -> None:
    for name, other in (
        ("time_ms", column.time_ms),
        ("values", column.values),
        ("quality", column.quality),
        ("null", column.null),
        ("time_ns", column.time_ns),
    ):
        if other is not None and len(other) != row_count:
            raise EncodeError(f"{len(other)} rows for {row_count} aliases", field=name)
    for name, times in (("time_ms", column.time_ms), ("time_ns", column.time_ns)):
        if row_count and times is not None and int(times.min()) < 0:
            raise EncodeError("a time before 1970", field=name)
