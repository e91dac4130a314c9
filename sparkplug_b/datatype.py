"""Data types of Sparkplug B: numbers, ranges, wire fields and array packing.

Pure tables and functions; `codec.py` and `columns.py` both read them, so there is one truth for
what a type may hold. Source: Sparkplug 3.0, section 6.4.16 (types) and 6.4.17 (arrays).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Final, Literal

from sparkplug_b.errors import DecodeError, EncodeError

Scalar = int | float | bool | str | bytes
ArrayItem = int | float | bool | str
WireField = Literal[
    "int_value",
    "long_value",
    "float_value",
    "double_value",
    "boolean_value",
    "string_value",
    "bytes_value",
]


class DataType(IntEnum):
    """The numbers of the `datatype` field."""

    UNKNOWN = 0
    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    TEXT = 14
    UUID = 15
    DATASET = 16
    BYTES = 17
    FILE = 18
    TEMPLATE = 19
    PROPERTY_SET = 20
    PROPERTY_SET_LIST = 21
    INT8_ARRAY = 22
    INT16_ARRAY = 23
    INT32_ARRAY = 24
    INT64_ARRAY = 25
    UINT8_ARRAY = 26
    UINT16_ARRAY = 27
    UINT32_ARRAY = 28
    UINT64_ARRAY = 29
    FLOAT_ARRAY = 30
    DOUBLE_ARRAY = 31
    BOOLEAN_ARRAY = 32
    STRING_ARRAY = 33
    DATETIME_ARRAY = 34


class Quality(IntEnum):
    """Values of the `Quality` property (Int32). Source: Sparkplug 3.0, 6.4.22."""

    BAD = 0
    GOOD = 192
    STALE = 500


#: Inclusive ranges of the integer types. DateTime is unsigned ms since 1970 UTC.
INTEGER_RANGE: Final[dict[DataType, tuple[int, int]]] = {
    DataType.INT8: (-(2**7), 2**7 - 1),
    DataType.INT16: (-(2**15), 2**15 - 1),
    DataType.INT32: (-(2**31), 2**31 - 1),
    DataType.INT64: (-(2**63), 2**63 - 1),
    DataType.UINT8: (0, 2**8 - 1),
    DataType.UINT16: (0, 2**16 - 1),
    DataType.UINT32: (0, 2**32 - 1),
    DataType.UINT64: (0, 2**64 - 1),
    DataType.DATETIME: (0, 2**64 - 1),
}

#: Bits of the signed integer types: two's complement has to be undone when decoding.
SIGNED_BITS: Final[dict[DataType, int]] = {
    DataType.INT8: 8,
    DataType.INT16: 16,
    DataType.INT32: 32,
    DataType.INT64: 64,
}

STRING_TYPES: Final = frozenset({DataType.STRING, DataType.TEXT, DataType.UUID})
ARRAY_TYPES: Final = frozenset(DataType(number) for number in range(22, 35))

#: The field a value is written to. UInt32 goes to long_value: the text says int_value, but Tahu,
#: Ignition and the Java TCK use long_value (reference/sparkplug.md 11); decoding takes both.
WIRE_FIELD: Final[dict[DataType, WireField]] = {
    DataType.INT8: "int_value",
    DataType.INT16: "int_value",
    DataType.INT32: "int_value",
    DataType.INT64: "long_value",
    DataType.UINT8: "int_value",
    DataType.UINT16: "int_value",
    DataType.UINT32: "long_value",
    DataType.UINT64: "long_value",
    DataType.FLOAT: "float_value",
    DataType.DOUBLE: "double_value",
    DataType.BOOLEAN: "boolean_value",
    DataType.STRING: "string_value",
    DataType.DATETIME: "long_value",
    DataType.TEXT: "string_value",
    DataType.UUID: "string_value",
    DataType.BYTES: "bytes_value",
    DataType.FILE: "bytes_value",
    **dict.fromkeys(sorted(ARRAY_TYPES), "bytes_value"),
}

#: Types of DataSet cells, template parameters and properties. Source: Sparkplug 3.0, 6.4.13-6.4.19.
BASIC_TYPES: Final = frozenset(DataType(number) for number in range(1, 15))

# struct codes of the arrays of fixed width, little-endian (section 11 of the reference).
_ITEM_CODE: Final[dict[DataType, str]] = {
    DataType.INT8_ARRAY: "b",
    DataType.INT16_ARRAY: "h",
    DataType.INT32_ARRAY: "i",
    DataType.INT64_ARRAY: "q",
    DataType.UINT8_ARRAY: "B",
    DataType.UINT16_ARRAY: "H",
    DataType.UINT32_ARRAY: "I",
    DataType.UINT64_ARRAY: "Q",
    DataType.FLOAT_ARRAY: "f",
    DataType.DOUBLE_ARRAY: "d",
    DataType.DATETIME_ARRAY: "q",
}
_COUNT = struct.Struct("<I")


def pack_array(data_type: DataType, values: Sequence[ArrayItem]) -> bytes:
    """Pack an array for `bytes_value`.

    Numbers are little-endian, booleans a uint32 count and bits most significant first, strings
    UTF-8 with a NUL after each, date-times int64 ms since 1970 UTC.

    Raises:
        EncodeError: sparkplug.encode, when a value does not fit or the type is not an array.
    """
    if data_type is DataType.BOOLEAN_ARRAY:
        return _pack_booleans(values)
    if data_type is DataType.STRING_ARRAY:
        return _pack_strings(values)
    code = _ITEM_CODE.get(data_type)
    if code is None:
        raise EncodeError(f"{data_type.name} is not an array type")
    if any(isinstance(value, bool) for value in values):
        raise EncodeError(f"a boolean in {data_type.name}")
    try:
        return struct.pack(f"<{len(values)}{code}", *values)
    except (struct.error, OverflowError, TypeError, ValueError) as error:
        raise EncodeError(f"{data_type.name}: {error}") from error


def unpack_array(data_type: DataType, data: bytes) -> list[ArrayItem]:
    """Undo `pack_array`. Padding bits of a BooleanArray are not looked at.

    Raises:
        DecodeError: sparkplug.decode, when the bytes cannot be such an array.
    """
    if data_type is DataType.BOOLEAN_ARRAY:
        return _unpack_booleans(data)
    if data_type is DataType.STRING_ARRAY:
        return _unpack_strings(data)
    code = _ITEM_CODE.get(data_type)
    if code is None:
        raise DecodeError("type_mismatch", f"{data_type.name} is not an array type")
    item_bytes = struct.calcsize(f"<{code}")
    count, rest = divmod(len(data), item_bytes)
    if rest:
        raise DecodeError("malformed", f"{len(data)} bytes of {data_type.name}")
    return list(struct.unpack(f"<{count}{code}", data))


def _pack_booleans(values: Sequence[ArrayItem]) -> bytes:
    bits = 0
    for value in values:
        if not isinstance(value, bool):
            raise EncodeError(f"{value!r} in BOOLEAN_ARRAY")
        bits = bits << 1 | value
    size = -(-len(values) // 8)
    bits <<= size * 8 - len(values)
    return _COUNT.pack(len(values)) + bits.to_bytes(size, "big")


def _unpack_booleans(data: bytes) -> list[ArrayItem]:
    if len(data) < _COUNT.size:
        raise DecodeError("malformed", "BOOLEAN_ARRAY without its count")
    count: int = _COUNT.unpack_from(data)[0]
    packed = data[_COUNT.size :]
    if len(packed) != -(-count // 8):
        raise DecodeError("malformed", f"BOOLEAN_ARRAY of {count} in {len(packed)} bytes")
    return [bool(packed[i >> 3] >> (7 - (i & 7)) & 1) for i in range(count)]


def _pack_strings(values: Sequence[ArrayItem]) -> bytes:
    parts: list[bytes] = []
    for value in values:
        if not isinstance(value, str) or "\0" in value:
            raise EncodeError(f"{value!r} in STRING_ARRAY")
        try:
            parts.append(value.encode())
        except UnicodeEncodeError as error:
            raise EncodeError(f"STRING_ARRAY: {error}") from error
    return b"".join(part + b"\0" for part in parts)


def _unpack_strings(data: bytes) -> list[ArrayItem]:
    if not data:
        return []
    if data[-1] != 0:
        raise DecodeError("malformed", "STRING_ARRAY does not end with NUL")
    try:
        return list(data[:-1].decode().split("\0"))
    except UnicodeDecodeError as error:
        raise DecodeError("malformed", f"STRING_ARRAY: {error}") from error
