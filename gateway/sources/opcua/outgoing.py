"""Values on their way to a server: checked against its data type, shape and range; never bent.

A value that does not fit as it is is refused with the reason; nothing is rounded, cut or wrapped,
but for a number that becomes a Float. Source: OPC 10000-6, 5.1.2 (built-in types); OPC 10000-3,
5.6.2 (ValueRank, ArrayDimensions).
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
from asyncua import ua

from gateway.errors import WriteRefusedError

_BOOLEAN, _FLOAT, _DOUBLE, _STRING, _DATETIME = 1, 10, 11, 12, 13
_GUID, _BYTES, _LOCALIZED = 14, 15, 21
_INTEGERS = {
    2: (-(2**7), 2**7 - 1),
    3: (0, 2**8 - 1),
    4: (-(2**15), 2**15 - 1),
    5: (0, 2**16 - 1),
    6: (-(2**31), 2**31 - 1),
    7: (0, 2**32 - 1),
    8: (-(2**63), 2**63 - 1),
    9: (0, 2**64 - 1),
}
_FLOAT_MAX = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = datetime(1601, 1, 1, tzinfo=UTC)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a server takes at one place.

    Attributes:
        type_id: built-in type.
        rank: -1 a scalar, 1 an array, -2 either, -3 a scalar or an array of one dimension.
        length_max: most elements of an array; 0: any number.
        labels: of an enumeration, when its values are known.
        low: least number; None: the type's.
        high: most.
    """

    type_id: int
    rank: int = -1
    length_max: int = 0
    labels: Mapping[int, str] | None = None
    low: float | None = None
    high: float | None = None


def type_name(type_id: int) -> str:
    """Return the name of a built-in type."""
    try:
        return str(ua.VariantType(type_id).name)
    except ValueError:
        return f"type {type_id}"


def variant_of(target: Target, value: Any) -> Any:
    """Return a value as the server takes it; a list or tuple for an array.

    Raises WriteRefusedError: it does not fit as it is.
    """
    if value is None:
        raise WriteRefusedError("null", "there is no value to write")
    kind = ua.VariantType(target.type_id)
    if not isinstance(value, (list, tuple)):
        if target.rank not in {-1, -2, -3}:
            raise WriteRefusedError("wrong_shape", "an array is needed here, not a single value")
        return ua.Variant(_scalar(target, value), kind, is_array=False)
    if target.rank not in {0, 1, -2, -3}:
        shape = "a single value" if target.rank == -1 else "a matrix, which is not supported,"
        raise WriteRefusedError("wrong_shape", f"{shape} is needed here, not a list")
    if target.length_max and len(value) > target.length_max:
        raise WriteRefusedError(
            "wrong_shape", f"{len(value)} elements for an array of at most {target.length_max}"
        )
    return ua.Variant([_scalar(target, one) for one in value], kind, is_array=True)


def _scalar(target: Target, value: Any) -> Any:
    type_id = target.type_id
    if type_id == _BOOLEAN:
        if not isinstance(value, bool):
            raise _wrong_type("true or false", value)
        return value
    if type_id in _INTEGERS or type_id in {_FLOAT, _DOUBLE}:
        number = _integer(type_id, value) if type_id in _INTEGERS else _real(type_id, value)
        _check_range(target, number)
        return number
    return _other(type_id, value)


def _integer(type_id: int, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong_type("a number", value)
    if isinstance(value, float) and not value.is_integer():
        raise WriteRefusedError("not_exact", f"{value} is not a whole number")
    number = int(value)
    low, high = _INTEGERS[type_id]
    if not low <= number <= high:
        raise WriteRefusedError(
            "out_of_range", f"{number} does not fit {type_name(type_id)} ({low} to {high})"
        )
    return number


def _real(type_id: int, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong_type("a number", value)
    try:
        number = float(value)
    except OverflowError:
        raise WriteRefusedError("out_of_range", "the number is beyond a Double") from None
    if not math.isfinite(number):
        raise WriteRefusedError("not_finite", "NaN and infinity are not written to a machine")
    if isinstance(value, int) and int(number) != value:
        raise WriteRefusedError("not_exact", f"{value} has more digits than a Double holds")
    if type_id == _FLOAT and abs(number) > _FLOAT_MAX:
        raise WriteRefusedError("out_of_range", f"{number} does not fit Float")
    return number


def _check_range(target: Target, number: float) -> None:
    if (target.low is not None and number < target.low) or (
        target.high is not None and number > target.high
    ):
        low = "-" if target.low is None else f"{target.low:g}"
        high = "-" if target.high is None else f"{target.high:g}"
        raise WriteRefusedError(
            "out_of_range",
            f"{number:g} is outside the range that the server names: {low} to {high}",
        )
    if target.labels is not None and number not in target.labels:
        known = ", ".join(f"{k} {v}".strip() for k, v in sorted(target.labels.items())[:20])
        raise WriteRefusedError(
            "out_of_range", f"{number} is no value of this enumeration: {known}"
        )


def _other(type_id: int, value: Any) -> Any:
    """Return a text, time, GUID or byte string."""
    if type_id == _BYTES and isinstance(value, (bytes, str)):
        return value if isinstance(value, bytes) else _from_base64(value)
    if type_id == _DATETIME and isinstance(value, (int, str)) and not isinstance(value, bool):
        return _moment(value)
    if type_id not in {_STRING, _LOCALIZED, _GUID, _BYTES, _DATETIME}:
        raise WriteRefusedError(
            "type_not_writable", f"values of type {type_name(type_id)} cannot be written"
        )
    if not isinstance(value, str):
        raise _wrong_type(type_name(type_id), value)
    if type_id == _GUID:
        try:
            return uuid.UUID(value)
        except ValueError:
            raise WriteRefusedError("wrong_type", "this text is no GUID") from None
    return ua.LocalizedText(value) if type_id == _LOCALIZED else value


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise WriteRefusedError("wrong_type", "bytes are written as base64") from None


def _moment(value: int | str) -> datetime:
    """Return a time from ms since 1970 or ISO 8601 text, in UTC."""
    try:
        if isinstance(value, int):
            moment = _EPOCH + timedelta(milliseconds=value)
        else:
            moment = datetime.fromisoformat(value)
    except (ValueError, OverflowError):
        raise WriteRefusedError(
            "wrong_type", "a time is ms since 1970, or text such as 2026-01-31T08:30:00Z"
        ) from None
    if moment.tzinfo is None:
        raise WriteRefusedError("wrong_type", "a time needs its zone: end it with Z for UTC")
    if moment < _FIRST:
        raise WriteRefusedError("out_of_range", "times before 1601 cannot be written")
    return moment.astimezone(UTC)


def _wrong_type(wanted: str, value: Any) -> WriteRefusedError:
    return WriteRefusedError("wrong_type", f"{wanted} is needed here, not {_kind(value)}")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    return "text" if isinstance(value, str) else f"a value of type {type(value).__name__}"


def unscaled(value: Any, gain: float, offset: float, *, to_integer: bool) -> float:
    """Undo a tag's scaling: value = raw x gain + offset.

    A whole number is found exactly, in decimals as people write them, or as the one whose scaled
    value is just this; else it is refused with its neighbours.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong_type("a number", value)
    if not math.isfinite(value):
        raise WriteRefusedError("not_finite", "NaN and infinity are not written to a machine")
    exact = (_decimal(value) - _decimal(offset)) / _decimal(gain)
    if not to_integer:
        try:
            return float(exact)
        except OverflowError:
            raise WriteRefusedError("out_of_range", "unscaled, it is beyond a Double") from None
    nearest = round(exact)
    if exact.denominator == 1 or nearest * gain + offset == value:
        return nearest
    below, above = math.floor(exact), math.ceil(exact)
    raise WriteRefusedError(
        "not_exact",
        f"{value:g} lies between two values of the machine:"
        f" {below * gain + offset:g} and {above * gain + offset:g}",
    )


def _decimal(number: float) -> Fraction:
    return Fraction(Decimal(repr(number)))


def same(written: Any, read: Any) -> bool:
    """Tell whether a variant that was read holds what was written."""
    if read is None:
        return False
    wanted, held = written.Value, read.Value
    if written.VariantType is ua.VariantType.Float:
        wanted = _as_float(wanted)
    if isinstance(wanted, Sequence) and not isinstance(wanted, (str, bytes)):
        return list(wanted) == list(held or [])
    if isinstance(wanted, ua.LocalizedText):
        return isinstance(held, ua.LocalizedText) and held.Text == wanted.Text
    return bool(held == wanted)


def _as_float(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_float(one) for one in value]
    return struct.unpack("<f", struct.pack("<f", value))[0]
