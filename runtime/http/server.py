"""uvicorn inside the running event loop, without its signals and its ticking."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

import anyio
import uvicorn

from runtime.http.checks import HttpApp
from runtime.tls import PeerCertificateHttp, PeerCertificateWebSocket

SHUTDOWN_TIMEOUT_S = 5
_KEEP_ALIVE_S = 75
_SHUTDOWN_LOOK_S = 0.02


class ServerStartError(Exception):
    """Raised when the server cannot listen or the application fails to start."""

    code = "http.cannot_listen"


class _IdleServer(uvicorn.Server):
    """uvicorn without the loop that wakes ten times a second to see whether to stop."""

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await anyio.sleep_forever()

    async def _wait_tasks_to_complete(self) -> None:
        """Wait for answers under way, not for peers that keep a connection open."""
        while self.server_state.tasks:  # noqa: ASYNC110 - uvicorn tells it by no event
            await anyio.sleep(_SHUTDOWN_LOOK_S)
        for connection in list(self.server_state.connections):
            connection.transport.abort()


async def run_server(
    app: HttpApp,
    host: str,
    port: int,
    *,
    ssl_context: ssl.SSLContext | None = None,
    ready: Callable[[int], None],
) -> None:
    """Serve until cancelled; then answer what is under way, for ``SHUTDOWN_TIMEOUT_S`` at most.

    Args:
        app: what ``create_app`` made.
        host: name or address to listen on.
        port: 0 takes a free one.
        ssl_context: from ``runtime.tls.server_context``; None serves plain HTTP.
        ready: called once with the port when the server listens.

    Raises:
        ServerStartError: the address cannot be had, or the application does not start.
    """
    listener = _listen(host, port)
    config = uvicorn.Config(
        app,
        http=PeerCertificateHttp,
        ws=PeerCertificateWebSocket,
        ws_max_size=1_000_000,
        ws_per_message_deflate=False,  # a small frame could become a gigabyte
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S - 2,
    )
    config.load()
    config.ssl = ssl_context
    server = _IdleServer(config)
    server.lifespan = config.lifespan_class(config)
    try:
        await server.startup(sockets=[listener])
    except SystemExit as error:  # uvicorn's way to say that the application's start failed
        listener.close()
        raise ServerStartError("the application did not start; the log says why") from error
    try:
        ready(listener.getsockname()[1])
        await server.main_loop()
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(SHUTDOWN_TIMEOUT_S):
            await server.shutdown(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(
            (str(address[0]), int(address[1])), family=family, backlog=1024
        )
    except OSError as error:
        raise ServerStartError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    # Accepted sockets inherit it; asyncio sets it only where the socket names IPPROTO_TCP, and
    # without it each answer waits 40 ms for the peer's delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setblocking(False)
    return listener
