"""Reverse connect: the server calls us, for where only it may open connections.

A server behind a firewall dials our address and says who it is (ReverseHello); from then on the
connection is used as if we had dialled it. What it says of itself proves nothing: its certificate
does, as always. Source: OPC 10000-6, 7.1.2.6 and 7.1.3.

One ``Door`` listens at one address for all sources that name it; ``Doors`` opens it with the first
and closes it with the last. A caller has ``HELLO_S`` to say who it is, in at most
``HELLO_BYTES_MAX``; at most ``CALLERS_MAX`` wait, and of each server the newest two: others are
hung up on and counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio

from contract.config_opcua import ReverseConfig
from gateway.errors import SourceError

HELLO_S = 5.0
HELLO_BYTES_MAX = 8 + 2 * (4 + 4096)
"""Source: OPC 10000-6, 7.1.2.6: both texts are shorter than 4,096 bytes."""
CALLERS_MAX = 64
PER_SERVER_MAX = 2
CALL_S = 60.0
"""How long a source waits for its server to call: a server calls at least every two minutes."""

Adopt = Callable[[asyncio.Protocol], None]
Incoming = Callable[[], Awaitable[Adopt]]
"""Wait for the server to call; gives what hands its connection to a protocol."""


class _Caller(asyncio.Protocol):
    """A connection that somebody opened to us, until it says who it is or is taken."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._said = b""
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not self._door.admit(self):
            transport.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(HELLO_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        self._said += data
        try:
            server_uri = read_reverse_hello(self._said)
        except ValueError:
            self.hang_up()
            return
        if server_uri is not None and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._door.arrived(server_uri, self)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._door.gone(self)

    @property
    def is_alive(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def hang_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def adopt(self, protocol: asyncio.Protocol) -> None:
        """Hand the connection over to a protocol, as if it had dialled."""
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ConnectionError("the server hung up before it was answered")
        transport.set_protocol(protocol)
        self._door.gone(self)
        protocol.connection_made(transport)


def read_reverse_hello(data: bytes) -> str | None:
    """Return the server's URI in a ReverseHello; None while it is not all there.

    Raises:
        ValueError: it is none.
    """
    if not b"RHEF".startswith(data[:4]):
        raise ValueError("no ReverseHello")
    if len(data) < 8:
        return None
    size = int.from_bytes(data[4:8], "little")
    if not 16 <= size <= HELLO_BYTES_MAX:
        raise ValueError("a ReverseHello of another size")
    if len(data) < size:
        return None
    length = int.from_bytes(data[8:12], "little", signed=True)
    if len(data) > size or not 0 < length <= size - 16:
        raise ValueError("a ReverseHello that does not fit its size")
    return data[12 : 12 + length].decode("utf-8")


class Door:
    """Listens at one address; made by ``Doors``."""

    def __init__(self) -> None:
        self.turned_away_count = 0
        self._callers: set[_Caller] = set()
        self._waiting: dict[str, deque[_Caller]] = {}
        self._wanted: dict[str, int] = {}
        self._rang = anyio.Event()

    def admit(self, caller: _Caller) -> bool:
        """Count a caller; False when too many wait."""
        if len(self._callers) >= CALLERS_MAX:
            self.turned_away_count += 1
            return False
        self._callers.add(caller)
        return True

    def arrived(self, server_uri: str, caller: _Caller) -> None:
        """Let a caller that said who it is wait; one that nobody wants is hung up on."""
        if server_uri not in self._wanted:
            self.turned_away_count += 1
            caller.hang_up()
            return
        queue = self._waiting.setdefault(server_uri, deque())
        queue.append(caller)
        if len(queue) > PER_SERVER_MAX:
            self.turned_away_count += 1
            queue.popleft().hang_up()
        self._rang.set()
        self._rang = anyio.Event()

    def gone(self, caller: _Caller) -> None:
        """Forget a caller that hung up or was taken."""
        self._callers.discard(caller)

    async def take(self, server_uri: str) -> Adopt:
        """Wait for a server to call.

        Raises:
            TimeoutError: it did not.
        """
        with anyio.fail_after(CALL_S):
            while True:
                queue = self._waiting.get(server_uri)
                while queue:
                    caller = queue.popleft()
                    if caller.is_alive:
                        return caller.adopt
                await self._rang.wait()

    def want(self, server_uri: str) -> None:
        """Expect calls of a server."""
        self._wanted[server_uri] = self._wanted.get(server_uri, 0) + 1

    def unwant(self, server_uri: str) -> None:
        """Expect them no more; those that wait are hung up on."""
        self._wanted[server_uri] -= 1
        if not self._wanted[server_uri]:
            del self._wanted[server_uri]
            for caller in self._waiting.pop(server_uri, ()):
                caller.hang_up()

    def hang_up_all(self) -> None:
        """End every call that was not taken."""
        for caller in list(self._callers):
            caller.hang_up()


class Doors:
    """The addresses where servers may call us, shared by all sources."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], tuple[Door, asyncio.Server]] = {}
        self._users: dict[tuple[str, int], int] = {}

    @asynccontextmanager
    async def listening(self, config: ReverseConfig) -> AsyncIterator[Incoming]:
        """Listen for one server while the block runs.

        Raises:
            SourceError: the address is taken or not ours.
        """
        address = (config.host, config.port)
        door = await self._enter(address)
        door.want(config.server_uri)
        try:
            yield lambda: door.take(config.server_uri)
        finally:
            door.unwant(config.server_uri)
            self._leave(address)

    async def _enter(self, address: tuple[str, int]) -> Door:
        if address not in self._open:
            door = Door()
            try:
                server = await asyncio.get_running_loop().create_server(
                    lambda: _Caller(door), *address
                )
            except OSError as error:
                raise SourceError(
                    f"cannot listen at {address[0]}:{address[1]}: {error.strerror}",
                    reason_code="BadConnectionRejected",
                    remedy="choose another host or port for reverse_connect",
                ) from error
            if address not in self._open:  # another source may have been quicker
                self._open[address] = (door, server)
            else:
                server.close()
        self._users[address] = self._users.get(address, 0) + 1
        return self._open[address][0]

    def _leave(self, address: tuple[str, int]) -> None:
        self._users[address] -= 1
        if not self._users[address]:
            door, server = self._open.pop(address)
            server.close()
            door.hang_up_all()
