"""The demo: real programs as separate processes, each in its own folder below one directory.

The order is that of a first day: plant, broker, hub, one-time code, enrolment, gateway. With a time
limit the demo ends in the order of the data: the plant stops, everything drains, and what the
gateway read is compared with what the hub holds.
"""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import httpx
import msgspec

START_TIMEOUT_S = 60.0
DRAIN_TIMEOUT_S = 60.0
_PLANT_ROOT = "nsu=urn:example:plant;s=Plant"


class DemoError(Exception):
    """Raised when a part does not start or does not answer; names the part and its log."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What went where; ``complete`` when nothing is missing anywhere."""

    read: int
    stored: int
    filtered: int
    dropped: int
    sent: int
    acknowledged: int
    at_hub: int
    ledger_entries: int
    holes_at_hub: int
    lost: int
    complete: bool


class Demo:
    """Runs the parts below ``directory`` and tells its user through ``say``."""

    def __init__(self, directory: Path, say: Callable[[str], None]) -> None:
        self._directory = directory
        self._say = say
        self._hub_url = ""
        self._hub_code = ""
        self._gateway_url = ""

    async def run(self, seconds: float | None) -> Summary | None:
        """Start everything; wait for Ctrl-C or the time limit; return the sums of a timed run."""
        self._directory.mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as stack:
            plant, plant_url = await self._start_plant(stack)
            broker_port = await self._start_broker(stack)
            await self._start_hub(stack)
            await self._start_gateway(stack, plant_url, broker_port)
            await self._wait_for_data()
            self._say("")
            self._say("data flows; stop with Ctrl-C" if seconds is None else "data flows")
            if seconds is None:
                await _until_signal()
                return None
            await anyio.sleep(seconds)
            await _stop(plant)
            return await self._sum_up()

    # -- parts ------------------------------------------------------------------------------------

    async def _start_plant(self, stack: AsyncExitStack) -> tuple[anyio.abc.Process, str]:
        process = await stack.enter_async_context(
            self._part("plant", [*_factoryplus("plant"), "--port", "0"])
        )
        url = "opc.tcp://" + await self._line_with("plant", process, "opc.tcp://")
        self._say(f"plant     {url}")
        return process, url

    async def _start_broker(self, stack: AsyncExitStack) -> int:
        port = _free_port()
        mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        if mosquitto is None:
            command = [sys.executable, "-m", "factoryplus.demo_broker", str(port)]
        else:
            config = self._directory / "mosquitto.conf"
            config.write_text(
                f"listener {port} 127.0.0.1\nallow_anonymous true\n", encoding="ascii"
            )
            command = [mosquitto, "-c", str(config)]
        await stack.enter_async_context(self._part("broker", command))
        await _until_listening("broker", port)
        self._say(
            f"broker    mqtt://127.0.0.1:{port} ({'amqtt' if mosquitto is None else 'mosquitto'})"
        )
        return port

    async def _start_hub(self, stack: AsyncExitStack) -> None:
        folder = self._directory / "hub"
        is_new = not folder.exists()
        process = await stack.enter_async_context(
            self._part(
                "hub",
                [
                    *_factoryplus("central"),
                    "run",
                    "--data-dir",
                    str(folder),
                    "--http",
                    "127.0.0.1:0",
                ],
            )
        )
        self._hub_url = await self._line_with("hub", process, "hub listening on ")
        if is_new:
            self._hub_code = await self._line_with("hub", process, "admin one-time code: ")
        self._say(
            f"hub       {self._hub_url}   first sign-in with code {self._hub_code or '(used)'}"
        )

    async def _start_gateway(self, stack: AsyncExitStack, plant_url: str, broker_port: int) -> None:
        folder = self._directory / "gateway"
        is_new = not folder.exists()
        document = self._directory / "gateway.yaml"
        document.write_text(
            json.dumps(_document(plant_url, broker_port), indent=2), encoding="utf-8"
        )
        if not (folder / "hub").exists():
            code = await _output(
                [*_factoryplus("central"), "enrol-code", "--data-dir", str(self._directory / "hub")]
            )
            await _output(
                [
                    *_factoryplus("gateway"),
                    "enrol",
                    code,
                    "--data-dir",
                    str(folder),
                    "--name",
                    "demo",
                ]
            )
        process = await stack.enter_async_context(
            self._part(
                "gateway",
                [
                    *_factoryplus("gateway"), "run", "--data-dir", str(folder),
                    "--config", str(document), "--http", "127.0.0.1:0",
                ],
            )
        )  # fmt: skip
        self._gateway_url = await self._line_with("gateway", process, "gateway listening on ")
        code = await self._line_with("gateway", process, "setup one-time code: ") if is_new else ""
        self._say(f"gateway   {self._gateway_url}   first sign-in with code {code or '(used)'}")

    @asynccontextmanager
    async def _part(self, name: str, command: Sequence[str]) -> AsyncIterator[anyio.abc.Process]:
        log = self._directory / f"{name}.log"
        with log.open("ab") as errors:
            process = await anyio.open_process(command, stderr=errors, start_new_session=True)
        try:
            yield process
        finally:
            with anyio.CancelScope(shield=True):
                await _stop(process)

    async def _line_with(self, name: str, process: anyio.abc.Process, start: str) -> str:
        """Read a part's standard output up to a line; return what follows ``start`` in it."""
        assert process.stdout is not None
        held = b""
        with anyio.move_on_after(START_TIMEOUT_S):
            while True:
                # one byte at a time: what follows belongs to the next reader
                try:
                    byte = await process.stdout.receive(1)
                except anyio.EndOfStream:
                    break
                if byte != b"\n":
                    held += byte
                    continue
                line, held = held.decode("utf-8", "replace"), b""
                if line.startswith(start):
                    return line.removeprefix(start)
        raise DemoError(f"{name} did not start; see {self._directory / f'{name}.log'}")

    # -- figures ----------------------------------------------------------------------------------

    async def _gateway_status(self) -> dict[str, Any]:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer: dict[str, Any] = (await client.get(f"{self._gateway_url}/api/status")).json()
            return answer

    async def _wait_for_data(self) -> None:
        with anyio.move_on_after(START_TIMEOUT_S):
            while True:
                if (await self._gateway_status())["counters"]["stored"]:
                    return
                await anyio.sleep(0.2)
        raise DemoError(f"no data arrived; see {self._directory / 'gateway.log'}")

    async def _sum_up(self) -> Summary:
        """Wait until everything has drained, then compare both ends."""
        status = await self._gateway_status()
        with anyio.move_on_after(DRAIN_TIMEOUT_S):
            while True:
                status = await self._gateway_status()
                if _drained(status):
                    break
                await anyio.sleep(0.2)
        at_hub, holes = await self._at_hub(status["journal"]["epoch"])
        counters, sinks = status["counters"], status["sinks"]
        lost = counters["stored"] - at_hub
        return Summary(
            read=counters["read"],
            stored=counters["stored"],
            filtered=counters["filtered"],
            dropped=counters["dropped"],
            sent=sinks["sparkplug"]["sent"],
            acknowledged=sinks["hub"]["sent"],
            at_hub=at_hub,
            ledger_entries=status["journal"]["losses_count"],
            holes_at_hub=holes,
            lost=lost + counters["dropped"],
            complete=(
                lost == 0
                and counters["stored"] > 0
                and holes == 0
                and counters["dropped"] == 0
                and counters["in_flight"] == 0
                and counters["read"] == counters["stored"] + counters["filtered"]
                and _drained(status)
            ),
        )

    async def _at_hub(self, epoch: str) -> tuple[int, int]:
        """Ask the hub, as its first administrator, what it holds of an epoch: samples and holes."""
        if not self._hub_code:
            raise DemoError("the hub was claimed before: sum up there, or use an empty --dir")
        context = ssl.create_default_context(cafile=str(self._directory / "hub" / "ca" / "ca.pem"))
        async with httpx.AsyncClient(
            base_url=self._hub_url, verify=context, trust_env=False
        ) as hub:
            password = secrets.token_urlsafe(18)
            claim = {"code": self._hub_code, "name": "demo", "password": password}
            (await hub.post("/api/session/claim", json=claim)).raise_for_status()
            gateways = (await hub.get("/api/gateways")).json()
            found = gateways[0]["id"]
            report = (await hub.get(f"/api/gateways/{found}/completeness")).json()
        mine = [part for part in report["epochs"] if part["epoch"] == epoch]
        if not mine:
            return 0, 0
        return int(mine[0]["samples_count"]), len(mine[0]["holes"])


def _drained(status: dict[str, Any]) -> bool:
    return status["counters"]["in_flight"] == 0 and all(
        sink["backlog_rows"] == 0 for sink in status["sinks"].values()
    )


def _document(plant_url: str, broker_port: int) -> dict[str, Any]:
    return {
        "gateway": {"id": "demo", "site": "Demo"},
        "sparkplug": {
            "group": "Demo",
            "node": "Gateway1",
            "broker": {"url": f"mqtt://127.0.0.1:{broker_port}"},
        },
        "sources": [
            {
                "name": "line1",
                "kind": "opcua",
                "endpoint": plant_url,
                "security": {"policy": "None", "mode": "None", "allow_insecure": True},
                "groups": [
                    {
                        "name": "normal",
                        # as asyncua's server samples: asked for more, it would say "revised"
                        "sampling_interval_ms": 250,
                        "publishing_interval_ms": 250,
                        "queue_size": 10,
                    }
                ],
                "rules": [{"below": _PLANT_ROOT, "group": "normal", "device": "Plant"}],
            }
        ],
    }


def _factoryplus(program: str) -> list[str]:
    return [sys.executable, "-m", "factoryplus", program]


async def _output(command: Sequence[str]) -> str:
    """Run a command to its end; return its standard output."""
    done = await anyio.run_process(command, check=False, stderr=subprocess.PIPE)
    if done.returncode != 0:
        text = done.stderr.decode("utf-8", "replace").strip()
        raise DemoError(f"{' '.join(command[2:5])} failed: {text}")
    return done.stdout.decode("utf-8").strip()


async def _stop(process: anyio.abc.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    with anyio.move_on_after(15):
        await process.wait()
        return
    process.kill()
    await process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


async def _until_listening(name: str, port: int) -> None:
    with anyio.move_on_after(START_TIMEOUT_S):
        while True:
            try:
                stream = await anyio.connect_tcp("127.0.0.1", port)
            except OSError:
                await anyio.sleep(0.1)
                continue
            await stream.aclose()
            return
    raise DemoError(f"{name} did not start")


async def _until_signal() -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            return
