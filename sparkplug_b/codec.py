"""Payload to bytes and back: the one door to protobuf (upb).

`encode` refuses what a data type cannot hold. `decode` takes bytes from anyone: whatever they are,
it returns a Payload or raises DecodeError, within the limits. Explicit presence is kept: seq 0,
alias 0, `is_definition` false and a boolean false are written. Unknown fields and extensions are
ignored.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError as ProtobufDecodeError
from google.protobuf.message import EncodeError as ProtobufEncodeError

from sparkplug_b import sparkplug_b_pb2 as pb
from sparkplug_b.decoder import DEFAULT_LIMITS, Limits, Reader, TypeTable
from sparkplug_b.encoder import Writer
from sparkplug_b.errors import DecodeError, EncodeError
from sparkplug_b.payload import Payload
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
) -> Payload:
    """Decode a payload; a metric without a known data type keeps its raw value.

    Args:
        data: the bytes as received.
        types: data types of the births, by alias and by name; the payload's own go first.
        limits: what the payload may cost.
        normalise: take timestamps from 1e15 up for ns and return them in ms (`normalise_ms`);
            False returns them as they stand.

    Raises:
        DecodeError: sparkplug.decode, with its cause; nothing else, whatever the bytes are.
    """
    if len(data) > limits.payload_bytes_max:
        raise DecodeError("too_large", f"{len(data)} bytes")
    message = pb.Payload()
    try:
        message.ParseFromString(bytes(data))
    except ProtobufDecodeError as error:
        raise DecodeError("malformed", str(error)) from error
    return Reader(types or {}, limits, normalise=normalise).payload(message)
