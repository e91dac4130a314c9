"""Is this the server's certificate, and may it be used? Every fault has its own code and remedy.

The steps and their codes are those of OPC 10000-4, 6.1.3 (table "Certificate validation steps"),
in that order; all of them are looked at, so that a person sees everything at once. ``tolerate``
of the configuration lifts some; trust, signature, key length and revocation always hold.
Nothing here reads files or the network: a pure function over what ``trust.TrustStore`` loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from contract.config_opcua import SecurityConfig
from gateway.sources.opcua.certificate_facts import (
    CHAIN_MAX,
    application_uris,
    extension,
    fingerprint,
    grouped,
    hash_name,
    host_names,
    is_ca,
    is_for_host,
    key_text,
    name_text,
)
from gateway.sources.opcua.policies import Policy

_KEY_USAGES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
"""Source: OPC 10000-6, 6.2.2: what an application instance certificate with RSA is for."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a certificate.

    Attributes:
        code: the OPC UA status code's name.
        message: what is wrong.
        remedy: what to do.
        is_tolerated: the source's configuration accepts it.
    """

    code: str
    message: str
    remedy: str
    is_tolerated: bool = False


@dataclass(frozen=True, slots=True)
class Trusted:
    """What a trust list holds, loaded: certificates approved, issuers, revocation lists."""

    certificates: Sequence[x509.Certificate]
    issuers: Sequence[x509.Certificate]
    revocations: Sequence[x509.CertificateRevocationList]
    own: frozenset[str] = frozenset()
    """Fingerprints approved for this source alone."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the certificate is held against."""

    host: str
    application_uri: str
    policy: Policy
    security: SecurityConfig
    now: datetime
    source: str


_TOLERABLE = {
    "BadCertificateHostNameInvalid": "host_name",
    "BadCertificateTimeInvalid": "time",
    "BadCertificateIssuerTimeInvalid": "time",
    "BadCertificateUriInvalid": "uri",
    "BadCertificateUseNotAllowed": "usage",
    "BadCertificateRevocationUnknown": "revocation_unknown",
    "BadCertificateIssuerRevocationUnknown": "revocation_unknown",
    "BadCertificateChainIncomplete": "chain_incomplete",
}


def check_certificate(
    sent: Sequence[x509.Certificate], trusted: Trusted, expected: Expected
) -> list[Finding]:
    """Check a server's certificate; return all that is wrong, in the standard's order.

    Args:
        sent: what the server sent: its own certificate first, then its issuers.
        trusted: the trust list that counts for this source.
        expected: what it is held against.
    """
    if not sent:
        return [
            Finding(
                code="BadCertificateInvalid",
                message="the server sent no certificate that can be read",
                remedy="give the server an application certificate (X.509, RSA)",
            )
        ]
    chain = _build_chain(sent, trusted)
    findings = [
        *_check_chain(chain),
        *_check_algorithms(chain, expected.policy),
        *_check_trust(chain, trusted, expected.source),
        *_check_time(chain, expected.now),
        *_check_names(chain[0], expected),
        *_check_usage(chain),
        *_check_revocation(chain, trusted, expected.now),
    ]
    return [_weighed(finding, expected.security.tolerate) for finding in findings]


def _weighed(finding: Finding, tolerate: Sequence[str]) -> Finding:
    tolerated = _TOLERABLE.get(finding.code) in tolerate
    return msgspec.structs.replace(finding, is_tolerated=True) if tolerated else finding


# -- the chain: server's certificate, its issuer, ... ----------------------------------------------


def _is_root(certificate: x509.Certificate) -> bool:
    return certificate.subject == certificate.issuer


def _build_chain(sent: Sequence[x509.Certificate], trusted: Trusted) -> list[x509.Certificate]:
    """Follow the issuers, of ours first, then of those that the server sent."""
    known = [*trusted.issuers, *trusted.certificates, *sent[1:]]
    chain = [sent[0]]
    while not _is_root(chain[-1]) and len(chain) < CHAIN_MAX:
        issuer = next((c for c in known if c not in chain and _has_signed(c, chain[-1])), None)
        if issuer is None:
            break
        chain.append(issuer)
    return chain


def _has_signed(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    if issuer.subject != certificate.issuer:
        return False
    try:
        key, hashed = issuer.public_key(), certificate.signature_hash_algorithm
        if not isinstance(key, rsa.RSAPublicKey) or hashed is None:
            certificate.verify_directly_issued_by(issuer)
        else:
            # not the library's own check: it refuses SHA-1, whose verdict is the policy's
            pad = certificate.signature_algorithm_parameters or padding.PKCS1v15()
            assert isinstance(pad, padding.PKCS1v15 | padding.PSS)
            key.verify(certificate.signature, certificate.tbs_certificate_bytes, pad, hashed)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def _check_chain(chain: Sequence[x509.Certificate]) -> Iterator[Finding]:
    last = chain[-1]
    if not _is_root(last):
        yield Finding(
            code="BadCertificateChainIncomplete",
            message=f"the issuer {name_text(last.issuer)} is not known",
            remedy="import the certificate of that issuer (and its revocation list) as an issuer",
        )
    elif not _has_signed(last, last):
        yield Finding(
            code="BadCertificateInvalid",
            message=f"the signature of {name_text(last.subject)} is wrong",
            remedy="the certificate is damaged or forged: make a new one on the server",
        )


def _check_algorithms(chain: Sequence[x509.Certificate], policy: Policy) -> Iterator[Finding]:
    for certificate in chain:
        name = name_text(certificate.subject)
        if not _key_fits(certificate, policy):
            yield Finding(
                code="BadCertificatePolicyCheckFailed",
                message=(
                    f"{name} has the key {key_text(certificate)}; policy {policy.name} "
                    f"wants RSA of {policy.key_bits_min} to {policy.key_bits_max} bits"
                ),
                remedy="make a new certificate with such a key on the server",
            )
        found = hash_name(certificate)
        if found not in policy.hashes:
            yield Finding(
                code="BadCertificatePolicyCheckFailed",
                message=f"{name} is signed with {found or 'an unknown hash'}, which is too weak",
                remedy="make a new certificate signed with SHA-256 on the server",
            )


def _key_fits(certificate: x509.Certificate, policy: Policy) -> bool:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False
    if not isinstance(key, rsa.RSAPublicKey):
        return False
    return policy.key_bits_min <= key.key_size <= policy.key_bits_max


def _check_trust(
    chain: Sequence[x509.Certificate], trusted: Trusted, source: str
) -> Iterator[Finding]:
    approved = {fingerprint(certificate) for certificate in trusted.certificates}
    if any(fingerprint(certificate) in approved for certificate in chain):
        return
    shown = fingerprint(chain[0])
    yield Finding(
        code="BadCertificateUntrusted",
        message=_untrusted_message(chain[0], trusted),
        remedy=(
            "compare it with the fingerprint that the server or its engineering tool shows; when "
            "they are equal, trust it on the page Certificates or with: factoryplus gateway "
            f"certificates trust {shown}{f' --source {source}' if source else ''} --data-dir DIR"
        ),
    )


def _untrusted_message(leaf: x509.Certificate, trusted: Trusted) -> str:
    shown = grouped(fingerprint(leaf))
    uris = set(application_uris(leaf))
    before = [
        c
        for c in trusted.certificates
        if fingerprint(c) in trusted.own or uris & set(application_uris(c))
    ]
    if before:
        return (
            "the server's certificate has changed since it was approved: it shows "
            f"{shown}, approved was {grouped(fingerprint(before[0]))}"
        )
    return f"the server's certificate is not trusted yet: its SHA-256 fingerprint is {shown}"


def _check_time(chain: Sequence[x509.Certificate], now: datetime) -> Iterator[Finding]:
    for depth, certificate in enumerate(chain):
        first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if first <= now <= last:
            continue
        what = f"expired on {last:%Y-%m-%d}" if now > last else f"is valid from {first:%Y-%m-%d} on"
        yield Finding(
            code="BadCertificateIssuerTimeInvalid" if depth else "BadCertificateTimeInvalid",
            message=(
                f"the certificate of {name_text(certificate.subject)} {what}; "
                f"the clock of this box says {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
            ),
            remedy="check the clocks of both; when they are right, make a new certificate there",
        )


def _check_names(leaf: x509.Certificate, expected: Expected) -> Iterator[Finding]:
    if not is_for_host(leaf, expected.host):
        hosts = ", ".join(host_names(leaf)[:8]) or "none"
        yield Finding(
            code="BadCertificateHostNameInvalid",
            message=f"the certificate is not for {expected.host}: it names {hosts}",
            remedy="use one of these names as endpoint, have a certificate made that names it, "
            "or tolerate host_name",
        )
    uris = application_uris(leaf)
    if expected.application_uri not in uris:
        yield Finding(
            code="BadCertificateUriInvalid",
            message=(
                f"the server calls itself {expected.application_uri!r}, "
                f"its certificate says {uris[0] if uris else 'nothing'!r}"
            ),
            remedy="make a certificate on the server whose URI is its application URI",
        )


def _check_usage(chain: Sequence[x509.Certificate]) -> Iterator[Finding]:
    missing = _missing_usage(chain[0])
    if missing:
        yield Finding(
            code="BadCertificateUseNotAllowed",
            message=f"the certificate does not allow its use by an OPC UA server: {missing}",
            remedy="make a certificate with the key usages of OPC 10000-6, 6.2.2 on the server, "
            "or tolerate usage",
        )
    for issuer in chain[1:]:
        if not is_ca(issuer):
            yield Finding(
                code="BadCertificateIssuerUseNotAllowed",
                message=f"{name_text(issuer.subject)} is no certificate authority",
                remedy="have the server's certificate issued by a proper authority",
            )


def _missing_usage(leaf: x509.Certificate) -> str:
    try:
        usage = extension(leaf, x509.KeyUsage)
        extended = extension(leaf, x509.ExtendedKeyUsage)
    except ValueError:
        return "its extensions cannot be read"
    if usage is None:
        return "it has no key usage"
    absent = [name for name in _KEY_USAGES if not getattr(usage, name)]
    if absent:
        return f"{', '.join(absent)} missing"
    if extended is not None and ExtendedKeyUsageOID.SERVER_AUTH not in extended:
        return "serverAuth missing"
    return ""


def _check_revocation(
    chain: Sequence[x509.Certificate], trusted: Trusted, now: datetime
) -> Iterator[Finding]:
    for depth, (certificate, issuer) in enumerate(pairwise(chain)):
        lists = [crl for crl in trusted.revocations if _is_of(crl, issuer)]
        fresh = [crl for crl in lists if crl.next_update_utc is None or now <= crl.next_update_utc]
        name = name_text(certificate.subject)
        if any(
            crl.get_revoked_certificate_by_serial_number(certificate.serial_number) for crl in lists
        ):
            yield Finding(
                code="BadCertificateIssuerRevoked" if depth else "BadCertificateRevoked",
                message=f"the certificate of {name} was revoked by {name_text(issuer.subject)}",
                remedy="have a new certificate issued for the server",
            )
        elif not fresh:
            why = "is out of date" if lists else "is missing"
            yield Finding(
                code="BadCertificateIssuerRevocationUnknown"
                if depth
                else "BadCertificateRevocationUnknown",
                message=f"the revocation list of {name_text(issuer.subject)} {why}",
                remedy="import that issuer's current revocation list (CRL)",
            )


def _is_of(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    if crl.issuer != issuer.subject:
        return False
    try:
        key = issuer.public_key()
        return isinstance(key, rsa.RSAPublicKey) and crl.is_signature_valid(key)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
