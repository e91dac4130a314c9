"""The Sparkplug edge node: births first, live data, backlog as historical, fences for proof.

One task per session. DATA is QoS 0, so a row is confirmed only when a fence behind it came back
(mqtt.py); what was sent after the last fence goes out again, historical, after the next births.
A rebirth command is answered between two portions: no DATA goes out between it and the births.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from contract.config import SparkplugConfig
from contract.upload import TagDefinition
from gateway.errors import SinkError
from gateway.sinks.base import Outlet, Portion, SinkReport, SinkState, TagView
from gateway.sinks.sparkplug import bdseq
from gateway.sinks.sparkplug.births import device_births, node_birth
from gateway.sinks.sparkplug.encode import TagPlaces, encode_rows
from runtime.clock import Clock
from runtime.log import logger
from runtime.mqtt import MqttConnection, MqttError, connect
from sparkplug_b.edge import EdgeNodeSession, OutboundMessage
from sparkplug_b.state import PrimaryHost, parse_state

WRITE_BUFFER_BYTES_MAX = 4_000_000
CHECK_S = 2.0
DRAIN_STEP_S = 0.02
REBIRTH_PAUSE_S = 0.2
"""The least time between two births of one session."""


class SparkplugSink:
    """An edge node at one broker."""

    def __init__(
        self, config: SparkplugConfig, tags: TagView, directory: Path, version: str, clock: Clock
    ) -> None:
        self._config = config
        self._tags = tags
        self._directory = directory
        self._version = version
        self._clock = clock
        self._host = PrimaryHost(config.primary_host) if config.primary_host else None
        self._connection: MqttConnection | None = None
        self._session: EdgeNodeSession | None = None
        self._outlet: Outlet | None = None
        self._places = TagPlaces(())
        self._born: dict[str, list[TagDefinition]] = {}
        self._born_generation = -1
        self._born_s = 0.0
        self._rebirth_wanted = False
        self._state: SinkState = "connecting"
        self._reason = ""
        self._sent = 0
        self._connects = 0
        self.left_out = 0
        self.births_count = 0

    @property
    def name(self) -> str:
        """The consumer's name."""
        return "sparkplug"

    def report(self) -> SinkReport:
        """Return what to show of the sink now."""
        connection = self._connection
        return SinkReport(
            state=self._state,
            target=self._config.broker.url,
            reason=self._reason,
            sent=self._sent,
            left_out=self.left_out,
            connects=self._connects,
            last_acknowledged_s=None if connection is None else connection.last_response_s,
        )

    async def run_session(self, outlet: Outlet) -> None:
        """Connect, give birth, send until the connection is lost; see ``sinks.base.Sink``."""
        self._outlet = outlet
        self._state = "connecting"
        try:
            connection, session = await self._connect()
            connection.on_lost = outlet.wake
            await self._wait_for_host(connection, outlet)
            outlet.begin()
            self._birth(connection, session)
            self._state, self._reason = "live", ""
            while True:
                await self._step(connection, session, outlet)
        except (SinkError, MqttError) as error:
            self._state, self._reason = "waiting", str(error)
            raise error if isinstance(error, SinkError) else SinkError(str(error)) from error
        finally:
            await self._end()

    # -- a session --------------------------------------------------------------------------------

    async def _connect(self) -> tuple[MqttConnection, EdgeNodeSession]:
        config = self._config
        identity = f"{config.group}/{config.node}"
        try:
            bd_seq = bdseq.advance(self._directory, identity)
        except OSError as error:
            # without a durable bdSeq a death could be taken for that of another session
            why = f"the bdSeq cannot be kept on the disk: {error.strerror}"
            raise SinkError(why) from error
        session = EdgeNodeSession(
            config.group,
            config.node,
            bd_seq=bd_seq,
            primary_host_id=config.primary_host,
        )
        will = session.will(self._now_ms())
        connection = await connect(
            config.broker, f"fpe-{identity}", (will.topic, will.payload, will.qos), self._clock
        )
        if self._host is not None:
            # Sparkplug 3.0, 5.4.1: its STATE has to come again over this connection
            self._host.forget_online()
        self._connection, self._session = connection, session
        self._connects += 1
        session.connected()
        connection.on_message = partial(self._received, session)
        for topic, qos in session.subscriptions():
            await connection.subscribe(topic, qos)
        return connection, session

    async def _wait_for_host(self, connection: MqttConnection, outlet: Outlet) -> None:
        """With a primary host, send nothing until it is online (Sparkplug 3.0, 5.4.1)."""
        while self._host is not None and not self._host.is_online:
            self._state = "waiting"
            self._reason = f"primary host {self._host.host_id} is not online; data is journalled"
            connection.check()
            await outlet.next(CHECK_S)

    def _birth(self, connection: MqttConnection, session: EdgeNodeSession) -> None:
        """Publish NBIRTH and every DBIRTH; also the answer to a rebirth command."""
        self._rebirth_wanted = False
        now_ms = self._now_ms()
        generation = self._tags.generation
        in_use = self._tags.in_use()
        births = device_births(in_use, self._tags, now_ms)
        for message in session.birth(node_birth(self._version, now_ms), births, now_ms):
            self._publish(connection, message)
        self._remember(in_use, generation)
        self.births_count += 1
        self._born_s = self._clock.monotonic_s()
        logger().info("sparkplug.born", devices_count=len(births), metrics_count=len(in_use))

    def _remember(self, in_use: list[TagDefinition], generation: int) -> None:
        self._places = TagPlaces(in_use)
        self._born = {}
        for definition in in_use:
            self._born.setdefault(definition.device, []).append(definition)
        self._born_generation = generation

    def _rebear_changed(self, connection: MqttConnection, session: EdgeNodeSession) -> None:
        """Give birth to the devices whose tags changed: DDEATH for those born, then DBIRTH."""
        now_ms = self._now_ms()
        generation = self._tags.generation
        in_use = self._tags.in_use()
        wanted: dict[str, list[TagDefinition]] = {}
        for definition in in_use:
            wanted.setdefault(definition.device, []).append(definition)
        changed = [d for d in wanted if self._born.get(d) != wanted[d]]
        gone = [d for d in self._born if d not in wanted]
        for device in gone + [d for d in changed if d in self._born]:
            self._publish(connection, session.device_death(device, now_ms))
        members = [definition for device in changed for definition in wanted[device]]
        for birth in device_births(members, self._tags, now_ms):
            self._publish(connection, session.device_birth(birth, now_ms))
        self._remember(in_use, generation)
        logger().info("sparkplug.devices_born", devices=len(changed), gone=len(gone))

    async def _step(
        self, connection: MqttConnection, session: EdgeNodeSession, outlet: Outlet
    ) -> None:
        portion = await outlet.next(CHECK_S)
        connection.check()
        if self._host is not None and not self._host.is_online:
            raise SinkError(f"primary host {self._host.host_id} went offline")
        if self._rebirth_wanted:
            # a storm of hosts after a broker's restart asks once each: one answer for all
            since_s = self._clock.monotonic_s() - self._born_s
            await self._clock.sleep_s(max(0.0, REBIRTH_PAUSE_S - since_s))
            connection.check()
            self._birth(connection, session)
        if self._tags.generation != self._born_generation:
            self._rebear_changed(connection, session)
        if portion is None:
            return
        self._state = "live" if portion.lane == "live" else "catching_up"
        self._send(connection, session, outlet, portion)
        while connection.write_buffer_bytes() > WRITE_BUFFER_BYTES_MAX:
            # the broker is slower than the plant: live rows wait in their lane, then as backlog
            await self._clock.sleep_s(DRAIN_STEP_S)
            connection.check()

    def _send(
        self,
        connection: MqttConnection,
        session: EdgeNodeSession,
        outlet: Outlet,
        portion: Portion,
    ) -> None:
        messages, left_out = encode_rows(
            portion.rows, self._places, is_historical=portion.lane == "backlog"
        )
        self.left_out += left_out
        now_ms = self._now_ms()
        for data in messages:
            self._publish(connection, session.data(data.device, data.body, now_ms))
            self._sent += data.samples_count
        first, last = portion.rows[0].sequence, portion.rows[-1].sequence
        connection.fence(partial(outlet.confirm, first, last))

    def _publish(self, connection: MqttConnection, message: OutboundMessage) -> None:
        connection.publish(message.topic, message.payload, qos=message.qos, retain=message.retain)

    def _received(
        self,
        session: EdgeNodeSession,
        topic: str,
        payload: bytes,
        retained: bool,
    ) -> None:
        """Take what the broker delivers; acts only by flags, the session's task does the work."""
        if self._host is not None and "/STATE/" in topic:
            state = parse_state(payload)
            if state is not None:
                self._host.accept(state)
        else:
            for command in session.on_command(topic, payload, retained=retained):
                self._rebirth_wanted = self._rebirth_wanted or command.kind == "rebirth"
        if self._outlet is not None:
            self._outlet.wake()

    async def _end(self) -> None:
        connection, session = self._connection, self._session
        if session is not None and session.state != "offline":
            if connection is not None and not connection.is_lost:
                self._publish(connection, session.death(self._now_ms()))
            else:
                session.disconnected()
        if connection is not None and not connection.is_lost:
            await connection.close()
        self._born_generation = -1

    def _now_ms(self) -> int:
        return self._clock.wall_us() // 1000
