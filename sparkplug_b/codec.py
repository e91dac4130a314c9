"""Payload to bytes and back: the one door to protobuf (upb).

`encode` refuses what a data type cannot hold. `decode` takes bytes from anyone: whatever they are,
it returns a Payload or raises DecodeError, within the limits. Explicit presence is kept: seq 0,
alias 0, `is_definition` false and a boolean false are written. Unknown fields and extensions are
ignored.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from google.protobuf.message import DecodeError as ProtobufDecodeError
from google.protobuf.message import EncodeError as ProtobufEncodeError

from sparkplug_b import sparkplug_b_pb2 as pb
from sparkplug_b.column_decoder import COLUMN_BYTES_MIN, ColumnReader
from sparkplug_b.compression import ALGORITHM, COMPRESSED_UUID, inflated
from sparkplug_b.decoder import DEFAULT_LIMITS, Limits, Reader, TypeTable
from sparkplug_b.encoder import Writer
from sparkplug_b.errors import DecodeError, EncodeError
from sparkplug_b.metric_columns import MetricColumns
from sparkplug_b.payload import Payload, Value
from sparkplug_b.timestamp import TimestampUnit


def encode(
    payload: Payload, *, with_data_types: bool = True, timestamp_unit: TimestampUnit = "ms"
) -> bytes:
    """Encode a payload.

    Args:
        payload: metrics that have a value need their data type.
        with_data_types: False leaves the `datatype` fields out, as DATA should.
        timestamp_unit: of the payload's and metrics' timestamps on the wire; DateTime values are
            ms always.

    Raises:
        EncodeError: sparkplug.encode, when a value does not fit its data type.
    """
    message = pb.Payload()
    writer = Writer(with_data_types=with_data_types, timestamp_unit=timestamp_unit)
    try:
        writer.payload(message, payload)
        return message.SerializeToString()
    except (TypeError, ValueError, ProtobufEncodeError) as error:
        raise EncodeError(str(error)) from error


def decode(
    data: bytes | bytearray | memoryview,
    *,
    types: TypeTable | None = None,
    limits: Limits = DEFAULT_LIMITS,
    normalise: bool = False,
    inflate: bool = False,
) -> Payload:
    """Decode a payload; a metric without a known data type keeps its raw value.

    Args:
        data: the bytes as received.
        types: data types of the births, by alias and by name; the payload's own go first.
        limits: what the payload may cost.
        normalise: take timestamps from 1e15 up for ns and return them in ms (`normalise_ms`);
            False returns them as they stand.
        inflate: return the payload that is inside of a compressed one (`compression.py`), which may
            be as large as `limits` says; False returns the outer one.

    Raises:
        DecodeError: sparkplug.decode, with its cause; nothing else, whatever the bytes are.
    """
    message = _parse(data, limits)
    payload = Reader(types or {}, limits, normalise=normalise).payload(message)
    if not inflate or payload.uuid != COMPRESSED_UUID:
        return payload
    values = {metric.name: metric.value for metric in payload.metrics}
    inner = decode(
        _inside(payload.body, values, limits), types=types, limits=limits, normalise=normalise
    )
    _check_inner(inner.uuid)
    return msgspec.structs.replace(
        inner,
        seq=payload.seq if inner.seq is None else inner.seq,
        timestamp_ms=payload.timestamp_ms if inner.timestamp_ms is None else inner.timestamp_ms,
    )


def decode_columns(
    data: bytes | bytearray | memoryview,
    *,
    types: TypeTable | None = None,
    limits: Limits = DEFAULT_LIMITS,
    normalise: bool = False,
    inflate: bool = False,
) -> MetricColumns:
    """Decode a payload as columns: the same content as `decode`, at speed where it is plain.

    Plain are many metrics with alias or name, timestamp and a number, flags, properties that many
    share. All else in the payload, and a payload of few metrics, is read as `decode` does. The
    arguments are those of `decode`.

    Raises:
        DecodeError: sparkplug.decode, just where `decode` raises it and with the same cause.
    """
    known = types or {}
    if COLUMN_BYTES_MIN <= len(data) <= limits.payload_bytes_max:

        def read(part: bytes, left: Limits) -> tuple[MetricColumns, int]:
            reader = Reader(known, left, normalise=normalise)
            columns = reader.columns(_parse(part, left))
            return columns, left.items_count_max - reader.items_left_count

        fast = ColumnReader(bytes(data), known, limits, normalise=normalise, read=read)
        columns = fast.columns()
        if columns is not None and columns.uuid != COMPRESSED_UUID:
            return columns
    outer = Reader(known, limits, normalise=normalise).columns(_parse(data, limits))
    if not inflate or outer.uuid != COMPRESSED_UUID:
        return outer
    values = dict(zip(outer.names, outer.values, strict=True))
    inner = decode_columns(
        _inside(outer.body, values, limits), types=types, limits=limits, normalise=normalise
    )
    _check_inner(inner.uuid)
    inner.seq = outer.seq if inner.seq is None else inner.seq
    inner.timestamp_ms = outer.timestamp_ms if inner.timestamp_ms is None else inner.timestamp_ms
    return inner


def _parse(data: bytes | bytearray | memoryview, limits: Limits) -> pb.Payload:
    if len(data) > limits.payload_bytes_max:
        raise DecodeError("too_large", f"{len(data)} bytes")
    message = pb.Payload()
    try:
        message.ParseFromString(bytes(data))
    except ProtobufDecodeError as error:
        raise DecodeError("malformed", str(error)) from error
    return message


def _inside(body: bytes | None, values: Mapping[str | None, Value | None], limits: Limits) -> bytes:
    return inflated(body or b"", values.get(ALGORITHM), limits.payload_bytes_max)


def _check_inner(uuid: str | None) -> None:
    if uuid == COMPRESSED_UUID:
        raise DecodeError("too_deep", "a compressed payload in a compressed payload")
