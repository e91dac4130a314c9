"""Check what an Arrow IPC stream claims before a decoder believes it.

The decoder (arro3, arrow-rs 59) trusts lengths: four damaged bytes made it allocate 1.8 GB and
take four seconds, a wrong row count made it abort the process. Here the schema has to be one of
ours, every length is held against the bytes that are there and against the rows, and the sum of
the uncompressed lengths against a limit. Only a decoder's own errors are left after that. Reads
the few FlatBuffers fields it needs by hand; decodes nothing.

Source: Arrow columnar format 1.5, "Encapsulated message format" and "Compression"; field and type
numbers from Message.fbs and Schema.fbs.
"""

from __future__ import annotations

import struct
from typing import NewType

from contract.errors import BatchError

DECODED_BYTES_MAX = 256 * 1024 * 1024
ROWS_MAX = 1_000_000
_CONTINUATION = 0xFFFFFFFF
_SCHEMA_MESSAGE, _RECORD_MESSAGE = 1, 3
_INT, _FLOAT, _BINARY, _UTF8 = 2, 3, 4, 5
_UNCOMPRESSED = -1

Table = NewType("Table", int)
"""Where a FlatBuffers table begins."""

_FIXED: tuple[tuple[bytes, int, int], ...] = (
    (b"tag", _INT, 32),
    (b"time_us", _INT, -64),
    (b"status", _INT, 32),
    (b"kind", _INT, 8),
)
"""Name, type and bits of the columns that every batch has; negative bits are signed."""
_VALUE: tuple[tuple[bytes, int, int], ...] = (
    (b"double", _FLOAT, 64),
    (b"int", _INT, -64),
    (b"uint", _INT, 64),
    (b"text", _UTF8, 0),
    (b"bytes", _BINARY, 0),
)


def check_framing(payload: bytes) -> None:
    """Check schema and lengths of all messages of a stream.

    Raises:
        BatchError: a schema that is not a sample batch's, a length that does not fit, or more
            than ``DECODED_BYTES_MAX`` bytes to decode.
    """
    try:
        _check(payload)
    except (struct.error, IndexError) as error:
        raise BatchError("a length in the Arrow stream points outside of it") from error


def _check(payload: bytes) -> None:
    at, decoded_bytes = 0, 0
    columns: list[tuple[bytes, int, int]] = []
    while at < len(payload):
        marker, length = struct.unpack_from("<II", payload, at)
        if marker != _CONTINUATION:
            raise BatchError("no Arrow IPC message where one should begin")
        if length == 0:
            return
        at += 8
        body = at + length
        message = Table(at + _uint(payload, at))
        kind = _number(payload, message, 1, "<B")
        body_length = _number(payload, message, 3, "<q")
        if not 0 <= body_length <= len(payload) - body:
            raise BatchError("an Arrow IPC message is cut short")
        header = _target(payload, message, 2)
        if kind == _SCHEMA_MESSAGE and not columns:
            columns = _columns(payload, header)
        elif kind == _RECORD_MESSAGE and columns:
            bounds = (body, body_length)
            decoded_bytes += _check_record(payload, header, bounds, columns)
        else:
            raise BatchError("an Arrow IPC message that a sample batch does not have")
        if decoded_bytes > DECODED_BYTES_MAX:
            raise BatchError(f"batch would decode to over {DECODED_BYTES_MAX} bytes")
        at = body + body_length


def _columns(payload: bytes, schema: Table) -> list[tuple[bytes, int, int]]:
    vector = _target(payload, schema, 1)
    count = _uint(payload, vector) if vector else 0
    if _number(payload, schema, 0, "<h") != 0 or count > len(_FIXED) + len(_VALUE):
        raise BatchError("not the schema of a sample batch")
    columns = []
    for number in range(count):
        place = vector + 4 + 4 * number
        columns.append(_column(payload, Table(place + _uint(payload, place))))
    known = [c for c in _VALUE if c in columns]
    if tuple(columns) != (*_FIXED, *known):
        raise BatchError("not the schema of a sample batch")
    return columns


def _column(payload: bytes, field: Table) -> tuple[bytes, int, int]:
    name = _target(payload, field, 0)
    length = _uint(payload, name) if name else 0
    kind = _number(payload, field, 2, "<B")
    details = _target(payload, field, 3)
    children = _target(payload, field, 5)
    has_children = bool(children) and _uint(payload, children) > 0
    if not details or has_children or _target(payload, field, 4):
        raise BatchError("not the schema of a sample batch")
    bits = 0
    if kind == _INT:
        is_signed = _number(payload, details, 1, "<B") != 0
        bits = _number(payload, details, 0, "<i") * (-1 if is_signed else 1)
    elif kind == _FLOAT:
        bits = {1: 32, 2: 64}.get(_number(payload, details, 0, "<h"), 16)
    return payload[name + 4 : name + 4 + min(length, 64)], kind, bits


def _check_record(
    payload: bytes,
    record: Table,
    bounds: tuple[int, int],
    columns: list[tuple[bytes, int, int]],
) -> int:
    """Hold a record batch's lengths against its rows; return the bytes it decodes to."""
    rows = _number(payload, record, 0, "<q")
    nodes, buffers = _target(payload, record, 1), _target(payload, record, 2)
    is_compressed = _target(payload, record, 3) != 0
    if not 0 <= rows <= ROWS_MAX or not nodes or not buffers:
        raise BatchError(f"record batch has no columns or over {ROWS_MAX} rows")
    nulls_of = _null_counts(payload, nodes, rows, len(columns))
    wanted = [
        size
        for (_, kind, bits), nulls in zip(columns, nulls_of, strict=True)
        for size in _sizes(kind, bits, rows, nulls)
    ]
    if _uint(payload, buffers) != len(wanted) or _target(payload, record, 4):
        raise BatchError("record batch has not the columns of its schema")
    total = 0
    for number, (least, width, may_be_absent) in enumerate(wanted):
        offset, length = struct.unpack_from("<qq", payload, buffers + 4 + 16 * number)
        if offset < 0 or offset % 8 or length < 0 or offset + length > bounds[1]:
            raise BatchError("a buffer lies outside of its message")
        decoded = length
        if is_compressed and length:
            claimed = struct.unpack_from("<q", payload, bounds[0] + offset)[0]
            decoded = length - 8 if claimed == _UNCOMPRESSED else claimed
        if decoded % width:
            raise BatchError("a buffer ends within a value")
        if decoded < least and not (may_be_absent and length == 0):
            raise BatchError("a buffer is shorter than its rows")
        total += decoded
    return total


def _null_counts(payload: bytes, nodes: Table, rows: int, columns_count: int) -> list[int]:
    if _uint(payload, nodes) != columns_count:
        raise BatchError("record batch has not the columns of its schema")
    counts = []
    for number in range(columns_count):
        length, nulls = struct.unpack_from("<qq", payload, nodes + 4 + 16 * number)
        if length != rows or not 0 <= nulls <= rows:
            raise BatchError("a column has not the rows of its record batch")
        counts.append(nulls)
    return counts


def _sizes(kind: int, bits: int, rows: int, nulls: int) -> list[tuple[int, int, bool]]:
    """Return for each buffer of a column: least bytes, bytes of a value, may it be absent."""
    validity = ((rows + 7) // 8, 1, nulls == 0)
    if kind in {_UTF8, _BINARY}:
        return [validity, (4 * (rows + 1), 4, rows == 0), (0, 1, True)]
    width = abs(bits) // 8
    return [validity, (rows * width, width, False)]


def _uint(payload: bytes, at: int) -> int:
    value: int = struct.unpack_from("<I", payload, at)[0]
    return value


def _place(payload: bytes, table: Table, field: int) -> int:
    """Return where a table's field lies; 0 when it is absent."""
    vtable = table - int(struct.unpack_from("<i", payload, table)[0])
    if vtable < 0:
        raise BatchError("a table lies outside of the Arrow stream")
    entry = 4 + 2 * field
    if entry + 2 > struct.unpack_from("<H", payload, vtable)[0]:
        return 0
    offset: int = struct.unpack_from("<H", payload, vtable + entry)[0]
    return table + offset if offset else 0


def _number(payload: bytes, table: Table, field: int, layout: str) -> int:
    place = _place(payload, table, field)
    return int(struct.unpack_from(layout, payload, place)[0]) if place else 0


def _target(payload: bytes, table: Table, field: int) -> Table:
    """Follow an offset field; 0 when it is absent."""
    place = _place(payload, table, field)
    return Table(place + _uint(payload, place) if place else 0)
