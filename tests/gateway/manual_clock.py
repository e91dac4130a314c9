"""A clock that tests move by hand."""


class ManualClock:
    """Wall and monotonic time that stand still until ``pass_s``; ``sleep_s`` passes time."""

    def __init__(self, wall_us=1_800_000_000_000_000):
        self._wall_us = wall_us
        self._monotonic_s = 1000.0

    def wall_us(self):
        return self._wall_us

    def monotonic_s(self):
        return self._monotonic_s

    async def sleep_s(self, seconds):
        self.pass_s(seconds)

    def pass_s(self, seconds):
        self._wall_us += int(seconds * 1e6)
        self._monotonic_s += seconds

    def step_wall_s(self, seconds):
        self._wall_us += int(seconds * 1e6)
