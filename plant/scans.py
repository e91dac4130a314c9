"""Scans of the load mode: every tag counts 1, 2, 3, ... and all tags move together.

Promise: scan k writes the value k to every tag with one source time; values are
never skipped or repeated, so a hole, a repeat or a step back at a receiver is
proof. Deadlines are absolute, but two scans are never closer than
`SPACING_RATIO_MIN` periods, lest a sampling server skip one: a scan that comes late
moves the later ones and is counted in `late_scans`.

Records, both optional: the scan log is one little-endian int64 per scan (source
time in µs), appended before the values are written; the state file is JSON,
replaced atomically at most every `STATE_INTERVAL_S`.
"""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import BinaryIO, Self

import anyio
import msgspec
import numpy as np

from runtime.clock import Clock

STATE_INTERVAL_S = 0.2
SPACING_RATIO_MIN = 0.97

NOISE_STEPS = 4096
"""Steps of the noise per unit: what a 12-bit converter would give."""

WriteScan = Callable[[float, int], Awaitable[None]]
"""Write (value, source_time_us) to every tag."""


def scan_values(count: float, tags: int, *, noisy: bool) -> list[float]:
    """Return what scan `count` writes to each tag.

    With `noisy`, each tag gets a fraction of its own below 1/2, a pure function of
    (count, tag): the whole part still counts, but the values no longer compress as if
    all tags were one.
    """
    if not noisy:
        return [count] * tags
    draw = np.random.default_rng(int(count))
    values: list[float] = (count + draw.integers(0, NOISE_STEPS // 2, tags) / NOISE_STEPS).tolist()
    return values


class ScanPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to count, how often, and where to record it."""

    tags: int
    period_ms: float
    start_at: int = 0
    """The last value written by an earlier run; this one goes on with the next."""
    seconds: float | None = None
    state_file: Path | None = None
    scan_log: Path | None = None


class ScanReport(msgspec.Struct, kw_only=True):
    """What was written. Values ran from `start_at + 1` to `start_at + scans`."""

    tags: int
    start_at: int
    scans: int = 0
    first_scan_us: int | None = None
    last_scan_us: int | None = None
    late_scans: int = 0


class ScanRecords:
    """Keeps the scan log and the state file of one run."""

    def __init__(self, plan: ScanPlan) -> None:
        self._state_file = plan.state_file
        self._log_path = plan.scan_log
        self._log: BinaryIO | None = None
        self._state_due_s = 0.0

    def __enter__(self) -> Self:
        if self._log_path is not None:
            self._log = self._log_path.open("ab", buffering=0)
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._log is not None:
            self._log.close()

    def note_scan(self, source_time_us: int) -> None:
        """Append one scan to the log."""
        if self._log is not None:
            self._log.write(source_time_us.to_bytes(8, "little"))

    def note_state(self, report: ScanReport, *, force: bool = False) -> None:
        """Replace the state file when it is due."""
        now_s = time.monotonic()
        if self._state_file is None or (now_s < self._state_due_s and not force):
            return
        self._state_due_s = now_s + STATE_INTERVAL_S
        draft = self._state_file.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(report))
        draft.replace(self._state_file)


async def run_scans(
    plan: ScanPlan, write: WriteScan, *, clock: Clock, report: ScanReport, stop: anyio.Event
) -> None:
    """Write scans until `stop` is set or `plan.seconds` are over, counting in `report`.

    A scan is never cut in half by `stop`. The caller owns `report`, so that it has
    the figures after a cancellation too.
    """
    period_s = plan.period_ms / 1000
    next_s = started_s = anyio.current_time()
    with ScanRecords(plan) as records:
        try:
            while plan.seconds is None or next_s - started_s < plan.seconds:
                with anyio.CancelScope(deadline=next_s):
                    await stop.wait()
                if stop.is_set():
                    return
                began_s = anyio.current_time()
                source_time_us = clock.wall_us()
                records.note_scan(source_time_us)
                report.scans += 1
                await write(float(plan.start_at + report.scans), source_time_us)
                if report.first_scan_us is None:
                    report.first_scan_us = source_time_us
                report.last_scan_us = source_time_us
                records.note_state(report)
                next_s += period_s
                if next_s < began_s + SPACING_RATIO_MIN * period_s:
                    report.late_scans += 1
                    next_s = began_s + SPACING_RATIO_MIN * period_s
        finally:
            records.note_state(report, force=True)
