"""One tag's value and time out of a decoded JSON message. Pure.

Pointers are those of RFC 6901: ``/motor/rpm``, ``/axes/0/position``, "" for the whole message.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from contract.config_mqtt import MqttType, TimeFormat
from contract.sample import ValueKind
from sparkplug_b.datatype import INTEGER_RANGE, DataType
from sparkplug_b.scalar import FLOAT32_OVERFLOW

DATA_TYPE_OF: Final[dict[MqttType, DataType]] = {
    "Boolean": DataType.BOOLEAN,
    "Int32": DataType.INT32,
    "Int64": DataType.INT64,
    "UInt64": DataType.UINT64,
    "Float": DataType.FLOAT,
    "Double": DataType.DOUBLE,
    "String": DataType.STRING,
    "DateTime": DataType.DATETIME,
}
TEXT_CHARS_MAX: Final = 65_536
_US_PER: Final[dict[TimeFormat, float]] = {"s": 1e6, "ms": 1e3, "us": 1, "ns": 1e-3}
_TIME_US_MAX: Final = 253_402_300_799_999_999  # the year 9999


class AbsentError(Exception):
    """Raised when a message has nothing where the pointer points."""


class MisfitError(Exception):
    """Raised when what stands there is not of the tag's type."""


def parse_pointer(text: str) -> tuple[str, ...]:
    """Take a JSON pointer apart.

    Raises:
        ValueError: it neither is empty nor starts with ``/``.
    """
    if not text:
        return ()
    if not text.startswith("/"):
        raise ValueError("a JSON pointer starts with /, as /motor/rpm, or is empty")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/"))


def find(document: Any, pointer: Sequence[str]) -> Any:  # noqa: ANN401 - any JSON value
    """Return what stands at a pointer. Raises AbsentError."""
    for step in pointer:
        if isinstance(document, dict) and step in document:
            document = document[step]
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            raise AbsentError
    return document


def held(data_type: DataType, value: Any) -> tuple[ValueKind, Any]:  # noqa: ANN401
    """Return a JSON value as a sample holds it: (kind, value). Raises MisfitError."""
    if value is None:
        return ValueKind.NULL, None
    match data_type:
        case DataType.BOOLEAN:
            if isinstance(value, bool) or value in (0, 1):
                return ValueKind.INT, int(value)
        case DataType.STRING:
            return ValueKind.TEXT, _text(value)
        case DataType.DATETIME:
            return ValueKind.INT, time_us(value, "iso8601" if isinstance(value, str) else "ms")
        case DataType.FLOAT | DataType.DOUBLE:
            return ValueKind.DOUBLE, _float(data_type, value)
        case _:
            low, high = INTEGER_RANGE[data_type]
            number = _integer(value)
            if low <= number <= high:
                kind = ValueKind.UINT if data_type is DataType.UINT64 else ValueKind.INT
                return kind, number
    raise MisfitError(f"{type(value).__name__} {str(value)[:40]!r} is no {data_type.name}")


def time_us(value: Any, form: TimeFormat) -> int:  # noqa: ANN401
    """Return a message's time in µs since 1970 UTC; text without an offset is UTC.

    Raises:
        MisfitError: it is not a time of this form, or not of the years 1970 to 9999.
    """
    try:
        if form == "iso8601":
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            found = int(moment.timestamp() * 1e6)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            scale = _US_PER[form]
            found = value // 1000 if form == "ns" and isinstance(value, int) else int(value * scale)
        else:
            raise MisfitError(f"{type(value).__name__} is no time in {form}")
    except (TypeError, ValueError, OverflowError) as error:
        raise MisfitError(f"{str(value)[:40]!r} is no time ({form})") from error
    if not 0 <= found <= _TIME_US_MAX:
        raise MisfitError(f"{str(value)[:40]!r} is outside the years 1970 to 9999 ({form})")
    return found


def _text(value: Any) -> str:  # noqa: ANN401
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if len(text) > TEXT_CHARS_MAX:
        raise MisfitError(f"{len(text)} characters, at most {TEXT_CHARS_MAX} are kept")
    return text


def _float(data_type: DataType, value: Any) -> float:  # noqa: ANN401
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MisfitError(f"{type(value).__name__} is no {data_type.name}")
    try:
        number = float(value)
    except OverflowError as error:
        raise MisfitError(f"the number is outside {data_type.name}") from error
    if data_type is DataType.FLOAT and FLOAT32_OVERFLOW <= abs(number) < math.inf:
        raise MisfitError(f"{number} is outside FLOAT")
    return number


def _integer(value: Any) -> int:  # noqa: ANN401
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise MisfitError(f"{type(value).__name__} {str(value)[:40]!r} is no whole number")
