"""Columns checked and turned into what stands on the wire, before any byte is laid out.

Internal to the fast encoder: `columns.py` is the door, `column_rows.py` and `column_matrix.py` are
the two ways to lay the bytes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sparkplug_b.datatype import INTEGER_RANGE, STRING_TYPES, WIRE_FIELD, DataType
from sparkplug_b.errors import EncodeError

HISTORICAL: Final = b"\x28\x01"
TRANSIENT: Final = b"\x30\x01"
NULL: Final = b"\x38\x01"
_TAG_OF_FIELD: Final = {
    "int_value": b"\x50",
    "long_value": b"\x58",
    "float_value": b"\x65",
    "double_value": b"\x69",
    "boolean_value": b"\x70",
    "string_value": b"\x7a",
    "bytes_value": b"\x82\x01",
}

WireValues = NDArray[Any] | list[bytes]


@dataclass(slots=True)
class WireColumn:
    """A checked column.

    Attributes:
        timestamp: in the unit of the wire.
        tag: tag bytes of the value field.
        values: '<f4' or '<f8' (fixed), bool, uint64 (varints), or the bytes of a text or blob.
        quality: None when every row is good.
        null: None when no row is null.
        flags: the fields `is_historical` and `is_transient`, the same in every row; may be empty.
    """

    alias: NDArray[np.uint64]
    timestamp: NDArray[np.int64]
    tag: bytes
    values: WireValues
    quality: NDArray[np.int32] | None
    null: NDArray[np.bool_] | None
    flags: bytes


def varint(number: int) -> bytes:
    """Return the canonical (shortest) varint of a number from 0 to 2**64 - 1."""
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def value_tag(data_type: DataType) -> bytes:
    """Return the tag of the field that holds values of this type.

    Raises:
        EncodeError: sparkplug.encode, for types that have no column form.
    """
    field = WIRE_FIELD.get(data_type)
    if field is None:
        raise EncodeError(f"{data_type.name} has no column form", field="data_type")
    return _TAG_OF_FIELD[field]


def wire_values(
    data_type: DataType,
    values: NDArray[Any] | Sequence[str] | Sequence[bytes],
    null: NDArray[np.bool_] | None,
) -> WireValues:
    """Check values and convert them to their form on the wire; null rows are not looked at.

    Raises:
        EncodeError: sparkplug.encode, when a value does not fit.
    """
    field = WIRE_FIELD[data_type]
    if field in {"string_value", "bytes_value"}:
        return _blobs(data_type, values, null)
    array = np.asarray(values)
    if null is not None:
        array = np.where(null, array.dtype.type(0), array)
    if field == "boolean_value":
        return _booleans(array)
    if field in {"float_value", "double_value"}:
        return _floats(data_type, array)
    return _integers(data_type, array, is_int_value=field == "int_value")


def _blobs(
    data_type: DataType, values: Sequence[object] | NDArray[Any], null: NDArray[np.bool_] | None
) -> list[bytes]:
    is_text = data_type in STRING_TYPES
    nulls = [False] * len(values) if null is None else null.tolist()
    found: list[bytes] = []
    for value, is_null in zip(values, nulls, strict=True):
        if is_null:
            found.append(b"")
        elif is_text and isinstance(value, str):
            found.append(_utf8(value))
        elif not is_text and isinstance(value, bytes):
            found.append(value)
        else:
            raise EncodeError(f"{type(value).__name__} for {data_type.name}", field="values")
    return found


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise EncodeError(str(error), field="values") from error


def _booleans(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind == "b":
        return array
    if array.dtype.kind not in "iu":
        raise EncodeError(f"{array.dtype} values for BOOLEAN", field="values")
    _check_range(DataType.BOOLEAN, array, 0, 1)
    return array.astype(np.bool_)


def _floats(data_type: DataType, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind != "f":
        raise EncodeError(f"{array.dtype} values for {data_type.name}", field="values")
    if data_type is DataType.DOUBLE:
        return array.astype("<f8", copy=False)
    if array.dtype.itemsize == 4:
        return array.astype("<f4", copy=False)
    with np.errstate(over="ignore"):
        narrow = array.astype("<f4")
    if (np.isinf(narrow) & np.isfinite(array)).any():
        raise EncodeError("a value outside FLOAT", field="values")
    return narrow


def _integers(data_type: DataType, array: NDArray[Any], *, is_int_value: bool) -> NDArray[Any]:
    if array.dtype.kind not in "iu":
        raise EncodeError(f"{array.dtype} values for {data_type.name}", field="values")
    low, high = INTEGER_RANGE[data_type]
    _check_range(data_type, array, low, high)
    # int64 seen as uint64 is two's complement in 64 bits; int_value takes the low 32 of them.
    wide = array.astype(np.int64 if array.dtype.kind == "i" else np.uint64, copy=False)
    wire = wide.view(np.uint64)
    return wire & np.uint64(0xFFFFFFFF) if is_int_value and low < 0 else wire


def _check_range(data_type: DataType, array: NDArray[Any], low: int, high: int) -> None:
    if int(array.min()) < low or int(array.max()) > high:
        raise EncodeError(f"a value outside {data_type.name}", field="values")
