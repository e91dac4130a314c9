"""How this hub process runs: read once at start."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec

BUILT_UI = Path(__file__).parent / "web" / "static"
"""Where the repository's build puts the hub's pages; a missing folder is no error."""
ENVIRONMENT_PREFIX = "FACTORYPLUS_CENTRAL_"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The hub's settings.

    Attributes:
        data_dir: where everything durable lives; made when missing, 0700.
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        database_url: SQLAlchemy async URL; "" is SQLite in ``data_dir``.
        public_url: address that gateways and people use; "" is derived from host and port.
        ui_dir: the built UI of the hub; a short page stands in where it is missing.
        spool_bytes_max: bound of the ingest spool; beyond it uploads are answered 503.
        flush_interval_s: how long acknowledged samples wait for the lake at most.
        flush_samples: as many samples waiting flush earlier.
        linger_s: how long the drain gathers rows before they become visible.
        maintenance_interval_s: how often the lake's small files are merged.
        sparkplug: the document of the Sparkplug host; without it the host is off.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8443
    database_url: str = ""
    public_url: str = ""
    ui_dir: Path = BUILT_UI
    spool_bytes_max: int = 2_000_000_000
    flush_interval_s: float = 60.0
    flush_samples: int = 500_000
    linger_s: float = 0.5
    maintenance_interval_s: float = 900.0
    sparkplug: Path | None = None

    def resolved_database_url(self) -> str:
        """Return the URL of the relational database."""
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir / 'hub.db'}"

    def server_names(self) -> list[str]:
        """Return the names and addresses that the server's certificate is for."""
        names = ["localhost", "127.0.0.1", socket.gethostname()]
        for name in (self.host, _host_of(self.public_url)):
            if name and name not in {*names, "0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
                names.append(name)
        return names

    def url_for(self, port: int) -> str:
        """Return the address that others use when the server listens on ``port``."""
        if self.public_url:
            return self.public_url.rstrip("/")
        everywhere = self.host in {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
        host = socket.gethostname() if everywhere else self.host
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def settings_from(
    data_dir: Path,
    http: str,
    environment: dict[str, str] | None = None,
    *,
    sparkplug: Path | None = None,
) -> Settings:
    """Join the command line with ``FACTORYPLUS_CENTRAL_*`` of the environment.

    Raises:
        ValueError: ``http`` is not ``HOST:PORT``, or a variable does not fit its setting.
    """
    host, _, port = http.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"--http wants HOST:PORT, not {http!r}")
    given: dict[str, object] = {
        "data_dir": str(data_dir.absolute()),
        "host": host.strip("[]"),
        "port": int(port),
    }
    for name, value in (os.environ if environment is None else environment).items():
        if name.startswith(ENVIRONMENT_PREFIX):
            given[name.removeprefix(ENVIRONMENT_PREFIX).lower()] = value
    if sparkplug is not None:
        given["sparkplug"] = str(sparkplug)
    if "database_url" not in given and (url := (environment or os.environ).get("DATABASE_URL")):
        given["database_url"] = url
    return msgspec.convert(given, Settings, strict=False, dec_hook=_decode)


def _decode(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value))
    raise NotImplementedError


def _host_of(url: str) -> str:
    return url.partition("://")[2].split("/")[0].rpartition(":")[0].strip("[]")
