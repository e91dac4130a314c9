"""Signals of the simulated plant: pure functions of (seed, tick).

Promise: the same seed and tick give the same value, on any machine and in any
order of calls; nothing here reads a clock or keeps state. One tick is
`TICK_MS` of plant time. Noise comes from a counter-based hash (splitmix64), not
from `random`, so that tick 1,000,000 costs no more than tick 1.
"""

import math
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from enum import IntEnum

TICK_MS = 250
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""Plant time at tick 0, for the DateTime signals."""

Scalar = bool | int | float | str | datetime
SignalValue = Scalar | list[float] | list[bool] | list[str]
Signal = Callable[[int, int], SignalValue]
"""(seed, tick) -> value."""

_MASK64 = (1 << 64) - 1


class MachineState(IntEnum):
    """State of a machine; served as an OPC UA enumeration."""

    STOPPED = 0
    STARTING = 1
    RUNNING = 2
    HELD = 3
    FAULTED = 4


def noise(seed: int, key: str, tick: int) -> float:
    """Return a uniform number in [0, 1) that depends on nothing but its arguments.

    Source: splitmix64 finaliser (Steele, Lea, Flood 2014).
    """
    z = (zlib.crc32(key.encode()) ^ (seed << 32)) & _MASK64
    z = (z + (tick + 1) * 0x9E3779B97F4A7C15) & _MASK64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK64
    z ^= z >> 31
    return (z >> 11) / (1 << 53)


def wave(key: str, mean: float, swing: float, period_s: float, jitter: float = 0.0) -> Signal:
    """Return a sine around `mean` with uniform noise of plus or minus `jitter`."""

    def value(seed: int, tick: int) -> float:
        phase = 2 * math.pi * (tick * TICK_MS / 1000 / period_s + noise(seed, key + ".phase", 0))
        return mean + swing * math.sin(phase) + jitter * (2 * noise(seed, key, tick) - 1)

    return value


def whole(signal: Signal) -> Signal:
    """Return `signal` rounded to a whole number."""

    def value(seed: int, tick: int) -> int:
        number = signal(seed, tick)
        assert isinstance(number, (int, float)), "only numbers are rounded"
        return round(number)

    return value


def total(start: int, step: int, ticks: int = 1) -> Signal:
    """Return a counter that grows by `step` every `ticks` ticks."""
    return lambda _seed, tick: start + step * (tick // ticks)


def held(key: str, low: int, high: int, ticks: int) -> Signal:
    """Return a whole number in [low, high] that changes every `ticks` ticks: a set point."""
    return lambda seed, tick: low + int(noise(seed, key, tick // ticks) * (high - low + 1))


def switch(key: str, on_ratio: float, ticks: int) -> Signal:
    """Return a Boolean that is drawn again every `ticks` ticks."""
    return lambda seed, tick: noise(seed, key, tick // ticks) < on_ratio


def state(key: str) -> Signal:
    """Return the machine state: mostly running, with starts, holds and rare faults."""
    cycle = (
        [MachineState.STARTING] * 8
        + [MachineState.RUNNING] * 200
        + [MachineState.HELD] * 20
        + [MachineState.RUNNING] * 120
    )

    def value(seed: int, tick: int) -> int:
        turn, step = divmod(tick, len(cycle))
        faulted = noise(seed, key, turn) < 0.2 and step >= len(cycle) - 30
        return int(MachineState.FAULTED if faulted else cycle[step])

    return value


def batch(prefix: str, ticks: int) -> Signal:
    """Return the text of the current batch; a new one every `ticks` ticks."""
    return lambda seed, tick: f"{prefix}-{seed % 1000:03d}-{tick // ticks:06d}"


def cycle_start(ticks: int) -> Signal:
    """Return the plant time at which the current cycle of `ticks` ticks began."""
    return lambda _seed, tick: EPOCH + timedelta(milliseconds=tick // ticks * ticks * TICK_MS)


def zones(key: str, mean: float, count: int) -> Signal:
    """Return an array of `count` temperatures that drift against each other."""
    parts = [wave(f"{key}.{i}", mean + 5 * i, 3.0, 60 + 10 * i, 0.2) for i in range(count)]

    def value(seed: int, tick: int) -> list[float]:
        return [float(part(seed, tick)) for part in parts]  # type: ignore[arg-type]

    return value


def guards(key: str, count: int) -> Signal:
    """Return an array of Booleans: safety guards, nearly always closed."""
    return lambda seed, tick: [noise(seed, f"{key}.{i}", tick // 20) > 0.05 for i in range(count)]


def messages(key: str, texts: Sequence[str]) -> Signal:
    """Return an array of the texts that are active now; often empty."""
    return lambda seed, tick: [
        text for text in texts if noise(seed, f"{key}.{text}", tick // 40) < 0.15
    ]
