"""What a certificate says, in plain values; reading what a stranger sent never raises.

A server sends its certificate alone or followed by its issuers, as concatenated DER
(OPC 10000-6, 6.2.6). At most ``CHAIN_MAX`` certificates and ``CHAIN_BYTES_MAX`` bytes are read.
"""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from typing import TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

CHAIN_MAX = 8
CHAIN_BYTES_MAX = 65_536
TEXT_MAX = 300

E = TypeVar("E", bound=x509.ExtensionType)


class CertificateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate for people.

    Attributes:
        fingerprint: SHA-256 of the DER, hex: what a person compares and approves.
        thumbprint: SHA-1 of the DER, hex: many PLC tools show this one; for looking only.
        subject: whose it is.
        issuer: who signed it.
        self_signed: subject and issuer are the same.
        application_uri: from the subject alternative name; "" without.
        host_names: DNS names and addresses in it.
        not_before_us: start of its validity, wall time.
        not_after_us: its end.
        key: ``RSA 2048``.
        signature: hash of the signature, ``sha256``.
        is_ca: it may sign others.
    """

    fingerprint: str
    thumbprint: str
    subject: str
    issuer: str
    self_signed: bool
    application_uri: str
    host_names: list[str]
    not_before_us: int
    not_after_us: int
    key: str
    signature: str
    is_ca: bool


def load_certificate(der: bytes) -> x509.Certificate:
    """Read a certificate and make sure that what we look at later can be read: it is lazy.

    Raises:
        ValueError: it cannot.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        certificate.subject.rfc4514_string()
        certificate.issuer.rfc4514_string()
        _ = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
        _ = (certificate.serial_number, certificate.signature, certificate.tbs_certificate_bytes)
        _names(certificate)
    except (x509.InvalidVersion, TypeError, OverflowError) as error:
        raise ValueError(str(error)) from error
    return certificate


def split_chain(blob: bytes) -> list[x509.Certificate]:
    """Read concatenated DER certificates; what cannot be read ends the list.

    Returns:
        The server's own certificate first; empty when there is none that can be read.
    """
    found: list[x509.Certificate] = []
    rest = blob[:CHAIN_BYTES_MAX]
    while rest and len(found) < CHAIN_MAX:
        size = _der_size(rest)
        try:
            found.append(load_certificate(rest[:size]))
        except ValueError:
            break
        rest = rest[size:]
    return found


def _der_size(data: bytes) -> int:
    """Return the size of the DER element at the start, all of ``data`` when that is unclear."""
    if len(data) < 2 or data[1] < 0x80:
        return 2 + data[1] if len(data) >= 2 else len(data)
    count = data[1] & 0x7F
    return 2 + count + int.from_bytes(data[2 : 2 + count])


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of the DER as 64 hex digits."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def grouped(hex_digits: str) -> str:
    """Write a fingerprint in groups of four, as it is compared by eye."""
    return " ".join(hex_digits[i : i + 4] for i in range(0, len(hex_digits), 4)).upper()


def clean_fingerprint(text: str) -> str:
    """Read a fingerprint as people paste it: colons, spaces, capitals.

    Raises:
        ValueError: it is no SHA-256 (64 hex digits).
    """
    digits = text.replace(":", "").replace(" ", "").lower()
    if len(digits) != 64 or not all(c in "0123456789abcdef" for c in digits):
        raise ValueError("a SHA-256 fingerprint has 64 hex digits")
    return digits


def name_text(name: x509.Name) -> str:
    """Write a subject or issuer; control characters are shown as ``?``, and it is cut."""
    text = name.rfc4514_string()[:TEXT_MAX]
    return "".join(c if c.isprintable() else "?" for c in text)


def extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    """Return an extension's value; None when it is missing.

    Raises:
        ValueError: the extensions cannot be read.
    """
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except (x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise ValueError(str(error)) from error


def _names(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return extension(certificate, x509.SubjectAlternativeName)
    except ValueError:
        return None


def application_uris(certificate: x509.Certificate) -> list[str]:
    """Return the URIs in the subject alternative name: OPC UA wants one, the application's."""
    names = _names(certificate)
    return names.get_values_for_type(x509.UniformResourceIdentifier) if names else []


def host_names(certificate: x509.Certificate) -> list[str]:
    """Return DNS names (lower case) and addresses that the certificate is for."""
    names = _names(certificate)
    if names is None:
        return []
    hosts = [name.lower().rstrip(".") for name in names.get_values_for_type(x509.DNSName)]
    return hosts + [str(address) for address in names.get_values_for_type(x509.IPAddress)]


def is_for_host(certificate: x509.Certificate, host: str) -> bool:
    """Tell whether the certificate names the host as it was typed."""
    wanted = host.lower().rstrip(".")
    with suppress(ValueError):
        wanted = str(ipaddress.ip_address(wanted))
    # some devices write their address as a DNS name
    return wanted in host_names(certificate)


def is_ca(certificate: x509.Certificate) -> bool:
    """Tell whether the certificate may sign others."""
    try:
        constraints = extension(certificate, x509.BasicConstraints)
    except ValueError:
        return False
    return constraints is not None and constraints.ca


def key_text(certificate: x509.Certificate) -> str:
    """Write kind and size of the public key."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "unknown"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return f"EC {key.curve.name}" if isinstance(key, ec.EllipticCurvePublicKey) else "other"


def hash_name(certificate: x509.Certificate) -> str:
    """Return the hash of the certificate's signature, ``sha256``; "" when unknown."""
    try:
        found = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return ""
    return found.name if found is not None else ""


def facts_of(certificate: x509.Certificate) -> CertificateFacts:
    """Say what a certificate says."""
    uris = application_uris(certificate)
    return CertificateFacts(
        fingerprint=fingerprint(certificate),
        thumbprint=certificate.fingerprint(hashes.SHA1()).hex(),  # noqa: S303 - shown, not relied on
        subject=name_text(certificate.subject),
        issuer=name_text(certificate.issuer),
        self_signed=certificate.subject == certificate.issuer,
        application_uri=uris[0][:TEXT_MAX] if uris else "",
        host_names=host_names(certificate)[:20],
        not_before_us=round(certificate.not_valid_before_utc.timestamp() * 1e6),
        not_after_us=round(certificate.not_valid_after_utc.timestamp() * 1e6),
        key=key_text(certificate),
        signature=hash_name(certificate),
        is_ca=is_ca(certificate),
    )
