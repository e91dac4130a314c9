"""Rules about a host application's connection: STATE and commands."""

from __future__ import annotations

import json
from typing import Any

from tests.sparkplug_conformance import tahu
from tests.sparkplug_conformance.check_metrics import UTC_SLACK_MS
from tests.sparkplug_conformance.check_node import REBIRTH
from tests.sparkplug_conformance.report import Report
from tests.sparkplug_conformance.stream import (
    Connack,
    Connect,
    Disconnect,
    Event,
    Publish,
    Suback,
    Subscribe,
)

Births = dict[tuple[str, ...], dict[str | int, int]]
"""(group, node) or (group, node, device) to data type by name and by alias, as the node said."""


class HostConnection:
    """Judges one connection of a host application, packet by packet."""

    def __init__(self, report: Report, host_id: str, births: Births) -> None:
        self._report = report
        self._topic = f"spBv1.0/STATE/{host_id}"
        self._births = births
        self._will_time: object = None
        self._wanted: dict[int, tuple[tuple[str, int], ...]] = {}
        self._granted: set[str] = set()
        self._is_born = False
        self._is_dead = False
        self._owes_answer = False

    def take(self, event: Event) -> None:
        packet = event.packet
        match packet:
            case Connect():
                self._on_connect(packet, event.time_ms)
            case Connack():
                pass
            case Subscribe():
                self._wanted[packet.packet_id] = packet.filters
            case Suback():
                filters = self._wanted.pop(packet.packet_id, ())
                granted = zip(filters, packet.codes, strict=True)
                self._granted |= {topic for (topic, _), code in granted if code < 0x80}
            case Publish() if event.sender == "client":
                self._on_publish(packet, event.time_ms)
            case Publish() if packet.topic == self._topic and self._is_born:
                self._on_own_state(packet)
            case Disconnect() if event.sender == "client":
                self._report.judge("state_death", self._is_dead)
            case _:
                pass

    def on_end(self) -> None:
        """Note the end of the session, of the connection or of the stream."""
        if self._owes_answer:
            self._report.judge("state_answer", False, "no answer to the own STATE offline")
        self._owes_answer = False

    def _on_connect(self, packet: Connect, time_ms: int) -> None:
        judge, will = self._report.judge, packet.will
        judge("state_will", will is not None)
        clean = packet.is_clean and packet.expiry_s == 0
        judge("host_clean_50" if packet.level == 5 else "host_clean_311", clean)
        if will is None:
            return
        judge("state_will_topic", will.topic == self._topic, will.topic)
        judge("state_will_qos", will.qos == 1, will.qos)
        judge("state_will_retain", will.retain)
        online, self._will_time = _state(will.payload)
        is_now = _is_now(self._will_time, time_ms)
        judge("state_will_payload", online is False and is_now, will.payload)

    def _on_publish(self, packet: Publish, time_ms: int) -> None:
        parts = packet.topic.split("/")
        if len(parts) > 2 and parts[1] == "STATE":
            online, stamp = _state(packet.payload)
            if online is False:
                self._on_death(packet, stamp, time_ms)
            else:
                self._on_birth(packet, online=online, stamp=stamp)
            return
        if not self._is_born:
            self._report.judge("state_first", False, packet.topic)
        if len(parts) > 2 and parts[2] in {"NCMD", "DCMD"}:
            self._on_command(packet, parts, time_ms)

    def _on_birth(self, packet: Publish, *, online: object, stamp: object) -> None:
        judge = self._report.judge
        if not self._is_born:
            judge("state_first", True)
            has_own = self._topic in self._granted
            has_space = any(t.startswith("spBv1.0/") and t.endswith("#") for t in self._granted)
            judge("state_subscribed", has_own and has_space, self._granted)
        judge("state_topic", packet.topic == self._topic, packet.topic)
        judge("state_qos", packet.qos == 1, packet.qos)
        judge("state_retain", packet.retain)
        judge("state_payload", online is True and _is_number(stamp), packet.payload)
        judge("state_timestamp", stamp == self._will_time, f"{stamp} for {self._will_time}")
        if self._owes_answer:
            judge("state_answer", online is True and stamp == self._will_time, packet.payload)
            self._owes_answer = False
        self._is_born = True

    def _on_death(self, packet: Publish, stamp: object, time_ms: int) -> None:
        judge = self._report.judge
        self._is_dead = True
        self.on_end()
        judge("state_death_topic", packet.topic == self._topic, packet.topic)
        judge("state_death_qos", packet.qos == 1, packet.qos)
        judge("state_death_retain", packet.retain)
        judge("state_death_payload", _is_now(stamp, time_ms), packet.payload)

    def _on_own_state(self, packet: Publish) -> None:
        online, _ = _state(packet.payload)
        if online is False and not self._is_dead:
            self._owes_answer = True

    # --- commands

    def _on_command(self, packet: Publish, parts: list[str], time_ms: int) -> None:
        judge, kind = self._report.judge, parts[2].lower()
        is_node = parts[2] == "NCMD"
        has_shape = parts[0] == "spBv1.0" and len(parts) == (4 if is_node else 5) and all(parts)
        judge(f"{kind}_topic", has_shape, packet.topic)
        judge(f"{kind}_qos", packet.qos == 0, packet.qos)
        judge(f"{kind}_retain", not packet.retain)
        payload = tahu.parse(packet.payload)
        if payload is None:
            judge(f"{kind}_metrics", False, "no payload")
            return
        stamp = payload.timestamp if payload.HasField("timestamp") else None
        judge(f"{kind}_timestamp", _is_now(stamp, time_ms), stamp)
        judge(f"{kind}_no_seq", not payload.HasField("seq"), payload.seq)
        judge(f"{kind}_metrics", len(payload.metrics) > 0)
        known = self._births.get((parts[1], *parts[3:]), {})
        for metric in payload.metrics:
            self._command_metric(metric, kind, known)

    def _command_metric(self, metric: Any, kind: str, known: dict[str | int, int]) -> None:
        judge = self._report.judge
        if metric.name in {REBIRTH, "Device Control/Rebirth"}:
            is_true = metric.HasField("boolean_value") and metric.boolean_value
            judge("rebirth_request", is_true, metric)
            return
        key = metric.name if metric.HasField("name") else metric.alias
        judge(f"{kind}_metrics", key in known, key)
        held = metric.WhichOneof("value")
        fits = metric.is_null or held in tahu.FIELDS.get(known.get(key, 0), ())
        judge(f"{kind}_value", fits, f"{key}: {known.get(key)} in {held}")


def _state(body: bytes) -> tuple[object, object]:
    try:
        found = json.loads(body)
    except ValueError:
        return None, None
    if not isinstance(found, dict):
        return None, None
    return found.get("online"), found.get("timestamp")


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_now(stamp: object, time_ms: int) -> bool:
    return isinstance(stamp, int) and _is_number(stamp) and abs(stamp - time_ms) <= UTC_SLACK_MS
