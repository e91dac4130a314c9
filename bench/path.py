"""`bench path`: what a sample costs on its whole way, and whether all of them arrive."""

import time
from collections.abc import Sequence
from pathlib import Path

import anyio
import numpy as np

from bench import counting
from bench.frames import Recording, Values, decode_recording
from bench.processes import FACTORYPLUS, Child
from bench.results import Figures, progress
from bench.rig import Load, Rig, open_rig
from bench.status import GatewayStatus
from contract.upload import Loss

SETUP_ALLOWANCE_S = 90.0


class Meter:
    """CPU and journal figures of the rig over a window of wall time."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._children: dict[str, Child] = {
            "gateway": rig.gateway,
            "plant": rig.plant,
            "broker": rig.broker,
            "sink": rig.sink,
        }
        self.start_us = 0
        self.end_us = 0
        self.cpu_s: dict[str, float] = {}
        self._before: GatewayStatus | None = None
        self._after: GatewayStatus | None = None

    async def measure(self, seconds: float) -> None:
        """Measure for `seconds`. The status requests lie outside the CPU window."""
        self._before = await self._rig.gateway.status()
        before = {name: child.cpu_s() for name, child in self._children.items()}
        self.start_us = time.time_ns() // 1000
        await anyio.sleep(seconds)
        self.end_us = time.time_ns() // 1000
        after = {name: child.cpu_s() for name, child in self._children.items()}
        self._after = await self._rig.gateway.status()
        self.cpu_s = {name: after[name] - before[name] for name in after}

    @property
    def seconds(self) -> float:
        """Return the length of the window."""
        return (self.end_us - self.start_us) / 1e6

    def figures(self, arrived: int) -> Figures:
        """Return the figures, given the values that arrived in the window."""
        if self._before is None or self._after is None:
            raise RuntimeError("measure() first")
        then, now = self._before.journal, self._after.journal
        samples = now.samples - then.samples
        figures: Figures = {
            "cpu_us_per_value": _ratio(self.cpu_s["gateway"] * 1e6, arrived),
            "cpu_percent": round(100 * self.cpu_s["gateway"] / self.seconds, 2),
            "rss_peak_mb": round(self._rig.gateway.rss_peak_bytes() / 2**20, 1),
            "journal_bytes_per_value": _ratio(now.payload_bytes - then.payload_bytes, samples),
            "fsyncs_per_s": round((now.commits - then.commits) / self.seconds, 2),
        }
        for name in ("plant", "broker", "sink"):
            figures[f"{name}_cpu_percent"] = round(100 * self.cpu_s[name] / self.seconds, 1)
        return figures


async def run_path(
    load: Load,
    directory: Path,
    *,
    seconds: float,
    warmup_s: float,
    program: Sequence[str] = FACTORYPLUS,
) -> Figures:
    """Measure once; see the README for what the figures mean."""
    load.refuse_longer_than_free_mode(seconds + warmup_s + SETUP_ALLOWANCE_S)
    async with open_rig(directory, load, program=program) as rig:
        await rig.wait_for_data()
        progress(f"data flows; {warmup_s:g} s warm-up, then {seconds:g} s measured")
        await anyio.sleep(warmup_s)
        meter = Meter(rig)
        await meter.measure(seconds)
        report = await rig.plant.stop_counting()
        is_drained = await rig.drain()
        ledger = await rig.gateway.losses()
        scan_us = rig.scan_times_us()
        await rig.sink.stop()
        progress("decoding the recording")
        recording = decode_recording(rig.sink.path)
        values = recording.values
        in_window = (values.arrival_us >= meter.start_us) & (values.arrival_us < meter.end_us)
        arrived = int((in_window & ~values.from_birth).sum())
        return {
            "tags": load.tags,
            "period_ms": load.period_ms,
            "publishing_ms": load.publishing_ms,
            "sampling_ms": load.sampling_chosen_ms,
            "noisy": load.noisy,
            "seconds": seconds,
            **count_figures(load, recording, scan_us, (meter.start_us, meter.end_us)),
            **ledger_figures(recording, scan_us, ledger),
            **_latency_figures(values.where(in_window & ~values.from_birth)),
            **meter.figures(arrived),
            "payload_bytes_per_value": _ratio(
                recording.data_payload_bytes, int((~values.from_birth).sum())
            ),
            "late_scans": report.late_scans,
            "drained": is_drained,
        }


def count_figures(
    load: Load, recording: Recording, scan_us: counting.Ints, window_us: tuple[int, int]
) -> Figures:
    """Return what was offered in the window, and what is wrong in the whole run."""
    values = recording.values
    verdict = counting.check(values)
    unseen = load.tags - verdict.tags
    missing = counting.find_missing(values, last=len(scan_us))
    in_window = (scan_us >= window_us[0]) & (scan_us < window_us[1])
    offered = load.tags * int(in_window.sum())
    missed = int(in_window[missing.counter - 1].sum()) + unseen * int(in_window.sum())
    lost = len(missing) + unseen * int(in_window.sum())
    if lost:
        progress(f"lost: {counting.missing_ranges(missing)[: counting.RANGES_MAX]}")
    return {
        "offered": offered,
        "delivered": offered - missed,
        "lost": lost,
        "duplicated": verdict.duplicated,
        "reordered": verdict.reordered,
        "reordered_historical": verdict.reordered_historical,
        "tags_unseen": unseen,
        "unknown_alias": recording.unknown_alias,
        "data_messages": recording.data_messages,
        "births": recording.births,
    }


def ledger_figures(recording: Recording, scan_us: counting.Ints, ledger: Sequence[Loss]) -> Figures:
    """Hold what is missing against the loss ledger, by the time at which it was written."""
    missing = counting.find_missing(recording.values, last=len(scan_us))
    ranges = [(loss.first_time_us, loss.last_time_us) for loss in ledger]
    explained = counting.explained_by(missing, scan_us, ranges)
    return {
        "lost_in_ledger": explained,
        "lost_unexplained": len(missing) - explained,
        "ledger_entries": len(ledger),
        "ledger_span_s": round(sum(last - first for first, last in ranges) / 1e6, 2),
        "ledger_reasons": ", ".join(sorted({loss.reason for loss in ledger})),
    }


def _latency_figures(values: Values) -> Figures:
    """Return source-to-sink latency; the metric timestamp has a resolution of 1 ms."""
    if not len(values):
        return {"latency_p50_ms": None, "latency_p95_ms": None, "latency_p99_ms": None}
    latency_ms = (values.arrival_us - values.source_us) / 1000
    p50, p95, p99 = np.percentile(latency_ms, [50, 95, 99])
    return {
        "latency_p50_ms": round(float(p50), 1),
        "latency_p95_ms": round(float(p95), 1),
        "latency_p99_ms": round(float(p99), 1),
    }


def _ratio(total: float, count: int) -> float | None:
    return round(total / count, 3) if count else None
