"""Start, watch and stop the processes of a bench or fault test.

Promise: each process has its own log in the run directory, is stopped by its own pid,
and dies with the process that started it (`setpriv --pdeathsig`, where installed).
Every start returns when the thing answers, or raises with the last lines of its log.

Errors:
    HarnessError
    ├── ToolMissingError  a program is not installed
    ├── ChildDiedError    a process ended that should run
    └── NotReadyError     it runs, but did not answer in time

`Child` is the general process; the functions below it start a broker, a plant, a
gateway, a hub or a recording sink, and are async context managers that stop what
they started.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import anyio
import anyio.abc
import httpx
import msgspec
import psutil

from bench.status import GatewayStatus
from contract.upload import Loss
from plant.ports import free_port
from plant.scans import ScanReport

POLL_S = 0.05
START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 15.0
LOG_TAIL_LINES = 25
FACTORYPLUS = (sys.executable, "-m", "factoryplus")
"""The command under test."""


class HarnessError(Exception):
    """A process of the harness did not do its part."""


class ToolMissingError(HarnessError):
    """Raised when a program that the harness needs is not installed."""


class ChildDiedError(HarnessError):
    """Raised when a process ended that should run."""


class NotReadyError(HarnessError):
    """Raised when a process did not answer within its deadline."""


class Child:
    """One process of the harness. It can be started again after it ended.

    stdout goes to `<name>.out`, stderr to `<name>.log`, both in `directory`; further
    starts append.
    """

    def __init__(self, name: str, command: Sequence[str], directory: Path) -> None:
        self.name = name
        self.command = list(command)
        self.out_path = directory / f"{name}.out"
        self.log_path = directory / f"{name}.log"
        self._process: anyio.abc.Process | None = None
        self._out_offset = 0

    @property
    def pid(self) -> int:
        """Return the pid of the running (or last) process."""
        return self._started.pid

    @property
    def is_running(self) -> bool:
        """Return whether the process runs (a frozen one does)."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the process; return at once."""
        if self.is_running:
            raise HarnessError(f"{self.name} runs already")
        self._out_offset = self.out_path.stat().st_size if self.out_path.exists() else 0
        with _append(self.out_path) as out, _append(self.log_path) as log:
            self._process = await anyio.open_process(
                [*_die_with_parent(), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                start_new_session=True,
            )

    async def wait_until(
        self,
        ready: Callable[[], Awaitable[bool]],
        what: str,
        deadline_s: float = START_DEADLINE_S,
    ) -> None:
        """Ask `ready` every 50 ms until it says yes.

        Raises:
            ChildDiedError: the process ended first.
            NotReadyError: it did not say yes within `deadline_s`.
        """
        with anyio.move_on_after(deadline_s):
            while True:
                if not self.is_running:
                    raise ChildDiedError(self._story(f"ended before {what}"))
                if await ready():
                    return
                await anyio.sleep(POLL_S)
        raise NotReadyError(self._story(f"no {what} within {deadline_s:.0f} s"))

    async def wait_for_line(self, what: str, deadline_s: float = START_DEADLINE_S) -> str:
        """Return the first whole line that this start has printed to stdout."""

        async def has_line() -> bool:
            return bool(self.output_lines())

        await self.wait_until(has_line, what, deadline_s)
        return self.output_lines()[0]

    def output_lines(self) -> list[str]:
        """Return the whole lines that this start has printed to stdout."""
        text = self.out_path.read_bytes()[self._out_offset :].decode(errors="replace")
        return text.split("\n")[:-1]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._started.send_signal(number)

    def freeze(self) -> None:
        """Stop the process from running, without ending it: its sockets stay open."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process run on."""
        self.signal(signal.SIGCONT)

    async def wait(self) -> int:
        """Wait until the process has ended by itself; return its exit code."""
        return await self._started.wait()

    async def kill(self) -> None:
        """End the process as a power cut would (kill -9), and reap it."""
        if self._process is not None and self.is_running:
            self._process.kill()
            await self._process.wait()

    async def stop(self, deadline_s: float = STOP_DEADLINE_S) -> int | None:
        """Ask the process to end, kill it if it does not, and return its exit code."""
        if self._process is None:
            return None
        with anyio.CancelScope(shield=True):
            if self.is_running:
                self._process.terminate()
                self._process.send_signal(signal.SIGCONT)  # a frozen one cannot end
                with anyio.move_on_after(deadline_s):
                    await self._process.wait()
            await self.kill()
        return self._process.returncode

    def cpu_s(self) -> float:
        """Return user + system time of the process and its descendants."""
        root = psutil.Process(self.pid)
        times = root.cpu_times()
        total = times.user + times.system + times.children_user + times.children_system
        for child in root.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                own = child.cpu_times()
                total += own.user + own.system
        return float(total)

    def rss_peak_bytes(self) -> int:
        """Return VmHWM, the highest resident size so far."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise ChildDiedError(self._story("has no memory figures"))

    def log_tail(self) -> str:
        """Return the last lines of stderr, or of stdout when there are none."""
        for path in (self.log_path, self.out_path):
            lines = path.read_text(errors="replace").splitlines() if path.exists() else []
            if lines:
                return "\n".join(lines[-LOG_TAIL_LINES:])
        return "(no output)"

    @property
    def _started(self) -> anyio.abc.Process:
        if self._process is None:
            raise HarnessError(f"{self.name} was never started")
        return self._process

    def _story(self, what: str) -> str:
        code = None if self._process is None else self._process.returncode
        return f"{self.name}: {what} (exit code {code}); {self.log_path}:\n{self.log_tail()}"


@contextlib.asynccontextmanager
async def running(child: Child) -> AsyncIterator[Child]:
    """Start `child`, and stop it at the end whatever happens."""
    await child.start()
    try:
        yield child
    finally:
        await child.stop()


class Broker(Child):
    """A mosquitto on its own loopback port.

    Sessions are kept across restarts once `save_sessions` was called, and QoS 0
    messages are queued for a sink that is away: what is missing at the sink was not
    lost by the broker.
    """

    def __init__(self, directory: Path, port: int = 0) -> None:
        self.port = port or free_port()
        program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise ToolMissingError("mosquitto is not installed: apt-get install mosquitto")
        config = directory / "mosquitto.conf"
        store = directory / "mosquitto-store"
        store.mkdir(exist_ok=True)
        super().__init__("mosquitto", [program, "-c", str(config)], directory)
        config.write_text(
            f"listener {self.port} 127.0.0.1\n"
            "allow_anonymous true\n"
            "persistence true\n"
            f"persistence_location {store}/\n"
            "autosave_interval 0\n"
            "queue_qos0_messages true\n"
            "max_queued_messages 0\n"
            "max_inflight_messages 0\n"
            "set_tcp_nodelay true\n"
            "user root\n"
            "log_dest stderr\n"
            "log_type error\nlog_type warning\nlog_type notice\n"
        )

    @property
    def url(self) -> str:
        """Return the URL for a gateway's configuration."""
        return f"mqtt://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start mosquitto and return when it accepts connections."""
        await super().start()
        await self.wait_until(_accepts(self.port), "listening port", 10)

    def save_sessions(self) -> None:
        """Write the sessions to disk now, so that a kill -9 does not lose the sink's."""
        self.signal(signal.SIGUSR1)


class Plant(Child):
    """A simulated plant process (`python -m plant`)."""

    def __init__(self, directory: Path, *options: str, port: int = 0) -> None:
        self.port = port or free_port()
        self.scan_log = directory / "plant.scans"
        self.endpoint = f"opc.tcp://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "plant", "--port", str(self.port)]
        super().__init__("plant", [*command, *options, "--scan-log", str(self.scan_log)], directory)

    async def start(self) -> None:
        """Start the plant and return when clients can connect."""
        await super().start()
        self.endpoint = await self.wait_for_line("endpoint")

    async def stop_counting(self) -> ScanReport:
        """End the counting, keep the server up, and return what was written."""
        self.signal(signal.SIGUSR1)

        async def has_report() -> bool:
            return len(self.output_lines()) > 1

        await self.wait_until(has_report, "report", 10)
        return msgspec.json.decode(self.output_lines()[1], type=ScanReport)


class Sink(Child):
    """A recording MQTT subscriber (`python -m bench.sink`): frames in `path`."""

    def __init__(self, directory: Path, port: int) -> None:
        self.path = directory / "sink.frames"
        command = [sys.executable, "-m", "bench.sink", "--port", str(port)]
        super().__init__("sink", [*command, "--out", str(self.path)], directory)

    async def start(self) -> None:
        """Start the sink and return when it has subscribed."""
        await super().start()
        await self.wait_for_line("subscription", 10)


class Gateway(Child):
    """A gateway process with its own data directory, driven over its HTTP side."""

    def __init__(
        self,
        directory: Path,
        document: dict[str, object],
        *,
        data_dir: Path | None = None,
        program: Sequence[str] = FACTORYPLUS,
    ) -> None:
        self._program = program
        self.data_dir = data_dir or directory / "gateway-data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config_path = directory / "gateway.json"
        self.config_path.write_bytes(msgspec.json.encode(document))
        self.data_dir.mkdir(parents=True, exist_ok=True)
        options = ["--data-dir", str(self.data_dir), "--config", str(self.config_path)]
        command = [*program, "gateway", "run", *options, "--http", f"127.0.0.1:{self.port}"]
        super().__init__("gateway", command, directory)

    async def start(self) -> None:
        """Start the gateway and return when its HTTP side answers."""
        await super().start()
        await self.wait_until(_accepts(self.port), "HTTP port")

    async def status(self) -> GatewayStatus:
        """Return `GET /api/status`."""
        return msgspec.json.decode(await self._get("/api/status"), type=GatewayStatus)

    async def losses(self) -> list[Loss]:
        """Return the loss ledger, by the command `gateway losses` (its page needs a login)."""
        options = ["--data-dir", str(self.data_dir), "--json", "--limit", "1000000"]
        command = [*self._program, "gateway", "losses", *options]
        done = await anyio.run_process(command, check=False)
        if done.returncode:
            raise HarnessError(f"{' '.join(command)}: {done.stderr.decode(errors='replace')}")
        return msgspec.json.decode(done.stdout, type=list[Loss])

    async def _get(self, path: str) -> bytes:
        async with httpx.AsyncClient(base_url=self.url, timeout=10) as client:
            try:
                answer = await client.get(path)
            except httpx.HTTPError as error:
                raise HarnessError(self._story(f"GET {path}: {error!r}")) from error
        if answer.status_code != httpx.codes.OK:
            raise HarnessError(f"GET {self.url}{path}: {answer.status_code} {answer.text[:500]}")
        return answer.content


def _append(path: Path) -> BinaryIO:
    return path.open("ab")


def _die_with_parent() -> Iterator[str]:
    if shutil.which("setpriv"):
        yield from ("setpriv", "--pdeathsig", "KILL", "--")


def _accepts(port: int) -> Callable[[], Awaitable[bool]]:
    async def accepts() -> bool:
        try:
            stream = await anyio.connect_tcp("127.0.0.1", port)
        except OSError:
            return False
        await stream.aclose()
        return True

    return accepts
