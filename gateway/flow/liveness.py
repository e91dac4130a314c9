"""Which sources are up, as sinks have to tell it to others.

A source is up from the first subscription of a session until the session has been over for
``death_delay_s``: a reconnect within that time is no news to anybody. Before its first session it
is down. Used on the event loop only; time passes in through the clock alone, so nothing here needs
a task: who reads ``generation`` late learns of a death late (``next_death_s`` says when to look).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from runtime.clock import Clock


class SourceLiveness:
    """All sources of the gateway.

    Attributes:
        listeners: called when a source came up, or began to be away.
    """

    def __init__(self, clock: Clock, death_delay_s: float) -> None:
        self._clock = clock
        self._delay_s = death_delay_s
        self._until_s: dict[str, float] = {}  # up until then; without end while a session delivers
        self._generation = 0
        self.listeners: list[Callable[[], None]] = []

    def up(self, source: str) -> None:
        """Note that a session of the source delivers."""
        if self._until_s.get(source) == math.inf:
            return
        self._bury()
        if source not in self._until_s:
            self._generation += 1
        self._until_s[source] = math.inf
        self._tell()

    def ended(self, source: str) -> None:
        """Note that the source's session is over."""
        if self._until_s.get(source) == math.inf:
            self._until_s[source] = self._clock.monotonic_s() + self._delay_s
            self._tell()

    def is_up(self, source: str) -> bool:
        """Tell whether a source is up, or was so less than the delay ago."""
        self._bury()
        return source in self._until_s

    @property
    def generation(self) -> int:
        """Grows with every source that comes up or goes down."""
        self._bury()
        return self._generation

    @property
    def next_death_s(self) -> float | None:
        """Seconds until the next source that is away counts as down; None for none."""
        first_s = min(self._until_s.values(), default=math.inf)
        return None if first_s == math.inf else max(0.0, first_s - self._clock.monotonic_s())

    def _bury(self) -> None:
        """Take those that have been away for too long as down."""
        now_s = self._clock.monotonic_s()
        for source in [s for s, until_s in self._until_s.items() if until_s <= now_s]:
            del self._until_s[source]
            self._generation += 1

    def _tell(self) -> None:
        for listener in self.listeners:
            listener()
