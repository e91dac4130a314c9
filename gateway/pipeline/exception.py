"""Report by exception: what is the same as before, or moved less than its deadband, stays out.

A sample is reported when its kind, value or status differs from the tag's last reported one; a
number of a tag with a deadband, when it moved by at least the deadband or its status changed. Pure
columns: samples of one tag within a batch are taken in turns, so that each is compared with the
one reported before it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from contract.sample import NUMPY_TYPE, SampleBatch, SampleColumns, concatenate, in_turns
from gateway.pipeline.last import LastValues

_NO_ROWS: NDArray[np.intp] = np.zeros(0, dtype=np.intp)


class ReportByException:
    """Keeps the last reported samples and filters batches against them."""

    def __init__(self, last: LastValues) -> None:
        self._last = last
        self._deadband: NDArray[np.float64] = np.zeros(0)
        self._any_deadband = self._any_always = False
        self.unchanged_count = 0
        self.deadband_count = 0

    def set_deadbands(self, deadbands: list[tuple[int, float]]) -> None:
        """Set (tag index, absolute deadband); 0 reports any change, below 0 every sample."""
        size = max((tag for tag, _ in deadbands), default=-1) + 1
        if size > len(self._deadband):
            self._deadband = np.append(self._deadband, np.zeros(size - len(self._deadband)))
        self._last.grow(size)
        for tag, width in deadbands:
            self._deadband[tag] = width
        self._any_deadband = bool(self._deadband.any())
        self._any_always = bool((self._deadband < 0).any())

    def filter(self, batch: SampleBatch) -> SampleBatch:
        """Return what has to be reported, and remember it."""
        return concatenate(
            SampleBatch(tuple(self._filter(columns) for columns in turn.columns))
            for turn in in_turns(batch)
        )

    def _filter(self, columns: SampleColumns) -> SampleColumns:
        kept: list[SampleColumns] = []
        for turn in _turns(columns):
            mask = self._differs(turn)
            reported = turn if mask.all() else turn.take(mask)
            self._last.set(reported)
            kept.append(reported)
        joined = concatenate(SampleBatch((part,)) for part in kept)
        return joined.columns[0] if joined.columns else columns.take(_NO_ROWS)

    def _differs(self, turn: SampleColumns) -> NDArray[np.bool_]:
        """Return which samples to report; the tags in ``turn`` are all different."""
        last, tag = self._last, turn.tag
        changed = (last.status[tag] != turn.status) | (last.kind[tag] != turn.kind)
        if isinstance(turn.value, np.ndarray):
            moved = last.bits[tag] != turn.value.view(np.uint64)
            if self._any_deadband:
                moved = self._moved_enough(turn, moved, changed)
        elif turn.value is None:
            moved = np.zeros(len(turn), dtype=np.bool_)
        else:
            objects = last.objects
            moved = np.fromiter(
                (objects.get(t) != v for t, v in zip(tag.tolist(), turn.value, strict=True)),
                dtype=np.bool_,
                count=len(turn),
            )
        report: NDArray[np.bool_] = np.logical_or(changed, moved)
        if self._any_always:
            report |= self._deadband[tag] < 0
        self.unchanged_count += len(report) - int(report.sum())
        return report

    def _moved_enough(
        self,
        turn: SampleColumns,
        moved: NDArray[np.bool_],
        changed: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        """Narrow ``moved`` to the numbers that moved by their deadband; a NaN always reports."""
        assert isinstance(turn.value, np.ndarray)
        width = self._deadband[turn.tag]
        before = self._last.bits[turn.tag].view(NUMPY_TYPE[turn.kind])
        with np.errstate(invalid="ignore"):
            within = np.abs(turn.value.astype(np.float64) - before.astype(np.float64)) < width
        still = moved & within & ~changed
        self.deadband_count += int(still.sum())
        self.unchanged_count -= int(still.sum())
        return moved & ~still


def _turns(columns: SampleColumns) -> Iterator[SampleColumns]:
    """Split columns so that no tag stands twice in one turn; the order per tag is kept."""
    tag = columns.tag
    n = len(tag)
    if n == 0:
        return
    seen = np.empty(int(tag.max()) + 1, dtype=np.intp)
    seen[tag] = np.arange(n)
    if (seen[tag] == np.arange(n)).all():
        yield columns
        return
    order = np.argsort(tag, kind="stable")
    ordered = tag[order]
    first = np.r_[True, ordered[1:] != ordered[:-1]]
    starts = np.flatnonzero(first)
    turn_of = np.empty(n, dtype=np.intp)
    turn_of[order] = np.arange(n) - np.repeat(starts, np.diff(np.r_[starts, n]))
    for turn in range(int(turn_of.max()) + 1):
        yield columns.take(np.flatnonzero(turn_of == turn))
