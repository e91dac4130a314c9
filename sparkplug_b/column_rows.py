"""Rows laid out in plain Python: fastest for a handful of rows, and the way for texts and blobs."""

from __future__ import annotations

import struct
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sparkplug_b.column_wire import NULL, WireColumn, varint
from sparkplug_b.datatype import DataType, Quality
from sparkplug_b.errors import EncodeError
from sparkplug_b.timestamp import NS_TIMESTAMP_MIN

_PACK_DOUBLE = struct.Struct("<d").pack
_PACK_FLOAT = struct.Struct("<f").pack
_QUALITY_INT32 = bytes((DataType.INT32,))


@lru_cache(maxsize=256)
def quality_field(quality: int) -> bytes:
    """Return the `properties` field with the one Int32 property `Quality`; empty when good.

    Source: Sparkplug 3.0, tck-id-payloads-propertyset-quality-value-type, -quality-value-value.

    Raises:
        EncodeError: sparkplug.encode, for another quality than bad, good or stale.
    """
    if quality == Quality.GOOD:
        return b""
    if quality not in {Quality.BAD, Quality.STALE}:
        raise EncodeError(f"{quality} is no Quality", field="quality")
    value = b"\x08" + _QUALITY_INT32 + b"\x18" + varint(quality & 0xFFFFFFFF)
    body = b"\x0a\x07Quality\x12" + varint(len(value)) + value
    return b"\x4a" + varint(len(body)) + body


def encode_rows(column: WireColumn) -> tuple[bytes, NDArray[np.int64]]:
    """Return the concatenated `metrics` fields and the end of each."""
    fields = _value_fields(column)
    rows: list[bytes] = []
    ends: list[int] = []
    end = 0
    last, time_field = -1, b""
    for alias, timestamp, field in zip(
        column.alias.tolist(), column.timestamp.tolist(), fields, strict=True
    ):
        if timestamp != last:
            last, time_field = timestamp, _time_field(timestamp)
        row = _alias_field(alias) + time_field + field
        size = len(row)
        head = bytes((0x12, size)) if size < 0x80 else b"\x12" + varint(size)
        rows += (head, row)
        end += len(head) + size
        ends.append(end)
    return b"".join(rows), np.array(ends, np.int64)


@lru_cache(maxsize=65_536)
def _alias_field(alias: int) -> bytes:
    return b"\x10" + varint(alias)


@lru_cache(maxsize=256)
def _time_high(high: int) -> bytes:
    return varint(high)


def _time_field(timestamp: int) -> bytes:
    high = timestamp >> 14  # in ms it changes every 16 s
    if high == 0 or timestamp >= NS_TIMESTAMP_MIN:
        return b"\x18" + varint(timestamp)
    return bytes((0x18, timestamp & 0x7F | 0x80, timestamp >> 7 & 0x7F | 0x80)) + _time_high(high)


def _value_fields(column: WireColumn) -> list[bytes]:
    """Return what follows the timestamp: flags, is_null, properties, value."""
    values, tag = column.values, column.tag
    if isinstance(values, list):
        fields = [b"".join((tag, varint(len(value)), value)) for value in values]
    elif values.dtype.kind == "f":
        pack = _PACK_DOUBLE if values.dtype.itemsize == 8 else _PACK_FLOAT
        fields = [tag + pack(value) for value in values.tolist()]
    elif values.dtype.kind == "b":
        fields = [b"\x70\x01" if value else b"\x70\x00" for value in values.tolist()]
    else:
        fields = [tag + varint(value) for value in values.tolist()]
    if column.null is not None:
        nulls = column.null.tolist()
        fields = [b"" if gone else field for field, gone in zip(fields, nulls, strict=True)]
    if column.quality is not None:
        numbers = column.quality.tolist()
        fields = [quality_field(q) + field for q, field in zip(numbers, fields, strict=True)]
    if column.null is not None:
        nulls = column.null.tolist()
        fields = [
            NULL + field if gone else field for field, gone in zip(fields, nulls, strict=True)
        ]
    if column.flags:
        flags = column.flags
        fields = [flags + field for field in fields]
    return fields
