"""Pinning, contexts and the peer certificate, over real TLS."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from cryptography import x509
from litestar import Request, WebSocket, get, websocket
from websockets.asyncio.client import connect

from central.fleet.ca import CertificateAuthority, open_ca
from runtime.clock import SystemClock
from runtime.http import PUBLIC, HttpSettings, create_app, permit, run_server
from runtime.tls import (
    FingerprintMismatchError,
    HandshakeFailedError,
    PeerUnreachableError,
    client_context,
    make_key_and_csr,
    peer_certificate,
    pinned_ca,
    server_context,
    write_private,
)


@get("/peer", opt=permit(PUBLIC), sync_to_thread=False)
def show_peer(request: Request[Any, Any, Any]) -> str:
    der = peer_certificate(request.scope)  # type: ignore[arg-type]
    return x509.load_der_x509_certificate(der).subject.rfc4514_string() if der else "nobody"


@websocket("/peer-socket", opt=permit(PUBLIC))
async def show_peer_on_socket(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    der = peer_certificate(socket.scope)  # type: ignore[arg-type]
    await socket.send_text(
        x509.load_der_x509_certificate(der).subject.rfc4514_string() if der else "nobody"
    )
    await socket.close()


async def _nobody(*_: object) -> None:
    raise AssertionError("no route here asks")


@asynccontextmanager
async def serving(context: ssl.SSLContext | None) -> AsyncIterator[int]:
    app = create_app(
        [show_peer, show_peer_on_socket],
        HttpSettings(name="test", authorise=_nobody, clock=SystemClock()),
    )
    ports: list[int] = []
    is_up = anyio.Event()

    def ready(port: int) -> None:
        ports.append(port)
        is_up.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: run_server(app, "127.0.0.1", 0, ssl_context=context, ready=ready))
        await is_up.wait()
        yield ports[0]
        tasks.cancel_scope.cancel()


@pytest.fixture
def ca(tmp_path: Path) -> CertificateAuthority:
    return open_ca(tmp_path / "ca", SystemClock())


@pytest.fixture
def hub_context(ca: CertificateAuthority) -> ssl.SSLContext:
    return server_context(*ca.issue_server(["localhost", "127.0.0.1"]), ca.pem)


def gateway_context(ca: CertificateAuthority, trusted: str, directory: Path) -> ssl.SSLContext:
    key, csr = make_key_and_csr("wish")
    certificate = ca.issue_gateway(csr.decode(), "gw-1").pem
    directory.mkdir(exist_ok=True)
    (directory / "key.pem").write_bytes(key)
    (directory / "certificate.pem").write_text(certificate)
    return client_context(trusted, directory / "certificate.pem", directory / "key.pem")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_the_application_sees_a_verified_client_certificate(
    ca: CertificateAuthority, hub_context: ssl.SSLContext, tmp_path: Path
) -> None:
    """The contract with uvicorn's internals, HTTP/1.1 and WebSocket."""
    context = gateway_context(ca, ca.pem, tmp_path / "gateway")
    async with serving(hub_context) as port:
        async with httpx.AsyncClient(verify=context) as client:
            answers = [await client.get(f"https://127.0.0.1:{port}/peer") for _ in range(2)]
        async with httpx.AsyncClient(verify=client_context(ca.pem)) as client:
            without = await client.get(f"https://127.0.0.1:{port}/peer")
        async with connect(f"wss://127.0.0.1:{port}/peer-socket", ssl=context) as web_socket:
            on_socket = await web_socket.recv()
    assert [a.text for a in answers] == ["CN=gw-1,O=Factory\\+"] * 2
    assert without.text == "nobody"
    assert on_socket == answers[0].text


async def test_a_certificate_of_another_ca_does_not_come_in(
    ca: CertificateAuthority, hub_context: ssl.SSLContext, tmp_path: Path
) -> None:
    stranger = open_ca(tmp_path / "stranger", SystemClock())
    context = gateway_context(stranger, ca.pem, tmp_path / "gateway")
    async with serving(hub_context) as port, httpx.AsyncClient(verify=context) as client:
        with pytest.raises(httpx.TransportError):
            await client.get(f"https://127.0.0.1:{port}/peer")


async def test_the_pinned_ca_is_the_one_of_the_fingerprint(
    ca: CertificateAuthority, hub_context: ssl.SSLContext
) -> None:
    async with serving(hub_context) as port:
        pem = await pinned_ca("127.0.0.1", port, ca.fingerprint)
    assert pem == ca.pem


class Impostor:
    """A TLS server that keeps every application byte it is sent."""

    def __init__(self, context: ssl.SSLContext | None, speak: Callable[[], bytes] | None = None):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._context = context
        self._speak = speak
        self.port = int(self._listener.getsockname()[1])
        self.received = b""
        self.handshakes = 0
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(5)
            if self._context is None:
                connection.recv(1024)
                connection.sendall(self._speak() if self._speak else b"")
                return
            try:
                with self._context.wrap_socket(connection, server_side=True) as tls:
                    self.handshakes += 1
                    while chunk := tls.recv(4096):
                        self.received += chunk
            except OSError:
                return

    def close(self) -> None:
        self._thread.join(10)
        self._listener.close()


async def test_a_wrong_hub_gets_no_byte_after_the_handshake(
    ca: CertificateAuthority, tmp_path: Path
) -> None:
    """R17."""
    other = open_ca(tmp_path / "other", SystemClock())
    impostor = Impostor(server_context(*other.issue_server(["127.0.0.1"])))
    with pytest.raises(FingerprintMismatchError) as caught:
        await pinned_ca("127.0.0.1", impostor.port, ca.fingerprint)
    await anyio.to_thread.run_sync(impostor.close)
    assert (impostor.handshakes, impostor.received) == (1, b"")
    assert caught.value.code == "tls.fingerprint_mismatch"
    assert not caught.value.retryable


async def test_a_stolen_ca_certificate_in_the_chain_convinces_nobody(
    ca: CertificateAuthority, tmp_path: Path
) -> None:
    """The CA certificate is public: showing it behind a leaf of one's own is not enough."""
    other = open_ca(tmp_path / "other", SystemClock())
    chain, key = other.issue_server(["127.0.0.1"])
    leaf = chain.read_text().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    chain.write_text(leaf + ca.pem)
    impostor = Impostor(server_context(chain, key))
    with pytest.raises(FingerprintMismatchError):
        await pinned_ca("127.0.0.1", impostor.port, ca.fingerprint)
    await anyio.to_thread.run_sync(impostor.close)
    assert impostor.received == b""


async def test_no_tls_and_nobody_are_told_apart(ca: CertificateAuthority) -> None:
    plain = Impostor(None, lambda: b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(HandshakeFailedError):
        await pinned_ca("127.0.0.1", plain.port, ca.fingerprint)
    await anyio.to_thread.run_sync(plain.close)
    with pytest.raises(PeerUnreachableError) as caught:
        await pinned_ca("127.0.0.1", plain.port, ca.fingerprint)
    assert caught.value.retryable


async def test_a_silent_peer_ends_at_the_deadline(ca: CertificateAuthority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = int(silent.getsockname()[1])
        with pytest.raises(PeerUnreachableError):
            await pinned_ca("127.0.0.1", port, ca.fingerprint, timeout_s=0.1)


async def test_old_tls_is_refused(ca: CertificateAuthority, hub_context: ssl.SSLContext) -> None:
    """R13."""
    old = client_context(ca.pem)
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with serving(hub_context) as port, httpx.AsyncClient(verify=old) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"https://127.0.0.1:{port}/peer")


def test_a_private_file_is_for_its_owner_only(tmp_path: Path) -> None:
    """R14."""
    path = tmp_path / "key.pem"
    write_private(path, b"one")
    write_private(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["key.pem"]
