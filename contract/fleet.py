"""How a gateway becomes a member: the one-time code, the request and the answer.

The code carries the hub's address, the SHA-256 fingerprint of the hub's CA certificate and a
one-time token, so that the gateway can pin the hub before it sends a byte (R17). The gateway makes
its key itself and sends a CSR; the hub alone chooses subject and lifetime (R18).
"""

from __future__ import annotations

import base64
import binascii
import hashlib

import msgspec

from contract.errors import CodeError

CODE_PREFIX = "fpe1"
FINGERPRINT_BYTES = 32


class EnrolmentCode(msgspec.Struct, frozen=True, kw_only=True):
    """What a one-time code says; ``token`` is a secret until it is used.

    Attributes:
        url: the hub's uplink address, ``https://HOST:PORT``.
        fingerprint: SHA-256 of the hub CA certificate in DER, 32 bytes.
        token: one-time secret, at least 128 random bits, URL-safe text.
    """

    url: str
    fingerprint: bytes
    token: str


class EnrolRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /api/uplink/enrol``: the token buys a certificate for the CSR's key."""

    token: str
    csr_pem: str
    name: str
    site: str = ""
    version: str = ""


class EnrolAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's identity at the hub.

    Attributes:
        gateway_id: the hub's id of this gateway; the certificate's common name.
        certificate_pem: the gateway's certificate.
        ca_pem: the hub's CA certificate, the only one the uplink trusts.
        uplink_url: where to send, ``https://HOST:PORT``.
    """

    gateway_id: str
    certificate_pem: str
    ca_pem: str
    uplink_url: str


def write_code(code: EnrolmentCode) -> str:
    """Write a code as one word of URL-safe text: ``fpe1.<body>.<check>``."""
    body = base64.urlsafe_b64encode(msgspec.msgpack.encode(code)).decode("ascii").rstrip("=")
    return f"{CODE_PREFIX}.{body}.{_check(body)}"


def read_code(text: str) -> EnrolmentCode:
    """Read what ``write_code`` wrote; spaces and line breaks from copying are ignored.

    Raises:
        CodeError: not a code of ours, cut short, or mistyped.
    """
    parts = "".join(text.split()).split(".")
    if len(parts) != 3 or parts[0] != CODE_PREFIX:
        raise CodeError("this is not an enrolment code: it has to start with fpe1.")
    if _check(parts[1]) != parts[2]:
        raise CodeError("the enrolment code is damaged: copy all of it, from fpe1. to the end")
    try:
        raw = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        code = msgspec.msgpack.decode(raw, type=EnrolmentCode)
    except (binascii.Error, msgspec.MsgspecError) as error:
        raise CodeError("the enrolment code is damaged") from error
    if len(code.fingerprint) != FINGERPRINT_BYTES or not code.url.startswith("https://"):
        raise CodeError("the enrolment code names no https address or no fingerprint")
    return code


def _check(body: str) -> str:
    return hashlib.sha256(body.encode("ascii", "replace")).hexdigest()[:6]
