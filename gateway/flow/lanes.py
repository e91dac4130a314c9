"""Which rows a sink gets next: live first, backlog beside it at a paced rate. Pure.

``confirmed`` is durable; ``sent`` is what this session has handed out, on top of it. A live row
that the sink was too slow to take in time is simply not in ``sent``: it becomes backlog.
"""

from __future__ import annotations

from collections import deque

from gateway.journal.cursors import Cursor

LIVE_ROWS_MAX = 64
LIVE_SAMPLES_MAX = 1_000_000


class TokenBucket:
    """Allows ``rate`` samples a second on average, in portions; time is passed in."""

    def __init__(self, rate: float, now_s: float) -> None:
        assert rate > 0
        self._rate = rate
        self._tokens = rate / 4
        self._at_s = now_s

    def _refill(self, now_s: float) -> None:
        self._tokens = min(self._rate, self._tokens + (now_s - self._at_s) * self._rate)
        self._at_s = now_s

    def wait_s(self, now_s: float) -> float:
        """Return how long until something may go; 0 when it may go now."""
        self._refill(now_s)
        return max(0.0, -self._tokens / self._rate)

    def spend(self, count: int, now_s: float) -> None:
        """Take tokens; the balance may become negative, which later portions wait out."""
        self._refill(now_s)
        self._tokens -= count


class Lanes:
    """The two lanes of one sink: numbers only, rows are fetched by the caller."""

    def __init__(self, confirmed: Cursor, head: int) -> None:
        self.confirmed = confirmed
        self.head = head
        self.sent = confirmed.copy()
        self.is_open = False
        self._live: deque[tuple[int, int]] = deque()
        self._live_samples = 0
        self.overflowed_rows = 0

    def begin(self) -> None:
        """Start a session: only what is confirmed counts as sent."""
        self.sent = self.confirmed.copy()
        self._live.clear()
        self._live_samples = 0
        self.is_open = True

    def end(self) -> None:
        """End the session: nothing is live until the next one."""
        self.is_open = False
        self._live.clear()
        self._live_samples = 0

    def append(self, sequence: int, samples_count: int) -> int:
        """Note a new row; returns how many of the oldest live rows fell back to the backlog."""
        assert sequence == self.head + 1
        self.head = sequence
        if not self.is_open:
            return 0
        self._live.append((sequence, samples_count))
        self._live_samples += samples_count
        fallen = 0
        while len(self._live) > 1 and (
            len(self._live) > LIVE_ROWS_MAX or self._live_samples > LIVE_SAMPLES_MAX
        ):
            self._live_samples -= self._live.popleft()[1]
            fallen += 1
        self.overflowed_rows += fallen
        return fallen

    def take_live(self, samples_max: int) -> tuple[int, int] | None:
        """Return a range of live rows, about ``samples_max``, as sent; None if none wait."""
        if not self._live:
            return None
        first, samples = self._live.popleft()
        last = first
        while self._live and samples + self._live[0][1] <= samples_max:
            last, count = self._live.popleft()
            samples += count
        self._live_samples = sum(count for _, count in self._live)
        self.sent.add(first, last)
        return first, last

    def backlog(self) -> tuple[int, int] | None:
        """Return the oldest range that is neither sent nor waiting in the live lane."""
        to = self._live[0][0] - 1 if self._live else self.head
        return self.sent.gap(0, to)

    def mark_sent(self, first: int, last: int) -> None:
        """Note that backlog rows were handed out."""
        self.sent.add(first, last)

    def confirm(self, first: int, last: int) -> None:
        """Note that rows are safe on the other side."""
        self.confirmed.add(first, last)

    @property
    def pending_rows(self) -> int:
        """Rows not yet confirmed."""
        return self.confirmed.pending_count(self.head)
