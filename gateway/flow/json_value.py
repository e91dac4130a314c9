"""A value that a person wrote as JSON, as a tag's data type holds it.

Only what fits as it is; a time may be ISO 8601 text or ms since 1970, bytes are base64.
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Any

from contract.mapping import KIND_OF
from contract.sample import ValueKind
from sparkplug_b.datatype import INTEGER_RANGE, DataType

_ELEMENT = {
    kind: DataType[kind.name.removesuffix("_ARRAY")]
    for kind in DataType
    if kind.name.endswith("_ARRAY")
}


class MisfitError(Exception):
    """Raised when a value does not fit a data type."""


def from_json(data_type: DataType, value: Any) -> Any:  # noqa: ANN401 - of any kind
    """Return the value as a Sparkplug metric of this type holds it; a tuple for an array.

    Raises:
        MisfitError: it does not fit; the message says what would.
    """
    element = _ELEMENT.get(data_type)
    if element is None:
        return _scalar(data_type, value)
    if not isinstance(value, list):
        raise MisfitError("a list is needed")
    return tuple(_scalar(element, one) for one in value)


def _scalar(data_type: DataType, value: Any) -> Any:  # noqa: ANN401 - of any kind
    if data_type is DataType.BOOLEAN:
        return _of(bool, value, "true or false")
    if data_type is DataType.DATETIME:
        return _time_ms(value)
    if data_type in {DataType.FLOAT, DataType.DOUBLE}:
        if isinstance(value, bool):
            raise MisfitError("a number is needed")
        return _of((int, float), value, "a number")
    if data_type in INTEGER_RANGE:
        if isinstance(value, bool) or not isinstance(value, int):
            raise MisfitError("a whole number is needed")
        low, high = INTEGER_RANGE[data_type]
        if not low <= value <= high:
            raise MisfitError(f"a whole number from {low} to {high} is needed")
        return value
    if KIND_OF[data_type] is ValueKind.BYTES:
        return _bytes(value)
    return _of(str, value, "text")


def _of(kind: type | tuple[type, ...], value: Any, wanted: str) -> Any:  # noqa: ANN401 - as above
    if not isinstance(value, kind):
        raise MisfitError(f"{wanted} is needed")
    return value


def _bytes(value: object) -> bytes:
    try:
        return base64.b64decode(value if isinstance(value, str) else "-", validate=True)
    except (binascii.Error, ValueError):
        raise MisfitError("bytes as base64 text are needed") from None


def _time_ms(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    try:
        moment = datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise MisfitError("a time as ms since 1970, or as 2026-01-31T08:30:00Z, is needed")
    return round(moment.timestamp() * 1000)
