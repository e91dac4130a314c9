"""The gateway's real web server over a made-up plant: routes, sign-in, checks and UI are its own.

Only ``GatewayView`` is a fake (``fake_plant.py``), so the shapes cannot drift from the program.

    python tests/browser/fake_gateway.py --port 8080 --scene normal --tags 1240

Prints one JSON line when it listens: {"port": ..., "code": the setup code when nobody has claimed}.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path

import anyio
from fake_plant import FakePlant

from gateway.auth.service import Auth
from gateway.web.factory import create_web
from runtime.clock import SystemClock
from runtime.http import run_server

NAME, PASSWORD = "engineer", "correct horse battery"
STATIC = Path(__file__).parents[2] / "gateway" / "web" / "static"


async def serve(scene: str, tags_count: int, port: int) -> None:
    """Serve until stopped."""
    with tempfile.TemporaryDirectory() as folder:
        auth = Auth(Path(folder) / "gateway.db", SystemClock())
        auth.open()
        code = auth.ensure_setup_code()
        if scene != "unclaimed":
            await auth.claim(str(code), NAME, PASSWORD, "127.0.0.1")
        app = create_web(FakePlant(scene, tags_count), auth, STATIC)

        def ready(listening_port: int) -> None:
            sys.stdout.write(json.dumps({"port": listening_port, "code": code}) + "\n")
            sys.stdout.flush()

        await run_server(app, "127.0.0.1", port, ready=ready)


def main(arguments: list[str]) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--scene", choices=("normal", "trouble", "empty", "unclaimed"))
    parser.add_argument("--tags", type=int, default=1240)
    options = parser.parse_args(arguments)
    anyio.run(partial(serve, options.scene or "normal", options.tags, options.port))


if __name__ == "__main__":
    main(sys.argv[1:])
