"""``factoryplus central``: run the hub, make enrolment codes, print the API's description."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import anyio
from cyclopts import App, Parameter

from central.errors import HubError
from central.fleet.registry import open_registry
from central.settings import Settings, settings_from
from runtime.clock import SystemClock
from runtime.log import set_up_logging

DEFAULT_HTTP = "127.0.0.1:8443"

app = App(name="central", help="The hub: fleet, completeness, time series.")

DataDir = Annotated[Path, Parameter(name="--data-dir", help="Where everything durable lives.")]


@app.command
def run(
    data_dir: DataDir,
    http: str = DEFAULT_HTTP,
    log_level: str = "info",
    sparkplug: Path | None = None,
) -> None:
    """Run the hub until SIGINT or SIGTERM.

    Args:
        data_dir: where everything durable lives.
        http: HOST:PORT to listen on with HTTPS; port 0 takes a free one.
        log_level: debug, info, warning or error; logs go to stderr.
        sparkplug: document of the Sparkplug host (YAML or JSON); without it the host is off.
    """
    # Imported here: without the web framework and DuckDB the other commands start far faster.
    from runtime.http import ServerStartError  # noqa: PLC0415

    set_up_logging(log_level)
    settings = _settings(data_dir, http, sparkplug)
    try:
        anyio.run(_run_until_signal, settings)
    except* (HubError, ServerStartError) as group:
        for error in group.exceptions:
            print(f"the hub cannot run: {error}", file=sys.stderr)
        sys.exit(1)


@app.command
def enrol_code(data_dir: DataDir, name: str = "", http: str = DEFAULT_HTTP) -> None:
    """Print a one-time code with which a gateway enrols; valid for 24 hours.

    Args:
        data_dir: the hub's data directory; the hub may run or not.
        name: what the gateway will be called; without it the gateway says.
        http: the hub's HOST:PORT, used only when the hub never ran.
    """
    set_up_logging("warning")
    settings = _settings(data_dir, http)

    async def make() -> str:
        async with open_registry(settings, SystemClock()) as registry:
            return await registry.new_code(name, settings.url_for(settings.port))

    print(anyio.run(make))


@app.command
def openapi() -> None:
    """Print the description of the API (OpenAPI 3.1, JSON)."""
    from central.app import describe_api  # noqa: PLC0415 - as in run()

    print(describe_api(SystemClock()))


def _settings(data_dir: Path, http: str, sparkplug: Path | None = None) -> Settings:
    try:
        return settings_from(data_dir, http, sparkplug=sparkplug)
    except ValueError as error:
        print(f"central: {error}", file=sys.stderr)
        sys.exit(2)


async def _run_until_signal(settings: Settings) -> None:
    from central.app import run as run_hub  # noqa: PLC0415 - as in run()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_stop_on_signal, tasks.cancel_scope)
        await run_hub(settings, SystemClock(), say=_say)
        tasks.cancel_scope.cancel()


async def _stop_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
            return


def _say(line: str) -> None:
    print(line, flush=True)
