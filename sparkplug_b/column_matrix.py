"""Rows laid out as a byte matrix with numpy: one matrix row per metric, one column per byte.

Where every row has the same width (aliases of one varint size, fixed-width values: the usual case)
the matrix is the result. Otherwise narrow rows leave holes and a mask takes the valid bytes out.
All pieces but the value are short, and values here are at most ten bytes, so a metric is below 128
bytes and its length is one byte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sparkplug_b.column_rows import quality_field
from sparkplug_b.column_wire import NULL, WireColumn

Bytes2D = NDArray[np.uint8]
Widths = NDArray[np.int64]

_THRESHOLDS: Final = tuple(1 << 7 * k for k in range(1, 10))  # first number of k + 1 bytes


@dataclass(slots=True)
class _Piece:
    """A piece of every row: its greatest width, the width per row (None: full), how to fill it."""

    width_max: int
    widths: Widths | None
    fill: Callable[[Bytes2D], None]


def encode_matrix(column: WireColumn) -> tuple[bytes, NDArray[np.int64]]:
    """Return the concatenated `metrics` fields and the end of each. Not for texts and blobs."""
    row_count = len(column.alias)
    pieces = [
        _constant(b"\x10"),
        _varints(column.alias),
        _constant(b"\x18"),
        _varints(column.timestamp.view(np.uint64)),
    ]
    if column.flags:
        pieces.append(_constant(column.flags))
    if column.null is not None:
        pieces.append(_constant(NULL, column.null))
    if column.quality is not None:
        pieces.append(_quality(column.quality))
    pieces += _value_pieces(column)

    total = 2 + sum(piece.width_max for piece in pieces)
    out = np.empty((row_count, total), np.uint8)
    out[:, 0] = 0x12
    at = 2
    for piece in pieces:
        piece.fill(out[:, at : at + piece.width_max])
        at += piece.width_max
    varying = [piece.widths for piece in pieces if piece.widths is not None]
    if not varying:
        assert total - 2 < 0x80
        out[:, 1] = total - 2
        return out.tobytes(), np.arange(total, total * row_count + 1, total, dtype=np.int64)
    fixed = sum(piece.width_max for piece in pieces if piece.widths is None)
    row_bytes = np.full(row_count, fixed, np.int64)
    for widths in varying:
        row_bytes += widths
    assert int(row_bytes.max()) < 0x80
    out[:, 1] = row_bytes
    return out[_valid(pieces, row_count, total)].tobytes(), np.cumsum(row_bytes + 2)


def _valid(pieces: list[_Piece], row_count: int, total: int) -> NDArray[np.bool_]:
    """Return which bytes of the matrix belong to the result."""
    mask = np.ones((row_count, total), np.bool_)
    at = 2
    for piece in pieces:
        if piece.widths is not None:
            for k in range(piece.width_max):
                np.greater(piece.widths, k, out=mask[:, at + k])
        at += piece.width_max
    return mask


def _constant(data: bytes, present: NDArray[np.bool_] | None = None) -> _Piece:
    widths = None if present is None else np.where(present, len(data), 0).astype(np.int64)

    def fill(out: Bytes2D) -> None:
        for k, byte in enumerate(data):
            out[:, k] = byte

    return _Piece(len(data), widths, fill)


def _varints(numbers: NDArray[np.uint64], present: NDArray[np.bool_] | None = None) -> _Piece:
    """Return canonical varints; rows not present take no byte."""
    low, high = int(numbers.min()), int(numbers.max())
    width_max = 1 + sum(high >= limit for limit in _THRESHOLDS)
    width_min = 1 + sum(low >= limit for limit in _THRESHOLDS)
    if width_min == width_max:
        uniform = None if present is None else np.where(present, width_max, 0).astype(np.int64)
        return _Piece(width_max, uniform, partial(_fill_uniform, numbers))
    widths = np.full(len(numbers), width_min, np.int64)
    for limit in _THRESHOLDS[width_min - 1 : width_max - 1]:
        widths += numbers >= np.uint64(limit)
    shown = widths if present is None else np.where(present, widths, 0)
    return _Piece(width_max, shown, partial(_fill_varying, numbers, widths))


def _fill_uniform(numbers: NDArray[np.uint64], out: Bytes2D) -> None:
    last = out.shape[1] - 1
    rest = numbers
    for k in range(last):
        np.bitwise_or(rest, np.uint64(0x80), out=out[:, k], casting="unsafe")
        rest = rest >> np.uint64(7)
    out[:, last] = rest


def _fill_varying(numbers: NDArray[np.uint64], widths: Widths, out: Bytes2D) -> None:
    rest = numbers
    for k in range(out.shape[1]):
        more = (widths > k + 1).view(np.uint8) << np.uint8(7)
        out[:, k] = (rest & np.uint64(0x7F)).astype(np.uint8) | more
        rest = rest >> np.uint64(7)


def _quality(quality: NDArray[np.int32]) -> _Piece:
    """Look the few different properties up in a table of their bytes."""
    found, inverse = np.unique(quality, return_inverse=True)
    fields = [quality_field(number) for number in found.tolist()]
    width_max = max(len(field) for field in fields)
    table = np.zeros((len(fields), width_max), np.uint8)
    for row, field in enumerate(fields):
        table[row, : len(field)] = np.frombuffer(field, np.uint8)
    widths = np.array([len(field) for field in fields], np.int64)[inverse]

    def fill(out: Bytes2D) -> None:
        out[:] = table[inverse]

    return _Piece(width_max, widths, fill)


def _value_pieces(column: WireColumn) -> list[_Piece]:
    values = column.values
    assert isinstance(values, np.ndarray)
    present = None if column.null is None else ~column.null
    tag = _constant(column.tag, present)
    if values.dtype.kind == "u":
        return [tag, _varints(values, present)]
    width = values.dtype.itemsize
    widths = None if present is None else np.where(present, width, 0).astype(np.int64)
    return [tag, _Piece(width, widths, partial(_fill_fixed, values))]


def _fill_fixed(values: NDArray[Any], out: Bytes2D) -> None:
    out[:] = np.ascontiguousarray(values).view(np.uint8).reshape(out.shape)
