"""`bench start`: how long a gateway with a large rule takes from start to first data."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import numpy as np

from bench.frames import decode_recording
from bench.processes import FACTORYPLUS
from bench.results import Figures, progress
from bench.rig import Load, open_rig


@dataclass(frozen=True, kw_only=True)
class StartLoad(Load):
    """The load of a start: a rule with many tags."""

    tags: int = 20_000
    period_ms: int = 1000


async def run_start(
    load: Load, directory: Path, *, settle_s: float = 5.0, program: Sequence[str] = FACTORYPLUS
) -> Figures:
    """Measure once: first DATA value, and the time at which half and all tags had one."""
    async with open_rig(directory, load, program=program, has_gateway=False) as rig:
        started_us = time.time_ns() // 1000
        await rig.gateway.start()
        answered_us = time.time_ns() // 1000
        await rig.wait_for_data(120)
        progress(f"first data seen; {settle_s:g} s more for the other tags")
        await anyio.sleep(settle_s)
        rss_peak_bytes = rig.gateway.rss_peak_bytes()
        await rig.sink.stop()
        values = decode_recording(rig.sink.path).values
    data = values.where(~values.from_birth)
    first_us = np.full(load.tags + 1, np.iinfo(np.int64).max)
    np.minimum.at(first_us, data.tag, data.arrival_us)
    seen_us = np.sort(first_us[first_us < np.iinfo(np.int64).max])
    since_s = [round((int(at) - started_us) / 1e6, 2) for at in seen_us[[0, len(seen_us) // 2, -1]]]
    return {
        "tags": load.tags,
        "period_ms": load.period_ms,
        "http_s": round((answered_us - started_us) / 1e6, 2),
        "first_data_s": since_s[0],
        "half_of_tags_s": since_s[1],
        "last_tag_s": since_s[2],
        "tags_unseen": load.tags - len(seen_us),
        "rss_peak_mb": round(rss_peak_bytes / 2**20, 1),
    }
