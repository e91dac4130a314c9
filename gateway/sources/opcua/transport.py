"""asyncua's connection with limits: what a server sends may not fill our memory.

asyncua bounds neither the chunk that it waits for nor the message that it joins from chunks. Here
a chunk is at most what we told the server that we take, a message ``message_bytes_max``; a server
that sends more is cut off (OPC 10000-6, 7.1.2.4: Bad_TcpMessageTooLarge). The private calls are
pinned and contract-tested.
"""

from __future__ import annotations

from typing import Any

from asyncua import Client, ua
from asyncua.client.ua_client import UaClient, UaClientState, UASocketProtocol
from asyncua.common.connection import TransportLimits

from gateway.sources.opcua.reverse import Incoming

REQUEST_TIMEOUT_S = 10.0
CHUNK_BYTES_MAX = 65_536
"""Not one byte less, as asyncua has it: open62541 sends chunks of 65,536 whatever it is told."""
CHUNK_BYTES_MIN = 8_192
"""Source: OPC 10000-6, 7.1.2.3: what every application has to take."""
SESSION_MESSAGE_BYTES_MAX = 64_000_000
DISCOVERY_MESSAGE_BYTES_MAX = 1_000_000


class OwnLimits(TransportLimits):  # type: ignore[misc] # mypy skips asyncua
    """Limits that a server's Acknowledge cannot lift: asyncua takes over whatever it says."""

    def create_hello_limits(self, msg: ua.Hello) -> ua.Hello:
        """Tell the server what we take: asyncua puts the chunk count where the size belongs."""
        hello = super().create_hello_limits(msg)
        hello.MaxMessageSize = self.max_message_size
        return hello

    def update_client_limits(self, msg: ua.Acknowledge) -> None:
        """Send no larger chunks than the server takes; what we take stays as it is."""
        theirs = max(int(msg.ReceiveBufferSize), CHUNK_BYTES_MIN)
        self.max_send_buffer = min(CHUNK_BYTES_MAX, theirs)


class BoundedProtocol(UASocketProtocol):  # type: ignore[misc] # mypy skips asyncua
    """A connection that ends when a chunk grows beyond what was agreed."""

    def data_received(self, data: bytes) -> None:
        """Take bytes; cut the server off when one chunk does not end."""
        super().data_received(data)
        waiting: Any = self.receive_buffer  # type: ignore[has-type] # mypy skips asyncua
        if waiting is not None and len(waiting) > CHUNK_BYTES_MAX:
            self.receive_buffer = None
            self._fail_all_pending(ConnectionError("the server sent a chunk larger than agreed"))
            self.disconnect_socket()


class BoundedUaClient(UaClient):  # type: ignore[misc] # mypy skips asyncua
    """Makes bounded connections, with the policy that is set when the socket is opened."""

    def __init__(self, timeout_s: float, message_bytes_max: int) -> None:
        super().__init__(timeout_s)
        self._message_bytes_max = message_bytes_max
        self.incoming: Incoming | None = None

    async def connect_socket(self, host: str, port: int) -> None:
        """Dial, or with ``incoming`` take the connection that the server opened."""
        if self.incoming is None:
            await super().connect_socket(host, port)
            return
        self._set_state(UaClientState.CONNECTING)
        try:
            adopt = await self.incoming()
            adopt(self._make_protocol())
        except BaseException:
            self._set_state(UaClientState.DISCONNECTED)
            raise
        self._set_state(UaClientState.SOCKET_OPEN)

    def _make_protocol(self) -> UASocketProtocol:
        limits = OwnLimits(
            max_recv_buffer=CHUNK_BYTES_MAX,
            max_send_buffer=CHUNK_BYTES_MAX,
            max_chunk_count=self._message_bytes_max // 8192 + 1,
            max_message_size=self._message_bytes_max,
        )
        protocol = BoundedProtocol(self._timeout, self.security_policy, limits)
        protocol.pre_request_hook = self._pre_request_hook
        protocol.on_connection_lost = self._on_transport_lost
        protocol.is_session_closing = self._is_session_closing
        self.protocol = protocol
        return protocol


def make_client(url: str, message_bytes_max: int, incoming: Incoming | None = None) -> Client:
    """Make a client for one connection attempt; nothing is opened yet.

    Args:
        url: what to connect to; also what the server is told that we typed.
        message_bytes_max: larger answers end the connection.
        incoming: wait for the server's call instead of dialling.

    Every request has the deadline ``REQUEST_TIMEOUT_S``.
    """
    client = Client(url, timeout=REQUEST_TIMEOUT_S)
    bounded = BoundedUaClient(REQUEST_TIMEOUT_S, message_bytes_max)
    bounded.incoming = incoming
    bounded.pre_request_hook = client._wait_until_ready  # noqa: SLF001 - as Client does
    client.uaclient = bounded
    nodes: Any = type(client.nodes)
    client.nodes = nodes(bounded.session)
    return client
