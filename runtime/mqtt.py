"""One MQTT connection: a fresh gmqtt client, no reconnecting, and a fence.

gmqtt's own reconnection reuses the old Will and loses QoS 1 messages (shared/reference/datapath.md,
5.2), so a connection here lives once. The fence: QoS 0 has no acknowledgement, but a broker reads a
connection in order, so a PINGRESP proves that it has read everything sent before that PINGREQ
(MQTT 3.1.1, 4.6). All PINGREQs of the connection, gmqtt's keep-alive ones too, go through ``fence``
and are answered in order.

Limits: ``write_buffer_bytes`` tells what the socket has not taken; the sender has to hold back.
"""

from __future__ import annotations

import logging
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlparse

import anyio
from gmqtt import Client, Message
from gmqtt.mqtt.constants import MQTTv50, MQTTv311
from gmqtt.mqtt.handler import MQTTConnectError

from contract.config import BrokerConfig
from runtime.clock import Clock

CONNECT_TIMEOUT_S = 10.0
FENCE_TIMEOUT_S = 10.0
SUBSCRIBE_TIMEOUT_S = 10.0
NO_RECONNECTS = -2
"""Below gmqtt's -1 for "without end"."""


class MqttError(Exception):
    """Raised when a connection cannot be made, is refused, or is over; the next one may hold."""

    code = "mqtt.failed"
    retryable = True


# gmqtt logs a warning with a stack for each connection that ends; the reason is told by MqttError
logging.getLogger("gmqtt").setLevel(logging.CRITICAL)


@dataclass(frozen=True, kw_only=True)
class KeptSession:
    """A session that the broker keeps while we are away, with its QoS 1 messages.

    Attributes:
        expiry_s: how long it is kept (MQTT 5; a broker of 3.1.1 has its own limit).
        received: takes (topic, payload, retained, acknowledge); the message is acknowledged, and
            does not come again, when ``acknowledge`` is called.
    """

    expiry_s: int
    received: Callable[[str, bytes, bool, Callable[[], None]], None]


class MqttConnection:
    """A connection from CONNACK to its end. Made by ``connect``."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._fences: deque[tuple[float, Callable[[], None]]] = deque()
        self._granted: dict[int, tuple[anyio.Event, list[int]]] = {}
        self.lost_reason = ""
        self.session_present = False
        self.on_lost: Callable[[], None] = lambda: None
        self.on_message: Callable[[str, bytes, bool], None] = lambda _t, _p, _r: None
        self.last_response_s = clock.monotonic_s()

    @property
    def is_lost(self) -> bool:
        """The connection is over; ``lost_reason`` says why."""
        return bool(self.lost_reason)

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
        """Hand a message to the socket, in order. Raises MqttError when the connection is over."""
        self.check()
        self._client.publish(Message(topic, payload, qos=qos, retain=retain))

    def fence(self, passed: Callable[[], None]) -> None:
        """Send PINGREQ; ``passed`` is called when the broker has read all that was sent before."""
        self._fences.append((self._clock.monotonic_s(), passed))
        self._client._connection._protocol.send_ping_request()  # noqa: SLF001 - pinned, tested

    @property
    def fences_open(self) -> int:
        """PINGREQs without their PINGRESP."""
        return len(self._fences)

    def check(self) -> None:
        """Raise MqttError when the connection is over or the broker has fallen silent."""
        if self.lost_reason:
            raise MqttError(self.lost_reason)
        if self._fences:
            waited_s = self._clock.monotonic_s() - self._fences[0][0]
            if waited_s > FENCE_TIMEOUT_S:
                self._lose(f"the broker has not answered for {waited_s:.0f} s (half-open link)")
                raise MqttError(self.lost_reason)

    def write_buffer_bytes(self) -> int:
        """Return how many bytes the socket has not taken yet."""
        if self.lost_reason:
            return 0
        size: int = self._client._connection._transport.get_write_buffer_size()  # noqa: SLF001
        return size

    async def subscribe(self, topic: str, qos: int) -> None:
        """Subscribe and wait for the SUBACK. Raises MqttError when it is refused."""
        done = anyio.Event()
        codes: list[int] = []
        mid = self._client.subscribe(topic, qos=qos)
        self._granted[mid] = (done, codes)
        with anyio.move_on_after(SUBSCRIBE_TIMEOUT_S):
            await done.wait()
        self.check()
        if not codes or codes[0] >= 0x80:
            raise MqttError(f"the broker refuses the subscription to {topic}")

    async def close(self) -> None:
        """Send DISCONNECT after everything before it, and close."""
        self.on_lost = lambda: None
        if not self.lost_reason:
            self.lost_reason = "closed"
            with anyio.move_on_after(2, shield=True):
                await self._client.disconnect()
        self._abort()

    # -- gmqtt's callbacks ------------------------------------------------------------------------

    def _ponged(self, _command: int, _packet: bytes) -> None:
        self.last_response_s = self._clock.monotonic_s()
        if self._fences:
            self._fences.popleft()[1]()

    def _subscribed(self, _client: Client, mid: int, codes: Any, _properties: Any) -> None:  # noqa: ANN401
        waiting = self._granted.pop(mid, None)
        if waiting is not None:
            waiting[1].extend(codes)
            waiting[0].set()

    def _received(
        self,
        _client: Client,
        topic: str,
        payload: bytes,
        _qos: int,
        properties: dict[str, Any],
    ) -> int:
        self.on_message(topic, bytes(payload), bool(properties.get("retain")))
        return 0

    def _keep(self, kept: KeptSession) -> None:
        """Take QoS 1 messages without gmqtt's PUBACK, which it sends before anything is durable."""
        handler = self._client._package_handler  # noqa: SLF001 - pinned, tested

        def received(mid: int, payload: bytes, topic: str, properties: dict[str, Any]) -> None:
            def acknowledge() -> None:
                if not self.lost_reason:
                    handler._send_puback(mid)  # noqa: SLF001 - pinned, tested

            kept.received(topic, bytes(payload), bool(properties.get("retain")), acknowledge)

        handler._handle_qos_1_publish_packet = received  # noqa: SLF001 - pinned, tested

    def _answered(self, _client: Client, flags: int, _code: int, _properties: Any) -> None:  # noqa: ANN401
        self.session_present = bool(flags & 1)

    def _disconnected(self, _client: Client, _packet: bytes) -> None:
        self._lose("the broker closed the connection")

    def _lose(self, reason: str) -> None:
        if self.lost_reason:
            return
        self.lost_reason = reason
        for done, _ in self._granted.values():
            done.set()
        self._abort()
        self.on_lost()

    def _abort(self) -> None:
        """Close the socket at once, without waiting for a peer that may be gone."""
        connection = self._client._connection  # noqa: SLF001 - pinned
        if connection is None:
            return
        if connection._keep_connection_callback:  # noqa: SLF001 - pinned
            connection._keep_connection_callback.cancel()  # noqa: SLF001 - pinned
        connection._transport.abort()  # noqa: SLF001 - pinned


async def connect(
    broker: BrokerConfig,
    client_id: str,
    will: tuple[str, bytes, int] | None,
    clock: Clock,
    *,
    kept: KeptSession | None = None,
) -> MqttConnection:
    """Connect with a clean session, or a kept one, and the Will (topic, payload, QoS) if any.

    Raises:
        MqttError: not reachable, refused, or no CONNACK within ``CONNECT_TIMEOUT_S``.
    """
    url = urlparse(broker.url)
    secure = url.scheme in {"mqtts", "ssl", "tls"}
    port = url.port or (8883 if secure else 1883)
    where = f"{url.hostname}:{port}"
    client = Client(
        client_id,
        clean_session=kept is None,
        will_message=None if will is None else Message(will[0], will[1], qos=will[2]),
        session_expiry_interval=0 if kept is None else kept.expiry_s,
    )
    # not 0, nor stop_reconnect(), which sets 0: gmqtt tries as long as failures <= retries, so once
    # at least, with this Will and client id, which takes the place of our next connection
    client.set_config({"reconnect_retries": NO_RECONNECTS})
    if broker.username is not None:
        client.set_auth_credentials(broker.username, broker.password)
    connection = MqttConnection(client, clock)
    client.on_subscribe = connection._subscribed  # noqa: SLF001 - its own callbacks
    client.on_message = connection._received  # noqa: SLF001
    client.on_connect = connection._answered  # noqa: SLF001
    if kept is not None:
        connection._keep(kept)  # noqa: SLF001
    client.on_disconnect = _disconnect_callback(connection)
    client._package_handler._handler_cache[0xD0] = connection._ponged  # noqa: SLF001 - PINGRESP
    try:
        with anyio.fail_after(CONNECT_TIMEOUT_S):
            await client.connect(
                url.hostname,
                port,
                ssl=_context(broker) if secure else False,
                keepalive=broker.keep_alive_s,
                version=MQTTv50 if broker.version == "5.0" else MQTTv311,
            )
    except MQTTConnectError as error:
        connection._abort()  # noqa: SLF001
        raise MqttError(f"{where} refuses the connection: {error}") from error
    except TimeoutError as error:
        connection._abort()  # noqa: SLF001
        raise MqttError(f"{where} did not answer within {CONNECT_TIMEOUT_S:.0f} s") from error
    except OSError as error:
        raise MqttError(f"{where}: {error.strerror or error}") from error
    connection.check()
    # gmqtt's keep-alive timer sends PINGREQs of its own: each has to be a fence, or answers mix up
    client._connection._send_ping_request = lambda: connection.fence(lambda: None)  # noqa: SLF001
    return connection


def _disconnect_callback(connection: MqttConnection) -> Callable[..., None]:
    def disconnected(client: Client, packet: bytes, _error: object = None) -> None:
        connection._disconnected(client, packet)  # noqa: SLF001 - its own callback

    return disconnected


def _context(broker: BrokerConfig) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=broker.ca_file)
