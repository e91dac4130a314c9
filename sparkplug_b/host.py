"""A host application's session with one MQTT server, as a pure state machine.

It is told what came and what time it is (UTC ms), and gives events: what to store, what to publish.
It never does I/O. Keep one object per MQTT server, over all its connections. Order of calls:
`will` (store `state_time_ms` durably) -> CONNECT -> `connected` -> SUBSCRIBE `subscriptions` ->
SUBACK -> `birth`, published before anything else -> `on_message`, and `on_timer` at `due_ms` ->
`death` -> DISCONNECT, and `disconnected` after that or when the connection is lost.

Nothing raises for what comes from outside: what is not used is counted in `drops`, by reason, and
other nodes go on. Limits: HostOptions. With several servers the caller merges the sessions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from sparkplug_b.codec import encode
from sparkplug_b.edge_message import OutboundMessage
from sparkplug_b.errors import (
    DeviceStateError,
    NotBornError,
    NotConnectedError,
    SessionError,
    TopicError,
)
from sparkplug_b.host_drops import DETAIL_CHARS_MAX, DropBook, Dropped
from sparkplug_b.host_event import CommandToSend, HostDrop, HostEvent, HostOptions
from sparkplug_b.host_node import HostNode
from sparkplug_b.host_rebirth import rebirth_message
from sparkplug_b.host_scope import HostScope
from sparkplug_b.payload import Metric, Payload, Value
from sparkplug_b.state import HostState, parse_state
from sparkplug_b.topic import NAMESPACE, StateTopic, Topic, check_id, parse_topic, state_topic

HostSessionState = Literal["offline", "connecting", "connected", "born"]


class HostSession:
    """A host application on one MQTT server.

    Attributes:
        state_time_ms: timestamp of our STATE; store it durably before CONNECT.
        nodes: every node heard of, by (group id, node id); to be read only.
        drops: what was not used, by reason; `take_drops` says of whom.
    """

    def __init__(
        self,
        host_id: str,
        *,
        last_state_time_ms: int | None = None,
        options: HostOptions | None = None,
    ) -> None:
        """Store the identity.

        Args:
            host_id: unique among all host applications
                (tck-id-operational-behavior-host-application-host-id is the caller's to keep).
            last_state_time_ms: the stored `state_time_ms` of this server; None: never connected.
            options: limits and waiting times.

        Raises:
            TopicError: sparkplug.topic, when an id is not allowed.
        """
        check_id(host_id, what="host id")
        self._options = HostOptions() if options is None else options
        for group_id in self._options.group_ids:
            check_id(group_id, what="group id")
        self.host_id: Final = host_id
        self.state_time_ms = last_state_time_ms
        self.nodes: Final[dict[tuple[str, str], HostNode]] = {}
        self._book = DropBook()
        self.drops: Final[Counter[HostDrop]] = self._book.counts
        self._state: HostSessionState = "offline"
        self._timed: set[tuple[str, str]] = set()  # nodes with a timer

    @property
    def state(self) -> HostSessionState:
        """Say how far the connection is; commands are taken while `born`."""
        return self._state

    @property
    def due_ms(self) -> int | None:
        """Return when to call `on_timer` next; a time gone by means now."""
        if self._state != "born":
            return None
        dues = (self.nodes[key].due_ms for key in self._timed)
        return min((due for due in dues if due is not None), default=None)

    # --- our own STATE -----------------------------------------------------------------------

    def will(self, now_ms: int) -> OutboundMessage:
        """Return the Will for a new CONNECT; its time is the birth's too, and never goes back.

        The CONNECT is the caller's: Clean Session, in MQTT 5 Clean Start and expiry 0
        (tck-id-message-flow-phid-sparkplug-clean-session-311, -50).

        Source: Sparkplug 3.0, tck-id-host-topic-phid-death-topic, -qos, -retain, -payload,
        -required, -payload-timestamp-connect;
        tck-id-operational-behavior-host-application-connect-will, -topic, -payload, -qos,
        -retained, -multi-server-timestamp; tck-id-payloads-state-will-message, -qos, -retain,
        -payload.

        Raises:
            SessionError: sparkplug.session, while connected.
        """
        if self._state not in {"offline", "connecting"}:
            raise SessionError("is connected: disconnected() comes before the next CONNECT")
        last_ms = self.state_time_ms
        self.state_time_ms = now_ms if last_ms is None else max(now_ms, last_ms + 1)
        self._state = "connecting"
        return self._state_message(is_online=False)

    def connected(self) -> None:
        """Note the CONNACK.

        Raises:
            SessionError: sparkplug.session, without a Will before it.
        """
        if self._state != "connecting":
            raise SessionError("will() comes before the CONNECT")
        self._state = "connected"

    def subscriptions(self) -> list[tuple[str, int]]:
        """Return (topic filter, QoS) to subscribe after CONNACK, before the birth.

        Source: Sparkplug 3.0, tck-id-host-topic-phid-birth-sub-required,
        tck-id-message-flow-phid-sparkplug-subscription, tck-id-payloads-state-subscribe.
        """
        groups = self._options.group_ids
        filters = [f"{NAMESPACE}/{group}/#" for group in groups] or [f"{NAMESPACE}/#"]
        return [(state_topic(self.host_id), 1), *[(one, 1) for one in filters]]

    def birth(self) -> OutboundMessage:
        """Return our STATE birth, to be published after SUBACK and before anything else.

        Source: Sparkplug 3.0, tck-id-host-topic-phid-birth-message, -qos, -retain, -topic,
        -required, -payload, -payload-timestamp; tck-id-message-flow-phid-sparkplug-state-publish,
        -payload, -payload-timestamp; tck-id-operational-behavior-host-application-connect-birth,
        -topic, -payload, -qos, -retained; tck-id-payloads-state-birth, -payload;
        tck-id-principles-birth-certificates-order, tck-id-intro-sparkplug-host-state,
        tck-id-components-ph-state, tck-id-conformance-primary-host,
        tck-id-operational-behavior-primary-application-state-with-multiple-servers-state.

        Raises:
            NotConnectedError: sparkplug.not_connected.
        """
        if self._state not in {"connected", "born"}:
            raise NotConnectedError("connected() and the subscriptions come before the birth")
        self._state = "born"
        return self._state_message(is_online=True)

    def death(self, now_ms: int) -> OutboundMessage:
        """End the session on purpose: the STATE to publish before DISCONNECT or closing.

        Source: Sparkplug 3.0,
        tck-id-host-topic-phid-death-payload-timestamp-disconnect-clean,
        -disconnect-with-no-disconnect-packet;
        tck-id-operational-behavior-host-application-termination, -death-topic, -death-payload,
        -death-qos, -death-retained, -disconnect-intentional.

        Raises:
            NotConnectedError: sparkplug.not_connected.
        """
        if self._state not in {"connected", "born"} or self.state_time_ms is None:
            raise NotConnectedError("there is no session to end")
        self.state_time_ms = max(now_ms, self.state_time_ms)
        self._state = "offline"
        return self._state_message(is_online=False)

    def disconnected(self, now_ms: int) -> list[HostEvent]:
        """Note the end of the connection: every node and device is stale.

        When the session is born again, nodes that were online are asked for a rebirth.

        Source: Sparkplug 3.0, 5.3 (the one rule without an id).
        """
        self._state = "offline"
        events: list[HostEvent] = []
        for key, node in self.nodes.items():
            events += node.connection_lost(now_ms)
            self._note_timer(key, node)
        return events

    # --- what comes in -----------------------------------------------------------------------

    def on_message(
        self, topic: str, payload: bytes, *, retained: bool, now_ms: int
    ) -> list[HostEvent]:
        """Take a message in; the events are in order. Never raises for its input.

        Source: Sparkplug 3.0, tck-id-message-flow-hid-sparkplug-state-message-delivered;
        tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-offline,
        -ndeath-node-tags-stale, -ndeath-devices-offline, -ndeath-devices-tags-stale,
        -ddeath-devices-offline, -ddeath-devices-tags-stale;
        tck-id-operational-behavior-host-reordering-start, -rebirth, -success.
        """
        if self._state not in {"connected", "born"}:
            self._book.note("not_connected")
            return []
        try:
            parsed = parse_topic(topic)
        except TopicError:
            self._book.note("topic", topic)
            return []
        if isinstance(parsed, StateTopic):
            return self._on_state(parsed, payload)
        if parsed.message in {"NCMD", "DCMD"} or retained:
            self._note("retained" if retained else "command", parsed)
            return []
        key = (parsed.group_id, parsed.node_id)
        node = self._node(key)
        if node is None:
            self._note("nodes_max", parsed)
            return []
        events = [*node.on_timer(now_ms), *_deliver(node, parsed, payload, now_ms)]
        return self._after(key, node, events, now_ms)

    def on_timer(self, now_ms: int) -> list[HostEvent]:
        """Do what is due: gaps, devices not born again, rebirth requests.

        Source: Sparkplug 3.0, tck-id-operational-behavior-host-reordering-rebirth.
        """
        if self._state != "born":
            return []
        events: list[HostEvent] = []
        for key in sorted(self._timed):
            node = self.nodes[key]
            events += self._after(key, node, node.on_timer(now_ms), now_ms)
        return events

    def forget(self, group_id: str, node_id: str) -> bool:
        """Drop an offline node from memory; False when it is online or unknown."""
        key = (group_id, node_id)
        node = self.nodes.get(key)
        if node is None or node.scope.is_online:
            return False
        del self.nodes[key]
        self._timed.discard(key)
        return True

    def take_drops(self) -> list[Dropped]:
        """Return what was not used since the last call, by node and reason, for the log.

        Bounded, and counted in `drops` as well. Call it from time to time.
        """
        return self._book.take()

    # --- commands ----------------------------------------------------------------------------

    def command(
        self,
        group_id: str,
        node_id: str,
        device_id: str | None,
        values: Mapping[str, Value | None],
        now_ms: int,
    ) -> OutboundMessage:
        """Build an NCMD (`device_id` None) or DCMD that writes values, None being null.

        Metrics go by alias where the birth gave one, else by name.

        Source: Sparkplug 3.0, tck-id-topics-ncmd-topic, -mqtt, -timestamp, -payload;
        tck-id-topics-dcmd-topic, -mqtt, -timestamp, -payload;
        tck-id-payloads-ncmd-timestamp, -seq, -qos, -retain;
        tck-id-payloads-dcmd-timestamp, -seq, -qos, -retain;
        tck-id-payloads-name-cmd-requirement;
        tck-id-operational-behavior-data-commands-ncmd-verb, -ncmd-metric-name,
        -ncmd-metric-value, -dcmd-verb, -dcmd-metric-name, -dcmd-metric-value.

        Raises:
            NotConnectedError: sparkplug.not_connected, before our birth.
            NotBornError: sparkplug.not_born, when the node is not online.
            DeviceStateError: sparkplug.device_state, when the device is not online.
            SessionError: sparkplug.session, when the birth has no such metric.
            EncodeError: sparkplug.encode, when a value does not fit its metric's data type.
        """
        scope = self._scope_to_command(group_id, node_id, device_id)
        metrics: list[Metric] = []
        for name, value in values.items():
            known = scope.metrics.get(name)
            if known is None:
                raise SessionError(f"the birth has no metric {name!r}")
            by_alias = known.alias is not None
            metrics.append(
                Metric(
                    name=None if by_alias else name,
                    alias=known.alias,
                    time_ms=now_ms,
                    data_type=known.data_type,
                    value=value,
                    is_null=value is None,
                )
            )
        payload = Payload(timestamp_ms=now_ms, metrics=tuple(metrics))
        body = encode(payload, with_data_types=self._options.is_typed_command)
        verb, rest = ("NCMD", "") if device_id is None else ("DCMD", f"/{device_id}")
        topic = f"{NAMESPACE}/{group_id}/{verb}/{node_id}{rest}"
        return OutboundMessage(topic=topic, payload=body, qos=0, retain=False)

    def rebirth(
        self, group_id: str, node_id: str, device_id: str | None, now_ms: int
    ) -> OutboundMessage:
        """Build a rebirth request that a person asked for: no limit of rate, node known or not.

        Source: Sparkplug 3.0, tck-id-operational-behavior-data-commands-ncmd-rebirth-verb, -name,
        -value; the request to a device is a convention of the TCK.

        Raises:
            NotConnectedError: sparkplug.not_connected, before our birth.
            TopicError: sparkplug.topic, when an id is not allowed.
        """
        self._need_born()
        return rebirth_message((group_id, node_id), device_id, now_ms)

    # --- inside ------------------------------------------------------------------------------

    def _node(self, key: tuple[str, str]) -> HostNode | None:
        node = self.nodes.get(key)
        if node is None and len(self.nodes) < self._options.nodes_max:
            node = self.nodes[key] = HostNode(*key, self._options, self._book)
        return node

    def _note(self, reason: HostDrop, topic: Topic) -> None:
        node = (topic.group_id, topic.node_id)
        self._book.note(reason, topic.message, node=node, device_id=topic.device_id)

    def _state_message(self, *, is_online: bool) -> OutboundMessage:
        assert self.state_time_ms is not None
        body = msgspec.json.encode(HostState(online=is_online, timestamp=self.state_time_ms))
        return OutboundMessage(topic=state_topic(self.host_id), payload=body, qos=1, retain=True)

    def _on_state(self, topic: StateTopic, payload: bytes) -> list[HostEvent]:
        if topic.host_id != self.host_id:
            self._book.note("foreign_state", topic.host_id)
            return []
        state = parse_state(payload)
        if state is None:
            self._book.note("state", payload[:DETAIL_CHARS_MAX].decode(errors="replace"))
            return []
        if state.online or self._state != "born":
            return []  # before our birth it is the retained death of the last connection
        return [CommandToSend(kind="state", message=self._state_message(is_online=True))]

    def _after(
        self, key: tuple[str, str], node: HostNode, events: list[HostEvent], now_ms: int
    ) -> list[HostEvent]:
        # Nothing is published before our own birth.
        if self._state == "born" and node.rebirth.take(now_ms):
            message = rebirth_message(key, None, now_ms)
            events.append(CommandToSend(kind="rebirth", message=message))
        self._note_timer(key, node)
        return events

    def _note_timer(self, key: tuple[str, str], node: HostNode) -> None:
        if node.due_ms is None:
            self._timed.discard(key)
        else:
            self._timed.add(key)

    def _need_born(self) -> None:
        if self._state != "born":
            raise NotConnectedError("our own birth comes before any command")

    def _scope_to_command(self, group_id: str, node_id: str, device_id: str | None) -> HostScope:
        self._need_born()
        node = self.nodes.get((group_id, node_id))
        if node is None or not node.scope.is_online:
            raise NotBornError(f"edge node {group_id}/{node_id} is not online")
        if device_id is None:
            return node.scope
        device = node.devices.get(device_id)
        if device is None or not device.is_online:
            raise DeviceStateError(device_id, "is not online")
        return device


def _deliver(node: HostNode, topic: Topic, payload: bytes, now_ms: int) -> list[HostEvent]:
    match topic.message:
        case "NBIRTH":
            return node.on_birth(payload, now_ms)
        case "NDEATH":
            return node.on_death(payload, now_ms)
        case "NDATA" | "DBIRTH" | "DDATA" | "DDEATH" as message:
            return node.on_numbered(message, topic.device_id, payload, now_ms)
        case _:
            raise AssertionError(topic.message)  # commands are not delivered
