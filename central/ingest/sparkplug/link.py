"""One MQTT server of the host: connect, STATE, listen, connect again; its own task, ``run``.

Order (Sparkplug 3.0, 5.3): STATE time kept durably -> CONNECT with the Will -> SUBSCRIBE, SUBACK ->
STATE birth -> anything else; on purpose: STATE death -> DISCONNECT. The MQTT callback only puts
into a bounded inbox; when it is full the oldest message is dropped and counted (the gap in seq that
it leaves makes the session ask for a rebirth). One bad message costs that message alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

import anyio
import anyio.lowlevel

from contract.config import BrokerConfig
from runtime.backoff import Backoff
from runtime.clock import Clock
from runtime.log import logger
from runtime.mqtt import MqttConnection, MqttError, connect
from sparkplug_b.edge import OutboundMessage
from sparkplug_b.host import HostSession
from sparkplug_b.host_event import CommandToSend, HostEvent
from sparkplug_b.topic import state_topic

CHECK_S = 2.0
ASK_INTERVAL_S = 0.02
"""Between two rebirth requests to nodes that were online when the hub stopped."""
PROOF_TIMEOUT_S = 5.0
INBOX_BYTES_MAX = 64 * 1024 * 1024
STEADY_S = 30.0
LinkState = Literal["waiting", "connecting", "connected"]
NodeKey = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class LinkContext:
    """What a link needs of the host.

    Attributes:
        keep_state_time: stores the STATE time of a server durably.
        take: takes events of a node, in order; never blocks.
        known_nodes: nodes of this server to be asked for a rebirth at the first birth.
        may_act: whether this hub is still the host.
    """

    client_id: str
    inbox_messages_max: int
    keep_state_time: Callable[[str, int], Awaitable[None]]
    take: Callable[[Link, NodeKey | None, Sequence[HostEvent]], None]
    known_nodes: Callable[[Link], Iterable[NodeKey]]
    may_act: Callable[[], bool]
    clock: Clock


class Link:
    """A server, its session and its connection."""

    def __init__(
        self,
        label: str,
        address: str,
        broker: BrokerConfig,
        session: HostSession,
        context: LinkContext,
    ) -> None:
        self.label = label
        self.address = address
        self.session = session
        self.state: LinkState = "connecting"
        self.reason = ""
        self.since_us = context.clock.wall_us()
        self.connects_count = 0
        self.messages_count = 0
        self.bytes_count = 0
        self.inbox_dropped_count = 0
        self.is_stopping = False
        self._broker = broker
        self._context = context
        self._connection: MqttConnection | None = None
        self._inbox: deque[tuple[str, bytes, bool]] = deque()
        self._inbox_bytes = 0
        self._state_topic = state_topic(session.host_id)
        self._to_ask: deque[NodeKey] = deque()
        self._has_asked = False
        self._wake = anyio.Event()

    @property
    def inbox_count(self) -> int:
        """Messages that wait to be read."""
        return len(self._inbox)

    async def run(self) -> None:
        """Keep the connection until cancelled."""
        clock = self._context.clock
        backoff = Backoff(Random())  # noqa: S311 - jitter
        while True:
            started_s = clock.monotonic_s()
            try:
                await self._connect_and_serve()
            except MqttError as error:
                if clock.monotonic_s() - started_s > STEADY_S:
                    backoff.succeed()
                is_news = self.reason != str(error)
                self._become("waiting", str(error))
                if is_news:
                    logger().warning("sparkplug.server_lost", server=self.label, reason=str(error))
            await clock.sleep_s(backoff.next_delay_s())

    def publish(self, message: OutboundMessage) -> None:
        """Hand a message to the socket.

        Raises:
            MqttError: there is no connection.
        """
        if self._connection is None or self.session.state != "born":
            raise MqttError(f"there is no connection to {self.label}")
        self._connection.publish(
            message.topic, message.payload, qos=message.qos, retain=message.retain
        )

    async def publish_proven(self, message: OutboundMessage) -> bool:
        """Publish; say whether the broker is known to have read it (a PINGRESP came behind it).

        Raises:
            MqttError: there is no connection.
        """
        self.publish(message)
        assert self._connection is not None
        passed = anyio.Event()
        self._connection.fence(passed.set)
        with anyio.move_on_after(PROOF_TIMEOUT_S):
            await passed.wait()
        return passed.is_set()

    # -- one connection ---------------------------------------------------------------------------

    async def _connect_and_serve(self) -> None:
        context, session = self._context, self.session
        self.is_stopping = False
        if not context.may_act():
            raise MqttError("another hub may be the host by now")
        self._become("connecting", self.reason)
        will = session.will(self._now_ms())
        assert session.state_time_ms is not None
        await context.keep_state_time(self.address, session.state_time_ms)
        connection = await connect(
            self._broker,
            context.client_id,
            (will.topic, will.payload, will.qos),
            context.clock,
            will_retain=will.retain,
        )
        self._connection = connection
        self._inbox.clear()
        self._inbox_bytes = 0
        connection.on_message = self._received
        connection.on_lost = self._awake
        try:
            session.connected()
            for topic_filter, qos in session.subscriptions():
                await connection.subscribe(topic_filter, qos)
            self._hand_over(session.birth())
            self.connects_count += 1
            self._become("connected", "")
            logger().info("sparkplug.server_connected", server=self.label)
            if not self._has_asked:
                self._has_asked = True
                self._to_ask.extend(context.known_nodes(self))
            await self._serve(connection)
        finally:
            with anyio.CancelScope(shield=True):
                await self._end(connection)

    def _hand_over(self, message: OutboundMessage) -> None:
        assert self._connection is not None
        self._connection.publish(
            message.topic, message.payload, qos=message.qos, retain=message.retain
        )

    async def _serve(self, connection: MqttConnection) -> None:
        while True:
            connection.check()
            now_ms = self._now_ms()
            if self._inbox:
                topic, payload, retained = self._inbox.popleft()
                self._inbox_bytes -= len(payload)
                self._read(topic, payload, retained=retained, now_ms=now_ms)
                await anyio.lowlevel.checkpoint()
            due_ms = self.session.due_ms
            if due_ms is not None and due_ms <= now_ms:
                self._take(None, self.session.on_timer(now_ms))
            if self._to_ask:
                self._ask(self._to_ask.popleft(), now_ms)
            if not self._inbox:
                await self._wait(now_ms)

    async def _wait(self, now_ms: int) -> None:
        wait_s = ASK_INTERVAL_S if self._to_ask else CHECK_S
        due_ms = self.session.due_ms
        if due_ms is not None:
            wait_s = min(wait_s, max(0.0, (due_ms - now_ms) / 1000))
        with anyio.move_on_after(wait_s):
            await self._wake.wait()
        self._wake = anyio.Event()

    async def _end(self, connection: MqttConnection) -> None:
        now_ms = self._now_ms()
        try:
            if not connection.is_lost and self._context.may_act() and self.session.state == "born":
                self._hand_over(self.session.death(now_ms))
                assert self.session.state_time_ms is not None
                await self._context.keep_state_time(self.address, self.session.state_time_ms)
        except MqttError:
            pass  # lost meanwhile: the Will says the same
        finally:
            self._connection = None
            await connection.close()
            self.is_stopping = connection.lost_reason == "closed"
            self._take(None, self.session.disconnected(now_ms))

    # -- what comes in ----------------------------------------------------------------------------

    def _received(self, topic: str, payload: bytes, retained: bool) -> None:
        self._inbox.append((topic, payload, retained))
        self._inbox_bytes += len(payload)
        while (
            len(self._inbox) > self._context.inbox_messages_max
            or self._inbox_bytes > INBOX_BYTES_MAX
        ):
            _, dropped, _ = self._inbox.popleft()
            self._inbox_bytes -= len(dropped)
            self.inbox_dropped_count += 1
        self._awake()

    def _awake(self) -> None:
        self._wake.set()

    def _read(self, topic: str, payload: bytes, *, retained: bool, now_ms: int) -> None:
        self.messages_count += 1
        self.bytes_count += len(payload)
        if retained and topic == self._state_topic:
            return  # our own death of before, told because we subscribed; news come unflagged
        events = self.session.on_message(topic, payload, retained=retained, now_ms=now_ms)
        parts = topic.split("/")
        key = (parts[1], parts[3]) if len(parts) > 3 and not retained else None
        if key not in self.session.nodes:
            key = None
        self._take(key, events)

    def _take(self, key: NodeKey | None, events: Sequence[HostEvent]) -> None:
        for event in events:
            if isinstance(event, CommandToSend) and self._connection is not None:
                self._hand_over(event.message)
        self._context.take(self, key, events)

    def _ask(self, key: NodeKey, now_ms: int) -> None:
        node = self.session.nodes.get(key)
        if node is None or not node.scope.is_online:
            message = self.session.rebirth(*key, None, now_ms)
            self.publish(message)
            self._context.take(self, key, [CommandToSend(kind="rebirth", message=message)])

    def _become(self, state: LinkState, reason: str) -> None:
        if state != self.state:
            self.since_us = self._context.clock.wall_us()
        self.state, self.reason = state, reason

    def _now_ms(self) -> int:
        return self._context.clock.wall_us() // 1000
