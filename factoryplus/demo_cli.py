"""``factoryplus demo``: the whole way of a sample on this machine, to look at or to check."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import anyio
import msgspec
from cyclopts import App, Parameter

from factoryplus.demo import Demo, DemoError

app = App(name="demo", help="Plant, broker, hub and gateway together on free loopback ports.")


@app.default
def demo(
    *,
    seconds: Annotated[float | None, Parameter(help="stop after this time and sum up")] = None,
    json: bool = False,
    directory: Annotated[Path | None, Parameter(name="--dir", help="keep everything here")] = None,
) -> None:
    """Start everything, print the addresses and the one-time codes, run until Ctrl-C.

    With --seconds it stops by itself, sums up, and exits with 0 only if nothing is missing.
    """
    with tempfile.TemporaryDirectory(prefix="factoryplus-demo-") as temporary:
        running = Demo(directory or Path(temporary), say=_quiet if json else _say)
        try:
            summary = anyio.run(running.run, seconds)
        except DemoError as error:
            print(f"demo: {error}", file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt:
            return
        if summary is None:
            return
        print(
            msgspec.json.encode(summary).decode()
            if json
            else f"read {summary.read}, stored {summary.stored}, filtered {summary.filtered}, "
            f"sent {summary.sent}, acknowledged {summary.acknowledged}, "
            f"at the hub {summary.at_hub}, lost {summary.lost}: "
            + ("complete" if summary.complete else "NOT COMPLETE")
        )
        sys.exit(0 if summary.complete else 1)


def _say(line: str) -> None:
    print(line, flush=True)


def _quiet(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
