"""The hub's certificate authority: EC P-256, key 0600 in the data directory.

It issues the hub's own server certificate, a gateway's client certificate for a CSR whose key is
proved (the subject is ours, whatever the CSR wishes: R18), and the CRL.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from central.errors import CsrRefusedError
from runtime.clock import Clock
from runtime.tls import fingerprint_of, private_key_pem, write_private

CA_LIFETIME = timedelta(days=3650)
SERVER_LIFETIME = timedelta(days=397)
GATEWAY_LIFETIME = timedelta(days=90)
CRL_LIFETIME = timedelta(days=7)
CLOCK_SKEW = timedelta(hours=1)
"""Certificates begin this long before now: a gateway's clock may be behind."""
_ORGANISATION = "Factory+"


class IssuedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway's new certificate and what the registry keeps of it."""

    pem: str
    serial: str
    fingerprint: str
    issued_us: int
    expires_us: int


class CertificateAuthority:
    """The CA of one data directory; made by ``open_ca``."""

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey,
        certificate: x509.Certificate,
        directory: Path,
        clock: Clock,
    ) -> None:
        self._key = key
        self._certificate = certificate
        self._directory = directory
        self._clock = clock
        self.pem = certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")
        self.fingerprint = fingerprint_of(certificate)

    def issue_server(self, names: Sequence[str]) -> tuple[Path, Path]:
        """Issue the hub's own certificate, anew at each start.

        Returns:
            Paths of the chain (certificate and CA, so that a gateway can pin the CA) and the key.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_name(names[0]), key.public_key(), SERVER_LIFETIME)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general_name(n) for n in names]), critical=False
        ).add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        leaf = certificate.public_bytes(serialization.Encoding.PEM)
        chain_path, key_path = self._directory / "server.pem", self._directory / "server.key"
        write_private(key_path, private_key_pem(key))
        write_private(chain_path, leaf + self.pem.encode("ascii"))
        return chain_path, key_path

    def issue_gateway(self, csr_pem: str, gateway_id: str) -> IssuedCertificate:
        """Issue a client certificate for the key of a CSR; its subject is ours.

        Raises:
            CsrRefusedError: not a CSR, no proof of the key, or a key we do not take.
        """
        csr = check_csr(csr_pem)
        builder = self._builder(_name(gateway_id), csr.public_key(), GATEWAY_LIFETIME)
        uri = x509.UniformResourceIdentifier(f"urn:factoryplus:gateway:{gateway_id}")
        builder = builder.add_extension(
            x509.SubjectAlternativeName([uri]), critical=False
        ).add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
        certificate = builder.sign(self._key, hashes.SHA256())
        return IssuedCertificate(
            pem=certificate.public_bytes(serialization.Encoding.PEM).decode("ascii"),
            serial=f"{certificate.serial_number:x}",
            fingerprint=fingerprint_of(certificate).hex(),
            issued_us=self._clock.wall_us(),
            expires_us=int(certificate.not_valid_after_utc.timestamp() * 1e6),
        )

    def crl_pem(self, revoked: Iterable[tuple[str, int]], number: int) -> str:
        """Return the list of revoked serials, with AuthorityKeyIdentifier and CRLNumber.

        Args:
            revoked: serial (hex) and time of revocation, µs since 1970.
            number: grows with every list.
        """
        now = self._now()
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now)
            .next_update(now + CRL_LIFETIME)
            .add_extension(self._authority_key(), critical=False)
            .add_extension(x509.CRLNumber(number), critical=False)
        )
        for serial, revoked_us in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(int(serial, 16))
                .revocation_date(datetime.fromtimestamp(revoked_us / 1e6, UTC))
                .build()
            )
        crl = builder.sign(self._key, hashes.SHA256())
        return crl.public_bytes(serialization.Encoding.PEM).decode("ascii")

    def _builder(
        self, subject: x509.Name, public_key: object, lifetime: timedelta
    ) -> x509.CertificateBuilder:
        assert isinstance(
            public_key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
        )
        now = self._now()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(self._authority_key(), critical=False)
        )

    def _authority_key(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall_us() / 1e6, UTC)


def open_ca(directory: Path, clock: Clock) -> CertificateAuthority:
    """Open the CA of a directory, or make it; the key is written before the certificate.

    Raises:
        ValueError: key or certificate cannot be read, or do not belong together.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    key_path, certificate_path = directory / "ca.key", directory / "ca.pem"
    if not certificate_path.exists():
        new_key = ec.generate_private_key(ec.SECP256R1())
        write_private(key_path, private_key_pem(new_key))
        made = _self_signed(new_key, datetime.fromtimestamp(clock.wall_us() / 1e6, UTC))
        write_private(certificate_path, made.public_bytes(serialization.Encoding.PEM))
    key = serialization.load_pem_private_key(key_path.read_bytes(), None)
    certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("ca.key is not an EC key")  # noqa: TRY004 - a bad file, not a bad call
    if certificate.public_key() != key.public_key():
        raise ValueError("ca.key and ca.pem do not belong together")
    return CertificateAuthority(key, certificate, directory, clock)


def check_csr(csr_pem: str) -> x509.CertificateSigningRequest:
    """Read a CSR and check that its maker holds the key.

    Raises:
        CsrRefusedError: not a CSR, no proof of the key, or a key we do not take.
    """
    try:
        csr = x509.load_pem_x509_csr(csr_pem.encode("ascii"))
        is_proved = csr.is_signature_valid
        key = csr.public_key()
    except (ValueError, UnsupportedAlgorithm, UnicodeEncodeError) as error:
        raise CsrRefusedError("csr_pem is not a certificate signing request") from error
    if not is_proved:
        raise CsrRefusedError("the certificate signing request does not prove its key")
    is_good = (
        (isinstance(key, ec.EllipticCurvePublicKey) and key.curve.key_size >= 256)
        or isinstance(key, ed25519.Ed25519PublicKey)
        or (isinstance(key, rsa.RSAPublicKey) and 3072 <= key.key_size <= 8192)
    )
    if not is_good:
        raise CsrRefusedError("the key has to be EC P-256 or better, Ed25519, or RSA from 3072 bit")
    return csr


def _self_signed(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    subject = _name(f"Factory+ hub CA {x509.random_serial_number():x}"[:40])
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64]),
        ]
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
