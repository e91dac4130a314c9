"""`bench outage`: the broker stopped for a while, and the gateway killed -9 in the middle.

A value is lost when it never came to the sink. It is explained when the plant wrote
it within the time range of an entry of the gateway's loss ledger.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import anyio
from cyclopts import Parameter

from bench.frames import decode_recording
from bench.path import SETUP_ALLOWANCE_S, count_figures, ledger_figures
from bench.processes import FACTORYPLUS
from bench.results import Figures, progress
from bench.rig import DRAIN_DEADLINE_S, Load, Rig, open_rig

RESTART_AFTER_S = 2.0


@dataclass(frozen=True, kw_only=True)
class OutageLoad(Load):
    """The load of an outage: smaller, it runs for longer."""

    tags: int = 1000


@dataclass(frozen=True, kw_only=True)
class Outage:
    """What goes wrong, and when.

    Attributes:
        before_s: live data before the broker stops.
        outage_s: how long the broker is away.
        after_s: how long the plant counts on afterwards.
        kill_gateway: kill -9 the gateway half-way, start it again after `RESTART_AFTER_S`.
    """

    before_s: Annotated[float, Parameter(name="--before-seconds")] = 10.0
    outage_s: Annotated[float, Parameter(name="--outage-seconds")] = 30.0
    after_s: Annotated[float, Parameter(name="--after-seconds")] = 10.0
    kill_gateway: bool = False

    @property
    def total_s(self) -> float:
        """Return how long the plant counts."""
        return self.before_s + self.outage_s + self.after_s


async def run_outage(
    load: Load, outage: Outage, directory: Path, *, program: Sequence[str] = FACTORYPLUS
) -> Figures:
    """Run the outage once, count, and hold the holes against the ledger."""
    load.refuse_longer_than_free_mode(outage.total_s + SETUP_ALLOWANCE_S + DRAIN_DEADLINE_S)
    async with open_rig(directory, load, program=program) as rig:
        await rig.wait_for_data()
        await anyio.sleep(outage.before_s)
        back_us = await _break_broker(rig, outage)
        await anyio.sleep(outage.after_s)
        await rig.plant.stop_counting()
        is_drained = await rig.drain()
        rss_peak_mb = round(rig.gateway.rss_peak_bytes() / 2**20, 1)
        ledger = await rig.gateway.losses()
        scan_us = rig.scan_times_us()
        await rig.sink.stop()
        progress("decoding the recording")
        recording = decode_recording(rig.sink.path)
    values = recording.values
    historical = values.where(values.is_historical)
    whole_run = (int(values.arrival_us.min()), int(values.arrival_us.max()) + 1)
    return {
        "tags": load.tags,
        "period_ms": load.period_ms,
        "outage_s": outage.outage_s,
        "kill_gateway": outage.kill_gateway,
        **count_figures(load, recording, scan_us, whole_run),
        **ledger_figures(recording, scan_us, ledger),
        "historical": len(historical),
        "caught_up_s": (
            round((int(historical.arrival_us.max()) - back_us) / 1e6, 2)
            if len(historical)
            else None
        ),
        "rss_peak_mb": rss_peak_mb,
        "drained": is_drained,
    }


async def _break_broker(rig: Rig, outage: Outage) -> int:
    """Stop the broker for the outage; return when it was back (µs)."""
    progress(f"broker stops for {outage.outage_s:g} s")
    await rig.broker.stop()
    if not outage.kill_gateway:
        await anyio.sleep(outage.outage_s)
    else:
        await anyio.sleep(outage.outage_s / 2)
        progress("gateway killed -9")
        await rig.gateway.kill()
        await anyio.sleep(RESTART_AFTER_S)
        await rig.gateway.start()
        await anyio.sleep(max(outage.outage_s / 2 - RESTART_AFTER_S, 0))
    await rig.broker.start()
    progress("broker is back")
    return time.time_ns() // 1000
