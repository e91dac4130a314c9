"""Our own application certificate: made on this box, kept, renewed in time, shown to the PLC.

Files below ``pki/own`` (OPC 10000-12, 7.5): ``private/application.pem`` (0600, never leaves the
box), ``certs/application.der`` (in use) and ``certs/next.der`` (made ``RENEW_BEFORE_DAYS`` before
the end, with the same key). The one in use stays in use until a person says that the PLCs trust
the next one (``activate``), or until it ends. Source of its contents: OPC 10000-6, 6.2.2.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.errors import TrustError
from gateway.sources.opcua.certificate_facts import (
    CertificateFacts,
    application_uris,
    facts_of,
    grouped,
)
from runtime.clock import Clock
from runtime.log import logger
from runtime.tls import write_private

KEY_BITS = 2048
"""What every policy and every PLC takes; NIST SP 800-57 admits it to the end of 2030."""
VALID_DAYS = 5 * 365
RENEW_BEFORE_DAYS = 90
_BACKDATED = timedelta(hours=1)
"""The PLC's clock may be a little behind ours."""


class Own(msgspec.Struct, frozen=True):
    """Our certificate and key, ready to use."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @property
    def application_uri(self) -> str:
        """Return the URI that we have to call ourselves by."""
        return application_uris(self.certificate)[0]


class OwnReport(msgspec.Struct, frozen=True, kw_only=True):
    """Our certificate for people.

    Attributes:
        current: the one in use.
        next: the one that follows; None while it is not needed.
        notice: what has to be done; "" for nothing.
    """

    current: CertificateFacts
    next: CertificateFacts | None
    notice: str


class OwnCertificate:
    """Keeps our application certificate in a directory; calls block, so use a thread."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._certs = directory / "own" / "certs"
        self._key_path = directory / "own" / "private" / "application.pem"
        self._clock = clock
        self._lock = threading.Lock()  # two sources may want the first key at once

    @property
    def _current_path(self) -> Path:
        return self._certs / "application.der"

    @property
    def _next_path(self) -> Path:
        return self._certs / "next.der"

    def load(self) -> Own:
        """Return certificate and key; make them the first time; renew when it is time.

        Raises:
            TrustError: the files are there and cannot be read, or do not belong together.
            OSError: the disk refused.
        """
        with self._lock:
            return self._load()

    def _load(self) -> Own:
        key = self._load_key()
        current = self._read(self._current_path)
        if current is None:
            current = self._make(key, f"urn:{_host_name()}:factoryplus:gateway:{_serial()}")
            self._write(self._current_path, current)
        elif current.public_key() != key.public_key():
            raise TrustError(
                f"the key in {self._key_path} does not belong to {self._current_path}: put the "
                "right one back, or remove both for a new pair, which the PLCs have to trust anew"
            )
        return Own(self._renewed(current, key), key)

    def report(self) -> OwnReport:
        """Say what we show to servers, and what has to be done.

        Raises:
            TrustError: see ``load``.
            OSError: see ``load``.
        """
        current = self.load().certificate
        following = self._read(self._next_path)
        notice = ""
        if following is not None:
            notice = (
                f"our certificate ends on {current.not_valid_after_utc:%Y-%m-%d}: have every PLC "
                f"trust the next one ({grouped(facts_of(following).fingerprint)}), then activate "
                "it; on that day it takes over by itself"
            )
        return OwnReport(
            current=facts_of(current),
            next=facts_of(following) if following is not None else None,
            notice=notice,
        )

    def renew(self) -> OwnReport:
        """Make the next certificate now, with the same key; the one in use stays in use.

        Raises:
            TrustError: see ``load``.
            OSError: see ``load``.
        """
        own = self.load()
        self._write(self._next_path, self._make(own.key, own.application_uri))
        return self.report()

    def activate(self) -> OwnReport:
        """Use the next certificate from the next connection on.

        Raises:
            TrustError: there is none; or see ``load``.
            OSError: see ``load``.
        """
        following = self._read(self._next_path)
        if following is None:
            raise TrustError("there is no next certificate: renew first")
        self._take_over(following)
        return self.report()

    def export(self, *, pem: bool = False, following: bool = False) -> bytes:
        """Return our certificate for the PLC's trust list; never the key.

        Raises:
            TrustError: no next one was made; or see ``load``.
            OSError: see ``load``.
        """
        certificate = self._read(self._next_path) if following else self.load().certificate
        if certificate is None:
            raise TrustError("there is no next certificate: renew first")
        encoding = serialization.Encoding.PEM if pem else serialization.Encoding.DER
        return certificate.public_bytes(encoding)

    # -- making -----------------------------------------------------------------------------------

    def _renewed(self, current: x509.Certificate, key: rsa.RSAPrivateKey) -> x509.Certificate:
        now = self._now()
        if now < current.not_valid_after_utc - timedelta(days=RENEW_BEFORE_DAYS):
            return current
        following = self._read(self._next_path)
        if following is None or following.not_valid_after_utc <= now:
            following = self._make(key, application_uris(current)[0])
            self._write(self._next_path, following)
            logger().warning(
                "opcua.own_certificate_renewed",
                fingerprint=facts_of(following).fingerprint,
                ends=f"{current.not_valid_after_utc:%Y-%m-%d}",
                remedy="have every PLC trust the next certificate, then activate it",
            )
        if now <= current.not_valid_after_utc:
            return current
        self._take_over(following)
        return following

    def _take_over(self, following: x509.Certificate) -> None:
        self._write(self._current_path, following)
        self._next_path.unlink(missing_ok=True)
        logger().warning(
            "opcua.own_certificate_replaced", fingerprint=facts_of(following).fingerprint
        )

    def _make(self, key: rsa.RSAPrivateKey, uri: str) -> x509.Certificate:
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Factory Plus Edge"),
                x509.NameAttribute(
                    NameOID.COMMON_NAME, f"Factory Plus Edge gateway {_host_name()}"[:64]
                ),
            ]
        )
        now = self._now()
        public = key.public_key()
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=True,
            key_encipherment=True,
            data_encipherment=True,
            key_agreement=False,
            key_cert_sign=True,  # it is signed by itself
            crl_sign=False,
            encipher_only=False,
            decipher_only=False,
        )
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + timedelta(days=VALID_DAYS))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(_alternative_names(uri)), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False
            )
            .sign(key, hashes.SHA256())
        )

    # -- files ------------------------------------------------------------------------------------

    def _load_key(self) -> rsa.RSAPrivateKey:
        try:
            content = self._key_path.read_bytes()
        except FileNotFoundError:
            return self._make_key()
        try:
            # our own file, and its public half is held against the certificate: the library's
            # tests of foreign keys would cost 30 ms at each connection, half a second on a Pi
            key = serialization.load_pem_private_key(
                content, password=None, unsafe_skip_rsa_key_validation=True
            )
        except (ValueError, TypeError) as error:
            raise TrustError(
                f"the private key {self._key_path} cannot be read: restore it from a backup, or "
                "remove it and the certificates beside it for a new pair"
            ) from error
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TrustError(f"the private key {self._key_path} is no RSA key")
        return key

    def _make_key(self) -> rsa.RSAPrivateKey:
        key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
        self._key_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_private(self._key_path, pem)
        # a certificate without its key is of no use any more
        self._current_path.unlink(missing_ok=True)
        self._next_path.unlink(missing_ok=True)
        return key

    def _read(self, path: Path) -> x509.Certificate | None:
        try:
            return x509.load_der_x509_certificate(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise TrustError(f"the certificate {path} cannot be read: remove it") from error

    def _write(self, path: Path, certificate: x509.Certificate) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, certificate.public_bytes(serialization.Encoding.DER))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall_us() / 1e6, UTC)


def _serial() -> str:
    return secrets.token_hex(4)


def _host_name() -> str:
    name = socket.gethostname().lower()
    return "".join(c for c in name if c.isascii() and (c.isalnum() or c in "-."))[:60] or "gateway"


def _alternative_names(uri: str) -> list[x509.GeneralName]:
    host = _host_name()
    names: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(uri),
        x509.DNSName(host),
    ]
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        found = set()
    addresses = [ipaddress.ip_address(str(a).partition("%")[0]) for a in sorted(found, key=str)]
    return names + [x509.IPAddress(a) for a in addresses if not a.is_loopback][:8]
