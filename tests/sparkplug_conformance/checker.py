"""The independent stream checker: judges a recorded stream by the rules of Sparkplug 3.0.

It knows neither our codec nor our sessions: payloads are read by Tahu's schema, packets by
`wire.py`. `check` looks at one edge node and at one host application at a time, found by their
Wills or given; other clients in the stream may be anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.sparkplug_conformance import tahu
from tests.sparkplug_conformance.check_host import Births, HostConnection
from tests.sparkplug_conformance.check_host_wait import HostWait
from tests.sparkplug_conformance.check_node import NodeSession, check_death, is_bd_seq
from tests.sparkplug_conformance.report import Report
from tests.sparkplug_conformance.stream import Closed, Connect, Event, Publish


class NodeChecker:
    """All connections of one edge node, told by the client id or the Will's topic."""

    def __init__(self, report: Report, node: tuple[str, str], host_id: str | None) -> None:
        self._report = report
        self._node = node
        self._death_topic = f"spBv1.0/{node[0]}/NDEATH/{node[1]}"
        self._client_id: str | None = None
        self._sessions: dict[int, NodeSession] = {}
        self._bd_seq: int | None = None
        self._wait = HostWait(report, host_id)
        self._deaths_due: dict[int, int] = {}  # bdSeq to the place where the Will became due

    def take(self, event: Event) -> None:
        packet = event.packet
        if isinstance(packet, Connect):
            self._on_connect(event, packet)
        session = self._sessions.get(event.connection)
        if session is None:
            if isinstance(packet, Publish):
                self._on_others(packet)
            return
        session.take(event)
        if isinstance(packet, Closed):
            del self._sessions[event.connection]
            # a broker that goes takes the Wills along
            is_broken = event.sender == "client" and not session.has_disconnected
            if is_broken and session.bd_seq is not None:
                self._deaths_due[session.bd_seq] = self._report.place

    def on_end(self) -> None:
        if self._sessions:
            self._wait.on_end()
        for bd_seq in self._deaths_due:
            self._report.judge("will_delivered", False, f"bdSeq {bd_seq} was never delivered")

    def _is_ours(self, packet: Connect) -> bool:
        if packet.will is not None and packet.will.topic == self._death_topic:
            self._client_id = packet.client_id
            return True
        return packet.client_id == self._client_id

    def _on_connect(self, event: Event, packet: Connect) -> None:
        if not self._is_ours(packet):
            return
        judge, will = self._report.judge, packet.will
        judge("one_server", not self._sessions, list(self._sessions))
        is_clean = packet.is_clean and packet.expiry_s == 0
        judge("clean_50" if packet.level == 5 else "clean_311", is_clean)
        judge("will", will is not None)
        bd_seq = self._will(packet)
        self._wait.begin()
        session = NodeSession(self._report, self._node, bd_seq, self._wait)
        self._sessions[event.connection] = session

    def _will(self, packet: Connect) -> int | None:
        judge, will = self._report.judge, packet.will
        if will is None:
            return None
        judge("will_topic", will.topic == self._death_topic, will.topic)
        judge("will_qos", will.qos == 1, will.qos)
        judge("will_retain", not will.retain)
        if packet.level == 5:
            judge("will_delay", will.delay_s == 0, will.delay_s)
        payload = tahu.parse(will.payload)
        judge("will_payload", payload is not None and len(payload.metrics) > 0)
        found = None if payload is None else tahu.metric_named(payload, "bdSeq")
        check_death(self._report, payload, None)
        if found is None:
            return None
        judge("bdseq_type", is_bd_seq(found), found)
        wanted = 0 if self._bd_seq is None else (self._bd_seq + 1) % 256
        judge("bdseq_increments", found.long_value == wanted, f"{found.long_value} for {wanted}")
        self._bd_seq = found.long_value
        return int(found.long_value)

    def _on_others(self, packet: Publish) -> None:
        """Take what passed on the connections of others."""
        self._wait.on_foreign_state(packet)
        if packet.topic != self._death_topic:
            return
        payload = tahu.parse(packet.payload)
        check_death(self._report, payload, None)
        found = None if payload is None else tahu.metric_named(payload, "bdSeq")
        if found is not None and self._deaths_due.pop(found.long_value, None) is not None:
            self._report.judge("will_delivered", True)


def check_node(
    events: Sequence[Event], node: tuple[str, str], *, host_id: str | None = None
) -> Report:
    """Judge an edge node (group, node), from its first CONNECT ever.

    Deliveries of its Will are looked for on the connections of others, so one of them has to
    subscribe to its NDEATH through the proxy.
    """
    report = Report()
    checker = NodeChecker(report, node, host_id)
    for report.place, report.event in enumerate(events):
        checker.take(report.event)
    checker.on_end()
    return report


def check_host(events: Sequence[Event], host_id: str) -> Report:
    """Judge a host application; births of nodes in the stream tell what it may command."""
    report, births = Report(), Births()
    topic = f"spBv1.0/STATE/{host_id}"
    found: dict[int, HostConnection] = {}
    client_id: str | None = None
    for report.place, report.event in enumerate(events):
        event, packet = report.event, report.event.packet
        if isinstance(packet, Connect):
            is_ours = packet.will is not None and packet.will.topic == topic
            client_id = packet.client_id if is_ours else client_id
            if packet.client_id == client_id:
                found[event.connection] = HostConnection(report, host_id, births)
        elif isinstance(packet, Publish):
            _learn(births, packet)
        if event.connection in found:
            found[event.connection].take(event)
            if isinstance(packet, Closed):
                connection = found.pop(event.connection)
                if event.sender == "client":  # to a broker that closes nothing can be said
                    connection.on_end()
    for connection in found.values():
        connection.on_end()
    return report


def _learn(births: Births, packet: Publish) -> None:
    parts = packet.topic.split("/")
    if len(parts) < 4 or parts[2] not in {"NBIRTH", "DBIRTH"}:
        return
    payload = tahu.parse(packet.payload)
    if payload is not None:
        types = {m.name: m.datatype for m in payload.metrics}
        types |= {m.alias: m.datatype for m in payload.metrics if m.HasField("alias")}
        births[parts[1], *parts[3:]] = types
