"""Become a member of a hub's fleet by a one-time code.

Promises: no application byte goes to a hub whose CA is not the one in the code (R17); the private
key is made here and never leaves (R14); the answer is believed only when its certificate is for
our key, in date and issued by the pinned CA; what is stored is whole or what was there before.

One code is good for one try that reaches the hub: when its answer is lost, a new code is needed.
"""

from __future__ import annotations

import ssl
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from contract.errors import CodeError, ErrorBody
from contract.fleet import EnrolAnswer, EnrolmentCode, EnrolRequest, read_code
from gateway.errors import EnrolError
from gateway.fleet.membership import Membership, MembershipRecord, store_membership
from runtime.clock import Clock, SystemClock
from runtime.tls import (
    FingerprintMismatchError,
    PeerUnreachableError,
    TlsError,
    client_context,
    fingerprint_of,
    make_key_and_csr,
    pinned_ca,
)

ENROL_PATH = "/api/uplink/enrol"
TIMEOUT_S = 20.0
ANSWER_BYTES_MAX = 100_000
HUB_TEXT_CHARS_MAX = 300


async def enrol(
    code_text: str, data_dir: Path, name: str, site: str = "", *, clock: Clock | None = None
) -> Membership:
    """Enrol this box and store its membership; a running gateway picks it up by itself.

    Args:
        code_text: what the hub printed, ``fpe1...``.
        data_dir: exists; ``DIR/hub`` is written.
        name: how this box calls itself; the hub chooses the id.
        site: where it stands, "" when unknown.
        clock: the machine's own when left out.

    Raises:
        EnrolError: says what is wrong and what to do; nothing is stored.
    """
    ticking = clock or SystemClock()
    try:
        code = read_code(code_text)
    except CodeError as error:
        raise _refused(str(error), error.code) from error
    ca_pem = await _pinned(code)
    key_pem, csr_pem = make_key_and_csr(name)
    request = EnrolRequest(
        token=code.token,
        csr_pem=csr_pem.decode("ascii"),
        name=name,
        site=site,
        version=version("factoryplus"),
    )
    answer = await _ask(code.url, ca_pem, request)
    certificate = _verified(answer, ca_pem, key_pem, ticking)
    record = MembershipRecord(
        gateway_id=answer.gateway_id,
        uplink_url=answer.uplink_url,
        name=name,
        site=site,
        ca_fingerprint=code.fingerprint.hex(),
        enrolled_us=ticking.wall_us(),
        not_after_us=int(certificate.not_valid_after_utc.timestamp() * 1e6),
    )
    try:
        return store_membership(data_dir, record, key_pem, answer.certificate_pem, ca_pem)
    except OSError as error:
        raise _refused(
            f"the membership cannot be stored in {data_dir}: {error.strerror}; mend that and enrol "
            "again with a new code",
            "enrol.not_stored",
        ) from error


async def _pinned(code: EnrolmentCode) -> str:
    try:
        parts = urlsplit(code.url)
        host, port = parts.hostname or "", parts.port or 443
    except ValueError as error:
        raise _refused("the code names no usable address; ask for a new code", "") from error
    try:
        return await pinned_ca(host, port, code.fingerprint)
    except PeerUnreachableError as error:
        raise _refused(
            f"the hub cannot be reached at {code.url}; check that it runs, and network, "
            "name and firewall; the code stays good",
            "enrol.unreachable",
            retryable=True,
        ) from error
    except FingerprintMismatchError as error:
        raise _refused(
            f"what answers at {code.url} is not the hub that made this code (its certificate "
            "authority differs); nothing was sent; ask the hub's administrator for a new code, and "
            "if that fails too, suspect a machine in between",
            "enrol.wrong_hub",
        ) from error
    except TlsError as error:
        raise _refused(
            f"what answers at {code.url} does not speak TLS as a hub does; check the address and "
            "any proxy in between",
            "enrol.no_tls",
        ) from error


async def _ask(url: str, ca_pem: str, request: EnrolRequest) -> EnrolAnswer:
    context = client_context(ca_pem)
    try:
        async with (
            httpx.AsyncClient(verify=context, timeout=TIMEOUT_S, trust_env=False) as client,
            client.stream(
                "POST",
                url.rstrip("/") + ENROL_PATH,
                content=msgspec.json.encode(request),
                headers={"content-type": "application/json", "accept": "application/json"},
            ) as response,
        ):
            body = await _limited_body(response)
    except (httpx.HTTPError, ssl.SSLError) as error:
        raise _refused(
            f"the hub at {url} did not answer the enrolment ({type(error).__name__}: {error}); "
            "try again; if the code was used up by this, ask for a new one",
            "enrol.no_answer",
            retryable=True,
        ) from error
    if not response.is_success:
        raise _refusal_of(response.status_code, body)
    try:
        return msgspec.json.decode(body, type=EnrolAnswer)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _refused(
            "the hub's answer is not one of an enrolment; check that hub and gateway are of "
            "versions that fit",
            "enrol.bad_answer",
        ) from error


async def _limited_body(response: httpx.Response) -> bytes:
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > ANSWER_BYTES_MAX:
            raise _refused("the hub's answer is too long", "enrol.bad_answer")
    return bytes(body)


def _refusal_of(status: int, body: bytes) -> EnrolError:
    """Word the hub's refusal; its text is shown cut and without control characters."""
    try:
        told = msgspec.json.decode(body, type=ErrorBody)
    except (msgspec.MsgspecError, RecursionError):
        return _refused(
            f"the hub answered {status} to the enrolment; is that the address of a hub?",
            "enrol.refused",
            retryable=status >= 500,
        )
    remedy = told.remedy or "ask the hub's administrator for a new code"
    return _refused(
        f"the hub refused: {_plain(told.message)}; {_plain(remedy)}",
        _plain(told.code) or "enrol.refused",
        retryable=status >= 500,
    )


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:HUB_TEXT_CHARS_MAX])


def _verified(answer: EnrolAnswer, ca_pem: str, key_pem: bytes, clock: Clock) -> x509.Certificate:
    """Believe the answer only when its certificate is ours, in date, and the pinned CA's."""
    try:
        certificate = x509.load_pem_x509_certificate(answer.certificate_pem.encode("ascii"))
        ca = x509.load_pem_x509_certificate(ca_pem.encode("ascii"))
        told_ca = x509.load_pem_x509_certificate(answer.ca_pem.encode("ascii"))
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError as error:
        raise _distrusted("it holds no certificate that can be read") from error
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError, TypeError) as error:
        raise _distrusted("its certificate was not issued by the hub's CA") from error
    if fingerprint_of(told_ca) != fingerprint_of(ca):
        raise _distrusted("it names another CA than the one in the code")
    if _public_bytes(certificate) != _public_bytes_of_key(key_pem):
        raise _distrusted("its certificate is for another key than ours")
    if [n.value for n in names] != [answer.gateway_id]:
        raise _distrusted("its certificate is for another gateway")
    if not _is_https(answer.uplink_url):
        raise _distrusted("its uplink address is not https")
    now_s = clock.wall_us() / 1e6
    begins_s = certificate.not_valid_before_utc.timestamp()
    if not begins_s <= now_s < certificate.not_valid_after_utc.timestamp():
        raise _refused(
            "the hub's certificate for this box is not valid at this box's time; set the clock "
            "(NTP) and enrol again with a new code",
            "enrol.clock_wrong",
        )
    return certificate


def _public_bytes(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _public_bytes_of_key(key_pem: bytes) -> bytes:
    key = serialization.load_pem_private_key(key_pem, password=None)
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _is_https(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # it is read, and refused, only when asked for
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname)


def _distrusted(why: str) -> EnrolError:
    return _refused(
        f"the hub's answer is not to be trusted: {why}; ask the hub's administrator",
        "enrol.bad_answer",
    )


def _refused(text: str, code: str, *, retryable: bool = False) -> EnrolError:
    error = EnrolError(text)
    error.code = code or EnrolError.code
    error.retryable = retryable
    return error
