"""A sample and the columns it travels in.

A *sample* is one value of one tag with its source time and OPC UA status code. Samples never
travel alone: a ``SampleBatch`` holds parallel columns, one ``SampleColumns`` for each value kind,
and nobody makes an object per sample. Order: within a batch, the samples of one tag stand in
source order (a tag has one kind, so all of them stand in one ``SampleColumns``). Only samples
without a value (``NULL``) stand apart from their tag's others: ``in_turns`` gives the order back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NewType

import numpy as np
from numpy.typing import NDArray

TagIndex = NewType("TagIndex", int)
"""A tag's number within one journal epoch: 0, 1, 2 ... and never used twice."""

STATUS_GOOD = 0x00000000
"""OPC UA Good (OPC 10000-6, 7.39): the two top bits of a status code are its severity."""
STATUS_SEVERITY_MASK = 0xC0000000


class ValueKind(IntEnum):
    """How the values of a column are held; the Sparkplug data type belongs to the tag."""

    DOUBLE = 0
    """float64: Float and Double (a Float is exact in it)."""
    INT = 1
    """int64: Int8 to Int64, UInt8 to UInt32, Boolean (0 or 1), DateTime (µs since 1970)."""
    UINT = 2
    """uint64: UInt64."""
    TEXT = 3
    """str: String, Text, UUID."""
    BYTES = 4
    """bytes: Bytes, File and arrays, packed as Sparkplug 3.0 packs them."""
    NULL = 5
    """No value: the server sent a status alone."""


NUMPY_TYPE: dict[ValueKind, type[np.generic]] = {
    ValueKind.DOUBLE: np.float64,
    ValueKind.INT: np.int64,
    ValueKind.UINT: np.uint64,
}
"""The numpy type of the numeric kinds."""


@dataclass(frozen=True, slots=True, eq=False)
class SampleColumns:
    """Samples of one value kind, as parallel columns of equal length n.

    Attributes:
        kind: how ``value`` is held.
        tag: uint32[n], tag index.
        time_us: int64[n], source time, µs since 1970 UTC.
        status: uint32[n], OPC UA status code.
        value: float64[n], int64[n] or uint64[n]; list of n str or bytes; None for ``NULL``.
    """

    kind: ValueKind
    tag: NDArray[np.uint32]
    time_us: NDArray[np.int64]
    status: NDArray[np.uint32]
    value: NDArray[Any] | list[Any] | None

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.tag)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> SampleColumns:
        """Return the chosen rows (a mask of n booleans, or row numbers), in the given order."""
        value: NDArray[Any] | list[Any] | None
        if self.value is None or isinstance(self.value, np.ndarray):
            value = None if self.value is None else self.value[rows]
        else:
            numbers = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
            value = [self.value[i] for i in numbers.tolist()]
        return SampleColumns(
            self.kind, self.tag[rows], self.time_us[rows], self.status[rows], value
        )

    def check(self) -> None:
        """Assert equal lengths and the types named above; costs nothing per sample."""
        n = len(self.tag)
        assert self.tag.dtype == np.uint32
        assert self.time_us.dtype == np.int64
        assert self.status.dtype == np.uint32
        assert len(self.time_us) == n
        assert len(self.status) == n
        if self.kind is ValueKind.NULL:
            assert self.value is None
            return
        assert self.value is not None
        assert len(self.value) == n
        if self.kind in NUMPY_TYPE:
            assert isinstance(self.value, np.ndarray)
            assert self.value.dtype == NUMPY_TYPE[self.kind]


@dataclass(frozen=True, slots=True, eq=False)
class SampleBatch:
    """Samples that travel together: at most one ``SampleColumns`` per kind, in order of kind.

    Attributes:
        columns: by kind.
        is_historical: read from a device's own history to fill a gap: older than what its tags
            reported since. Never mixed with live samples in one batch.
    """

    columns: tuple[SampleColumns, ...]
    is_historical: bool = False

    def __len__(self) -> int:
        """Count the samples over all kinds."""
        return sum(len(c) for c in self.columns)

    def time_range_us(self) -> tuple[int, int]:
        """Return the earliest and latest source time; (0, 0) when empty."""
        ends = [(int(c.time_us.min()), int(c.time_us.max())) for c in self.columns if len(c)]
        if not ends:
            return 0, 0
        return min(first for first, _ in ends), max(last for _, last in ends)


EMPTY_BATCH = SampleBatch(())


def columns_of(
    kind: ValueKind,
    tag: Sequence[int],
    time_us: Sequence[int],
    status: Sequence[int],
    value: Sequence[Any] | None,
) -> SampleColumns:
    """Build columns from Python sequences (fallback paths and tests, not the hot path)."""
    typed: NDArray[Any] | list[Any] | None
    if value is None:
        typed = None
    else:
        number = NUMPY_TYPE.get(kind)
        typed = list(value) if number is None else np.array(value, dtype=number)
    return SampleColumns(
        kind,
        np.array(tag, dtype=np.uint32),
        np.array(time_us, dtype=np.int64),
        np.array(status, dtype=np.uint32),
        typed,
    )


def concatenate(batches: Iterable[SampleBatch]) -> SampleBatch:
    """Join batches in order: one ``SampleColumns`` per kind, per-tag order kept.

    Historical only when all of them are.
    """
    parts: dict[ValueKind, list[SampleColumns]] = {}
    is_live = False
    for batch in batches:
        is_live = is_live or not batch.is_historical
        for columns in batch.columns:
            if len(columns):
                parts.setdefault(columns.kind, []).append(columns)
    joined = tuple(_join(kind, parts[kind]) for kind in sorted(parts))
    return SampleBatch(joined, is_historical=bool(joined) and not is_live)


def in_turns(batch: SampleBatch) -> list[SampleBatch]:
    """Split a batch into parts in which each tag has one kind; a tag's parts are in time order.

    Nearly always the batch itself: only a tag that lost its value, or got it back, within the
    batch stands in several parts.
    """
    parts = [c for c in batch.columns if len(c)]
    if len(parts) < 2 or parts[-1].kind is not ValueKind.NULL:
        return [batch]
    without = parts[-1].tag
    moved = [np.isin(c.tag, without) for c in parts[:-1]]
    if not any(mask.any() for mask in moved):
        return [batch]
    shared = np.concatenate([c.tag[mask] for c, mask in zip(parts, moved, strict=False)])
    moved.append(np.isin(without, shared))
    alone = [c.take(~mask) for c, mask in zip(parts, moved, strict=True)]
    turns = [SampleBatch(tuple(c for c in alone if len(c)))]
    turns += _turns([c.take(mask) for c, mask in zip(parts, moved, strict=True)])
    return [turn for turn in turns if turn.columns]


def _turns(parts: Sequence[SampleColumns]) -> list[SampleBatch]:
    """Part the samples of tags that change their kind; one Python step a sample, as it is rare."""
    parts = [c for c in parts if len(c)]
    column = np.concatenate([np.full(len(c), n) for n, c in enumerate(parts)])
    row = np.concatenate([np.arange(len(c)) for c in parts])
    order = np.argsort(np.concatenate([c.time_us for c in parts]), kind="stable")
    at: dict[int, tuple[int, int]] = {}  # by tag: its turn and column so far
    chosen: list[list[list[int]]] = []  # by turn and column: rows
    for n, k in zip(column[order].tolist(), row[order].tolist(), strict=True):
        tag = int(parts[n].tag[k])
        turn, before = at.get(tag, (0, n))
        turn += n != before
        at[tag] = (turn, n)
        if turn == len(chosen):
            chosen.append([[] for _ in parts])
        chosen[turn][n].append(k)
    return [
        SampleBatch(
            tuple(
                parts[n].take(np.array(sorted(rows), dtype=np.intp))
                for n, rows in enumerate(by_column)
                if rows
            )
        )
        for by_column in chosen
    ]


def _join(kind: ValueKind, parts: list[SampleColumns]) -> SampleColumns:
    if len(parts) == 1:
        return parts[0]
    value: NDArray[Any] | list[Any] | None
    if kind is ValueKind.NULL:
        value = None
    elif kind in NUMPY_TYPE:
        value = np.concatenate([p.value for p in parts if isinstance(p.value, np.ndarray)])
    else:
        value = [v for p in parts for v in (p.value if p.value is not None else ())]
    return SampleColumns(
        kind,
        np.concatenate([p.tag for p in parts]),
        np.concatenate([p.time_us for p in parts]),
        np.concatenate([p.status for p in parts]),
        value,
    )
