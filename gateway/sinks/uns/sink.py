"""The UNS mirror: each tag's last value as JSON, where people and simple readers look.

Live values only: a mirror shows what is; history goes by Sparkplug and the hub, which lose nothing.
So the outlet passes the backlog over, and after each connect the last value of every tag is sent.
A tag is sent once per ``interval_ms`` at most and all together ``messages_per_s_max`` times a
second; a value that has to wait is overtaken by a newer one, so what waits is one flag per tag.

One task per session. MQTT QoS 0; a fence behind every portion moves the cursor and finds a
half-open link (runtime/mqtt.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

from contract.config_uns import UnsConfig
from contract.factoryplus import DeviceIdentity
from gateway.errors import SinkError
from gateway.sinks.base import Outlet, Portion, SinkReport, SinkState, TagView
from gateway.sinks.uns.message import Place, json_of, place_of, quality_property
from gateway.sinks.uns.waiting import Waiting
from runtime.clock import Clock
from runtime.log import logger
from runtime.mqtt import MqttConnection, MqttError, MqttTooLargeError, connect

NAME: Final = "uns"
WRITE_BUFFER_BYTES_MAX: Final = 1_000_000
CHECK_S: Final = 2.0


class UnsSink:
    """The mirror at one broker.

    ``report().left_out`` counts values that a newer one of their tag overtook, and those that are
    larger than the broker takes.
    """

    def __init__(
        self,
        config: UnsConfig,
        devices: Mapping[str, DeviceIdentity],
        client_id: str,
        tags: TagView,
        clock: Clock,
    ) -> None:
        self._config = config
        self._devices = {name: d for name, d in devices.items() if d.levels}
        self._client_id = client_id
        self._tags = tags
        self._clock = clock
        self._connection: MqttConnection | None = None
        self._waiting = Waiting(config.interval_ms / 1000, config.messages_per_s_max)
        self._places: dict[int, Place] = {}
        self._generation = -1
        self._state: SinkState = "connecting"
        self._reason = ""
        self._connects = 0
        self._sent = 0
        self._too_large = 0

    @property
    def name(self) -> str:
        """The consumer's name."""
        return NAME

    def report(self) -> SinkReport:
        """Return what to show of the sink now."""
        connection = self._connection
        return SinkReport(
            state=self._state,
            target=self._config.broker.url,
            reason=self._reason,
            sent=self._sent,
            left_out=self._waiting.overtaken_count + self._too_large,
            connects=self._connects,
            last_acknowledged_s=None if connection is None else connection.last_response_s,
        )

    async def run_session(self, outlet: Outlet) -> None:
        """Connect, send what is and then what changes; see ``sinks.base.Sink``."""
        self._state = "connecting"
        connection: MqttConnection | None = None
        try:
            connection = await connect(self._config.broker, self._client_id, None, self._clock)
            connection.on_lost = outlet.wake
            self._connection = connection
            self._connects += 1
            outlet.begin()
            self._place_tags()
            self._waiting.begin(self._with_value(self._places), self._clock.monotonic_s())
            self._state, self._reason = "live", ""
            while True:
                await self._step(connection, outlet)
        except MqttError as error:
            self._state, self._reason = "waiting", str(error)
            raise SinkError(str(error)) from error
        finally:
            if connection is not None and not connection.is_lost:
                await connection.close()

    async def _step(self, connection: MqttConnection, outlet: Outlet) -> None:
        wait_s = min(CHECK_S, self._waiting.next_s(self._clock.monotonic_s()))
        portion = await outlet.next(wait_s)
        connection.check()
        if self._tags.generation != self._generation:
            self._place_tags()
        if portion is not None:
            self._take(portion)
        if connection.write_buffer_bytes() <= WRITE_BUFFER_BYTES_MAX:
            for tag in self._waiting.take_due(self._clock.monotonic_s()).tolist():
                self._publish(connection, tag)
        if portion is not None:
            first, last = portion.rows[0].sequence, portion.rows[-1].sequence
            connection.fence(partial(outlet.confirm, first, last))

    def _take(self, portion: Portion) -> None:
        for row in portion.rows:
            if row.batch.is_historical:
                continue  # what was filled from history is older than the last values
            for columns in row.batch.columns:
                self._waiting.note(columns.tag)

    def _publish(self, connection: MqttConnection, tag: int) -> None:
        last = self._tags.last(tag)
        if last is None:
            return
        place = self._places[tag]
        body = json_of(place.data_type, last)
        properties = [*place.properties, *quality_property(last.status)]
        try:
            connection.publish(
                place.topic, body, retain=self._config.retain, user_properties=properties
            )
        except MqttTooLargeError:
            self._too_large += 1
        else:
            self._sent += 1

    def _place_tags(self) -> None:
        """Give each tag of a device with an enterprise its topic; new ones are sent once."""
        self._generation = self._tags.generation
        places: dict[int, Place] = {}
        taken: dict[str, int] = {}
        for definition in self._tags.in_use():
            device = self._devices.get(definition.device)
            place = None if device is None else place_of(definition, device)
            if place is None:
                continue
            first = taken.setdefault(place.topic, definition.index)
            if first != definition.index:
                logger().warning("uns.topic_taken", topic=place.topic, metric=definition.name)
                continue
            places[definition.index] = place
        fresh = [tag for tag, place in places.items() if self._places.get(tag) != place]
        self._places = places
        self._waiting.use(list(places), self._with_value(fresh))

    def _with_value(self, tags: Iterable[int]) -> list[int]:
        """Leave out tags that never reported: their first value shall not wait for its turn."""
        return [tag for tag in tags if self._tags.last(tag) is not None]
