"""Run a plant until told to stop, and report what it wrote.

Owns every task of the process: ticks, scans, the wait for signals, and the warning
before o6's free mode ends. SIGUSR1 ends the counting but goes on serving, so that a
receiver can drain what was written; SIGTERM and SIGINT end both.
"""

import signal
import sys
from enum import StrEnum
from pathlib import Path

import anyio
import msgspec

from plant import load
from plant.scans import ScanPlan, ScanReport, WriteScan, run_scans
from plant.server import PlantServer, open_plant
from plant.signals import TICK_MS
from runtime.clock import Clock, SystemClock


class Engine(StrEnum):
    """Which OPC UA server serves the load tags."""

    O6 = "o6"
    ASYNCUA = "asyncua"


class PlantOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The command line, checked."""

    host: str = "127.0.0.1"
    port: int = 4840
    seed: int = 1
    tags: int = 0
    period_ms: float = 1000.0
    seconds: float | None = None
    engine: Engine | None = None
    namespace_shift: bool = False
    noisy: bool = False
    start_at: int = 0
    state_file: Path | None = None
    scan_log: Path | None = None

    @property
    def scan_plan(self) -> ScanPlan:
        """Return the part that the load mode needs."""
        return ScanPlan(
            tags=self.tags,
            period_ms=self.period_ms,
            start_at=self.start_at,
            seconds=self.seconds,
            state_file=self.state_file,
            scan_log=self.scan_log,
        )


class PlantRun:
    """One run: `run()` serves until SIGTERM, SIGINT or `options.seconds`.

    Prints the endpoint URL as the first line of stdout when clients can connect, and
    in the load mode the report as one JSON line when the counting has ended.
    """

    def __init__(self, options: PlantOptions, clock: Clock | None = None) -> None:
        self._options = options
        self._clock = clock or SystemClock()
        self._report = ScanReport(tags=options.tags, start_at=options.start_at)
        self._counted = anyio.Event()  # stop counting
        self._ended = anyio.Event()  # stop serving

    async def run(self) -> None:
        """Serve. Call once."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._wait_for_signals)
            if self._engine is Engine.O6:
                await self._serve_o6()
            else:
                await self._serve_asyncua()
            tasks.cancel_scope.cancel()

    @property
    def _engine(self) -> Engine:
        if self._options.engine is not None:
            return self._options.engine
        return Engine.O6 if self._options.tags and load.is_installed() else Engine.ASYNCUA

    async def _serve_o6(self) -> None:
        options = self._options
        assert options.tags, "o6 serves load tags only; cli.py refuses anything else"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(load.warn_of_end)
            async with load.open_o6(
                options.port, options.tags, shift=options.namespace_shift, noisy=options.noisy
            ) as server:
                _print_line(server.endpoint)
                await self._count(server.write)
            tasks.cancel_scope.cancel()

    async def _serve_asyncua(self) -> None:
        options = self._options
        async with (
            open_plant(
                options.host,
                options.port,
                seed=options.seed,
                tags=options.tags,
                shift=options.namespace_shift,
                noisy=options.noisy,
            ) as plant,
            anyio.create_task_group() as tasks,
        ):
            _print_line(plant.endpoint)
            tasks.start_soon(self._run_ticks, plant)
            if options.tags:
                await self._count(plant.write_load)
            else:
                with anyio.move_on_after(options.seconds):
                    await self._ended.wait()
            tasks.cancel_scope.cancel()

    async def _count(self, write: WriteScan) -> None:
        """Scan until told to stop, report, and serve on if only the counting was stopped."""
        await run_scans(
            self._options.scan_plan,
            write,
            clock=self._clock,
            report=self._report,
            stop=self._counted,
        )
        _print_line(msgspec.json.encode(self._report).decode())
        if self._counted.is_set():
            await self._ended.wait()

    async def _run_ticks(self, plant: PlantServer) -> None:
        """Write the realistic signals, tick by tick, for ever."""
        tick = 0
        started_s = anyio.current_time()
        while True:
            await plant.write_tick(tick, self._clock.wall_us())
            tick += 1
            await anyio.sleep_until(started_s + tick * TICK_MS / 1000)

    async def _wait_for_signals(self) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGUSR1) as received:
            async for number in received:
                self._counted.set()
                if number != signal.SIGUSR1:
                    self._ended.set()


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
