"""Back-off of sign-in attempts, per address and per user. Pure but for its clock; in memory.

An attempt is counted when it begins, so that a thousand at once are a thousand; the first
``FREE_COUNT`` cost nothing, then each doubles the wait. Nobody is locked out: a wait is at most
``ADDRESS_WAIT_S_MAX`` for an address and ``USER_WAIT_S_MAX`` for a user under attack from many,
and an address from which the user signed in before is not made to wait for the others' attempts.

Limits: ``ENTRIES_MAX`` keys; the oldest is forgotten. A restart forgets all.
"""

from __future__ import annotations

from collections import OrderedDict

from gateway.auth.refusals import TooManyAttemptsError
from runtime.clock import Clock

FREE_COUNT = 4
FIRST_WAIT_S = 1.0
ADDRESS_WAIT_S_MAX = 60.0
USER_WAIT_S_MAX = 4.0
FORGET_AFTER_S = 900.0
ENTRIES_MAX = 10_000


class _Attempts:
    __slots__ = ("count", "last_s", "open_at_s")

    def __init__(self) -> None:
        self.count = 0
        self.last_s = 0.0
        self.open_at_s = 0.0


class Throttle:
    """Counts attempts and says who has to wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._attempts: OrderedDict[str, _Attempts] = OrderedDict()
        self._known_good: OrderedDict[tuple[str, str], None] = OrderedDict()

    def begin(self, address: str, user: str) -> None:
        """Count an attempt.

        Raises:
            TooManyAttemptsError: it comes too early; it is not counted and must not be tried.
        """
        keys = {f"address {address}": ADDRESS_WAIT_S_MAX}
        if (address, user) not in self._known_good:
            keys[f"user {user}"] = USER_WAIT_S_MAX
        now_s = self._clock.monotonic_s()
        wait_s = max(self._open_at_s(key, now_s) for key in keys) - now_s
        if wait_s > 0:
            raise TooManyAttemptsError(wait_s)
        for key, wait_s_max in keys.items():
            self._count(key, now_s, wait_s_max)

    def succeed(self, address: str, user: str) -> None:
        """Forget the attempts of this address and user."""
        self._attempts.pop(f"address {address}", None)
        self._attempts.pop(f"user {user}", None)
        self._known_good[address, user] = None
        self._known_good.move_to_end((address, user))
        if len(self._known_good) > ENTRIES_MAX:
            self._known_good.popitem(last=False)

    def _open_at_s(self, key: str, now_s: float) -> float:
        found = self._attempts.get(key)
        if found is not None and now_s - found.last_s > FORGET_AFTER_S:
            del self._attempts[key]
            found = None
        return found.open_at_s if found is not None else now_s

    def _count(self, key: str, now_s: float, wait_s_max: float) -> None:
        found = self._attempts.setdefault(key, _Attempts())
        self._attempts.move_to_end(key)
        found.count += 1
        found.last_s = now_s
        over_count = found.count - FREE_COUNT
        if over_count >= 0:
            found.open_at_s = now_s + min(wait_s_max, FIRST_WAIT_S * 2.0 ** min(over_count, 20))
        if len(self._attempts) > ENTRIES_MAX:
            self._attempts.popitem(last=False)
