"""Time as a part that is passed in: durations from monotonic, stamps from wall."""

from __future__ import annotations

import time
from typing import Protocol

import anyio


class Clock(Protocol):
    """What our code knows of time."""

    def wall_us(self) -> int:
        """Return the wall time, µs since 1970 UTC; may step."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds that only grow."""
        ...

    async def sleep_s(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's own clock."""

    def wall_us(self) -> int:
        """Return the wall time, µs since 1970 UTC."""
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()

    async def sleep_s(self, seconds: float) -> None:
        """Wait on the event loop."""
        await anyio.sleep(seconds)
