"""When rows were committed and how many samples lie before them, in bounded memory.

For lag and backlog figures: exact for what this process committed lately, sparse further back (at
``POINTS_MAX`` points every second one goes). Pure.
"""

from __future__ import annotations

from bisect import bisect_right

POINTS_MAX = 20_000


class RowIndex:
    """Points (sequence, committed_us, samples up to and including it), in order of sequence."""

    def __init__(self) -> None:
        self._sequences: list[int] = []
        self._committed_us: list[int] = []
        self._samples: list[int] = []
        self._total = 0

    def record(self, sequence: int, committed_us: int, samples_count: int, rows: int = 1) -> None:
        """Add a row; ``rows`` over 1 stands for that many rows alike up to it."""
        self._total += samples_count * rows
        self._sequences.append(sequence)
        self._committed_us.append(committed_us)
        self._samples.append(self._total)
        if len(self._sequences) > POINTS_MAX:
            for column in (self._sequences, self._committed_us, self._samples):
                # the newest point always stays
                del column[-2::-2]

    def committed_us(self, sequence: int) -> int | None:
        """Return about when a row was committed; None when nothing is known of it."""
        at = bisect_right(self._sequences, sequence - 1)
        return self._committed_us[at] if at < len(self._committed_us) else None

    def samples_after(self, sequence: int) -> int:
        """Return about how many samples lie in rows behind one."""
        at = bisect_right(self._sequences, sequence)
        return self._total - (self._samples[at - 1] if at else 0)
