"""One MQTT connection: a fresh gmqtt client, no reconnecting, and a fence.

gmqtt's own reconnection reuses the old Will and loses QoS 1 messages (shared/reference/datapath.md,
5.2), so a connection here lives once. The fence: QoS 0 has no acknowledgement, but a broker reads a
connection in order, so a PINGRESP proves that it has read everything sent before that PINGREQ
(MQTT 3.1.1, 4.6). All PINGREQs of the connection, gmqtt's keep-alive ones too, go through ``fence``
and are answered in order.

Clean session always, with MQTT 5 session expiry 0. TLS is 1.2 or newer, and the name is checked.
Limits: ``write_buffer_bytes`` tells what the socket has not taken; the sender has to hold back. A
packet larger than the broker takes is refused here, as are more QoS 1 messages than it takes.
"""

from __future__ import annotations

import logging
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlparse

import anyio
from gmqtt import Client, Message
from gmqtt.mqtt.constants import MQTTv50, MQTTv311
from gmqtt.mqtt.handler import MQTTConnectError

from contract.config import BrokerConfig
from runtime.clock import Clock
from runtime.mqtt_tls import MqttError, tls_context, tls_trouble

__all__ = ["KeptSession", "MqttConnection", "MqttError", "Properties", "connect"]

CONNECT_TIMEOUT_S = 10.0
FENCE_TIMEOUT_S = 10.0
SUBSCRIBE_TIMEOUT_S = 10.0
Properties = Sequence[tuple[str, str]]

SETTLE_TIMEOUT_S = 2.0
PACKET_BYTES_MAX = 268_435_455
"""Source: MQTT 3.1.1, 2.2.3: the largest remaining length."""
DISCONNECT_WITH_WILL = 0x04
"""Source: MQTT 5.0, 3.14.2.1."""
_NOT_AUTHORISED = frozenset({4, 5, 134, 135})
"""CONNACK codes. Source: MQTT 3.1.1, 3.2.2.3; MQTT 5.0, 3.2.2.2."""
NO_RECONNECTS = -2
"""Below gmqtt's -1 for "without end"."""


class MqttTooLargeError(MqttError):
    """Raised when a message is larger than the broker takes; the connection goes on."""

    code = "mqtt.packet_too_large"
    retryable = False


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

    def __init__(self, client: Client, clock: Clock, packet_bytes_max: int | None = None) -> None:
        self._client = client
        self._clock = clock
        self._receive_max = 65_535
        self._settling: list[anyio.Event] = []
        self.packet_bytes_max = packet_bytes_max or PACKET_BYTES_MAX
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

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 0,
        retain: bool = False,
        user_properties: Properties = (),
    ) -> None:
        """Hand a message to the socket, in order. User properties need MQTT 5.0.

        Raises:
            MqttTooLargeError: the broker takes no packet of this size.
            MqttError: the connection is over, or the broker takes not so many QoS 1 messages
                before it has acknowledged some.
        """
        self.check()
        limit = self.payload_bytes_max(topic, user_properties)
        if len(payload) > limit:
            raise MqttTooLargeError(
                f"{topic}: {len(payload)} bytes are more than the broker takes ({limit})"
            )
        if qos and len(self._client._persistent_storage.get_all()) >= self._receive_max:  # noqa: SLF001 - pinned
            raise MqttError(f"the broker has not acknowledged {self._receive_max} messages")
        properties = {"user_property": user_properties} if user_properties else {}
        self._client.publish(Message(topic, payload, qos=qos, retain=retain, **properties))

    def payload_bytes_max(self, topic: str, user_properties: Properties = ()) -> int:
        """Return how large a payload to a topic may be."""
        # fixed header 5, length of the topic 2, packet id 2, length of the properties 1 to 4;
        # each of these 5 and two texts, taken at UTF-8's longest (4 bytes a character)
        limit = self.packet_bytes_max - len(topic.encode()) - 10
        if user_properties:
            characters = sum([len(name) + len(value) for name, value in user_properties])
            limit -= 3 + 5 * len(user_properties) + 4 * characters
        return limit

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

    async def settle(self) -> bool:
        """Wait until the broker has read all that was sent, ``SETTLE_TIMEOUT_S`` at most.

        Returns False when that is not known.
        """
        if self.lost_reason:
            return False
        read = False

        def passed() -> None:
            nonlocal read
            read = True
            done.set()

        done = anyio.Event()
        self._settling.append(done)
        self.fence(passed)
        with anyio.move_on_after(SETTLE_TIMEOUT_S):
            await done.wait()
        return read

    def abandon(self) -> None:
        """Cut the connection without DISCONNECT: the broker sends the Will."""
        self.on_lost = lambda: None
        self.lost_reason = self.lost_reason or "abandoned"
        self._abort()

    async def close(self, *, with_will: bool = False) -> None:
        """Send DISCONNECT after everything before it, and close.

        ``with_will`` lets a broker of MQTT 5 send the Will too; MQTT 3.1.1 has no such thing.
        """
        self.on_lost = lambda: None
        if not self.lost_reason:
            self.lost_reason = "closed"
            code = DISCONNECT_WITH_WILL if with_will else 0
            with anyio.move_on_after(SETTLE_TIMEOUT_S, shield=True):
                await self._client.disconnect(reason_code=code)
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

    def _connected(self) -> None:
        """Take over what the CONNACK says of the broker's limits (MQTT 5.0, 3.2.2.3)."""
        handler = self._client._package_handler  # noqa: SLF001 - pinned, tested
        said: dict[str, list[int]] = handler._connack_properties  # noqa: SLF001 - pinned, tested
        self.packet_bytes_max = min(
            self.packet_bytes_max, *said.get("maximum_packet_size", [PACKET_BYTES_MAX])
        )
        self._receive_max = said.get("receive_maximum", [65_535])[0]
        # gmqtt lets it bound the ids of SUBSCRIBE too, and refuses all with a maximum of 2
        handler.id_generator._max = 65_535  # noqa: SLF001 - pinned, tested

    def _disconnected(self, _client: Client, packet: bytes) -> None:
        inner = self._client._connection  # noqa: SLF001 - pinned, tested
        cause = None if inner is None else inner._protocol._hard_reader.exception()  # noqa: SLF001
        if isinstance(cause, ssl.SSLError):
            self._lose(tls_trouble(cause))
        else:
            # the reason code of MQTT 5.0, 3.14.2.1
            code = f" (reason 0x{packet[0]:02x})" if packet else ""
            self._lose(f"the broker closed the connection{code}")

    def _lose(self, reason: str) -> None:
        if self.lost_reason:
            return
        self.lost_reason = reason
        for done in [*self._settling, *(done for done, _ in self._granted.values())]:
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
    will_retain: bool = False,
) -> MqttConnection:
    """Connect with a clean session, or a kept one, and the Will (topic, payload, QoS) if any.

    ``will_retain`` is for the STATE of a Sparkplug host.

    Raises:
        MqttError: not reachable, refused, not trusted, or no CONNACK within ``CONNECT_TIMEOUT_S``.
    """
    url = urlparse(broker.url)
    secure = url.scheme in {"mqtts", "ssl", "tls"}
    port = url.port or (8883 if secure else 1883)
    where = f"{url.hostname}:{port}"
    last_words = None if will is None else Message(*will[:2], qos=will[2], retain=will_retain)
    client = Client(
        client_id,
        clean_session=kept is None,
        will_message=last_words,
        session_expiry_interval=0 if kept is None else kept.expiry_s,
    )
    # not 0, nor stop_reconnect(), which sets 0: gmqtt tries as long as failures <= retries, so once
    # at least, with this Will and client id, which takes the place of our next connection
    client.set_config({"reconnect_retries": NO_RECONNECTS})
    if broker.username is not None:
        client.set_auth_credentials(broker.username, broker.password)
    connection = MqttConnection(client, clock, broker.packet_bytes_max)
    client.on_subscribe = connection._subscribed  # noqa: SLF001 - its own callbacks
    client.on_message = connection._received  # noqa: SLF001
    client.on_connect = connection._answered  # noqa: SLF001
    if kept is not None:
        connection._keep(kept)  # noqa: SLF001
    client.on_disconnect = _disconnect_callback(connection)
    client._package_handler._handler_cache[0xD0] = connection._ponged  # noqa: SLF001 - PINGRESP
    context = tls_context(broker) if secure else False
    try:
        with anyio.fail_after(CONNECT_TIMEOUT_S), anyio.CancelScope() as answering:
            # gmqtt would wait for a CONNACK that cannot come any more
            connection.on_lost = answering.cancel
            await client.connect(
                url.hostname,
                port,
                ssl=context,
                keepalive=broker.keep_alive_s,
                version=MQTTv50 if broker.version == "5.0" else MQTTv311,
            )
        if client._package_handler.has_error:  # noqa: SLF001 - it answered, then closed
            client._package_handler.propagate_error()  # noqa: SLF001
    except (MQTTConnectError, OSError) as error:
        connection._abort()  # noqa: SLF001
        raise MqttError(f"{where} {_trouble(error, secure=secure)}") from error
    if connection.lost_reason:
        why = f"{connection.lost_reason}{_hint_at_silence(broker, secure=secure)}"
        raise MqttError(f"{where}, before it answered CONNECT: {why}")
    connection.on_lost = lambda: None
    connection._connected()  # noqa: SLF001
    # gmqtt's keep-alive timer sends PINGREQs of its own: each has to be a fence, or answers mix up
    client._connection._send_ping_request = lambda: connection.fence(lambda: None)  # noqa: SLF001
    return connection


def _trouble(error: MQTTConnectError | OSError, *, secure: bool) -> str:
    """Say why there is no connection, and what mends it."""
    if isinstance(error, MQTTConnectError):
        is_ours = error._code in _NOT_AUTHORISED  # noqa: SLF001 - it has no other name
        hint = ": are username and password right?" if is_ours else ""
        return f"refuses the connection: {error}{hint}"
    if isinstance(error, TimeoutError) and not error.strerror:
        return f"did not answer within {CONNECT_TIMEOUT_S:.0f} s"
    if isinstance(error, ssl.SSLError):
        return f"cannot be trusted: {tls_trouble(error)}"
    is_reset = secure and isinstance(error, ConnectionResetError)
    hint = "; does it speak TLS there?" if is_reset else ""
    return f"cannot be reached: {error.strerror or error}{hint}"


def _hint_at_silence(broker: BrokerConfig, *, secure: bool) -> str:
    """Guess why a broker closes without a word; a TLS alert may get lost on the way."""
    if not secure:
        return "; is it a TLS port (mqtts://)?"
    if broker.certificate_file is None:
        return "; does it want a certificate of ours (certificate_file and key_file)?"
    return "; does it accept our certificate_file?"


def _disconnect_callback(connection: MqttConnection) -> Callable[..., None]:
    def disconnected(client: Client, packet: bytes, _error: object = None) -> None:
        connection._disconnected(client, packet)  # noqa: SLF001 - its own callback

    return disconnected
