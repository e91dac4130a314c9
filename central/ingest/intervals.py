"""A set of row sequences as sorted, disjoint, inclusive ranges. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from contract.upload import SequenceRange


class IntervalSet:
    """Sequences held, merged as they touch; sizes grow with the holes, not with the rows."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._first: list[int] = []
        self._last: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def add(self, first: int, last: int) -> None:
        """Add ``first`` to ``last``, both included; overlaps are fine."""
        assert 0 < first <= last
        low = bisect_right(self._first, first)
        if low and self._last[low - 1] >= first - 1:
            low -= 1
            first = self._first[low]
        high = bisect_right(self._first, last + 1)
        if high > low:
            last = max(last, self._last[high - 1])
        self._first[low:high] = [first]
        self._last[low:high] = [last]

    def __contains__(self, sequence: int) -> bool:
        """Say whether a sequence is held."""
        at = bisect_right(self._first, sequence) - 1
        return at >= 0 and self._last[at] >= sequence

    def ranges(self) -> list[SequenceRange]:
        """List what is held."""
        return [SequenceRange(a, b) for a, b in zip(self._first, self._last, strict=True)]

    def contiguous_to(self) -> int:
        """Return the last of the sequences held from 1 on without a hole; 0 for none."""
        return self._last[0] if self._first and self._first[0] == 1 else 0

    def received_to(self) -> int:
        """Return the highest sequence held; 0 for none."""
        return self._last[-1] if self._last else 0

    def holes(self) -> list[SequenceRange]:
        """List the ranges that are missing below ``received_to``."""
        starts = [1, *(last + 1 for last in self._last)]
        return [
            SequenceRange(start, first - 1)
            for start, first in zip(starts, self._first, strict=False)
            if first > start
        ]

    def count(self) -> int:
        """Count the sequences held."""
        return sum(self._last) - sum(self._first) + len(self._first)
