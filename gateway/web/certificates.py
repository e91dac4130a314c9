"""``/api/certificates``: ours, those that are trusted, those that wait for a person's word.

Every change names who made it in the log. Private keys are never in an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

import anyio.to_thread
import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, JSONBody
from msgspec import Meta

from contract.config_id import Id
from contract.errors import ErrorBody
from gateway.auth.service import Auth
from gateway.errors import TrustError
from gateway.sources.opcua.certificate_facts import CertificateFacts
from gateway.sources.opcua.pki import OwnReport
from gateway.sources.opcua.trust import CRL_BYTES_MAX, ListedCertificate, ListedRevocations
from gateway.web.access import CERTIFICATES_CHANGE, CERTIFICATES_READ, session_of
from gateway.web.sources import OpcUa, tools_of
from runtime.http import Refused, permit
from runtime.log import logger

Web = Request[Any, Any, Any]
Fingerprint = Annotated[str, Meta(min_length=64, max_length=200)]
T = TypeVar("T")


class CertificatesPage(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about certificates.

    Attributes:
        own: our application certificate: the PLC has to trust it.
        certificates: trusted, issuers and rejected, newest first.
        revocations: revocation lists.
    """

    own: OwnReport
    certificates: list[ListedCertificate]
    revocations: list[ListedRevocations]


class TrustBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A certificate by its whole SHA-256 fingerprint.

    Attributes:
        fingerprint: 64 hex digits; colons and spaces may stand between.
        source: for this source alone; None for all.
        kind: server trusts a certificate that was shown; issuer trusts all that it issued.
    """

    fingerprint: Fingerprint
    source: Id | None = None
    kind: Literal["server", "issuer"] = "server"


class CertificateBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A certificate by its whole SHA-256 fingerprint."""

    fingerprint: Fingerprint


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """How many entries were removed."""

    count: int


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What a file was taken as."""

    found: str


async def _do(action: Callable[[], T]) -> T:
    """Run file work beside the loop; word what cannot be done."""
    try:
        return await anyio.to_thread.run_sync(action)
    except TrustError as error:
        raise Refused(400, ErrorBody(code=error.code, message=str(error))) from error
    except OSError as error:
        message = f"the disk refused: {error.strerror}"
        raise Refused(507, ErrorBody(code="opcua.disk", message=message)) from error


async def _note(event: str, request: Web, auth: Auth, **facts: object) -> None:
    """Say in the log who changed what is trusted."""
    session = await session_of(request, auth)
    logger().warning(f"opcua.{event}", by=session.name if session is not None else "", **facts)


@get("/api/certificates", opt=permit(CERTIFICATES_READ))
async def read_certificates(opcua: OpcUa) -> CertificatesPage:
    """Return our certificate, the trust list and what was turned away."""
    pki = tools_of(opcua).pki
    return await _do(
        lambda: CertificatesPage(
            own=pki.own.report(),
            certificates=pki.trust.listing(),
            revocations=pki.trust.revocation_listing(),
        )
    )


@get("/api/certificates/own/file", opt=permit(CERTIFICATES_READ))
async def download_own(
    opcua: OpcUa,
    form: FromQuery[Literal["der", "pem"]] = "der",
    which: FromQuery[Literal["current", "next"]] = "current",
) -> Response[bytes]:
    """Return our certificate as a file for the PLC's trust list."""
    own = tools_of(opcua).pki.own
    content = await _do(lambda: own.export(pem=form == "pem", following=which == "next"))
    kind = "application/x-pem-file" if form == "pem" else "application/pkix-cert"
    headers = {"content-disposition": f'attachment; filename="factoryplus-gateway.{form}"'}
    return Response(content, media_type=kind, headers=headers)


@post("/api/certificates/own/renew", opt=permit(CERTIFICATES_CHANGE), status_code=200)
async def renew_own(request: Web, opcua: OpcUa, auth: NamedDependency[Auth]) -> OwnReport:
    """Make our next certificate, with the same key; the one in use stays in use."""
    report = await _do(tools_of(opcua).pki.own.renew)
    await _note("own_certificate_renewed", request, auth)
    return report


@post("/api/certificates/own/activate", opt=permit(CERTIFICATES_CHANGE), status_code=200)
async def activate_own(request: Web, opcua: OpcUa, auth: NamedDependency[Auth]) -> OwnReport:
    """Use our next certificate from the next connection on: the PLCs have to trust it by now."""
    report = await _do(tools_of(opcua).pki.own.activate)
    await _note("own_certificate_activated", request, auth)
    return report


@post("/api/certificates/trust", opt=permit(CERTIFICATES_CHANGE), status_code=200)
async def trust_certificate(
    request: Web, data: JSONBody[TrustBody], opcua: OpcUa, auth: NamedDependency[Auth]
) -> CertificateFacts:
    """Trust a certificate that a server has shown, or an issuer that was imported."""
    store = tools_of(opcua).pki.trust
    action = store.trust if data.kind == "server" else store.trust_issuer
    found = await _do(lambda: action(data.fingerprint, data.source or ""))
    facts = {"fingerprint": found.fingerprint, "source": data.source or "all"}
    await _note("certificate_trusted", request, auth, **facts)
    return found


@post("/api/certificates/reject", opt=permit(CERTIFICATES_CHANGE), status_code=200)
async def reject_certificate(
    request: Web, data: JSONBody[CertificateBody], opcua: OpcUa, auth: NamedDependency[Auth]
) -> CertificateFacts:
    """Take back a trust; a session that rests on it ends within half a minute."""
    store = tools_of(opcua).pki.trust
    found = await _do(lambda: store.reject(data.fingerprint))
    await _note("certificate_rejected", request, auth, fingerprint=found.fingerprint)
    return found


@post("/api/certificates/remove", opt=permit(CERTIFICATES_CHANGE), status_code=200)
async def remove_certificate(
    request: Web, data: JSONBody[CertificateBody], opcua: OpcUa, auth: NamedDependency[Auth]
) -> Removed:
    """Forget a certificate wherever it is listed."""
    store = tools_of(opcua).pki.trust
    count = await _do(lambda: store.remove(data.fingerprint))
    await _note("certificate_removed", request, auth, fingerprint=data.fingerprint)
    return Removed(count=count)


@post(
    "/api/certificates/import",
    opt=permit(CERTIFICATES_CHANGE),
    status_code=200,
    request_max_body_size=CRL_BYTES_MAX,
)
async def import_certificate(
    request: Web, opcua: OpcUa, auth: NamedDependency[Auth], source: FromQuery[Id | None] = None
) -> Imported:
    """Take a certificate, an issuer or a revocation list (PEM or DER in the body)."""
    store = tools_of(opcua).pki.trust
    content = await request.body()
    found = await _do(lambda: store.import_file(content, source or ""))
    await _note("certificate_imported", request, auth, found=found, source=source or "all")
    return Imported(found=found)


CERTIFICATE_ROUTES = [
    read_certificates,
    download_own,
    renew_own,
    activate_own,
    trust_certificate,
    reject_certificate,
    remove_certificate,
    import_certificate,
]
