"""Which tags of the mirror have a value to send, and when each may be sent. Pure, time passed in.

What waits is a flag per tag: bounded by the tags, whatever they do. Of two values the newer goes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

TICK_S: Final = 0.05
"""The shortest wait between two looks at what is due."""


class Waiting:
    """Columns by tag. ``overtaken_count``: values that a newer one of their tag took the place of.

    ``interval_s`` lies between two messages of a tag; ``rate`` is messages a second of all tags.
    """

    def __init__(self, interval_s: float, rate: int) -> None:
        self._interval_s = interval_s
        self._rate = rate
        self._tokens = 0.0
        self._at_s = 0.0
        self._used: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._waits: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._due_s: NDArray[np.float64] = np.zeros(0)
        self.overtaken_count = 0

    def use(self, tags: list[int], fresh: list[int]) -> None:
        """Take the tags that are mirrored now; the fresh ones wait to be sent."""
        size = max(tags, default=-1) + 1
        used = np.zeros(size, dtype=np.bool_)
        used[tags] = True
        waits, due_s = np.zeros(size, dtype=np.bool_), np.zeros(size)
        kept = min(size, len(self._waits))
        waits[:kept], due_s[:kept] = self._waits[:kept], self._due_s[:kept]
        waits[fresh] = True
        self._used, self._waits, self._due_s = used, waits & used, due_s

    def begin(self, tags: list[int], now_s: float) -> None:
        """Start a session: every tag that has a value waits, as the broker may know none."""
        self._waits[:] = False
        self._waits[tags] = True
        self._due_s[:] = 0.0
        self._tokens, self._at_s = self._burst, now_s

    def note(self, tag: NDArray[np.uint32]) -> None:
        """Note samples; of several of one tag, the last is sent."""
        tag = tag[tag < len(self._used)]
        tag = tag[self._used[tag]]
        before = np.count_nonzero(self._waits)
        self._waits[tag] = True
        self.overtaken_count += len(tag) - int(np.count_nonzero(self._waits) - before)

    def take_due(self, now_s: float) -> NDArray[np.intp]:
        """Return the tags to send now, those that waited longest first, within the rate."""
        self._tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self._rate)
        self._at_s = now_s
        due = np.flatnonzero(self._waits & (self._due_s <= now_s))
        if len(due) > self._tokens:
            due = due[np.argsort(self._due_s[due], kind="stable")[: int(self._tokens)]]
        self._tokens -= len(due)
        self._waits[due] = False
        self._due_s[due] = now_s + self._interval_s
        return due

    def next_s(self, now_s: float) -> float:
        """Return how long until something may be due."""
        if not self._waits.any():
            return np.inf
        return max(TICK_S, float(self._due_s[self._waits].min()) - now_s)

    @property
    def _burst(self) -> float:
        return max(1.0, self._rate / 4)
