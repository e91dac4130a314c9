"""An edge node's session, from CONNECT to NDEATH, as a pure state machine.

It gives messages to publish and takes commands in; it never does I/O and is told the time. One
object per CONNECT: the bdSeq in its Will is fixed (`next_bd_seq`, stored durably *before* the
CONNECT is sent, is the caller's). Order of calls: `will` -> CONNECT -> `connected` -> subscribe ->
`birth` -> `data` ... -> `death` -> DISCONNECT, or `disconnected` when the connection is lost.

Every message takes the next seq when it is made, so it has to be handed to the MQTT client at
once, in order, and not be dropped: a gap makes the host ask for a rebirth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from sparkplug_b.birth import (
    AliasBook,
    BirthMetric,
    BornScope,
    DeviceBirth,
    aliases_of,
    birth_metrics,
    born_scope,
)
from sparkplug_b.codec import encode
from sparkplug_b.columns import data_payload
from sparkplug_b.command import NODE_REBIRTH, Command, CommandDrop, read_commands
from sparkplug_b.datatype import DataType
from sparkplug_b.errors import (
    DeviceStateError,
    DuplicateNameError,
    NotBornError,
    NotConnectedError,
    SessionError,
    TopicError,
)
from sparkplug_b.payload import Metric, Payload
from sparkplug_b.timestamp import TimestampUnit
from sparkplug_b.topic import (
    NAMESPACE,
    Topic,
    check_id,
    device_topic,
    node_topic,
    parse_topic,
    state_topic,
)

__all__ = [
    "BirthMetric",
    "Command",
    "CommandDrop",
    "DeviceBirth",
    "EdgeNodeSession",
    "EdgeOptions",
    "OutboundMessage",
    "SessionState",
    "next_bd_seq",
]

BD_SEQ: Final = "bdSeq"
SessionState = Literal["offline", "connected", "born"]


class OutboundMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One MQTT message to publish, or the Will."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class EdgeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How an edge node writes.

    Attributes:
        timestamp_unit: of payload and metric timestamps; "ns" is no Sparkplug 3.0, but what
            Factory+ (ACS 6) writes. Bodies given to `data` have to be encoded in it too.
    """

    timestamp_unit: TimestampUnit = "ms"


def next_bd_seq(last: int | None) -> int:
    """Return the bdSeq of the next CONNECT: 0 the first time ever, 255 goes to 0.

    Source: Sparkplug 3.0, tck-id-payloads-ndeath-bdseq, -message-flow-edge-node-birth-publish-*.
    """
    if last is None:
        return 0
    assert 0 <= last <= 255
    return (last + 1) % 256


class EdgeNodeSession:
    """The session of one edge node on one MQTT connection.

    Attributes:
        bd_seq: of this CONNECT, 0 to 255.
        command_drops: commands not returned by `on_command`, by reason.
    """

    def __init__(
        self,
        group_id: str,
        node_id: str,
        *,
        bd_seq: int,
        payload_uuid: str | None = None,
        primary_host_id: str | None = None,
        options: EdgeOptions | None = None,
    ) -> None:
        """Store the identity.

        Args:
            group_id: group of the edge node.
            node_id: the edge node.
            bd_seq: 0 to 255, stored before the CONNECT that uses it.
            payload_uuid: written to births, data and device deaths.
            primary_host_id: adds its STATE topic to the subscriptions.
            options: how to write; None: as Sparkplug 3.0 says.

        Raises:
            TopicError: sparkplug.topic, when an id is not allowed.
        """
        assert 0 <= bd_seq <= 255
        check_id(group_id, what="group id")
        check_id(node_id, what="edge node id")
        if primary_host_id is not None:
            check_id(primary_host_id, what="host id")
        self.bd_seq: Final = bd_seq
        self.command_drops: Counter[CommandDrop] = Counter()
        self._group_id = group_id
        self._node_id = node_id
        self._payload_uuid = payload_uuid
        self._primary_host_id = primary_host_id
        self._options = EdgeOptions() if options is None else options
        self._state: SessionState = "offline"
        self._is_over = False
        self._seq = 0
        self._birth_count = 0
        self._aliases = AliasBook()
        self._born: dict[str | None, BornScope] = {}

    @property
    def state(self) -> SessionState:
        """Say how far the session is; `born` once the last DBIRTH of a birth is taken."""
        return self._state

    @property
    def seq(self) -> int:
        """Return the seq of the next message."""
        return self._seq

    def will(self, now_ms: int) -> OutboundMessage:
        """Return the Will for the CONNECT of this session: NDEATH, QoS 1, not retained."""
        return self._node_death(now_ms)

    def connected(self) -> None:
        """Note the CONNACK.

        Raises:
            SessionError: sparkplug.session, when the session was connected before.
        """
        if self._state != "offline" or self._is_over:
            raise SessionError("a session connects once; the next CONNECT needs a new bdSeq")
        self._state = "connected"

    def disconnected(self) -> None:
        """Note the loss of the connection: the session is over, the broker sends the Will."""
        self._state = "offline"
        self._is_over = True
        self._born.clear()

    def subscriptions(self) -> list[tuple[str, int]]:
        """Return (topic filter, QoS) to subscribe, before the births."""
        devices = f"{NAMESPACE}/{self._group_id}/DCMD/{self._node_id}/+"
        found = [(node_topic(self._group_id, "NCMD", self._node_id), 1), (devices, 1)]
        if self._primary_host_id is not None:
            found.append((state_topic(self._primary_host_id), 1))
        return found

    def birth(
        self, node: DeviceBirth, devices: Sequence[DeviceBirth], now_ms: int
    ) -> Iterator[OutboundMessage]:
        """Return NBIRTH (seq 0) and a DBIRTH per device; also the answer to a rebirth request.

        bdSeq (Int64) and Node Control/Rebirth (false, no alias) are added to the node's metrics.
        Messages are made as they are taken. The session is `born`, and takes data, when all are.

        Raises:
            NotConnectedError: sparkplug.not_connected.
            DuplicateAliasError: sparkplug.duplicate_alias, before anything changed.
            DuplicateNameError: sparkplug.duplicate_name, before anything changed.
            EncodeError: sparkplug.encode; from the iterator when a value does not fit its type.
        """
        self._need_connected()
        assert node.device_id is None
        aliases = AliasBook()
        scopes: dict[str | None, BornScope] = {None: self._node_scope(node)}
        aliases.claim(None, aliases_of(node))
        for device in devices:
            device_id = self._device_id(device)
            if device_id in scopes:
                raise DeviceStateError(device_id, "stands twice in one birth")
            scopes[device_id] = born_scope(device)
            aliases.claim(device_id, aliases_of(device))
        self._aliases = aliases
        self._born = {}
        self._state = "connected"
        self._seq = 0
        self._birth_count += 1
        return self._births([node, *devices], scopes, now_ms)

    def device_birth(self, device: DeviceBirth, now_ms: int) -> OutboundMessage:
        """Return the DBIRTH of a device that comes up after the births.

        Raises:
            NotBornError: sparkplug.not_born.
            DeviceStateError: sparkplug.device_state, when it is born: send its death first.
            DuplicateAliasError: sparkplug.duplicate_alias.
            DuplicateNameError: sparkplug.duplicate_name.
            EncodeError: sparkplug.encode; the device stays unborn.
        """
        self._need_born()
        device_id = self._device_id(device)
        if device_id in self._born:
            raise DeviceStateError(device_id, "is born: a DBIRTH needs a DDEATH before it")
        scope = born_scope(device)
        message = self._birth_message(device, now_ms)
        self._aliases.claim(device_id, aliases_of(device))
        self._born[device_id] = scope
        self._advance_seq()
        return message

    def device_death(self, device_id: str, now_ms: int) -> OutboundMessage:
        """Return the DDEATH of a born device.

        Raises:
            NotBornError: sparkplug.not_born.
            DeviceStateError: sparkplug.device_state, when it is not born.
        """
        self._need_born()
        self._need_device(device_id)
        topic = device_topic(self._group_id, "DDEATH", self._node_id, device_id)
        payload = self._encode(Payload(timestamp_ms=now_ms, seq=self._seq, uuid=self._payload_uuid))
        del self._born[device_id]
        self._aliases.release(device_id)
        self._advance_seq()
        return OutboundMessage(topic=topic, payload=payload, qos=0, retain=False)

    def data(self, device_id: str | None, body: bytes, now_ms: int) -> OutboundMessage:
        """Wrap encoded metrics (`encode_metrics`) as NDATA (`device_id` None) or DDATA.

        Raises:
            NotBornError: sparkplug.not_born.
            DeviceStateError: sparkplug.device_state, when the device is not born.
        """
        self._need_born()
        if device_id is None:
            topic = node_topic(self._group_id, "NDATA", self._node_id)
        else:
            self._need_device(device_id)
            topic = device_topic(self._group_id, "DDATA", self._node_id, device_id)
        payload = data_payload(
            body,
            timestamp_ms=now_ms,
            seq=self._seq,
            uuid=self._payload_uuid,
            timestamp_unit=self._options.timestamp_unit,
        )
        self._advance_seq()
        return OutboundMessage(topic=topic, payload=payload, qos=0, retain=False)

    def death(self, now_ms: int) -> OutboundMessage:
        """End the session on purpose: the NDEATH to publish before DISCONNECT.

        Source: Sparkplug 3.0, tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath.

        Raises:
            NotConnectedError: sparkplug.not_connected.
        """
        self._need_connected()
        self.disconnected()
        return self._node_death(now_ms)

    def on_command(self, topic: str, payload: bytes, *, retained: bool) -> list[Command]:
        """Read what came on a command topic; what is not carried out is in `command_drops`.

        Never raises for its input. Rebirth requests may come several times: coalesce them.
        """
        if retained:
            self.command_drops["retained"] += 1
            return []
        try:
            parsed = parse_topic(topic)
        except TopicError:
            parsed = None
        if (
            not isinstance(parsed, Topic)
            or parsed.message not in {"NCMD", "DCMD"}
            or (parsed.group_id, parsed.node_id) != (self._group_id, self._node_id)
        ):
            self.command_drops["topic"] += 1
            return []
        scope = self._born.get(parsed.device_id)
        commands, drops = read_commands(payload, parsed.device_id, scope)
        self.command_drops.update(drops)
        return commands

    def _births(
        self,
        births: Sequence[DeviceBirth],
        scopes: dict[str | None, BornScope],
        now_ms: int,
    ) -> Iterator[OutboundMessage]:
        birth_count = self._birth_count
        for birth in births:
            if self._is_over or birth_count != self._birth_count:
                raise SessionError("another birth began, or the session ended")
            message = self._birth_message(birth, now_ms)
            self._born[birth.device_id] = scopes[birth.device_id]
            self._advance_seq()
            yield message
        if not self._is_over and birth_count == self._birth_count:
            self._state = "born"

    def _birth_message(self, birth: DeviceBirth, now_ms: int) -> OutboundMessage:
        if birth.device_id is None:
            topic = node_topic(self._group_id, "NBIRTH", self._node_id)
            rebirth = Metric(
                name=NODE_REBIRTH, time_ms=now_ms, data_type=DataType.BOOLEAN, value=False
            )
            metrics = birth_metrics(birth, self._bd_seq_metric(now_ms), rebirth)
        else:
            topic = device_topic(self._group_id, "DBIRTH", self._node_id, birth.device_id)
            metrics = birth_metrics(birth)
        payload = Payload(
            timestamp_ms=now_ms, metrics=metrics, seq=self._seq, uuid=self._payload_uuid
        )
        return OutboundMessage(topic=topic, payload=self._encode(payload), qos=0, retain=False)

    def _node_death(self, now_ms: int) -> OutboundMessage:
        payload = Payload(timestamp_ms=now_ms, metrics=(self._bd_seq_metric(now_ms),))
        topic = node_topic(self._group_id, "NDEATH", self._node_id)
        return OutboundMessage(topic=topic, payload=self._encode(payload), qos=1, retain=False)

    def _encode(self, payload: Payload) -> bytes:
        return encode(payload, timestamp_unit=self._options.timestamp_unit)

    def _bd_seq_metric(self, now_ms: int) -> Metric:
        return Metric(name=BD_SEQ, time_ms=now_ms, data_type=DataType.INT64, value=self.bd_seq)

    def _node_scope(self, node: DeviceBirth) -> BornScope:
        scope = born_scope(node)
        for name in (BD_SEQ, NODE_REBIRTH):
            if name in scope.types:
                raise DuplicateNameError(name)
        return scope

    def _device_id(self, device: DeviceBirth) -> str:
        assert device.device_id is not None
        check_id(device.device_id, what="device id")
        return device.device_id

    def _advance_seq(self) -> None:
        self._seq = (self._seq + 1) % 256

    def _need_connected(self) -> None:
        if self._state == "offline":
            why = "is over" if self._is_over else "waits for connected(), to be called at CONNACK"
            raise NotConnectedError(f"the session {why}")

    def _need_born(self) -> None:
        if self._state != "born":
            raise NotBornError("all births have to be taken from birth() first")

    def _need_device(self, device_id: str) -> None:
        if device_id not in self._born:
            raise DeviceStateError(device_id, "is not born")
