"""The command line of the benchmarks: `python -m bench path|outage|start|hub|...`."""

import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import anyio
from cyclopts import App, Parameter

from bench.browse import BrowseLoad, run_browse
from bench.codec import CodecLoad, run_codec
from bench.decode import DecodeLoad, run_decode
from bench.hub import HubLoad, run_hub
from bench.outage import Outage, OutageLoad, run_outage
from bench.path import run_path
from bench.processes import HarnessError
from bench.recover import RecoverLoad, Restarts, run_recover
from bench.results import Figures, progress, publish
from bench.rig import Load
from bench.start import StartLoad, run_start

app = App(name="bench", help="Measure the whole way with real processes on loopback.")

FlatLoad = Annotated[Load, Parameter(name="*")]
FlatOutageLoad = Annotated[OutageLoad, Parameter(name="*")]
FlatStartLoad = Annotated[StartLoad, Parameter(name="*")]
FlatCodecLoad = Annotated[CodecLoad, Parameter(name="*")]
FlatRecoverLoad = Annotated[RecoverLoad, Parameter(name="*")]
FlatRestarts = Annotated[Restarts, Parameter(name="*")]
FlatHubLoad = Annotated[HubLoad, Parameter(name="*")]
FlatDecodeLoad = Annotated[DecodeLoad, Parameter(name="*")]
FlatBrowseLoad = Annotated[BrowseLoad, Parameter(name="*")]
FlatOutage = Annotated[Outage, Parameter(name="*")]


@dataclass(frozen=True, kw_only=True)
class Report:
    """How often to measure, and where the result goes.

    Attributes:
        json: Print one JSON line instead of a table.
        out: Also write the result to this file.
        repeat: Measure so often and merge (medians; faults by the worst).
        keep: Keep logs, data and recordings in this directory.
    """

    json: bool = False
    out: Path | None = None
    repeat: int = 1
    keep: Path | None = None


FlatReport = Annotated[Report, Parameter(name="*")]


@app.command
def path(
    load: FlatLoad = Load(),  # noqa: B008 -- frozen
    report: FlatReport = Report(),
    *,
    seconds: float = 30.0,
    warmup: float = 5.0,
) -> None:
    """Measure loss, latency, CPU, memory and bytes per value from the plant to the sink.

    Args:
        load: the load.
        report: the result.
        seconds: Length of the measured window.
        warmup: Live data before it.
    """
    _measure("path", report, lambda dir_: run_path(load, dir_, seconds=seconds, warmup_s=warmup))


@app.command
def outage(
    load: FlatOutageLoad = OutageLoad(),  # noqa: B008 -- frozen
    outage: FlatOutage = Outage(),  # noqa: B008 -- frozen
    report: FlatReport = Report(),
) -> None:
    """Stop the broker for a while (and kill the gateway in the middle), then count.

    Args:
        load: the load.
        outage: the fault.
        report: the result.
    """
    _measure("outage", report, lambda dir_: run_outage(load, outage, dir_))


@app.command
def start(
    load: FlatStartLoad = StartLoad(),  # noqa: B008 -- frozen
    report: FlatReport = Report(),
) -> None:
    """Measure the time from a gateway's start to its first data.

    Args:
        load: the load.
        report: the result.
    """
    _measure("start", report, lambda dir_: run_start(load, dir_))


@app.command
def recover(
    load: FlatRecoverLoad = RecoverLoad(),  # noqa: B008 -- frozen
    restarts: FlatRestarts = Restarts(),  # noqa: B008 -- frozen
    report: FlatReport = Report(),
) -> None:
    """Kill the plant again and again, and measure how soon data flows after it is back.

    Args:
        load: the load.
        restarts: the fault.
        report: the result.
    """
    _measure("recover", report, lambda dir_: run_recover(load, restarts, dir_))


@app.command
def hub(
    load: FlatHubLoad = HubLoad(),  # noqa: B008 -- frozen
    report: FlatReport = Report(),
) -> None:
    """Load the hub's ingest: samples a second and CPU per sample, durably acknowledged.

    Args:
        load: the load.
        report: the result.
    """
    _measure("hub", report, lambda dir_: run_hub(load, dir_))


@app.command
def codec(
    load: FlatCodecLoad = CodecLoad(),  # noqa: B008 -- frozen
    report: FlatReport = Report(),
) -> None:
    """Measure the Sparkplug codec in this process: CPU per metric, and a large birth.

    Args:
        load: the load.
        report: the result.
    """
    _measure("codec", report, lambda dir_: run_codec(load, dir_))


@app.command
def decode(
    load: FlatDecodeLoad = DecodeLoad(),  # noqa: B008 -- frozen
    report: FlatReport = Report(),
) -> None:
    """Measure µs CPU per value from a publish response's bytes to a batch, for each type.

    Args:
        load: the load.
        report: the result.
    """
    _measure("decode", report, lambda dir_: run_decode(load, dir_))


@app.command
def browse(
    load: FlatBrowseLoad = BrowseLoad(),  # noqa: B008 -- frozen
    report: FlatReport = Report(),
) -> None:
    """Measure time, CPU and memory of walking and describing a large address space.

    Args:
        load: the load.
        report: the result.
    """
    _measure("browse", report, lambda dir_: run_browse(load, dir_))


def _measure(benchmark: str, report: Report, run: Callable[[Path], Awaitable[Figures]]) -> None:
    """Measure `report.repeat` times; the exit code says whether the budgets are met."""
    runs: list[Figures] = []
    for number in range(1, report.repeat + 1):
        directory = _run_directory(report, benchmark, number)
        try:
            runs.append(anyio.run(run, directory))
        except HarnessError as error:
            progress(f"failed; logs are in {directory}")
            sys.exit(f"bench: {error}")
        if report.keep is None:
            shutil.rmtree(directory)
    if not publish(benchmark, runs, as_json=report.json, out=report.out):
        sys.exit(1)


def _run_directory(report: Report, benchmark: str, number: int) -> Path:
    if report.keep is None:
        return Path(tempfile.mkdtemp(prefix=f"bench-{benchmark}-"))
    directory = report.keep / f"{benchmark}-{number}"
    directory.mkdir(parents=True, exist_ok=True)
    return directory
