"""The last good configuration document, kept on this box for starts without a FILE.

``DIR/config-kept`` is a first line ``# factoryplus config sha256=HEX`` and then the document's
bytes as they were given, comments included. It is written whole, durably and readable by its
owner only (0600), for it may hold passwords; the one before it stays as ``config-kept.before``
and takes over when a copy fails its hash.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import msgspec

from contract.config import GatewayConfig
from contract.errors import ConfigError, Fault
from gateway.config.document import parse_config, read_document_file
from runtime.log import logger
from runtime.tls import write_private

KEPT_NAME = "config-kept"
_HEAD = b"# factoryplus config sha256="
_SECRET_KEYS = frozenset({"password"})
REDACTED = "***"


class LoadedConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A checked configuration and where it came from.

    Attributes:
        config: what to run.
        origin: ``file`` given by the user; ``kept`` from the last time; ``empty``: there is none.
        sha256: of the document's bytes, hex; "" when empty.
    """

    config: GatewayConfig
    origin: Literal["file", "kept", "empty"]
    sha256: str


class ConfigStore:
    """Keeps and finds the last good document in a data directory that exists."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / KEPT_NAME
        self._before = data_dir / f"{KEPT_NAME}.before"

    def keep(self, document: bytes) -> str:
        """Keep a document that was checked; return its SHA-256, hex.

        Raises:
            OSError: the disk refused; what was kept before is untouched.
        """
        digest = hashlib.sha256(document).hexdigest()
        content = _HEAD + digest.encode("ascii") + b"\n" + document
        current = self._read(self._path)
        if current == document:
            return digest
        if current is not None:
            write_private(self._before, self._path.read_bytes())
        write_private(self._path, content)
        return digest

    def kept(self) -> bytes | None:
        """Return the last good document; None when none was ever kept.

        Raises:
            ConfigError: there are copies, and none of them passes its hash.
        """
        found_any = False
        for path in (self._path, self._before):
            document = self._read(path)
            if document is not None:
                if path != self._path:
                    logger().error("config.older_copy_used", path=str(path))
                return document
            found_any = found_any or path.exists()
        if found_any:
            raise ConfigError(
                [
                    Fault(
                        code="config.kept_damaged",
                        path="",
                        message=f"the kept configuration {self._path} is damaged",
                        remedy="start once with --config FILE; that file is then kept",
                    )
                ]
            )
        return None

    def _read(self, path: Path) -> bytes | None:
        """Return the document in a file; None when it is missing or fails its hash."""
        try:
            content = path.read_bytes()
        except OSError:
            return None
        head, _, document = content.partition(b"\n")
        if not head.startswith(_HEAD):
            return None
        wanted = head.removeprefix(_HEAD).decode("ascii", "replace")
        return document if hashlib.sha256(document).hexdigest() == wanted else None


def open_config(file: Path | None, data_dir: Path) -> LoadedConfig:
    """Load what to run: the file when given (and keep it), else the kept one, else nothing.

    Without either, the configuration is empty: the box starts, serves its pages and says there
    what to do.

    Raises:
        ConfigError: the file cannot be read or has faults; or the kept copies are damaged.
        OSError: the file is good, but the disk refused to keep it.
    """
    store = ConfigStore(data_dir)
    if file is not None:
        document = read_document_file(file)
        config = parse_config(document)
        return LoadedConfig(config=config, origin="file", sha256=store.keep(document))
    kept = store.kept()
    if kept is None:
        return LoadedConfig(config=GatewayConfig(), origin="empty", sha256="")
    digest = hashlib.sha256(kept).hexdigest()
    return LoadedConfig(config=parse_config(kept), origin="kept", sha256=digest)


def redacted(config: GatewayConfig) -> dict[str, Any]:
    """Return the configuration as plain values, each secret that is set as ``***``."""
    plain: dict[str, Any] = _without_secrets(msgspec.to_builtins(config))
    return plain


def _without_secrets(value: Any) -> Any:  # noqa: ANN401 - plain values of any shape
    if isinstance(value, dict):
        return {
            key: REDACTED if key in _SECRET_KEYS and item is not None else _without_secrets(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    return value
