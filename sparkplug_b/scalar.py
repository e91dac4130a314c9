"""Scalar values against the wire: one value, its data type, its protobuf field.

`to_wire` checks a value and gives what goes into the field of `WIRE_FIELD`; `from_wire` undoes it
and is liberal where senders differ: negative Int8/Int16 in their own width or sign-extended to 32
bits, integers in int_value or long_value. What a type cannot hold is refused, never cut off.
"""

from __future__ import annotations

import math
import operator
from typing import Final

from sparkplug_b.datatype import (
    ARRAY_TYPES,
    INTEGER_RANGE,
    SIGNED_BITS,
    STRING_TYPES,
    WIRE_FIELD,
    DataType,
    Scalar,
)
from sparkplug_b.errors import DecodeError, EncodeError

#: Least number that rounds to infinity in binary32.
FLOAT32_OVERFLOW: Final = (2 - 2**-24) * 2.0**127
_MASK32: Final = 2**32 - 1
_MASK64: Final = 2**64 - 1
_FIELD_BITS: Final = {"int_value": 32, "long_value": 64}

_OTHER_FIELDS: Final[dict[str, frozenset[DataType]]] = {
    field: frozenset(
        data_type
        for data_type, written in WIRE_FIELD.items()
        if written == field and data_type not in INTEGER_RANGE
    )
    for field in WIRE_FIELD.values()
}


def to_wire(data_type: DataType, value: object) -> int | float | bool | str | bytes:
    """Check a scalar and return what stands in its protobuf field.

    Signed integers become two's complement: Int8, Int16 and Int32 sign-extended to 32 bits.

    Raises:
        EncodeError: sparkplug.encode, when the value does not fit the type.
    """
    limits = INTEGER_RANGE.get(data_type)
    if limits is not None:
        return _integer_to_wire(data_type, value, limits)
    if data_type in STRING_TYPES:
        if isinstance(value, str):
            return value
    elif data_type is DataType.BOOLEAN:
        if isinstance(value, bool):
            return value
    elif data_type in {DataType.FLOAT, DataType.DOUBLE}:
        return _float_to_wire(data_type, value)
    elif data_type in {DataType.BYTES, DataType.FILE} or data_type in ARRAY_TYPES:
        if isinstance(value, bytes):
            return value
    else:
        raise EncodeError(f"{data_type.name} is not a scalar type")
    raise EncodeError(f"{type(value).__name__} is no {data_type.name}")


def from_wire(data_type: DataType, field: str, raw: Scalar) -> Scalar:
    """Read the scalar in a protobuf field; arrays stay packed bytes.

    Raises:
        DecodeError: sparkplug.decode, `type_mismatch` or `out_of_range`.
    """
    limits = INTEGER_RANGE.get(data_type)
    if limits is None:
        if data_type not in _OTHER_FIELDS.get(field, frozenset()):
            raise DecodeError("type_mismatch", f"{data_type.name} in {field}")
        return raw
    width = _FIELD_BITS.get(field)
    if width is None or not isinstance(raw, int):
        raise DecodeError("type_mismatch", f"{data_type.name} in {field}")
    low, high = limits
    if raw <= high:
        return raw
    bits = SIGNED_BITS.get(data_type)
    if bits is None:
        raise DecodeError("out_of_range", f"{raw} in {data_type.name}")
    # Two's complement in the type's own width, in 32 bits, or in 64.
    for sender_bits in (bits, 32, 64):
        if raw >> sender_bits == 0:
            signed = raw - (1 << sender_bits)
            if low <= signed < 0:
                return signed
    raise DecodeError("out_of_range", f"{raw} in {data_type.name}")


def _integer_to_wire(data_type: DataType, value: object, limits: tuple[int, int]) -> int:
    if isinstance(value, bool):
        raise EncodeError(f"a boolean is no {data_type.name}")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise EncodeError(f"{type(value).__name__} is no {data_type.name}") from error
    low, high = limits
    if not low <= number <= high:
        raise EncodeError(f"{number} is outside {data_type.name}")
    return number & (_MASK32 if WIRE_FIELD[data_type] == "int_value" else _MASK64)


def _float_to_wire(data_type: DataType, value: object) -> float:
    if isinstance(value, (bool, str, bytes)):
        raise EncodeError(f"{type(value).__name__} is no {data_type.name}")
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise EncodeError(f"{type(value).__name__} is no {data_type.name}") from error
    if data_type is DataType.FLOAT and FLOAT32_OVERFLOW <= abs(number) < math.inf:
        raise EncodeError(f"{number} is outside FLOAT")
    return number
