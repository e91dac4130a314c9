"""Rules about an edge node's messages: births, seq, aliases, data, deaths, rebirth.

One `NodeSession` per connection; what outlives it (bdSeq, STATE timestamps) is in `NodeMemory`.
"""

from __future__ import annotations

from typing import Any

from tests.sparkplug_conformance import tahu
from tests.sparkplug_conformance.check_host_wait import HostWait
from tests.sparkplug_conformance.check_metrics import UTC_SLACK_MS, MetricsChecker, Scope
from tests.sparkplug_conformance.report import Report
from tests.sparkplug_conformance.stream import (
    Closed,
    Connack,
    Connect,
    Disconnect,
    Event,
    Puback,
    Publish,
    Suback,
    Subscribe,
)

NODE_TYPES = frozenset({"NBIRTH", "NDATA", "NDEATH"})
DEVICE_TYPES = frozenset({"DBIRTH", "DDATA", "DDEATH"})
REBIRTH = "Node Control/Rebirth"


class NodeSession:
    """Judges one connection of the node, packet by packet."""

    def __init__(
        self, report: Report, node: tuple[str, str], will_bd_seq: int | None, wait: HostWait
    ) -> None:
        self._report = report
        self._group, self._node = node
        self._will_bd_seq = will_bd_seq
        self._wait = wait
        self._metrics = MetricsChecker(report)
        self._level = 4
        self._is_connected = False
        self._wanted: dict[int, tuple[tuple[str, int], ...]] = {}
        self._granted: dict[str, int] = {}
        self._seq: int | None = None
        self._scopes: dict[str, Scope] = {}
        self._is_dead = False
        self._has_births = False
        self._owed: set[str] = set()  # devices that have to be born again before any DATA
        self._rebirth_packets: set[int] = set()
        self._is_rebirth_due = False
        self._rebirths_asked = False
        self.bd_seq = will_bd_seq
        self.published_death = False
        self.has_disconnected = False

    def take(self, event: Event) -> None:
        packet = event.packet
        match packet:
            case Connect():
                self._level = packet.level
            case Connack():
                self._is_connected = packet.code == 0
            case Subscribe():
                self._wanted[packet.packet_id] = packet.filters
            case Suback():
                self._on_suback(packet)
            case Publish() if event.sender == "client":
                self._on_publish(packet, event.time_ms)
            case Publish():
                self._on_delivery(packet)
            case Puback() if event.sender == "client":
                self._on_puback(packet.packet_id)
            case Disconnect() if event.sender == "client":
                self._on_disconnect(packet)
            case Closed():
                self._on_closed()
            case _:
                pass

    @property
    def is_born(self) -> bool:
        return self._has_births and not self._is_dead

    # --- what the node reads

    def _on_suback(self, packet: Suback) -> None:
        for (topic, _), code in zip(
            self._wanted.pop(packet.packet_id, ()), packet.codes, strict=True
        ):
            if code < 0x80:
                self._granted[topic] = code

    def _on_delivery(self, packet: Publish) -> None:
        self._wait.on_state(packet)
        if packet.topic != f"spBv1.0/{self._group}/NCMD/{self._node}" or packet.retain:
            return
        payload = tahu.parse(packet.payload)
        asked = None if payload is None else tahu.metric_named(payload, REBIRTH)
        if asked is None or not asked.boolean_value or not self.is_born:
            return
        self._rebirths_asked = True
        if packet.qos:
            self._rebirth_packets.add(packet.packet_id)

    def _on_puback(self, packet_id: int) -> None:
        self._wait.on_puback(packet_id)
        if packet_id in self._rebirth_packets:
            # it has read the command now: what it sends from here on is its answer
            self._rebirth_packets.discard(packet_id)
            self._is_rebirth_due = True

    # --- what the node sends

    def _on_publish(self, packet: Publish, time_ms: int) -> None:
        judge = self._report.judge
        judge("after_connack", self._is_connected)
        kind, device = self._topic(packet.topic)
        if kind == "":
            return
        judge("ndeath_last", not self._is_dead, kind)
        payload = tahu.parse(packet.payload)
        if kind == "NDEATH":
            self._on_death(packet, payload)
            return
        lower = kind.lower()
        judge(f"{lower}_payload", payload is not None)
        judge(f"{lower}_qos", packet.qos == 0, packet.qos)
        judge(f"{lower}_retain", not packet.retain)
        if payload is None:
            return
        self._envelope(kind, payload, time_ms)
        self._metrics.check(kind, payload, time_ms)
        match kind:
            case "NBIRTH":
                self._on_nbirth(payload)
            case "DBIRTH":
                self._on_dbirth(device, payload)
            case "DDEATH":
                judge("ddeath_of_born", device in self._scopes, device)
                self._scopes.pop(device, None)
                self._owed.discard(device)
            case _:
                self._on_data(kind, device, payload)

    def _topic(self, topic: str) -> tuple[str, str]:
        """Judge a topic; return message type and device, both empty when it is no node's topic."""
        judge, parts = self._report.judge, topic.split("/")
        is_whole = len(parts) in {4, 5} and parts[0] == "spBv1.0" and all(parts)
        is_whole = is_whole and parts[2] in NODE_TYPES | DEVICE_TYPES
        judge("topic_structure", is_whole, topic)
        if not is_whole:
            return "", ""
        kind = parts[2]
        has_device = len(parts) == 5
        judge("device_token", has_device == (kind in DEVICE_TYPES), topic)
        if kind != "NDEATH":
            own = parts[1] == self._group and parts[3] == self._node
            judge(f"{kind.lower()}_topic", own, topic)
        return kind, parts[4] if has_device else ""

    def _envelope(self, kind: str, payload: Any, time_ms: int) -> None:
        judge, lower = self._report.judge, kind.lower()
        judge(f"{lower}_timestamp", payload.HasField("timestamp"))
        if payload.HasField("timestamp"):
            off_ms = abs(payload.timestamp - time_ms)
            judge("payload_utc", off_ms <= UTC_SLACK_MS, payload.timestamp)
        has_seq = payload.HasField("seq") and payload.seq <= 255
        judge(f"{lower}_seq", has_seq, payload.seq)
        if kind == "NBIRTH":
            judge("nbirth_seq_next", payload.seq == 0, payload.seq)
        elif self._seq is not None:
            wanted = (self._seq + 1) % 256
            judge(f"{lower}_seq_next", payload.seq == wanted, f"{payload.seq} for {wanted}")
        self._seq = payload.seq

    def _on_nbirth(self, payload: Any) -> None:
        judge = self._report.judge
        is_rebirth = self._has_births
        if not is_rebirth:
            judge("birth_first", True)
            self._subscriptions()
            self._wait.on_birth()
        found = tahu.metric_named(payload, "bdSeq")
        judge("bdseq_included", found is not None)
        if found is not None:
            judge("bdseq_type", is_bd_seq(found), found)
            judge("bdseq_matches", found.long_value == self._will_bd_seq, self._will_bd_seq)
            if is_rebirth:
                judge("rebirth_bdseq", found.long_value == self._will_bd_seq, found.long_value)
        rebirth = tahu.metric_named(payload, REBIRTH)
        judge("rebirth_included", rebirth is not None)
        if rebirth is not None:
            judge("rebirth_type", rebirth.datatype == tahu.BOOLEAN, rebirth.datatype)
            is_false = rebirth.HasField("boolean_value") and not rebirth.boolean_value
            judge("rebirth_value", is_false, rebirth)
            judge("rebirth_no_alias", not rebirth.HasField("alias"), rebirth.alias)
        if self._is_rebirth_due:
            judge("rebirth_stops_data", True)
        self._is_rebirth_due = False
        self._owed = {device for device in self._scopes if device} if is_rebirth else set()
        self._scopes = {}
        self._has_births = True
        self._scopes[""] = self._learn(payload)
        self._note_answer()

    def _subscriptions(self) -> None:
        judge, topic = self._report.judge, f"spBv1.0/{self._group}/NCMD/{self._node}"
        judge("ncmd_subscription", self._granted.get(topic) == 1, self._granted)
        states = [t for t in self._granted if t.startswith("spBv1.0/STATE/")]
        if self._wait.host_id is not None:
            wanted = f"spBv1.0/STATE/{self._wait.host_id}"
            judge("state_subscription", states == [wanted], states)

    def _on_dbirth(self, device: str, payload: Any) -> None:
        judge = self._report.judge
        if not self._has_births:
            judge("birth_first", False, "DBIRTH")
        judge("dbirth_after_nbirth", self._has_births, device)
        topic = f"spBv1.0/{self._group}/DCMD/{self._node}/"
        found = (self._granted.get(topic + "+"), self._granted.get(topic + device))
        judge("dcmd_subscription", 1 in found, self._granted)
        judge("dbirth_once", device not in self._scopes, device)
        self._owed.discard(device)
        self._note_answer()
        self._scopes.pop(device, None)
        self._scopes[device] = self._learn(payload)

    def _note_answer(self) -> None:
        if not self._owed and self._rebirths_asked:
            self._report.judge("rebirth_answered", True)
            self._rebirths_asked = False

    def _learn(self, payload: Any) -> Scope:
        judge, scope = self._report.judge, Scope()
        taken = {alias for other in self._scopes.values() for alias in other.aliases}
        for metric in payload.metrics:
            scope.types[metric.name] = metric.datatype
            if metric.HasField("alias"):
                judge("alias_unique", metric.alias not in taken, metric.alias)
                judge("alias_birth", bool(metric.name), metric.alias)
                taken.add(metric.alias)
                scope.aliases[metric.alias] = metric.name
        return scope

    def _on_data(self, kind: str, device: str, payload: Any) -> None:
        judge = self._report.judge
        if not self._has_births:
            judge("birth_first", False, kind)
        if self._is_rebirth_due:
            judge("rebirth_stops_data", False, kind)
        judge("dbirth_before_data", not self._owed, self._owed)
        if self._owed and self._rebirths_asked:
            judge("rebirth_answered", False, f"not born again: {self._owed}")
            self._rebirths_asked = False
        self._wait.on_data()
        scope = self._scopes.get(device)
        judge(f"{kind.lower()}_after_births", scope is not None, device)
        if scope is None:
            return
        for metric in payload.metrics:
            self._data_metric(kind, scope, metric)

    def _data_metric(self, kind: str, scope: Scope, metric: Any) -> None:
        judge, what = self._report.judge, "nbirth" if kind == "NDATA" else "dbirth"
        name = scope.name_of(metric)
        judge("metric_name", metric.HasField("name") or metric.HasField("alias"))
        judge(f"{what}_complete", name is not None, metric)
        if scope.aliases and name in scope.aliases.values():
            alone = metric.HasField("alias") and not metric.HasField("name")
            judge("alias_data", alone, metric)
        if name is None:
            return
        held = metric.WhichOneof("value")
        if held is not None:
            fits = held in tahu.FIELDS.get(scope.types[name], ())
            judge("value_field", fits, f"{name}: {scope.types[name]} in {held}")
        if not metric.is_historical:
            fresh = (tahu.value_of(metric), metric.timestamp)
            judge(f"{kind.lower()}_changed", fresh != scope.last.get(name), f"{name}: {fresh}")
            scope.last[name] = fresh

    # --- the end

    def _on_death(self, packet: Publish, payload: Any) -> None:
        self._is_dead = self.published_death = True
        self._wait.on_death()
        self._report.judge("ndeath_qos", packet.qos == 1 and not packet.retain, packet.qos)
        check_death(self._report, payload, self._will_bd_seq)

    def _on_disconnect(self, packet: Disconnect) -> None:
        self.has_disconnected = True
        if self._has_births:
            self._report.judge("ndeath_before_disconnect", self.published_death)
            if self._level == 5:
                self._report.judge("disconnect_code", packet.code == 4, packet.code)

    def _on_closed(self) -> None:
        if self._rebirths_asked:
            self._report.judge("rebirth_answered", False, "closed without an answer")
        self._wait.on_closed()


def is_bd_seq(metric: Any) -> bool:
    """Tell whether a bdSeq metric has the form that the rules ask for."""
    has_value = metric.HasField("long_value") and metric.long_value <= 255
    return bool(metric.datatype == tahu.INT64 and has_value)


def check_death(report: Report, payload: Any, bd_seq: int | None) -> None:
    """Judge the payload of a Will or of a published NDEATH."""
    if payload is None:
        report.judge("ndeath_metric", False, "no payload")
        return
    names = [metric.name for metric in payload.metrics]
    report.judge("ndeath_metric", names == ["bdSeq"], names)
    report.judge("ndeath_no_seq", not payload.HasField("seq"), payload.seq)
    if names == ["bdSeq"] and bd_seq is not None:
        found = payload.metrics[0].long_value
        report.judge("ndeath_bdseq", found == bd_seq, f"{found} for {bd_seq}")
