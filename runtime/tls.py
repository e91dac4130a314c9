"""TLS for both programs: keys and requests, contexts, pinning a CA, the peer's certificate.

Promises: TLS 1.2 or newer everywhere; ``pinned_ca`` never sends an application byte; a private
key file is readable by its owner only. ``PeerCertificateHttp`` and ``PeerCertificateWebSocket``
lean on uvicorn internals (``self.app``, ``config.loaded_app``), ``pinned_ca`` on the private
``_sslobj.get_unverified_chain`` of CPython 3.10+: both are held by tests/runtime/test_tls.py.

TlsError
├── PeerUnreachableError      no TCP connection within the deadline; retryable
├── HandshakeFailedError      TCP yes, TLS no
└── FingerprintMismatchError  the peer's chain has no CA certificate with the wanted fingerprint
"""

from __future__ import annotations

import hmac
import os
import ssl
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, ClassVar

import anyio
from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute, TLSStream
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

PIN_TIMEOUT_S = 10.0
_DER = 2
"""``_ssl.Certificate.public_bytes`` encodings: 1 is PEM, 2 is DER (Modules/_ssl/cert.c)."""


class TlsError(Exception):
    """Raised when a TLS peer cannot be reached or trusted."""

    code: ClassVar[str] = "tls.failed"
    retryable: ClassVar[bool] = False


class PeerUnreachableError(TlsError):
    """Raised when no TCP connection came about within the deadline."""

    code = "tls.unreachable"
    retryable = True


class HandshakeFailedError(TlsError):
    """Raised when the peer answers but does not complete a TLS handshake."""

    code = "tls.handshake_failed"


class FingerprintMismatchError(TlsError):
    """Raised when the peer is not the one whose fingerprint we were given."""

    code = "tls.fingerprint_mismatch"


def make_key_and_csr(common_name: str) -> tuple[bytes, bytes]:
    """Make an EC P-256 key and a certificate signing request for it.

    Args:
        common_name: a wish; the hub sets the subject itself.

    Returns:
        The private key (PKCS#8) and the request, both PEM.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64] or "gateway")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return private_key_pem(key), csr.public_bytes(serialization.Encoding.PEM)


def private_key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as unencrypted PKCS#8 PEM; write it with ``write_private`` only."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read (0600), whole or not at all, and durably."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def fingerprint_of(certificate: x509.Certificate) -> bytes:
    """Return the SHA-256 of a certificate in DER, 32 bytes."""
    return certificate.fingerprint(hashes.SHA256())


def client_context(
    ca_pem: str, certificate_path: Path | None = None, key_path: Path | None = None
) -> ssl.SSLContext:
    """Make a context that trusts one CA alone, with a client certificate where given.

    Raises:
        ssl.SSLError: the PEM, the certificate or the key cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=ca_pem)
    if certificate_path is not None:
        context.load_cert_chain(certificate_path, key_path)
    return context


def server_context(
    chain_path: Path, key_path: Path, client_ca_pem: str | None = None
) -> ssl.SSLContext:
    """Make a server context; with ``client_ca_pem`` clients may, but need not, show a certificate.

    Args:
        chain_path: PEM of the server certificate followed by its CA certificate, because an
            enrolling gateway pins the CA from the chain.
        key_path: PEM of the private key.
        client_ca_pem: CA whose client certificates pass; others fail the handshake.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.load_cert_chain(chain_path, key_path)
    context.set_alpn_protocols(["http/1.1"])
    if client_ca_pem is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=client_ca_pem)
    return context


async def pinned_ca(
    host: str, port: int, fingerprint: bytes, timeout_s: float = PIN_TIMEOUT_S
) -> str:
    """Fetch a peer's CA certificate by handshake alone and compare it with a fingerprint.

    Nothing is sent but the handshake, so a wrong peer learns nothing (R17). The caller connects
    anew with ``client_context`` and the returned PEM, which then verifies all of the peer.

    Args:
        host: name or address; it is also the SNI name.
        port: TCP port.
        fingerprint: SHA-256 of the CA certificate in DER, 32 bytes.
        timeout_s: for connection and handshake together.

    Returns:
        The CA certificate, PEM.

    Raises:
        PeerUnreachableError: nobody answers there in time.
        HandshakeFailedError: what answers does not speak TLS 1.2 or newer.
        FingerprintMismatchError: the chain has no CA certificate with this fingerprint, or its
            server certificate was not issued by that CA.
    """
    chain: list[x509.Certificate] = []
    where = f"{host}:{port}"
    with anyio.move_on_after(timeout_s):
        try:
            tcp = await anyio.connect_tcp(host, port)
        except OSError as error:
            raise PeerUnreachableError(f"no connection to {where}: {error}") from error
        async with tcp:
            chain = await _unverified_chain(tcp, host, where)
    if not chain:
        raise PeerUnreachableError(f"{where} did not complete a handshake in {timeout_s:g} s")
    return _pick_ca(chain, fingerprint, where)


async def _unverified_chain(tcp: ByteStream, host: str, where: str) -> list[x509.Certificate]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        stream = await TLSStream.wrap(
            tcp, hostname=host, ssl_context=context, standard_compatible=False
        )
    except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
        raise HandshakeFailedError(f"{where} does not complete a TLS handshake") from error
    ssl_object: Any = stream.extra(TLSAttribute.ssl_object)  # noqa: S610 - not Django
    raw = ssl_object._sslobj.get_unverified_chain() or []  # noqa: SLF001 - public from 3.13 on
    return [x509.load_der_x509_certificate(c.public_bytes(_DER)) for c in raw]


def _pick_ca(chain: list[x509.Certificate], fingerprint: bytes, where: str) -> str:
    for certificate in chain:
        if not hmac.compare_digest(fingerprint_of(certificate), fingerprint):
            continue
        try:
            chain[0].verify_directly_issued_by(certificate)
            constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound) as error:
            raise FingerprintMismatchError(
                f"{where} shows a certificate that the pinned CA did not issue"
            ) from error
        if constraints.value.ca:
            return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")
    raise FingerprintMismatchError(
        f"{where} is not the hub this code is for: no certificate in its chain has the fingerprint "
        f"{fingerprint.hex()[:16]}..."
    )


class _PeerCertificate:
    """Put what TLS knows of the peer into ``scope["extensions"]["tls"]`` of each request.

    Source: ASGI TLS extension, cut to what we need: ``client_cert`` (DER or None, verified by
    OpenSSL against the CA), ``tls_version``.
    """

    config: Any
    app: Any

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - asyncio's transports
        super().connection_made(transport)  # type: ignore[misc]
        ssl_object = transport.get_extra_info("ssl_object")
        if ssl_object is None:
            return
        loaded = self.config.loaded_app
        facts = {
            "client_cert": ssl_object.getpeercert(True),
            "tls_version": ssl_object.version(),
        }

        async def app_with_tls(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
            scope.setdefault("extensions", {})["tls"] = facts
            await loaded(scope, receive, send)

        self.app = app_with_tls


class PeerCertificateHttp(_PeerCertificate, HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with the peer certificate in the scope."""


class PeerCertificateWebSocket(_PeerCertificate, WebSocketsSansIOProtocol):
    """uvicorn's WebSocket with the peer certificate in the scope."""


def peer_certificate(scope: MutableMapping[str, Any]) -> bytes | None:
    """Return the DER of the client certificate that TLS verified, or None when there is none."""
    der: bytes | None = scope.get("extensions", {}).get("tls", {}).get("client_cert")
    return der
