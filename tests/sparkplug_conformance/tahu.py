"""Payloads read by Tahu's own schema (as pysparkplug ships it), not by our codec.

This is the second opinion: nothing here, nor in the checkers, imports `sparkplug_b`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from pysparkplug._protobuf import Payload

BASIC_TYPES = frozenset(range(1, 15))
PROPERTY_TYPES = BASIC_TYPES | {20, 21}
METRIC_TYPES = frozenset(range(1, 35)) - {20, 21}
INT64, BOOLEAN, TEMPLATE, DATASET, INT32 = 4, 11, 19, 16, 3

_INT = frozenset({"int_value"})
_LONG = frozenset({"long_value"})
FIELDS: dict[int, frozenset[str]] = {
    **dict.fromkeys((1, 2, 3, 5, 6), _INT),
    **dict.fromkeys((4, 8, 13), _LONG),
    7: _INT | _LONG,  # the text says int_value, Tahu writes long_value
    9: frozenset({"float_value"}),
    10: frozenset({"double_value"}),
    11: frozenset({"boolean_value"}),
    **dict.fromkeys((12, 14, 15), frozenset({"string_value"})),
    16: frozenset({"dataset_value"}),
    **dict.fromkeys((17, 18, *range(22, 35)), frozenset({"bytes_value"})),
    19: frozenset({"template_value"}),
    20: frozenset({"propertyset_value"}),
    21: frozenset({"propertysets_value"}),
}
"""Source: Sparkplug 3.0, 6.4.16 to 6.4.18: which field of the oneof holds a value of each type."""


def parse(body: bytes) -> Any:
    """Read a payload; None when it is not one."""
    try:
        payload = Payload.FromString(body)
    except DecodeError:
        return None
    return payload if payload.IsInitialized() else None


def misfits(message: Message) -> Iterator[str]:
    """Yield every field, at any depth, that the schema does not know in that place and type."""
    for unknown in UnknownFieldSet(message):
        name = message.DESCRIPTOR.full_name
        yield f"field {unknown.field_number} of {name}, wire type {unknown.wire_type}"
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for inner in value if field.is_repeated else [value]:
            yield from misfits(inner)


def value_of(metric: Any) -> object:
    """Return what can be compared: the field's name and its content, or null."""
    name = metric.WhichOneof("value")
    if name is None:
        return None
    value = getattr(metric, name)
    return (name, value.SerializeToString() if isinstance(value, Message) else value)


def metric_named(payload: Any, name: str) -> Any:
    """Return the first metric of a name, or None."""
    return next((metric for metric in payload.metrics if metric.name == name), None)
