"""An MQTT broker as a source: plain JSON messages become samples.

QoS 1: a message is acknowledged only when its values are durable, and the broker keeps our session,
so that what comes while we are away, or was not yet committed at a kill, comes again. The broker
stops sending when ``max_inflight_messages`` are unacknowledged: that is the back-pressure (20 by
default in mosquitto; more is faster). With no such limit ours holds: a message beyond it is left
unacknowledged, and the connection is made again so that it comes again. A message that comes twice
is two samples of one time.
QoS 0: what the link loses is lost, and counted by nobody; a gap without a session is entered.
Retained messages are the broker's last ones: they are taken, once per session.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio

from contract.config import MqttSourceConfig, MqttTagConfig
from gateway.errors import SourceError, WriteRefusedError
from gateway.sources.base import SourcePort, SourceReport, SourceState, TagSpec
from gateway.sources.mqtt.collector import SAMPLES_MAX, Collector, address_of
from gateway.sources.mqtt.reading import DATA_TYPE_OF
from runtime.clock import Clock
from runtime.log import logger
from runtime.mqtt import KeptSession, MqttConnection, MqttError, connect
from sparkplug_b.datatype import DataType

CHECK_S = 2.0
GATHER_S = 0.05
"""How long values gather before they are handed over: one batch for many messages."""
DURABLE_TIMEOUT_S = 10.0
TROUBLES_SHOWN = 100
_NO_DEADBAND = frozenset({DataType.BOOLEAN, DataType.STRING, DataType.DATETIME})


class MqttSource:
    """One broker. ``run_session`` is one connection; the engine calls it again."""

    def __init__(self, config: MqttSourceConfig, gateway_id: str, clock: Clock) -> None:
        self._config = config
        self._client_id = config.client_id or f"fpe-{gateway_id}-{config.name}"
        self._clock = clock
        self._collector = Collector(config)
        self._arrived = anyio.Event()
        self._state: SourceState = "starting"
        self._reason = ""
        self._sessions_count = 0
        self._last_value_s: float | None = None
        self._all_taken_us = 0  # until when all that came was handed over
        self._is_overfull = False

    @property
    def name(self) -> str:
        """The source's name in the configuration."""
        return self._config.name

    def status(self) -> SourceReport:
        """Return what to show of the source now."""
        troubles = list(self._collector.troubles.values())
        return SourceReport(
            state=self._state,
            endpoint=self._config.broker.url,
            reason=self._reason,
            tags_total=len(self._config.tags),
            values_count=self._collector.values_count,
            sessions_count=self._sessions_count,
            last_value_s=self._last_value_s,
            troubles=troubles[:TROUBLES_SHOWN],
            troubles_count=len(troubles),
        )

    async def write(self, address: str, value: object) -> None:  # noqa: ARG002 - the seam's
        """Refuse: this kind of source is read only; see ``sources.base.Source``."""
        raise WriteRefusedError("not_supported", f"MQTT sources are never written ({address})")

    async def run_session(self, port: SourcePort) -> None:
        """Connect, subscribe, collect until the link is lost; see ``sources.base.Source``."""
        self._state, self._reason = "connecting", ""
        self._is_overfull = False
        self._collector.indexes = port.register([_spec(self._config, t) for t in self._config.tags])
        connection: MqttConnection | None = None
        try:
            connection = await self._connect()
            if not connection.session_present:
                self._note_gap(port)
            for topic in self._collector.topics:
                await connection.subscribe(topic, self._config.qos)
            self._sessions_count += 1
            self._state = "up"
            port.up()
            logger().info(
                "mqtt.session_opened", source=self.name, topics=len(self._collector.topics)
            )
            while True:
                await self._step(connection, port)
        except MqttError as error:
            self._state, self._reason = "waiting", str(error)
            raise SourceError(str(error)) from error
        finally:
            # what is not acknowledged the broker sends again
            lost_count = self._collector.discard()
            if lost_count:
                port.drop("session_gap", lost_count)
            if connection is not None:
                await connection.close()

    async def _connect(self) -> MqttConnection:
        kept = None
        if self._config.qos:
            kept = KeptSession(expiry_s=self._config.session_expiry_s, received=self._kept)
        connection = await connect(
            self._config.broker, self._client_id, None, self._clock, kept=kept
        )
        connection.on_message = self._received
        connection.on_lost = self._wake
        return connection

    def _note_gap(self, port: SourcePort) -> None:
        """Enter that the broker kept no session of ours: what came meanwhile is not known."""
        since_us = self._all_taken_us or port.last_stored_time_us()
        if since_us:
            port.lose(
                "session_gap",
                since_us,
                max(self._clock.wall_us(), since_us),
                detail="the broker kept no session: messages of that time did not reach us",
            )

    async def _step(self, connection: MqttConnection, port: SourcePort) -> None:
        with anyio.move_on_after(CHECK_S):
            await self._arrived.wait()
        if self._config.qos or not self._arrived.is_set():
            # a lost connection's QoS 1 messages come again; of QoS 0, what came is all there is
            connection.check()
        if not self._arrived.is_set():
            self._all_taken_us = self._clock.wall_us()
            if not connection.fences_open:
                connection.fence(_passed)  # a half-open link is found out by its silence
            return
        await self._clock.sleep_s(GATHER_S)
        self._arrived = anyio.Event()
        await self._hand_over(port)
        connection.check()

    async def _hand_over(self, port: SourcePort) -> None:
        """Put what has gathered. Raises MqttError when messages had to be left with the broker."""
        for reason, count in self._collector.take_drops().items():
            port.drop(reason, count)
        batch, acknowledge = self._collector.take()
        self._all_taken_us = self._clock.wall_us()
        durable = anyio.Event()

        def stored() -> None:
            for tell in acknowledge:
                tell()
            durable.set()

        if not len(batch):
            stored()  # nothing in them can be stored: they are counted, and must not come again
            return
        self._last_value_s = self._clock.monotonic_s()
        await port.put(batch, (), stored)
        if self._is_overfull:
            with anyio.move_on_after(DURABLE_TIMEOUT_S):
                await durable.wait()  # acknowledged first, lest they come twice
            raise MqttError(f"over {SAMPLES_MAX} samples waited: the broker is asked for the rest")

    def _kept(
        self, topic: str, payload: bytes, _retained: bool, acknowledge: Callable[[], None]
    ) -> None:
        taken = self._collector.message(topic, payload, self._clock.wall_us(), acknowledge)
        self._is_overfull = self._is_overfull or not taken
        self._wake()

    def _received(self, topic: str, payload: bytes, _retained: bool) -> None:
        self._collector.message(topic, payload, self._clock.wall_us())
        self._wake()

    def _wake(self) -> None:
        self._arrived.set()


def _spec(config: MqttSourceConfig, tag: MqttTagConfig) -> TagSpec:
    data_type = DATA_TYPE_OF[tag.type]
    takes_deadband = tag.deadband is not None and data_type not in _NO_DEADBAND
    return TagSpec(
        name=tag.name,
        device=tag.device or config.name,
        data_type=DataType.DOUBLE if tag.scale else data_type,
        address=address_of(tag),
        gain=tag.scale.gain if tag.scale else 1.0,
        offset=tag.scale.offset if tag.scale else 0.0,
        deadband=tag.deadband.absolute if takes_deadband and tag.deadband else 0.0,
        unit=tag.unit,
        description=tag.description,
        record=tag.record,
    )


def _passed() -> None:
    """A fence that only asks whether the broker still answers."""
