"""What an edge node says over one connection: births, deaths and data, each with the next seq.

The rule of births and deaths is in ``devices``; here it is carried out. Nothing here waits: each
message goes to the socket in the order of its seq, and the sink's task holds back between portions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from contract.config import SparkplugConfig
from contract.upload import TagDefinition
from gateway.errors import SinkError
from gateway.sinks.base import Outlet, Portion, TagView
from gateway.sinks.sparkplug.births import device_births, node_birth
from gateway.sinks.sparkplug.devices import DeviceBook
from gateway.sinks.sparkplug.encode import (
    MESSAGE_BYTES_MAX,
    DeviceData,
    encode_batch,
    encode_rows,
)
from gateway.sinks.sparkplug.factoryplus import Conventions
from gateway.sinks.sparkplug.quality import told_again
from runtime.clock import Clock
from runtime.log import logger
from runtime.mqtt import MqttConnection
from sparkplug_b.birth import DeviceBirth
from sparkplug_b.birth_size import BirthFit
from sparkplug_b.edge import EdgeNodeSession, OutboundMessage
from sparkplug_b.errors import (
    DuplicateAliasError,
    DuplicateNameError,
    EncodeError,
    PacketTooLargeError,
)
from sparkplug_b.topic import device_topic

HEADER_BYTES_MAX = 100
"""What stands around the metrics in a DATA payload: timestamp, seq, uuid."""


@dataclass(slots=True, kw_only=True)
class EdgeNode:
    """What all sessions of an edge node share; counts are since the start.

    ``gateway_id`` gives the hub's id of this gateway, "" before it is enrolled.
    """

    config: SparkplugConfig
    version: str
    tags: TagView
    devices: DeviceBook
    conventions: Conventions
    clock: Clock
    gateway_id: Callable[[], str] = str
    sent: int = 0
    left_out: int = 0
    births_count: int = 0


class Speaker:
    """One session's voice."""

    def __init__(
        self, node: EdgeNode, connection: MqttConnection, session: EdgeNodeSession
    ) -> None:
        self._node = node
        self._devices = node.devices
        self._connection = connection
        self._session = session
        self._data_bytes_max = MESSAGE_BYTES_MAX

    # -- births and deaths ------------------------------------------------------------------------

    def birth(self, *, has_next_server: bool) -> None:
        """Send NBIRTH and the DBIRTH of every device that is up; also answers a rebirth.

        Raises:
            SinkError: the broker takes no NBIRTH of this size.
        """
        node, now_ms = self._node, self._now_ms()
        about = node_birth(
            node.version,
            now_ms,
            has_next_server=has_next_server,
            conventions=node.conventions,
            gateway_id=node.gateway_id(),
        )
        try:
            for message in self._session.birth(about, (), now_ms):
                self._publish(message)
        except PacketTooLargeError as error:
            raise SinkError(str(error)) from error
        self._devices.begin()
        node.births_count += 1
        self.change(())

    def change(self, again: Collection[str]) -> None:
        """Bring what is born in line with tags and sources; bear devices in ``again`` anew."""
        devices = self._devices
        changes = devices.changes()
        kept = set(devices.born) - set(changes.dying) - set(devices.for_history)
        again = kept & set(again)
        self._bury([*changes.dying, *again])
        for device in [*changes.coming, *again]:
            self._bear(device)
        self._settle()
        self._tell_again(changes.stale, stale=True)
        self._tell_again(changes.fresh, stale=False)
        logger().info(
            "sparkplug.devices_changed",
            coming=len(changes.coming),
            dying=len(changes.dying),
            devices_count=len(devices.born),
        )

    def tell_alerts(self) -> None:
        """Send NDATA of the gateway's alerts that changed."""
        now_ms = self._now_ms()
        body = self._node.conventions.changed_alerts(now_ms)
        if body is not None:
            self._publish(self._session.data(None, body, now_ms))

    def bury_all(self) -> None:
        """Send the DDEATH of every device: the node is about to stop."""
        if self._session.state == "born":
            self._bury(self._devices.born)

    def end_history(self, outlet: Outlet) -> None:
        """Let the devices die again that were born for their history, once they have all of it."""
        devices = self._devices.for_history
        if devices and not outlet.has_backlog:
            self._bury(devices)
            self._settle()

    def _bury(self, devices: Sequence[str]) -> None:
        now_ms = self._now_ms()
        for device in devices:
            self._publish(self._session.device_death(device, now_ms))
            self._devices.bury(device)

    def _bear(self, device: str, *, for_history: bool = False) -> None:
        """Send a DBIRTH; a device that cannot have one is refused, and its neighbours go on."""
        node, now_ms = self._node, self._now_ms()
        definitions = self._devices.definitions(device)
        (birth,) = device_births(definitions, node.tags, now_ms, node.conventions)
        try:
            message = self._fitting(birth, now_ms)
        except PacketTooLargeError as error:
            self._refuse(device, str(error))
        except (EncodeError, DuplicateNameError, DuplicateAliasError) as error:
            self._refuse(device, f"device {device} cannot be born: {error}")
        else:
            self._publish(message)
            self._devices.bear(device, for_history=for_history)

    def _fitting(self, birth: DeviceBirth, now_ms: int) -> OutboundMessage:
        """Return the DBIRTH, without some properties where it is too large with them.

        Raises:
            PacketTooLargeError: sparkplug.packet_too_large, even so.
        """
        try:
            return self._session.device_birth(birth, now_ms)
        except PacketTooLargeError as error:
            config, conventions = self._node.config, self._node.conventions
            fit = BirthFit(
                config.group,
                config.node,
                error.packet_bytes_max,
                payload_uuid=conventions.payload_uuid,
                timestamp_unit=conventions.unit,
            )
            slim, properties = fit.slim(birth)
        message = self._session.device_birth(slim, now_ms)
        logger().warning(
            "sparkplug.birth_slimmed",
            device=birth.device_id,
            left_out=list(properties),
            remedy="raise the broker's limit, or split the device",
        )
        return message

    def _refuse(self, device: str, why: str) -> None:
        logger().error("sparkplug.device_refused", device=device, reason=why)
        self._devices.refuse(device, f"{why}; its samples are journalled only")

    def _settle(self) -> None:
        self._devices.settle()
        born = self._devices.places.devices
        limits = [self._connection.payload_bytes_max(self._topic(device)) for device in born]
        room = min(limits, default=MESSAGE_BYTES_MAX) - HEADER_BYTES_MAX
        self._data_bytes_max = max(1, min(MESSAGE_BYTES_MAX, room))

    # -- data -------------------------------------------------------------------------------------

    def send(self, portion: Portion, outlet: Outlet) -> None:
        """Send a portion's samples, and confirm it to the outlet once the broker has read them."""
        is_historical = portion.lane == "backlog"
        messages, left_out = encode_rows(
            portion.rows,
            self._devices.places,
            is_historical=is_historical,
            bytes_max=self._data_bytes_max,
        )
        if left_out and self._devices.dead_places.devices:
            late = self._of_the_dead(portion)
            left_out -= sum(data.samples_count for data in late)
            messages += late
        self._node.left_out += left_out
        for data in messages:
            self._send_data(data)
        first, last = portion.rows[0].sequence, portion.rows[-1].sequence
        self._connection.fence(partial(outlet.confirm, first, last))

    def _of_the_dead(self, portion: Portion) -> list[DeviceData]:
        """Return samples of devices that are dead by now, born for them: history in either lane."""
        late, _ = encode_rows(
            portion.rows,
            self._devices.dead_places,
            is_historical=True,
            bytes_max=self._data_bytes_max,
        )
        for device in sorted({data.device for data in late}):
            self._bear(device, for_history=True)
        self._settle()
        return late

    def _send_data(self, data: DeviceData) -> None:
        if data.device in self._devices.refused:
            self._node.left_out += data.samples_count
            return
        try:
            message = self._session.data(data.device, data.body, self._now_ms())
        except PacketTooLargeError:
            # one value that is larger than what the broker takes
            self._node.left_out += data.samples_count
            return
        self._publish(message)
        self._node.sent += data.samples_count

    def _tell_again(self, tags: Sequence[TagDefinition], *, stale: bool) -> None:
        now_us = self._node.clock.wall_us()
        batch = told_again(tags, self._node.tags, now_us, stale=stale)
        messages, _ = encode_batch(
            batch, self._devices.places, is_historical=False, bytes_max=self._data_bytes_max
        )
        for data in messages:
            self._publish(self._session.data(data.device, data.body, self._now_ms()))

    def _topic(self, device: str) -> str:
        config = self._node.config
        return device_topic(config.group, "DDATA", config.node, device)

    def _publish(self, message: OutboundMessage) -> None:
        self._connection.publish(
            message.topic, message.payload, qos=message.qos, retain=message.retain
        )

    def _now_ms(self) -> int:
        return self._node.clock.wall_us() // 1000
