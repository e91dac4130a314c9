"""How far a consumer of the journal is: a contiguous watermark, and ranges confirmed beyond it.

Live rows go out before the backlog, so a consumer may have confirmed rows ahead of a gap. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec


@dataclass(slots=True)
class Cursor:
    """Rows 1 to ``confirmed`` are done, and so are the ranges (first, last) in ``beyond``.

    ``beyond`` is sorted, without overlaps or neighbours, and lies above ``confirmed + 1``.
    """

    confirmed: int = 0
    beyond: list[tuple[int, int]] = field(default_factory=list)

    @staticmethod
    def of(confirmed: int, beyond: bytes) -> Cursor:
        """Build a cursor from its stored form."""
        return Cursor(confirmed, msgspec.msgpack.decode(beyond, type=list[tuple[int, int]]))

    def beyond_bytes(self) -> bytes:
        """Return the stored form of ``beyond``."""
        return msgspec.msgpack.encode(self.beyond)

    def copy(self) -> Cursor:
        """Return an equal cursor that changes on its own."""
        return Cursor(self.confirmed, list(self.beyond))

    def add(self, first: int, last: int) -> None:
        """Mark rows ``first`` to ``last`` as done; rows done before may be among them."""
        assert first <= last
        if last <= self.confirmed:
            return
        merged: list[tuple[int, int]] = []
        for low, high in self.beyond:
            if high < first - 1 or low > last + 1:
                merged.append((low, high))
            else:
                first, last = min(first, low), max(last, high)
        merged.append((first, last))
        merged.sort()
        if merged[0][0] <= self.confirmed + 1:
            self.confirmed = merged.pop(0)[1]
        self.beyond = merged

    def done(self, sequence: int) -> bool:
        """Tell whether a row is done."""
        return sequence <= self.confirmed or any(a <= sequence <= b for a, b in self.beyond)

    def gap(self, after: int, to: int) -> tuple[int, int] | None:
        """Return the first range of rows not done within (after, to]; None if there is none."""
        first = max(after, self.confirmed) + 1
        for low, high in self.beyond:
            if first < low:
                break
            if first <= high:
                first = high + 1
        if first > to:
            return None
        ends = [low - 1 for low, _ in self.beyond if low > first]
        return first, min([to, *ends])

    def pending_count(self, to: int) -> int:
        """Count the rows up to ``to`` that are not done."""
        ahead = sum(min(high, to) - low + 1 for low, high in self.beyond if low <= to)
        return max(0, to - self.confirmed - ahead)
