"""Results: one flat JSON object per benchmark, with machine, version and commit.

Repeated runs are merged: figures by their median, faults (lost, duplicated, ...) by
their worst. `budgets.toml` holds the limits; a result says which it misses.
"""

import os
import platform
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import msgspec

BUDGETS = Path(__file__).with_name("budgets.toml")
ROOT = Path(__file__).parent.parent

Figure = float | int | str | bool | None
Figures = dict[str, Figure]

WORST = frozenset(
    {
        "lost",
        "lost_unexplained",
        "lost_in_ledger",
        "duplicated",
        "reordered",
        "reordered_historical",
        "tags_unseen",
        "unknown_alias",
    }
)
"""Merged by the worst run, not by the median."""


def merge(runs: Sequence[Figures]) -> Figures:
    """Merge repeated runs into one result."""
    merged: Figures = {}
    for name, first in runs[0].items():
        values = [run[name] for run in runs]
        numbers = [value for value in values if isinstance(value, (int, float))]
        if isinstance(first, bool):
            merged[name] = all(values)
        elif not numbers or len(numbers) < len(values):
            merged[name] = first
        else:
            merged[name] = max(numbers) if name in WORST else statistics.median(numbers)
    return merged


def misses(benchmark: str, figures: Figures) -> list[str]:
    """Return the budgets that `figures` does not meet, in words.

    A budget table applies when every key without the ending `_max` or `_min` equals
    the figure of that name.
    """
    found: list[str] = []
    if figures.get("drained") is False:
        found.append("the sink did not get all that the gateway held in time")
    tables = tomllib.loads(BUDGETS.read_text()).get(benchmark, [])
    for table in tables:
        limits = {k: v for k, v in table.items() if k.endswith(("_max", "_min"))}
        if any(figures.get(k) != v for k, v in table.items() if k not in limits):
            continue
        for key, limit in limits.items():
            name, bound = key[:-4], key[-3:]
            value = figures.get(name)
            if not isinstance(value, (int, float)):
                found.append(f"{name} was not measured (limit {limit})")
            elif (bound == "max" and value > limit) or (bound == "min" and value < limit):
                found.append(f"{name} {value:g} misses {bound} {limit:g}")
    return found


def about() -> dict[str, object]:
    """Return what a result was measured on."""
    return {
        "machine": {
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
            "system": platform.platform(),
        },
        "python": platform.python_version(),
        "commit": _commit(),
    }


def publish(benchmark: str, runs: Sequence[Figures], *, as_json: bool, out: Path | None) -> bool:
    """Print the merged result (and write it to `out`); return whether all budgets are met."""
    merged = merge(runs)
    missed = misses(benchmark, merged)
    result: dict[str, object] = {
        "benchmark": benchmark,
        **merged,
        "budgets_missed": missed,
        "repeats": len(runs),
        **about(),
    }
    if len(runs) > 1:
        result["runs"] = list(runs)
    line = msgspec.json.encode(result)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(msgspec.json.format(line, indent=2) + b"\n")
    if as_json:
        print(line.decode(), flush=True)
    else:
        for name, value in merged.items():
            print(f"{name:28} {value}")
        for miss in missed:
            print(f"budget missed: {miss}")
    return not missed


def progress(text: str) -> None:
    """Say on stderr what goes on."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    return done.stdout.strip() or "unknown"
