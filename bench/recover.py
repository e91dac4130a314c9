"""`bench recover`: an OPC UA server dies again and again; how soon does data flow after it is back.

One gateway through all tries. The server is killed, stays away for `down_s` (long enough for the
gateway's back-off to have reached its longest), and comes back at its address.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import anyio

from bench.processes import HarnessError
from bench.results import Figures, progress
from bench.rig import Load, Rig, open_rig

BACKOFF_LONGEST_S = 30.0
"""Of a source's sessions: `gateway.app`."""
LIMIT_S = 2 * BACKOFF_LONGEST_S + 5
POLL_S = 0.1


@dataclass(frozen=True, kw_only=True)
class RecoverLoad(Load):
    """The load: little, it is about time."""

    tags: int = 100
    period_ms: int = 200


@dataclass(frozen=True, kw_only=True)
class Restarts:
    """The fault.

    Attributes:
        tries: How often the server dies.
        down_s: How long it stays away each time.
    """

    tries: int = 20
    down_s: float = 40.0


async def run_recover(load: Load, restarts: Restarts, directory: Path) -> Figures:
    """Measure all tries; `late` counts those that took over `LIMIT_S`."""
    took_s: list[float] = []
    async with open_rig(directory, load) as rig:
        await rig.wait_for_data()
        for number in range(1, restarts.tries + 1):
            await rig.plant.kill()
            await anyio.sleep(restarts.down_s)
            await rig.plant.start()
            took_s.append(await _until_data(rig))
            progress(f"try {number} of {restarts.tries}: data after {took_s[-1]:.1f} s")
    return {
        "tries": restarts.tries,
        "down_s": restarts.down_s,
        "limit_s": LIMIT_S,
        "recovered": sum(s <= LIMIT_S for s in took_s),
        "late": sum(s > LIMIT_S for s in took_s),
        "longest_s": round(max(took_s), 1),
        "shortest_s": round(min(took_s), 1),
    }


async def _until_data(rig: Rig) -> float:
    """Return how long the journal takes to grow again; more than the limit when it does not."""
    began_s = time.monotonic()
    before = (await rig.gateway.status()).journal.samples
    while time.monotonic() - began_s <= LIMIT_S:
        try:
            if (await rig.gateway.status()).journal.samples > before:
                break
        except HarnessError as error:
            progress(f"the gateway does not answer: {error}")
        await anyio.sleep(POLL_S)
    return time.monotonic() - began_s
