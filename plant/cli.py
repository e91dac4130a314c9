"""The command `factoryplus plant` (also `python -m plant`)."""

import sys
from pathlib import Path
from typing import Annotated

import anyio
from cyclopts import App, Parameter, validators

from plant.run import Engine, PlantOptions, PlantRun

app = App(name="plant", help="Serve a simulated OPC UA plant on loopback.")


@app.default
def plant(  # noqa: PLR0913 -- the command line
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))] = 4840,
    seed: int = 1,
    tags: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=200_000))] = 0,
    period_ms: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 1000.0,
    seconds: Annotated[float | None, Parameter(validator=validators.Number(gt=0))] = None,
    engine: Engine | None = None,
    namespace_shift: Annotated[bool, Parameter(negative="")] = False,
    noisy: Annotated[bool, Parameter(negative="")] = False,
    start_at: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 0,
    state_file: Path | None = None,
    scan_log: Path | None = None,
) -> None:
    """Serve the plant until SIGTERM or SIGINT. The first line printed is the endpoint URL.

    In the load mode (--tags) every tag below `nsu=urn:example:plant;s=Load` counts
    1, 2, 3, ...; at the end one JSON line says how many scans were written. SIGUSR1
    ends the counting early and goes on serving.

    Args:
        host: Address to listen on (asyncua engine; o6 listens on every interface).
        port: Port to listen on; 0 takes a free one.
        seed: Seed of the realistic signals: the same seed gives the same values.
        tags: Number of load tags; 0 serves the realistic plant only.
        period_ms: Time between two scans of the load tags.
        seconds: Stop after this time.
        engine: Server of the load mode: o6 (open62541, fast, ends after ten minutes, serves
            the load tags only) or asyncua (up to about 5,000 changes/s, serves the realistic
            plant too). Default: o6 where installed.
        namespace_shift: Register another namespace first, so that the plant's index moves.
        noisy: Add a fraction below 1/2 to each load value, so that tags differ as measured
            ones do; the whole part still counts.
        start_at: Last value that an earlier run wrote; this run goes on with the next.
        state_file: JSON file with the scan count, replaced at most every 200 ms.
        scan_log: Binary file: the source time of every scan, int64 little-endian µs.
    """
    if engine is Engine.O6 and not tags:
        sys.exit("plant: --engine o6 serves load tags only: give --tags")
    options = PlantOptions(
        host=host,
        port=port,
        seed=seed,
        tags=tags,
        period_ms=period_ms,
        seconds=seconds,
        engine=engine,
        namespace_shift=namespace_shift,
        noisy=noisy,
        start_at=start_at,
        state_file=state_file,
        scan_log=scan_log,
    )
    anyio.run(PlantRun(options).run)
