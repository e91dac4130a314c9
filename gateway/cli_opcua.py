"""``factoryplus gateway opcua-check`` and ``certificates``: OPC UA from the command line.

Both work on the data directory, whether or not a gateway runs in it: the trust list is files.
"""

from __future__ import annotations

import getpass
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import anyio
import msgspec
from cyclopts import App, Parameter

from contract.config_opcua import OpcUaSourceConfig, PolicyName, SecurityConfig
from contract.config_security import Login
from contract.errors import ConfigError
from gateway.errors import GatewayError

if TYPE_CHECKING:
    # asyncua takes a second to import: only the commands that need it do
    from gateway.sources.opcua.access import Pki, Target
    from gateway.sources.opcua.certificate_facts import CertificateFacts
    from gateway.sources.opcua.connect_check import CheckReport

certificates = App(name="certificates", help="OPC UA certificates: ours, trusted, turned away.")
DataDir = Annotated[Path, Parameter(name="--data-dir", help="the gateway's data directory")]
Source = Annotated[str, Parameter(help="for this source alone; for all without")]
T = TypeVar("T")


def _pki(data_dir: Path) -> Pki:
    from gateway.sources.opcua.access import Pki  # noqa: PLC0415 - see above
    from runtime.clock import SystemClock  # noqa: PLC0415

    if not data_dir.is_dir():
        print(f"there is no data directory {data_dir}", file=sys.stderr)
        sys.exit(1)
    owner = data_dir.stat().st_uid
    if os.geteuid() == 0 and owner != 0:
        # what root writes there the gateway could not read
        print(f"run this as the user {owner} that owns {data_dir}", file=sys.stderr)
        sys.exit(1)
    return Pki(data_dir / "pki", SystemClock())


def _try(action: Callable[[], T]) -> T:
    try:
        return action()
    except (GatewayError, OSError) as error:
        print(str(error), file=sys.stderr)
        sys.exit(1)


# -- the connection check ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Unsaved:
    """A connection that stands in no document."""

    endpoint: Annotated[str | None, Parameter(help="opc.tcp://HOST:PORT")] = None
    policy: PolicyName = "Basic256Sha256"
    mode: Literal["None", "Sign", "SignAndEncrypt"] = "SignAndEncrypt"
    allow_insecure: bool = False
    username: Annotated[str | None, Parameter(help="asks for the password")] = None


_UNSAVED = Unsaved()


def opcua_check(
    *,
    connection: Annotated[Unsaved, Parameter(name="*")] = _UNSAVED,
    config: Annotated[Path | None, Parameter(help="a document; with --source")] = None,
    source: Annotated[str | None, Parameter(help="name of a source in it")] = None,
    data_dir: Annotated[Path | None, Parameter(help="for its trust list and certificate")] = None,
    json: bool = False,
) -> None:
    """Check an OPC UA connection step by step: name, TCP, hello ... login, status.

    Without --data-dir no certificate is trusted, and one is made to be shown that no server knows.
    """
    if connection.endpoint is not None:
        target = _unsaved(connection, connection.endpoint, source or "")
    else:
        target = _configured(config, source)
    report = _checked(target, data_dir)
    if json:
        print(msgspec.json.encode(report).decode())
    else:
        _print_report(report)
    sys.exit(0 if report.ok else 1)


def _unsaved(wanted: Unsaved, endpoint: str, source: str) -> Target:
    from gateway.sources.opcua.access import Target  # noqa: PLC0415 - see above

    password = getpass.getpass("password: ") if wanted.username is not None else None
    security = SecurityConfig(
        policy=wanted.policy, mode=wanted.mode, allow_insecure=wanted.allow_insecure
    )
    login = Login(username=wanted.username, password=password)
    return Target(name=source, endpoint=endpoint, security=security, login=login)


def _configured(config: Path | None, source: str | None) -> Target:
    """Return the connection of a source in a document; end the command where there is none."""
    from gateway.config.document import parse_config, read_document_file  # noqa: PLC0415
    from gateway.sources.opcua.access import target_of  # noqa: PLC0415

    if config is None or source is None:
        print("give --endpoint URL, or --config FILE with --source NAME", file=sys.stderr)
        sys.exit(2)
    try:
        document = parse_config(read_document_file(config))
    except ConfigError as error:
        print(f"{error}: see factoryplus gateway check", file=sys.stderr)
        sys.exit(1)
    opcua = [found for found in document.sources if isinstance(found, OpcUaSourceConfig)]
    for found in opcua:
        if found.name == source:
            return target_of(found)
    known = ", ".join(found.name for found in opcua) or "none"
    print(f"there is no OPC UA source {source!r} in {config}; known: {known}", file=sys.stderr)
    sys.exit(1)


def _checked(target: Target, data_dir: Path | None) -> CheckReport:
    from gateway.sources.opcua.access import Access  # noqa: PLC0415 - see above
    from gateway.sources.opcua.connect_check import ConnectCheck  # noqa: PLC0415
    from runtime.clock import SystemClock  # noqa: PLC0415
    from runtime.log import set_up_logging  # noqa: PLC0415

    set_up_logging("error")
    with tempfile.TemporaryDirectory() as scratch:
        access = Access(target, _pki(data_dir or Path(scratch)))
        return anyio.run(ConnectCheck(access, SystemClock()).run)


def _print_report(report: CheckReport) -> None:
    for step in report.steps:
        took = f"{step.took_ms:8.1f} ms" if step.result != "skipped" else " " * 11
        print(f"{step.step:12} {step.result:8} {took}  {step.found}".rstrip())
        if step.remedy:
            print(f"{'':12} {'->':8} {'':11}  {step.remedy}")
    for notice in report.notices:
        print(f"note: {notice}")
    if report.certificate is not None:
        _print_certificate(report.certificate)
    if not report.ok and report.offers:
        offers = (f"{o.policy}/{o.mode} ({', '.join(o.logins)})" for o in report.offers)
        print(f"the server offers: {'; '.join(offers)}")


# -- certificates -----------------------------------------------------------------------------


def _print_certificate(facts: CertificateFacts, head: str = "certificate") -> None:
    from gateway.sources.opcua.certificate_facts import grouped  # noqa: PLC0415 - see above

    until = datetime.fromtimestamp(facts.not_after_us / 1e6, UTC)
    print(f"{head}: {facts.subject}")
    about = f"{facts.key}, {facts.signature}, to {until:%Y-%m-%d}"
    print(f"    URI {facts.application_uri or '-'}, {about}")
    print(f"    SHA-256 {grouped(facts.fingerprint)}")
    print(f"    SHA-1   {grouped(facts.thumbprint)}")


@certificates.command(name="list")
def list_(*, data_dir: DataDir, json: bool = False) -> None:
    """List our certificate, those that are trusted, issuers, and those that were turned away."""
    pki = _pki(data_dir)
    own, found = _try(pki.own.report), _try(pki.trust.listing)
    lists = _try(pki.trust.revocation_listing)
    if json:
        page = {"own": own, "certificates": found, "revocations": lists}
        print(msgspec.json.encode(page).decode())
        return
    _print_certificate(own.current, "own")
    if own.next is not None:
        _print_certificate(own.next, "own, next")
    if own.notice:
        print(own.notice)
    for item in found:
        _print_certificate(item.certificate, f"{item.list} ({item.source or 'all sources'})")
    for crl in lists:
        print(f"revocation list of {crl.issuer}: {crl.revoked_count} revoked")


@certificates.command
def trust(
    fingerprint: str, *, data_dir: DataDir, source: Source = "", issuer: bool = False
) -> None:
    """Trust a certificate that a server has shown, or (--issuer) all that an issuer has issued."""
    store = _pki(data_dir).trust
    action = store.trust_issuer if issuer else store.trust
    facts = _try(lambda: action(fingerprint, source))
    _print_certificate(facts, f"trusted for {source or 'all sources'}")


@certificates.command
def reject(fingerprint: str, *, data_dir: DataDir) -> None:
    """Take back a trust; a session that rests on it ends within half a minute."""
    _print_certificate(_try(lambda: _pki(data_dir).trust.reject(fingerprint)), "rejected")


@certificates.command
def remove(fingerprint: str, *, data_dir: DataDir) -> None:
    """Forget a certificate wherever it is listed."""
    print(f"{_try(lambda: _pki(data_dir).trust.remove(fingerprint))} removed")


@certificates.command(name="import")
def import_(file: Path, *, data_dir: DataDir, source: Source = "") -> None:
    """Take a certificate, an issuer or a revocation list (PEM or DER)."""
    print(_try(lambda: _pki(data_dir).trust.import_file(file.read_bytes(), source)))


@certificates.command
def export(file: Path, *, data_dir: DataDir, pem: bool = False, following: bool = False) -> None:
    """Write our certificate (or the next one) to a file, for the PLC's trust list."""
    content = _try(lambda: _pki(data_dir).own.export(pem=pem, following=following))
    _try(lambda: file.write_bytes(content))
    print(f"written to {file}")


@certificates.command
def renew(*, data_dir: DataDir, activate: bool = False) -> None:
    """Make our next certificate; with --activate, use the one made before from now on."""
    own = _pki(data_dir).own
    report = _try(own.activate if activate else own.renew)
    _print_certificate(report.next or report.current, "own, next" if report.next else "own")
    print(report.notice or "in use from the next connection on")
