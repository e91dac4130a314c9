"""Decoded segments as a sample batch: handles become tags, OPC UA time becomes µs.

Scaling happens here, as it changes how a value is held (a scaled Int32 is a Double); values whose
type does not fit their tag any more are left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.sample import NUMPY_TYPE, SampleBatch, SampleColumns, ValueKind, concatenate
from gateway.sources.opcua.decode import Segment
from gateway.sources.opcua.split import Splits
from gateway.sources.opcua.types import EPOCH_TICKS, as_text, hold
from gateway.sources.opcua.varied import HELD_TYPES
from sparkplug_b.errors import EncodeError

TICKS_MAX = 2_650_467_743_999_999_999
"""The last instant of the year 9999 in 100 ns since 1601: OPC 10000-6, 5.2.2.5."""
_DATETIME, _GUID = 13, 14
_GUID_ORDER = [3, 2, 1, 0, 5, 4, 7, 6, *range(8, 16)]
_KIND_OF_SCALAR = {10: ValueKind.DOUBLE, 11: ValueKind.DOUBLE, 9: ValueKind.UINT}

_KIND_OF_HELD = {
    type_id: ValueKind.BYTES if type_id == 15 else ValueKind.TEXT for type_id in HELD_TYPES
}
MODEL_HANDLE = 0x7FFFFFFE
"""Client handle of the item that reports changes of the model; no tag has it.

It is an event item, but node-opcua sends the value of its attribute too when a subscription moves
to another session; and a handle of 0xFFFFFFFF it would send as 0, which is a tag's.
"""


class TagColumns:
    """What conversion needs of each tag, indexed by tag: kind, gain and offset."""

    def __init__(self) -> None:
        self.kind: NDArray[np.uint8] = np.zeros(0, dtype=np.uint8)
        self.gain: NDArray[np.float64] = np.zeros(0)
        self.offset: NDArray[np.float64] = np.zeros(0)
        self.is_scaled: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self.any_scaled = False
        self.splits = Splits()

    def set(self, tags: Sequence[tuple[int, ValueKind, float, float]]) -> None:
        """Set (tag index, kind, gain, offset) of tags; the columns grow as needed."""
        size = max((tag for tag, *_ in tags), default=-1) + 1
        if size > len(self.kind):
            grow = size - len(self.kind)
            self.kind = np.append(self.kind, np.full(grow, 255, dtype=np.uint8))
            self.gain = np.append(self.gain, np.ones(grow))
            self.offset = np.append(self.offset, np.zeros(grow))
            self.is_scaled = np.append(self.is_scaled, np.zeros(grow, dtype=np.bool_))
        for tag, kind, gain, offset in tags:
            self.kind[tag] = kind
            self.gain[tag] = gain
            self.offset[tag] = offset
            self.is_scaled[tag] = gain != 1.0 or offset != 0.0
        self.any_scaled = bool(self.is_scaled.any())

    def forget(self, tags: Iterable[int]) -> None:
        """Leave out what still comes of tags that are not read any more."""
        for tag in tags:
            self.kind[tag] = 255


def to_batch(
    segments: Sequence[Segment], tags: TagColumns, now_us: int
) -> tuple[SampleBatch, NDArray[np.uint32]]:
    """Convert segments; client handles are tag indexes.

    Returns the batch, and the tags whose values did not fit (one entry per value left out).
    """
    parts: list[SampleBatch] = []
    whole, misfits = tags.splits.expand(segments)
    for arrived in whole:
        known = arrived.handle < len(tags.kind)
        segment = arrived if known.all() else arrived.rows(known)
        if segment is not arrived:
            misfits.append(arrived.handle[~known & (arrived.handle != MODEL_HANDLE)])
        for columns in _columns(segment, now_us):
            fitting, misfit = _fit(columns, tags)
            parts.append(SampleBatch(fitting))
            if len(misfit):
                misfits.append(misfit)
    left_out = np.concatenate(misfits) if misfits else np.zeros(0, dtype=np.uint32)
    return concatenate(parts), left_out


def _columns(segment: Segment, now_us: int) -> list[SampleColumns]:
    ticks = segment.ticks
    time_us = (ticks - EPOCH_TICKS) // 10
    if len(ticks) and (int(ticks.min()) <= 0 or int(ticks.max()) > TICKS_MAX):
        # no time, or one that no calendar has: the time it was received
        time_us[(ticks <= 0) | (ticks > TICKS_MAX)] = now_us
    if isinstance(segment.value, np.ndarray) and segment.type_id == _GUID:
        texts = _guid_texts(segment.value)
        return [SampleColumns(ValueKind.TEXT, segment.handle, time_us, segment.status, texts)]
    if isinstance(segment.value, np.ndarray):
        kind = _KIND_OF_SCALAR.get(segment.type_id, ValueKind.INT)
        value = segment.value.astype(NUMPY_TYPE[kind], copy=False)
        if segment.type_id == _DATETIME:
            value = (value - EPOCH_TICKS) // 10
        return [SampleColumns(kind, segment.handle, time_us, segment.status, value)]
    held_as = _KIND_OF_HELD.get(segment.type_id)
    if held_as is not None and not segment.is_array and None not in segment.value:
        return [SampleColumns(held_as, segment.handle, time_us, segment.status, segment.value)]
    if segment.type_id == 0:
        return [SampleColumns(ValueKind.NULL, segment.handle, time_us, segment.status, None)]
    return _held(segment, time_us)


def _guid_texts(values: NDArray[Any]) -> list[str]:
    """Write Guids as text. The first three parts lie least significant byte first."""
    digits = np.ascontiguousarray(values).view(np.uint8).reshape(-1, 16)[:, _GUID_ORDER]
    text = digits.tobytes().hex()
    return [
        f"{t[:8]}-{t[8:12]}-{t[12:16]}-{t[16:20]}-{t[20:]}"
        for t in (text[at : at + 32] for at in range(0, len(text), 32))
    ]


def _held(segment: Segment, time_us: NDArray[np.int64]) -> list[SampleColumns]:
    """Turn fallback values into columns, one by one; a value that cannot be held becomes text."""
    rows: dict[ValueKind, tuple[list[int], list[Any]]] = {}
    for row, value in enumerate(segment.value):
        try:
            kind, held = hold(segment.type_id, value, is_array=segment.is_array)
        except (ValueError, TypeError, OverflowError, EncodeError):
            kind, held = ValueKind.TEXT, as_text(value)
        numbers, values = rows.setdefault(kind, ([], []))
        numbers.append(row)
        values.append(held)
    result = []
    for kind, (numbers, values) in rows.items():
        at = np.array(numbers, dtype=np.intp)
        column: NDArray[Any] | list[Any] | None = values
        if kind is ValueKind.NULL:
            column = None
        elif kind in NUMPY_TYPE:
            column = np.array(values, dtype=NUMPY_TYPE[kind])
        result.append(
            SampleColumns(kind, segment.handle[at], time_us[at], segment.status[at], column)
        )
    return result


def _fit(
    columns: SampleColumns, tags: TagColumns
) -> tuple[tuple[SampleColumns, ...], NDArray[np.uint32]]:
    """Scale, and bring each value into its tag's kind; return what fits and the misfits' tags."""
    none = np.zeros(0, dtype=np.uint32)
    if columns.kind is ValueKind.NULL or len(columns) == 0:
        return (columns,), none
    wanted = tags.kind[columns.tag]
    as_held = wanted == columns.kind
    if as_held.all() and not tags.any_scaled:
        return (columns,), none
    numeric = columns.kind in NUMPY_TYPE
    to_double = (wanted == ValueKind.DOUBLE) & numeric
    scaled = to_double & tags.is_scaled[columns.tag]
    widened = to_double & ~as_held & ~scaled
    plain = as_held & ~scaled
    parts: list[SampleColumns] = []
    if plain.any():
        parts.append(columns.take(plain))
    doubles = scaled | widened
    if doubles.any():
        rows = columns.take(doubles)
        assert isinstance(rows.value, np.ndarray)
        with np.errstate(over="ignore", invalid="ignore"):
            value = rows.value.astype(np.float64) * tags.gain[rows.tag] + tags.offset[rows.tag]
        parts.append(SampleColumns(ValueKind.DOUBLE, rows.tag, rows.time_us, rows.status, value))
    misfit = ~(plain | doubles)
    return tuple(parts), columns.tag[misfit] if misfit.any() else none
