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
from typing import Final

from sparkplug_b.birth import (
    AliasBook,
    BirthMetric,
    BornScope,
    DeviceBirth,
    aliases_of,
    born_scope,
)
from sparkplug_b.birth_size import packet_bytes
from sparkplug_b.command import NODE_REBIRTH, Command, CommandDrop, read_commands
from sparkplug_b.edge_message import (
    BD_SEQ,
    EdgeMessages,
    EdgeOptions,
    OutboundMessage,
    SessionState,
    next_bd_seq,
)
from sparkplug_b.errors import (
    DeviceStateError,
    DuplicateNameError,
    NotBornError,
    NotConnectedError,
    PacketTooLargeError,
    SessionError,
    TopicError,
)
from sparkplug_b.template import Definitions, check_device_templates, check_templates
from sparkplug_b.topic import NAMESPACE, Topic, check_id, node_topic, parse_topic, state_topic

__all__ = [
    "BD_SEQ",
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
        self._options = EdgeOptions() if options is None else options
        self._messages = EdgeMessages(
            group_id,
            node_id,
            bd_seq=bd_seq,
            payload_uuid=payload_uuid,
            options=self._options,
        )
        if primary_host_id is not None:
            check_id(primary_host_id, what="host id")
        self.bd_seq: Final = bd_seq
        self.command_drops: Counter[CommandDrop] = Counter()
        self._group_id = group_id
        self._node_id = node_id
        self._primary_host_id = primary_host_id
        self._packet_bytes_max = self._options.packet_bytes_max
        self._state: SessionState = "offline"
        self._is_over = False
        self._seq = 0
        self._birth_count = 0
        self._aliases = AliasBook()
        self._born: dict[str | None, BornScope] = {}
        self._definitions: Definitions = {}

    @property
    def state(self) -> SessionState:
        """Say how far the session is; `born` once the last DBIRTH of a birth is taken."""
        return self._state

    @property
    def seq(self) -> int:
        """Return the seq of the next message."""
        return self._seq

    def will(self, now_ms: int) -> OutboundMessage:
        """Return the Will for the CONNECT of this session: NDEATH, QoS 1, not retained.

        The CONNECT is the caller's: Clean Session, in MQTT 5 Clean Start and expiry 0
        (tck-id-principles-persistence-clean-session-311, -50).

        Source: Sparkplug 3.0, tck-id-payloads-ndeath-will-message, -will-message-qos,
        -will-message-retain; tck-id-message-flow-edge-node-birth-publish-will-message, -topic,
        -payload, -payload-bdSeq, -qos, -will-retained.
        """
        return self._messages.node_death(now_ms)

    def connected(self, *, packet_bytes_max: int | None = None) -> None:
        """Note the CONNACK.

        Args:
            packet_bytes_max: Maximum Packet Size of an MQTT 5 CONNACK; None: it named none.

        Raises:
            SessionError: sparkplug.session, when the session was connected before.
        """
        limits = (packet_bytes_max, self._options.packet_bytes_max)
        self._packet_bytes_max = min((one for one in limits if one is not None), default=None)
        if self._state != "offline" or self._is_over:
            raise SessionError("a session connects once; the next CONNECT needs a new bdSeq")
        self._state = "connected"

    def disconnected(self) -> None:
        """Note the loss of the connection: the session is over, the broker sends the Will.

        The next CONNECT is a new session with the next bdSeq.
        """
        self._state = "offline"
        self._is_over = True
        self._born.clear()

    def subscriptions(self) -> list[tuple[str, int]]:
        """Return (topic filter, QoS) to subscribe, before the births.

        Source: Sparkplug 3.0, tck-id-message-flow-edge-node-ncmd-subscribe,
        tck-id-message-flow-device-dcmd-subscribe,
        tck-id-message-flow-edge-node-birth-publish-phid-wait-id.
        """
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
        Messages are made as they are taken; where there is a greatest packet, all are made and
        measured at once. The session is `born`, and takes data, when all are taken.

        Source: Sparkplug 3.0, tck-id-principles-birth-certificates-order,
        tck-id-topics-nbirth-seq-num, tck-id-payloads-sequence-num-req-nbirth,
        tck-id-topics-dbirth-seq, tck-id-payloads-dbirth-order, tck-id-payloads-dbirth-seq-inc,
        tck-id-message-flow-edge-node-birth-publish-connect, -nbirth-topic, -nbirth-payload-bdSeq,
        -nbirth-payload-seq; tck-id-message-flow-device-birth-publish-nbirth-wait, -dbirth-topic,
        -dbirth-payload-seq; tck-id-operational-behavior-data-commands-rebirth-action-1, -2, -3.

        Raises:
            NotConnectedError: sparkplug.not_connected.
            PacketTooLargeError: sparkplug.packet_too_large, before anything changed.
            DuplicateAliasError: sparkplug.duplicate_alias, before anything changed.
            DuplicateNameError: sparkplug.duplicate_name, before anything changed.
            EncodeError: sparkplug.encode, before anything changed, for names, types and templates;
                from the iterator when a value does not fit its type and no packet is limited.
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
        definitions = check_templates(node, devices)
        births = [node, *devices]
        messages = self._made(births, now_ms)
        if self._packet_bytes_max is not None:
            messages = iter([*messages])
        self._aliases = aliases
        self._definitions = definitions
        self._born = {}
        self._state = "connected"
        self._seq = 0
        self._birth_count += 1
        return self._births(births, scopes, messages)

    def device_birth(self, device: DeviceBirth, now_ms: int) -> OutboundMessage:
        """Return the DBIRTH of a device that comes up after the births.

        Source: Sparkplug 3.0, tck-id-topics-dbirth-seq,
        tck-id-message-flow-device-birth-publish-nbirth-wait, -dbirth-match-edge-node-topic.

        Raises:
            NotBornError: sparkplug.not_born.
            DeviceStateError: sparkplug.device_state, when it is born: send its death first.
            DuplicateAliasError: sparkplug.duplicate_alias.
            DuplicateNameError: sparkplug.duplicate_name.
            PacketTooLargeError: sparkplug.packet_too_large; the device stays unborn.
            EncodeError: sparkplug.encode; the device stays unborn.
        """
        self._need_born()
        device_id = self._device_id(device)
        if device_id in self._born:
            raise DeviceStateError(device_id, "is born: a DBIRTH needs a DDEATH before it")
        scope = born_scope(device)
        check_device_templates(device, self._definitions)
        message = self._birth(device, self._seq, now_ms)
        self._aliases.claim(device_id, aliases_of(device))
        self._born[device_id] = scope
        self._advance_seq()
        return message

    def device_death(self, device_id: str, now_ms: int) -> OutboundMessage:
        """Return the DDEATH of a born device.

        Source: Sparkplug 3.0, tck-id-operational-behavior-device-ddeath,
        tck-id-topics-ddeath-seq-num, tck-id-payloads-ddeath-seq-inc.

        Raises:
            NotBornError: sparkplug.not_born.
            DeviceStateError: sparkplug.device_state, when it is not born.
        """
        self._need_born()
        self._need_device(device_id)
        message = self._messages.device_death(device_id, self._seq, now_ms)
        del self._born[device_id]
        self._aliases.release(device_id)
        self._advance_seq()
        return message

    def data(self, device_id: str | None, body: bytes, now_ms: int) -> OutboundMessage:
        """Wrap encoded metrics (`encode_metrics`) as NDATA (`device_id` None) or DDATA.

        Source: Sparkplug 3.0, tck-id-topics-ndata-seq-num, tck-id-topics-ddata-seq-num,
        tck-id-payloads-ndata-order, tck-id-payloads-ddata-order, tck-id-payloads-ndata-seq-inc,
        tck-id-payloads-ddata-seq-inc,
        tck-id-payloads-sequence-num-always-included, -incrementing.

        Raises:
            NotBornError: sparkplug.not_born.
            PacketTooLargeError: sparkplug.packet_too_large; no seq is taken.
            DeviceStateError: sparkplug.device_state, when the device is not born.
        """
        self._need_born()
        if device_id is not None:
            self._need_device(device_id)
        message = self._messages.data(device_id, body, self._seq, now_ms)
        self._check_size(message, "NDATA" if device_id is None else "DDATA", device_id)
        self._advance_seq()
        return message

    def death(self, now_ms: int) -> OutboundMessage:
        """End the session on purpose: the NDEATH to publish before DISCONNECT.

        In MQTT 5 the DISCONNECT that follows has reason code 0x04
        (tck-id-payloads-ndeath-will-message-publisher-disconnect-mqtt50).

        Source: Sparkplug 3.0, tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath,
        tck-id-payloads-ndeath-will-message-publisher.

        Raises:
            NotConnectedError: sparkplug.not_connected.
        """
        self._need_connected()
        self.disconnected()
        return self._messages.node_death(now_ms)

    def on_command(self, topic: str, payload: bytes, *, retained: bool) -> list[Command]:
        """Read what came on a command topic; what is not carried out is in `command_drops`.

        Never raises for its input. Rebirth requests may come several times: coalesce them.

        Source: Sparkplug 3.0, tck-id-operational-behavior-data-commands-ncmd-rebirth-name, -value;
        tck-id-operational-behavior-data-commands-ncmd-metric-name, -metric-value, dcmd likewise.
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
        messages: Iterator[OutboundMessage],
    ) -> Iterator[OutboundMessage]:
        birth_count = self._birth_count
        for birth in births:
            if self._is_over or birth_count != self._birth_count:
                raise SessionError("another birth began, or the session ended")
            message = next(messages)
            self._born[birth.device_id] = scopes[birth.device_id]
            self._advance_seq()
            yield message
        if not self._is_over and birth_count == self._birth_count:
            self._state = "born"

    def _made(self, births: Sequence[DeviceBirth], now_ms: int) -> Iterator[OutboundMessage]:
        for seq, birth in enumerate(births):
            yield self._birth(birth, seq % 256, now_ms)

    def _birth(self, birth: DeviceBirth, seq: int, now_ms: int) -> OutboundMessage:
        message = self._messages.birth(birth, seq, now_ms)
        is_node = birth.device_id is None
        self._check_size(message, "NBIRTH" if is_node else "DBIRTH", birth.device_id)
        return message

    def _check_size(self, message: OutboundMessage, what: str, device_id: str | None) -> None:
        limit = self._packet_bytes_max
        if limit is None:
            return
        size = packet_bytes(message.topic, message.payload)
        if size > limit:
            raise PacketTooLargeError(what, device_id, size, limit)

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
