"""The document of the Sparkplug host: which MQTT servers, as whom, what is stored and written.

A YAML or JSON file, named by ``--sparkplug`` or ``FACTORYPLUS_CENTRAL_SPARKPLUG``; without one the
host is off. Secrets are not in it: a password comes from a file or from an environment variable.
docs/sparkplug-host.md is the page.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from central.errors import HubError
from contract.config import BrokerConfig
from sparkplug_b.errors import TopicError
from sparkplug_b.host_event import HostOptions
from sparkplug_b.topic import check_id

DOCUMENT_BYTES_MAX = 1_000_000
_PORTS = {"mqtt": 1883, "tcp": 1883, "mqtts": 8883, "ssl": 8883, "tls": 8883}
Id = Annotated[str, Meta(min_length=1, max_length=200)]


class SparkplugDocumentError(HubError):
    """Raised when the document cannot be used; ``str()`` names file, field and cause."""

    code = "sparkplug.document"
    remedy = "docs/sparkplug-host.md lists the fields"


class ServerDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One MQTT server; the URL's scheme says mqtt (1883) or mqtts (8883).

    Attributes:
        name: for people and metrics; "" takes host:port.
        password_file: a file with the password alone.
        password_env: the environment variable with the password.
        ca_file: PEM of the CAs that may have signed the server's certificate; none: the system's.
        certificate_file: PEM of our client certificate, with ``key_file``.
        allow_insecure: send a password to another machine without TLS.
    """

    url: Annotated[str, Meta(min_length=1, max_length=512)]
    name: Annotated[str, Meta(max_length=100)] = ""
    version: Literal["3.1.1", "5.0"] = "3.1.1"
    username: str | None = None
    password_file: str | None = None
    password_env: str | None = None
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    keep_alive_s: Annotated[int, Meta(ge=2, le=3600)] = 15
    allow_insecure: bool = False

    @property
    def address(self) -> str:
        """Return host:port, the server's identity."""
        url = urlsplit(self.url)
        return f"{url.hostname}:{url.port or _PORTS[url.scheme]}"

    @property
    def label(self) -> str:
        """Return what people call it."""
        return self.name or self.address


class WriteRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Metrics that people may write by command; ``*`` and ``?`` are wildcards.

    ``device`` "" is the edge node itself, which no wildcard of devices names.
    """

    group: Id
    node: Id
    device: Annotated[str, Meta(max_length=200)] = ""
    metric: Annotated[str, Meta(min_length=1, max_length=500)]


class SparkplugDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the host application is to do.

    Attributes:
        host_id: unique among all host applications (Sparkplug 3.0,
            tck-id-operational-behavior-host-application-host-id).
        servers: each gets its own connection, STATE and Will.
        groups: groups to subscribe; none: all.
        exclude: ``GROUP/NODE`` patterns of nodes that are followed, but not stored.
        write_allow: what commands may write; rebirth needs no rule.
        reorder_timeout_ms: how long a gap in seq may stay open before a rebirth is asked for.
        rebirth_interval_ms: between two rebirth requests to one node.
        device_birth_timeout_ms: how long after an NBIRTH a known device may wait for its DBIRTH.
        nodes_max: edge nodes known.
        metrics_max: metrics of one node, its devices included.
        store_linger_ms: how long values gather into one stored row of their node.
        pending_samples_max: values waiting for the spool; beyond it the oldest are dropped.
        inbox_messages_max: messages waiting to be read; beyond it the oldest are dropped.
        lease_s: how long after its holder fell silent another hub takes the host over.
    """

    host_id: Id
    servers: Annotated[tuple[ServerDocument, ...], Meta(min_length=1, max_length=16)]
    groups: Annotated[tuple[Id, ...], Meta(max_length=1000)] = ()
    exclude: Annotated[tuple[str, ...], Meta(max_length=1000)] = ()
    write_allow: Annotated[tuple[WriteRule, ...], Meta(max_length=10_000)] = ()
    reorder_timeout_ms: Annotated[int, Meta(ge=0, le=600_000)] = 5_000
    rebirth_interval_ms: Annotated[int, Meta(ge=100, le=3_600_000)] = 10_000
    device_birth_timeout_ms: Annotated[int, Meta(ge=0, le=600_000)] = 5_000
    nodes_max: Annotated[int, Meta(ge=1, le=100_000)] = 10_000
    metrics_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 200_000
    store_linger_ms: Annotated[int, Meta(ge=1, le=60_000)] = 200
    pending_samples_max: Annotated[int, Meta(ge=1_000, le=100_000_000)] = 1_000_000
    inbox_messages_max: Annotated[int, Meta(ge=10, le=1_000_000)] = 10_000
    lease_s: Annotated[float, Meta(ge=1, le=600)] = 15.0

    def options(self) -> HostOptions:
        """Return the options of each server's session."""
        return HostOptions(
            group_ids=self.groups,
            reorder_timeout_ms=self.reorder_timeout_ms,
            rebirth_interval_ms=self.rebirth_interval_ms,
            device_birth_timeout_ms=self.device_birth_timeout_ms,
            nodes_max=self.nodes_max,
            metrics_max=self.metrics_max,
            is_normalised=True,
        )

    def is_excluded(self, group_id: str, node_id: str) -> bool:
        """Say whether a node's values are not to be stored."""
        return any(fnmatchcase(f"{group_id}/{node_id}", pattern) for pattern in self.exclude)

    def may_write(self, place: tuple[str, str, str], metric: str) -> bool:
        """Say whether a metric of (group, node, device) is on the list of what may be written."""
        found = (*place, metric)
        return any(
            bool(rule.device) == bool(place[2])
            and all(
                fnmatchcase(text, wanted)
                for text, wanted in zip(
                    found, (rule.group, rule.node, rule.device, rule.metric), strict=True
                )
            )
            for rule in self.write_allow
        )


def load_document(path: Path) -> SparkplugDocument:
    """Read and check the document.

    Raises:
        SparkplugDocumentError: names file, field and cause.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SparkplugDocumentError(f"{path}: {error.strerror}") from error
    if len(text) > DOCUMENT_BYTES_MAX:
        raise SparkplugDocumentError(f"{path}: has more than {DOCUMENT_BYTES_MAX} bytes")
    try:
        document = msgspec.yaml.decode(text, type=SparkplugDocument)
    except msgspec.MsgspecError as error:
        raise SparkplugDocumentError(f"{path}: {error}") from error
    for field, cause in _faults(document):
        raise SparkplugDocumentError(f"{path}: {field}: {cause}")
    return document


def broker_of(server: ServerDocument, environment: Mapping[str, str] | None = None) -> BrokerConfig:
    """Return how to connect, secrets read.

    Raises:
        SparkplugDocumentError: a secret is not where the document says.
    """
    password: str | None = None
    if server.password_file is not None:
        try:
            password = Path(server.password_file).read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SparkplugDocumentError(
                f"servers[{server.label}].password_file: {server.password_file} cannot be read"
            ) from error
    elif server.password_env is not None:
        password = (os.environ if environment is None else environment).get(server.password_env)
        if password is None:
            raise SparkplugDocumentError(
                f"servers[{server.label}].password_env: {server.password_env} is not set"
            )
    # fields of the same name mean the same in both
    shared = set(BrokerConfig.__struct_fields__) & set(ServerDocument.__struct_fields__)
    return BrokerConfig(password=password, **{field: getattr(server, field) for field in shared})


def _faults(document: SparkplugDocument) -> list[tuple[str, str]]:
    faults = [
        (field, fault)
        for field, text in (
            ("host_id", document.host_id),
            *((f"groups[{at}]", group) for at, group in enumerate(document.groups)),
        )
        if (fault := _id_fault(text)) is not None
    ]
    for at, server in enumerate(document.servers):
        faults += [(f"servers[{at}].{field}", cause) for field, cause in _server_faults(server)]
    if faults:
        return faults
    for kind, names in (
        ("address", [s.address for s in document.servers]),
        ("name", [s.label for s in document.servers]),
    ):
        twice = {name for name in names if names.count(name) > 1}
        faults += [("servers", f"two servers have the {kind} {name}") for name in sorted(twice)]
    for at, pattern in enumerate(document.exclude):
        if pattern.count("/") != 1:
            faults.append((f"exclude[{at}]", f"{pattern!r} is not GROUP/NODE (* is a wildcard)"))
    return faults


def _id_fault(text: str) -> str | None:
    try:
        check_id(text)
    except TopicError as error:
        return error.reason
    return None


def _server_faults(server: ServerDocument) -> list[tuple[str, str]]:
    faults: list[tuple[str, str]] = []
    try:
        url = urlsplit(server.url)
        is_whole = url.scheme in _PORTS and bool(url.hostname) and url.port != 0
    except ValueError:
        return [("url", f"{server.url!r} is not mqtt://HOST[:PORT] or mqtts://HOST[:PORT]")]
    if not is_whole:
        faults.append(("url", f"{server.url!r} is not mqtt://HOST[:PORT] or mqtts://HOST[:PORT]"))
    if url.username is not None or url.password is not None:
        faults.append(("url", "has credentials in it: use username and password_file"))
    if server.password_file is not None and server.password_env is not None:
        faults.append(("password_env", "password_file is given too: keep one of them"))
    has_password = server.password_file is not None or server.password_env is not None
    if has_password and server.username is None:
        faults.append(("username", "is missing: MQTT takes no password without a username"))
    is_plain = url.scheme in {"mqtt", "tcp"}
    if has_password and is_plain and not (_is_loopback(url.hostname) or server.allow_insecure):
        faults.append(("url", "a password would go over the network in the clear: use mqtts://"))
    if (server.certificate_file is None) != (server.key_file is None):
        faults.append(("key_file", "certificate_file and key_file go together"))
    files = {"ca_file": server.ca_file, "certificate_file": server.certificate_file}
    given = {k: v for k, v in (files | {"key_file": server.key_file}).items() if v is not None}
    if given and is_plain:
        faults.append((min(given), "is for TLS: the URL has to be mqtts://"))
    faults += [(k, f"there is no file {v}") for k, v in given.items() if not Path(v).is_file()]
    return faults


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
