"""Samples per second of each gateway over the last minute. Pure but for the clock."""

from __future__ import annotations

from collections import deque

from central.ingest.watermarks import Watermarks
from runtime.clock import Clock

WINDOW_S = 60.0
SAMPLE_INTERVAL_S = 5.0


class Rates:
    """Looks at the totals every ``SAMPLE_INTERVAL_S`` when asked to."""

    def __init__(self, watermarks: Watermarks, clock: Clock) -> None:
        self._watermarks = watermarks
        self._clock = clock
        self._seen: deque[tuple[float, dict[int, int]]] = deque()

    def observe(self) -> None:
        """Note the totals of now."""
        now_s = self._clock.monotonic_s()
        self._seen.append((now_s, self._totals()))
        while self._seen[0][0] < now_s - WINDOW_S:
            self._seen.popleft()

    def per_second(self, gateway: int) -> float:
        """Return the samples per second of a gateway over the window."""
        if not self._seen:
            return 0.0
        then_s, totals = self._seen[0]
        span_s = self._clock.monotonic_s() - then_s
        now = self._totals().get(gateway, 0)
        return max(0.0, (now - totals.get(gateway, 0)) / span_s) if span_s > 1 else 0.0

    def _totals(self) -> dict[int, int]:
        totals: dict[int, int] = {}
        for state in self._watermarks.all():
            totals[state.gateway] = totals.get(state.gateway, 0) + state.samples_count
        return totals
