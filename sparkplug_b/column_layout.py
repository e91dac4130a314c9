"""How one metric is laid out, and reading many metrics of one layout at once.

Internal to `decode_columns`. A layout is read from one metric, field by field: tags, booleans, the
data type and the properties stand literally; of varints the width counts, of fixed numbers nothing.
Metrics of the same layout are a byte matrix, one row each, and their columns are read by numpy.
What a layout does not know (texts, blobs, DataSets, templates, metadata, a field twice, unknown
fields, long-winded varints) is None, and left to protobuf.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sparkplug_b.column_scan import read_varint

Matrix = NDArray[np.uint8]

VARINT_FIELDS: Final = {0x10: "alias", 0x18: "time", 0x50: "int_value", 0x58: "long_value"}
FIXED_FIELDS: Final = {0x65: ("float_value", "<f4"), 0x69: ("double_value", "<f8")}
FLAGS: Final = {0x28: "is_historical", 0x30: "is_transient", 0x38: "is_null"}
_BOOLEAN: Final = 0x70
_DATA_TYPE: Final = 0x20
_PROPERTIES: Final = 0x4A
_VARINT_BYTES_MAX: Final = 9
_MINUS_BYTES: Final = 10  # a negative number in two's complement of 64 bits


@dataclass(slots=True)
class Span:
    """Where a field's bytes stand in a metric."""

    at: int
    width: int


@dataclass(slots=True)
class Layout:
    """A layout, and the literal parts of the metric it was read from.

    Attributes:
        mask: of each byte the bits that have to be those of `first`.
        spans: of alias, time and the value.
        value_field: name of the protobuf field; None: there is no value.
        data_type: number sent with the metric; None: none.
    """

    first: Matrix
    mask: Matrix
    spans: dict[str, Span] = field(default_factory=dict)
    flags: dict[str, bool] = field(default_factory=dict)
    value_field: str | None = None
    data_type: int | None = None
    properties: bytes | None = None

    def differing(self, matrix: Matrix) -> NDArray[np.bool_] | None:
        """Say which rows have another layout; None: none has."""
        other = (matrix ^ self.first) & self.mask
        return np.asarray(other.any(axis=1)) if other.any() else None

    def numbers(self, name: str, matrix: Matrix) -> NDArray[np.uint64] | None:
        """Read a varint field of every row; None: the layout has no such field."""
        span = self.spans.get(name)
        if span is None:
            return None
        found = np.zeros(len(matrix), np.uint64)
        for k in range(span.width):
            part = matrix[:, span.at + k].astype(np.uint64)
            found |= (part & np.uint64(0x7F)) << np.uint64(7 * k)
        return found

    def values(self, matrix: Matrix) -> NDArray[Any] | None:
        """Read the raw value of every row: uint64, float or bool."""
        name = self.value_field
        if name is None:
            return None
        if name in {"int_value", "long_value"}:
            return self.numbers(name, matrix)
        span = self.spans[name]
        part = np.ascontiguousarray(matrix[:, span.at : span.at + span.width])
        if name == "boolean_value":
            return part[:, 0].astype(np.bool_)
        return part.view(f"<f{span.width}")[:, 0]


class LayoutReader:
    """Reads the layout of one metric, its name left out."""

    def __init__(self, metric: bytes) -> None:
        self._bytes = metric
        first = np.frombuffer(metric, np.uint8)
        self._layout = Layout(first=first, mask=np.full(len(metric), 0xFF, np.uint8))
        self._seen: set[int] = set()

    def read(self) -> Layout | None:
        """Return the layout; None: not one of the plain ones."""
        at: int | None = 0
        while at is not None and at < len(self._bytes):
            tag = self._bytes[at]
            if tag in self._seen:
                return None
            self._seen.add(tag)
            at = self._field(tag, at + 1)
        return None if at is None else self._layout

    def _field(self, tag: int, at: int) -> int | None:
        if tag in VARINT_FIELDS:
            return self._varint(VARINT_FIELDS[tag], at)
        if tag in FIXED_FIELDS:
            name, code = FIXED_FIELDS[tag]
            width = int(code[2:])
            self._layout.mask[at : at + width] = 0
            return at + width if self._value(name, at, width) else None
        if tag in FLAGS or tag in {_BOOLEAN, _DATA_TYPE}:
            return self._byte(tag, at)
        return self._properties(at) if tag == _PROPERTIES else None

    def _value(self, name: str, at: int, width: int) -> bool:
        if self._layout.value_field is not None or at + width > len(self._bytes):
            return False
        self._layout.value_field = name
        self._layout.spans[name] = Span(at, width)
        return True

    def _varint(self, name: str, at: int) -> int | None:
        data = self._bytes
        end = at
        while end < len(data) and data[end] >= 0x80:
            end += 1
        width = end + 1 - at
        if end >= len(data) or width > _MINUS_BYTES:
            return None
        self._layout.mask[at : end + 1] = 0x80
        if width > _VARINT_BYTES_MAX:
            if data[end] != 1:
                return None
            self._layout.mask[end] = 0xFF
        if name in {"int_value", "long_value"}:
            return end + 1 if self._value(name, at, width) else None
        self._layout.spans[name] = Span(at, width)
        return end + 1

    def _byte(self, tag: int, at: int) -> int | None:
        """Read a field whose varint is one byte: a boolean or the data type."""
        if at >= len(self._bytes):
            return None
        number = self._bytes[at]
        if tag == _DATA_TYPE:
            self._layout.data_type = number
            return at + 1 if number < 0x80 else None
        if number > 1:
            return None
        if tag == _BOOLEAN:
            self._layout.mask[at] = 0xFE
            return at + 1 if self._value("boolean_value", at, 1) else None
        self._layout.flags[FLAGS[tag]] = number == 1
        return at + 1

    def _properties(self, at: int) -> int | None:
        found = read_varint(self._bytes, at)
        if found is None or found[1] + found[0] > len(self._bytes):
            return None
        end = found[1] + found[0]
        self._layout.properties = self._bytes[at - 1 : end]
        return end
