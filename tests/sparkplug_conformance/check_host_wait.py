"""Rules about the primary host, as an edge node has to obey them.

A STATE acts from the node's PUBACK on: what it sent before that it had not read. `HostWait` lives
as long as the node knows the server, over its reconnects.
"""

from __future__ import annotations

import json

from tests.sparkplug_conformance.report import Report
from tests.sparkplug_conformance.stream import Publish


class HostWait:
    """Follows the STATEs that the node is given on one server, and what it does about them."""

    def __init__(self, report: Report, host_id: str | None) -> None:
        self._report = report
        self.host_id = host_id
        self._last_ms: int | None = None
        self._held: dict[int, tuple[str, bool, int]] = {}
        self._is_other_online = False
        self.begin()

    def begin(self) -> None:
        """Note a new connection: STATE has to come again, but its last timestamp is remembered."""
        self._is_online = False
        self._is_born = False
        self._decoys = {"host_wait_id"} if self._is_other_online else set[str]()
        self._has_to_leave = False
        self._has_died = False
        self._old_offline = False
        self._held.clear()

    # --- what the node reads

    def on_state(self, packet: Publish) -> None:
        parts = packet.topic.split("/")
        if self.host_id is None or len(parts) != 3 or parts[1] != "STATE":
            return
        state = _read(packet.payload)
        if state is None:
            return
        found = (parts[2], *state)
        if packet.qos:
            self._held[packet.packet_id] = found
        else:
            self._accept(*found)

    def on_foreign_state(self, packet: Publish) -> None:
        """Note that another host is online at the broker: it may not make the node give birth."""
        parts, state = packet.topic.split("/"), _read(packet.payload)
        if self.host_id is None or state is None or len(parts) != 3 or parts[1] != "STATE":
            return
        if state[0] and parts[2] != self.host_id:
            self._is_other_online = True
            if not self._is_born:
                self._decoys.add("host_wait_id")

    def on_puback(self, packet_id: int) -> None:
        found = self._held.pop(packet_id, None)
        if found is not None:
            self._accept(*found)

    def _accept(self, host_id: str, is_online: bool, time_ms: int) -> None:
        if host_id != self.host_id:
            self._decoys.add("host_wait_id")
            return
        if self._last_ms is not None and time_ms < self._last_ms:
            if is_online:
                self._decoys.add("host_wait_timestamp")
            elif self._is_born and not self._has_to_leave:
                self._old_offline = True
            return
        self._last_ms = time_ms
        self._is_online = is_online
        if not is_online:
            self._decoys.add("host_wait_online")
            self._has_to_leave = self._is_born

    # --- what the node does

    def on_birth(self) -> None:
        if self.host_id is not None:
            self._report.judge("host_wait", self._is_online)
        self._judge_decoys(has_waited=self._is_online)
        self._is_born = True

    def on_data(self) -> None:
        if self._has_to_leave:
            self._report.judge("host_offline", False, "DATA after the primary host went offline")
        if self._old_offline:
            self._report.judge("host_offline_old", True)
            self._old_offline = False

    def on_death(self) -> None:
        self._has_died = True
        if self._old_offline:
            self._report.judge("host_offline_old", self._has_to_leave, "NDEATH")

    def on_closed(self) -> None:
        if self._has_to_leave:
            self._report.judge("host_offline", self._has_died, "closed without NDEATH")
        if not self._is_born:
            self._judge_decoys(has_waited=True)

    def on_end(self) -> None:
        """Note that the stream ended with the connection open."""
        if self._has_to_leave:
            self._report.judge("host_offline", False, "the node stays connected")

    def _judge_decoys(self, *, has_waited: bool) -> None:
        for rule in self._decoys:
            self._report.judge(rule, has_waited)
        self._decoys.clear()


def _read(body: bytes) -> tuple[bool, int] | None:
    try:
        found = json.loads(body)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    online, time_ms = found.get("online"), found.get("timestamp")
    if not isinstance(online, bool) or isinstance(time_ms, bool) or not isinstance(time_ms, int):
        return None
    return online, time_ms
