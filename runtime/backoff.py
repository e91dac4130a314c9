"""Delays between attempts: growing, bounded, jittered. Pure; randomness is passed in."""

from __future__ import annotations

from random import Random


class Backoff:
    """Exponential delays with full jitter over the upper half.

    The first retry after a success waits about ``first_s``, so that a blip costs little; each
    failure doubles the delay up to ``max_s``.
    """

    def __init__(self, random: Random, first_s: float = 0.5, max_s: float = 30.0) -> None:
        assert 0 < first_s <= max_s
        self._random = random
        self._first_s = first_s
        self._max_s = max_s
        self._failures_count = 0

    @property
    def failures_count(self) -> int:
        """Failures since the last success."""
        return self._failures_count

    def next_delay_s(self) -> float:
        """Count a failure and return how long to wait."""
        ceiling = min(self._max_s, self._first_s * 2.0 ** min(self._failures_count, 30))
        self._failures_count += 1
        return ceiling * (0.5 + 0.5 * self._random.random())

    def succeed(self) -> None:
        """Start over: the next failure waits ``first_s`` again."""
        self._failures_count = 0
