"""Back-off for those who guess: growing waits per user and per address, bounded memory. Pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from central.errors import TooManyAttemptsError
from runtime.clock import Clock

FREE_TRIES = 3
WAIT_MAX_S = 60.0
FORGET_AFTER_S = 900.0
KEYS_MAX = 10_000


@dataclass
class _Record:
    failures: int
    blocked_until_s: float
    last_s: float


class Attempts:
    """Counts failures by key (a user, an address) and says who has to wait.

    The wait doubles from 1 s to ``WAIT_MAX_S`` after ``FREE_TRIES`` failures, so nobody is locked
    out for good (R4). The oldest of more than ``KEYS_MAX`` keys are forgotten.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def check(self, *keys: str) -> None:
        """Raise ``TooManyAttemptsError`` while any of the keys has to wait."""
        now_s = self._clock.monotonic_s()
        waits = [r.blocked_until_s - now_s for k in keys if (r := self._records.get(k))]
        wait_s = max(waits, default=0.0)
        if wait_s > 0:
            raise TooManyAttemptsError(wait_s)

    def fail(self, *keys: str) -> None:
        """Count a failure for each key."""
        now_s = self._clock.monotonic_s()
        for key in keys:
            record = self._records.pop(key, None)
            if record is None or now_s - record.last_s > FORGET_AFTER_S:
                record = _Record(0, now_s, now_s)
            record.failures += 1
            record.last_s = now_s
            if record.failures >= FREE_TRIES:
                doublings = min(record.failures - FREE_TRIES, 10)
                record.blocked_until_s = now_s + min(WAIT_MAX_S, 2.0**doublings)
            self._records[key] = record
        while len(self._records) > KEYS_MAX:
            self._records.popitem(last=False)

    def succeed(self, *keys: str) -> None:
        """Forget the keys' failures."""
        for key in keys:
            self._records.pop(key, None)
