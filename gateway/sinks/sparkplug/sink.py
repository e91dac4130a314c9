"""The Sparkplug edge node: births first, live data, backlog as historical, fences for proof.

One task per session. DATA is QoS 0, so a row is confirmed only when a fence behind it came back
(runtime/mqtt.py); what was sent after the last fence goes out again, historical, after the next
births. Requests of hosts are answered between two portions: no DATA goes out between a rebirth
command and the births. Which devices are born is decided in ``devices.py``, to which broker the
node is connected in ``brokers.py``, what becomes of commands in ``requests.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio

from contract.config import SparkplugConfig
from gateway.errors import SinkError, SinkMovedError
from gateway.sinks.base import CommandPort, Outlet, SinkReport, SinkState, TagView
from gateway.sinks.sparkplug import bdseq
from gateway.sinks.sparkplug.brokers import BrokerWalk
from gateway.sinks.sparkplug.devices import DeviceBook
from gateway.sinks.sparkplug.factoryplus import Conventions, plain_sparkplug
from gateway.sinks.sparkplug.requests import Requests
from gateway.sinks.sparkplug.speaker import EdgeNode, Speaker
from runtime.clock import Clock
from runtime.mqtt import MqttConnection, MqttError, connect
from sparkplug_b.compression import CompressionAlgorithm
from sparkplug_b.edge import EdgeNodeSession
from sparkplug_b.edge_message import EdgeOptions
from sparkplug_b.state import PrimaryHost, parse_state
from sparkplug_b.topic import state_topic

WRITE_BUFFER_BYTES_MAX = 4_000_000
CHECK_S = 2.0
DRAIN_STEP_S = 0.02
REBIRTH_PAUSE_S = 0.2
"""The least time between two births of one session."""
FRAME_BYTES_SPARE = 2
"""A packet id, which only QoS 1 has: ``MqttConnection.publish`` allows for it always."""
_ALGORITHMS: dict[str, CompressionAlgorithm] = {"deflate": "DEFLATE", "gzip": "GZIP"}


class SparkplugSink:
    """An edge node; it is at one broker at a time."""

    def __init__(
        self,
        config: SparkplugConfig,
        tags: TagView,
        directory: Path,
        version: str,
        clock: Clock,
        conventions: Conventions | None = None,
    ) -> None:
        self._config = config
        self._conventions = conventions or plain_sparkplug(clock)
        self._tags = tags
        self._directory = directory
        self._clock = clock
        self._walk = BrokerWalk(config)
        self._devices = DeviceBook(tags, self._conventions)
        self._node = EdgeNode(
            config=config,
            version=version,
            tags=tags,
            devices=self._devices,
            conventions=self._conventions,
            clock=clock,
        )
        self._requests = Requests(config.command_age_s_max, clock)
        self._connection: MqttConnection | None = None
        self._session: EdgeNodeSession | None = None
        self._speaker: Speaker | None = None
        self._outlet: Outlet | None = None
        self._heard = anyio.Event()
        self._born_s = 0.0
        self._state: SinkState = "connecting"
        self._reason = ""
        self._connects = 0

    def identify(self, gateway_id: Callable[[], str]) -> None:
        """Tell who this gateway is to the hub, "" for nobody; said in each NBIRTH."""
        self._node.gateway_id = gateway_id

    @property
    def name(self) -> str:
        """The consumer's name."""
        return "sparkplug"

    @property
    def births_count(self) -> int:
        """NBIRTHs sent since the start."""
        return self._node.births_count

    def take_commands(self, port: CommandPort) -> None:
        """Hand writes that hosts ask for to ``port``; without one they are not carried out."""
        self._requests.port = port

    def report(self) -> SinkReport:
        """Return what to show of the sink now."""
        connection = self._connection
        refused = self._devices.refused
        reason = self._reason
        if not reason and refused:
            others = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
            reason = f"{next(iter(refused.values()))}{others}"
        return SinkReport(
            state=self._state,
            target=self._walk.broker.url,
            reason=reason,
            sent=self._node.sent,
            left_out=self._node.left_out,
            connects=self._connects,
            last_acknowledged_s=None if connection is None else connection.last_response_s,
            commands=dict(self._requests.counts),
        )

    async def run_session(self, outlet: Outlet) -> None:
        """Connect, give birth, send until the connection is lost; see ``sinks.base.Sink``."""
        self._outlet = outlet
        self._state = "connecting"
        is_stopping = False
        try:
            connection, session = await self._connect()
            await self._wait_for_host(connection, self._walk.host)
            outlet.begin()
            speaker = self._speaker = Speaker(self._node, connection, session)
            self._birth(speaker)
            self._state, self._reason = "live", ""
            while True:
                await self._step(connection, speaker, outlet)
        except (SinkError, MqttError) as error:
            self._state, self._reason = "waiting", str(error)
            raise error if isinstance(error, SinkError) else SinkError(str(error)) from error
        except anyio.get_cancelled_exc_class():
            is_stopping = True
            raise
        finally:
            await self._end(is_stopping=is_stopping)

    # -- a session --------------------------------------------------------------------------------

    async def _connect(self) -> tuple[MqttConnection, EdgeNodeSession]:
        """Connect to the broker whose turn it is; where that fails it is the next one's turn."""
        config, broker, host = self._config, self._walk.broker, self._walk.host
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
            payload_uuid=self._conventions.payload_uuid,
            options=EdgeOptions(
                timestamp_unit=self._conventions.unit,
                compression=_ALGORITHMS.get(config.compression),
            ),
        )
        will = session.will(self._now_ms())
        self._requests.begin()
        if host is not None:
            # Sparkplug 3.0, 5.4.1: its STATE has to come again over this connection
            host.forget_online()
        try:
            connection = await connect(
                broker, f"fpe-{identity}", (will.topic, will.payload, will.qos), self._clock
            )
            self._connection, self._session = connection, session
            self._connects += 1
            # what stands around a payload is counted closer by the session
            session.connected(packet_bytes_max=connection.packet_bytes_max - FRAME_BYTES_SPARE)
            connection.on_lost = self._wake
            connection.on_message = partial(self._received, session, host)
            for topic, qos in session.subscriptions():
                await connection.subscribe(topic, qos)
        except MqttError:
            self._walk.move()
            raise
        return connection, session

    async def _wait_for_host(self, connection: MqttConnection, host: PrimaryHost | None) -> None:
        """With a primary host, send nothing until it is online (Sparkplug 3.0, 5.4.1).

        Where there are several brokers the wait is bounded: this one's STATE may never come.
        """
        since_s = self._clock.monotonic_s()
        while host is not None and not host.is_online:
            self._state = "waiting"
            self._reason = f"primary host {host.host_id} is not online; data is journalled"
            self._heard = anyio.Event()
            connection.check()
            left_s = CHECK_S
            if self._walk.is_several:
                waited_s = self._clock.monotonic_s() - since_s
                left_s = min(CHECK_S, self._config.host_wait_s - waited_s)
                if left_s <= 0:
                    raise self._moved(f"primary host {host.host_id} was not online")
            with anyio.move_on_after(left_s):
                await self._heard.wait()

    async def _step(self, connection: MqttConnection, speaker: Speaker, outlet: Outlet) -> None:
        death_s = self._tags.next_death_s
        portion = await outlet.next(CHECK_S if death_s is None else min(CHECK_S, death_s))
        connection.check()
        self._check_stay()
        requests = self._requests
        if requests.rebirth:
            # a storm of hosts after a broker's restart asks once each: one answer for all
            since_s = self._clock.monotonic_s() - self._born_s
            await self._clock.sleep_s(max(0.0, REBIRTH_PAUSE_S - since_s))
            connection.check()
            self._birth(speaker)
        if requests.rebirth_of or self._devices.is_outdated:
            speaker.change(requests.rebirth_of)
            requests.rebirth_of.clear()
        speaker.tell_alerts()
        if portion is not None:
            self._state = "live" if portion.lane == "live" else "catching_up"
            speaker.send(portion, outlet)
        speaker.end_history(outlet)
        while connection.write_buffer_bytes() > WRITE_BUFFER_BYTES_MAX:
            # the broker is slower than the plant: live rows wait in their lane, then as backlog
            await self._clock.sleep_s(DRAIN_STEP_S)
            connection.check()

    def _birth(self, speaker: Speaker) -> None:
        self._requests.rebirth = False
        self._requests.rebirth_of.clear()
        speaker.birth(has_next_server=self._walk.is_several)
        self._born_s = self._clock.monotonic_s()

    def _check_stay(self) -> None:
        """Raise when the node has to leave this broker: for its primary host, or on command."""
        host = self._walk.host
        if host is not None and not host.is_online:
            raise self._moved(f"primary host {host.host_id} went offline")
        if self._requests.next_server:
            raise self._moved("a host asked for the next server")

    def _moved(self, why: str) -> SinkMovedError:
        left = self._walk.broker.url
        self._walk.move()
        return SinkMovedError(f"{why} at {left}")

    # -- what comes from the broker ---------------------------------------------------------------

    def _received(
        self,
        session: EdgeNodeSession,
        host: PrimaryHost | None,
        topic: str,
        payload: bytes,
        retained: bool,
    ) -> None:
        """Take what the broker delivers; acts only by flags, the session's task does the work."""
        if host is not None and topic == state_topic(host.host_id):
            state = parse_state(payload)
            if state is not None:
                host.accept(state)
        else:
            message = (topic, payload, retained)
            self._requests.take(session, self._devices, message, self._walk.broker.url)
        self._wake()

    def _wake(self) -> None:
        self._heard.set()
        if self._outlet is not None:
            self._outlet.wake()

    async def _end(self, *, is_stopping: bool) -> None:
        """End the session: NDEATH, read by the broker, before DISCONNECT (Sparkplug 3.0, 6.4.25).

        At a stop of the gateway the devices die first. Where the broker does not answer the
        connection is cut, so that it sends the Will.
        """
        connection, session, speaker = self._connection, self._session, self._speaker
        self._session = self._speaker = None
        if connection is None or session is None:
            return
        if not connection.is_lost:
            with anyio.CancelScope(shield=True):
                try:
                    if speaker is not None and is_stopping:
                        speaker.bury_all()
                    death = session.death(self._now_ms())
                    connection.publish(death.topic, death.payload, qos=death.qos)
                    is_said = await connection.settle()
                except MqttError:
                    is_said = False
                if is_said:
                    await connection.close(with_will=True)
                else:
                    connection.abandon()
        session.disconnected()
        self._devices.begin()

    def _now_ms(self) -> int:
        return self._clock.wall_us() // 1000
