"""How this process runs: read once at start. And how the command line finds a running gateway.

``DIR/run.json`` says pid, address and start of the gateway that owns the data directory. It is
removed at stop; after a crash it stays and is told from a living one by pid and process start.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import stat
from pathlib import Path

import httpx
import msgspec

from gateway.errors import SettingsError
from runtime.clock import Clock
from runtime.tls import write_private

HTTP_DEFAULT = "127.0.0.1:8080"
RUNTIME_NAME = "run.json"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How this process runs.

    Attributes:
        data_dir: exists, is ours alone (0700) and can be written.
        config_file: the document to apply; None takes the kept one.
        http_host: name or address to listen on.
        http_port: 0 takes a free one.
        log_level: debug, info, warning or error.
    """

    data_dir: Path
    config_file: Path | None = None
    http_host: str = "127.0.0.1"
    http_port: int = 8080
    log_level: str = "info"


def make_settings(
    data_dir: Path,
    config_file: Path | None = None,
    http: str = HTTP_DEFAULT,
    log_level: str = "info",
) -> Settings:
    """Check the command line's words and prepare the data directory.

    Args:
        data_dir: created with 0700 when missing.
        config_file: has to exist when given.
        http: ``HOST:PORT``, ``[IPv6]:PORT`` or ``:PORT``.
        log_level: debug, info, warning or error.

    Raises:
        SettingsError: says which of them cannot be used, and what to do.
    """
    host, port = parse_address(http)
    if log_level.upper() not in logging.getLevelNamesMapping():
        raise SettingsError(f"log level {log_level!r} is unknown: use debug, info, warning, error")
    if config_file is not None and not config_file.is_file():
        raise SettingsError(f"there is no configuration file {config_file}")
    prepare_data_dir(data_dir)
    return Settings(
        data_dir=data_dir,
        config_file=config_file,
        http_host=host,
        http_port=port,
        log_level=log_level.lower(),
    )


def parse_address(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``; ``:PORT`` is the loopback address.

    Raises:
        SettingsError: no host and port in it, or the port is out of range.
    """
    host, colon, port_text = text.rpartition(":")
    if not colon or not (port_text.isascii() and port_text.isdecimal()) or int(port_text) > 65535:
        raise SettingsError(f"{text!r} is not HOST:PORT, for example {HTTP_DEFAULT}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise SettingsError(f"{text!r} has no IPv6 address in its brackets") from None
    elif ":" in host:
        raise SettingsError(f"{text!r}: write an IPv6 address in brackets, [::1]:8080")
    return host or "127.0.0.1", int(port_text)


def prepare_data_dir(path: Path) -> None:
    """Create the data directory with 0700, or make sure that an existing one is usable.

    Raises:
        SettingsError: it cannot be created, is no directory, is not ours, or is read-only.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
        if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & 0o077:
            path.chmod(0o700)  # keys and passwords lie in it
        probe = path / ".write-test"
        probe.write_bytes(b"")
        probe.unlink()
    except FileExistsError:
        raise SettingsError(f"{path} is a file: name a directory with --data-dir") from None
    except OSError as error:
        raise SettingsError(
            f"the data directory {path} cannot be used: {error.strerror}; "
            "choose another with --data-dir or mend its rights"
        ) from error


class RuntimeFile(msgspec.Struct, frozen=True, kw_only=True):
    """What ``run.json`` says of the running gateway.

    Attributes:
        pid: its process.
        process_start: the kernel's start time of that process, to tell a pid that was used again.
        url: its web address, ``http://127.0.0.1:8080``.
        started_us: wall time of its start.
    """

    pid: int
    process_start: str
    url: str
    started_us: int


def write_runtime_file(data_dir: Path, host: str, port: int, clock: Clock) -> RuntimeFile:
    """Write ``run.json`` for this process; call it when the web server listens.

    Args:
        data_dir: the data directory.
        host: where the server listens; a wildcard address is written as loopback.
        port: the real port, not 0.
        clock: for ``started_us``.
    """
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    shown_host = f"[{reachable}]" if ":" in reachable else reachable
    pid = os.getpid()
    written = RuntimeFile(
        pid=pid,
        process_start=_process_start(pid) or "",
        url=f"http://{shown_host}:{port}",
        started_us=clock.wall_us(),
    )
    write_private(data_dir / RUNTIME_NAME, msgspec.json.encode(written))
    return written


def read_runtime_file(data_dir: Path) -> RuntimeFile | None:
    """Return what the running gateway wrote; None when none runs in this data directory."""
    try:
        content = (data_dir / RUNTIME_NAME).read_bytes()
        found = msgspec.json.decode(content, type=RuntimeFile)
    except (OSError, msgspec.MsgspecError):
        return None
    alive = _process_start(found.pid)
    return found if alive is not None and alive == found.process_start else None


def remove_runtime_file(data_dir: Path) -> None:
    """Remove ``run.json`` when it is this process's; call it at stop."""
    found = read_runtime_file(data_dir)
    if found is not None and found.pid == os.getpid():
        (data_dir / RUNTIME_NAME).unlink(missing_ok=True)


def _process_start(pid: int) -> str | None:
    """Return the start time of a process as the kernel counts it; None when it is gone.

    Source: proc(5), /proc/PID/stat field 22; the command's name may hold spaces and brackets.
    """
    try:
        stat_line = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    after_name = stat_line.rpartition(")")[2].split()
    return None if after_name[0] == "Z" else after_name[19]


async def fetch_status(data_dir: Path, timeout_s: float = 5.0) -> bytes:
    """Ask the running gateway for ``GET /api/status``; return the JSON.

    Raises:
        SettingsError: none runs in this data directory, or it does not answer in time.
    """
    running = read_runtime_file(data_dir)
    if running is None:
        raise SettingsError(
            f"no gateway runs with the data directory {data_dir}; "
            f"start it with: factoryplus gateway run --data-dir {data_dir}"
        )
    try:
        async with httpx.AsyncClient(timeout=timeout_s, trust_env=False) as client:
            answer = await client.get(f"{running.url}/api/status")
    except httpx.HTTPError as error:
        raise SettingsError(
            f"the gateway (process {running.pid}) does not answer at {running.url}: "
            f"{type(error).__name__}"
        ) from error
    if answer.status_code != httpx.codes.OK:
        raise SettingsError(f"{running.url} answered {answer.status_code} to the status request")
    return answer.content
