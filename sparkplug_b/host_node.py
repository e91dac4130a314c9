"""One edge node as a host application sees it: births, order of messages, deaths, rebirths asked.

Source: Sparkplug 3.0, sections 5.4 to 5.9. Times are UTC ms; a clock that steps back makes a timer
run out, never hang. Known limit of the protocol: an NBIRTH that is lost just where the next seq
fits by chance is not noticed.
"""

from __future__ import annotations

from typing import Final

from sparkplug_b.codec import decode, decode_columns
from sparkplug_b.errors import DecodeError
from sparkplug_b.host_birth import BirthTimes
from sparkplug_b.host_drops import DropBook, ScopeDrops
from sparkplug_b.host_event import (
    DeviceOffline,
    DeviceOnline,
    HostDrop,
    HostEvent,
    HostOptions,
    NodeOffline,
    NodeOnline,
    OfflineReason,
)
from sparkplug_b.host_order import NumberedMessage, Received, SeqOrder, is_over
from sparkplug_b.host_rebirth import RebirthWish
from sparkplug_b.host_scope import HostScope, bd_seq_of, payload_time_ms
from sparkplug_b.metric_columns import MetricColumns
from sparkplug_b.payload import Payload

_Body = Payload | MetricColumns


class HostNode:
    """One edge node.

    Attributes:
        bd_seq: of the last NBIRTH.
        offline_reason: why it is offline; None while online and before the first birth.
        scope: its own metrics.
        devices: by id; offline ones stay known.
        rebirth: the wish for a rebirth; the session sends it.
    """

    def __init__(self, group_id: str, node_id: str, options: HostOptions, drops: DropBook) -> None:
        self.key: Final = (group_id, node_id)
        self.bd_seq: int | None = None
        self.offline_reason: OfflineReason | None = None
        self.scope: Final = HostScope(None)
        self.devices: Final[dict[str, HostScope]] = {}
        self._options = options
        self._drops = ScopeDrops(drops, self.key, None)
        self._order = SeqOrder(options.reorder_messages_max, options.reorder_bytes_max)
        self.rebirth: Final = RebirthWish(options.rebirth_interval_ms, options.rebirth_requests_max)
        self._is_refused = False
        self._birth_print: int | None = None
        self._times = BirthTimes(options.reorder_timeout_ms)
        self._unborn: set[str] = set()  # devices whose DBIRTH must follow
        self._unborn_since_ms = 0
        self._refused: set[str] = set()  # devices over a limit: no rebirth helps

    @property
    def due_ms(self) -> int | None:
        """Return when `on_timer` or `rebirth.take` next has something to do."""
        options = self._options
        rebirth_ms, gap_since_ms = self.rebirth.due_ms, self._order.gap_since_ms
        due = [] if rebirth_ms is None else [rebirth_ms]
        if gap_since_ms is not None:
            due.append(gap_since_ms + options.reorder_timeout_ms)
        if self._unborn:
            due.append(self._unborn_since_ms + options.device_birth_timeout_ms)
        return min(due, default=None)

    def on_birth(self, payload: bytes, now_ms: int) -> list[HostEvent]:
        """Take an NBIRTH."""
        if hash(payload) == self._birth_print and self._times.birth_time_ms is not None:
            self._drops.note("duplicate", "NBIRTH")
            return []
        try:
            body = self._read(payload)
        except DecodeError as error:
            self._drops.note("malformed", f"NBIRTH: {error}")
            # The tables may be those of before.
            self._drops.note("after_gap", count=self._order.stop())
            self.rebirth.want()
            return []
        bd_seq = bd_seq_of(body)
        if self._times.is_late_birth(bd_seq, body.timestamp_ms, now_ms):
            self._drops.note("superseded", "NBIRTH")
            return []
        self._is_refused = len(body.metrics) > self._options.metrics_max
        if self._is_refused:
            self._drops.note("metrics_max", f"NBIRTH of {len(body.metrics)} metrics")
            self._drops.note("after_gap", count=self._order.stop())
            return self._offline("not_reborn", now_ms) if self.scope.is_online else []
        if bd_seq is None:
            self._drops.note("no_bd_seq")
        is_rebirth = self.scope.is_online and bd_seq == self.bd_seq
        self._begin(payload, body, bd_seq, now_ms)
        self.scope.bear(body, self._drops, now_ms)
        online = NodeOnline(
            group_id=self.key[0],
            node_id=self.key[1],
            bd_seq=bd_seq,
            time_ms=payload_time_ms(body, now_ms),
            is_rebirth=is_rebirth,
            metrics=self.scope.metrics,
        )
        return [online, self.scope.born_values(self.key, now_ms), *self._drain()]

    def on_death(self, payload: bytes, now_ms: int) -> list[HostEvent]:
        """Take an NDEATH; its time is the host's own.

        Source: Sparkplug 3.0, tck-id-operational-behavior-edge-node-termination-host-action-*.
        """
        try:
            bd_seq = bd_seq_of(self._read(payload))
        except DecodeError as error:
            self._drops.note("malformed", f"NDEATH: {error}")
            return []
        if self.bd_seq is not None and bd_seq != self.bd_seq:
            self._drops.note("death_bd_seq", f"bdSeq {bd_seq}, born with {self.bd_seq}")
            self._times.other_died(bd_seq, now_ms)
            return []
        if not self.scope.is_online and self.offline_reason != "connection_lost":
            self._drops.note("death_duplicate", "NDEATH")
            if self.bd_seq is None:
                self._times.other_died(bd_seq, now_ms)
            return []
        self._times.died(now_ms)
        return self._offline("death", now_ms)

    def on_numbered(
        self, message: NumberedMessage, device_id: str | None, payload: bytes, now_ms: int
    ) -> list[HostEvent]:
        """Take a message that has a seq: put it in order, hold it back or drop it."""
        drops = self._drops.of(device_id)
        if self._is_refused:
            drops.note("metrics_max", message)
            return []
        if self._order.next_seq is None:
            drops.note("after_gap" if self.scope.is_online else "before_birth", message)
            self.rebirth.want()
            return []
        body, error = self._decode(message, device_id, payload)
        seq = None if body is None else body.seq
        if body is None or seq is None or seq > 255:
            if body is None:
                drops.note("malformed", f"{message}: {error}")
            else:
                drops.note("no_seq", f"{message}: seq {seq}")
            if message == "DBIRTH" and device_id is not None:
                self._expect_birth(device_id, now_ms)
            self.rebirth.want()
            return []
        if self._times.is_before_birth(body.timestamp_ms, now_ms):
            drops.note("superseded", message)
            return []
        received = Received(
            message=message,
            device_id=device_id,
            payload=payload,
            received_ms=now_ms,
            seq=seq,
            time_ms=body.timestamp_ms,
        )
        return self._place(received, body if error is None else None)

    def on_timer(self, now_ms: int) -> list[HostEvent]:
        """Give up a gap that is open too long, and devices that were not born again."""
        options = self._options
        events: list[HostEvent] = []
        gap_since_ms = self._order.gap_since_ms
        if gap_since_ms is not None and is_over(gap_since_ms, now_ms, options.reorder_timeout_ms):
            events += self._give_up_gap()
        if self._unborn and is_over(self._unborn_since_ms, now_ms, options.device_birth_timeout_ms):
            late, self._unborn = sorted(self._unborn), set()
            events += [self._device_offline(one, now_ms, "not_reborn") for one in late]
        return events

    def connection_lost(self, now_ms: int) -> list[HostEvent]:
        """Mark everything stale: nothing is known any more; ask for a rebirth when back."""
        self._is_refused = False
        if not self.scope.is_online:
            self.rebirth.forget()
            return []
        events = self._offline("connection_lost", now_ms)
        self.rebirth.want()
        return events

    # --- order -------------------------------------------------------------------------------

    def _read(self, payload: bytes) -> Payload:
        options = self._options
        return decode(
            payload,
            limits=options.limits,
            normalise=options.is_normalised,
            inflate=options.is_inflated,
        )

    def _decode(
        self, message: NumberedMessage, device_id: str | None, payload: bytes
    ) -> tuple[_Body | None, DecodeError | None]:
        """Return the body, data as columns; with an error it says nothing but its seq."""
        options = self._options
        scope = self.scope if device_id is None else self.devices.get(device_id)
        try:
            if message not in {"NDATA", "DDATA"}:
                return self._read(payload), None
            return decode_columns(
                payload,
                types=None if scope is None else scope.types,
                limits=options.limits,
                normalise=options.is_normalised,
                inflate=options.is_inflated,
            ), None
        except DecodeError as error:
            first_error = error
        try:  # the table may be that of before: seq can be read without it
            return self._read(payload), first_error
        except DecodeError as error:
            return None, error

    def _begin(self, payload: bytes, body: Payload, bd_seq: int | None, now_ms: int) -> None:
        seq = body.seq
        if seq is None or seq > 255:
            self._drops.note("no_seq", f"NBIRTH: seq {seq}")
            seq = 0
        self.bd_seq = bd_seq
        self.offline_reason = None
        self._birth_print = hash(payload)
        self._times.born(bd_seq, body.timestamp_ms, now_ms)
        self._unborn = {key for key, device in self.devices.items() if device.is_online}
        self._unborn_since_ms = now_ms
        self.rebirth.forget()
        held_count = self._order.begin((seq + 1) % 256, body.timestamp_ms)
        self._drops.note("superseded", "held before the NBIRTH", count=held_count)

    def _place(self, received: Received, body: _Body | None) -> list[HostEvent]:
        drops = self._drops.of(received.device_id)
        place = self._order.place(received)
        if place == "next":
            return [*self._process(received, body), *self._drain()]
        if place == "duplicate":
            drops.note("duplicate", f"{received.message}, seq {received.seq}")
        elif place == "taken":
            drops.note("superseded", f"{received.message}, seq {received.seq} is held")
        elif place == "full" or self._options.reorder_timeout_ms == 0:
            return self._give_up_gap()
        return []

    def _drain(self) -> list[HostEvent]:
        events: list[HostEvent] = []
        while (held := self._order.pop_next()) is not None:
            events += self._process(held, None)
        return events

    def _give_up_gap(self) -> list[HostEvent]:
        self._drops.note("gap", f"seq {self._order.next_seq} did not come")
        self.rebirth.want()
        events: list[HostEvent] = []
        while self._options.is_released_after_gap and self._order.skip_gap():
            events += self._drain()
        if self._order.held_count:
            self._drops.note("after_gap", count=self._order.stop())
        elif not self._options.is_released_after_gap:
            self._order.stop()
        return events

    # --- messages in order ---------------------------------------------------------------------

    def _process(self, received: Received, body: _Body | None) -> list[HostEvent]:
        """Take the message that comes next; `body` where it is decoded by the tables of now."""
        self._order.advance(received)
        self._times.heard(received.time_ms)
        message, device_id = received.message, received.device_id
        if message == "DDEATH" and device_id is not None:
            return self._device_death(device_id, received)
        if body is None:
            body, error = self._decode(message, device_id, received.payload)
            if error is not None or body is None:
                self._drops.of(device_id).note("malformed", f"{message}: {error}")
                if message == "DBIRTH" and device_id is not None:
                    self._expect_birth(device_id, received.received_ms)
                self.rebirth.want()
                return []
        if isinstance(body, Payload):
            assert device_id is not None  # a DBIRTH
            return self._device_birth(device_id, body, received.received_ms)
        scope = self.scope if device_id is None else self.devices.get(device_id)
        if scope is None or not scope.is_online or device_id in self._unborn:
            if device_id not in self._refused:
                self.rebirth.want()
            self._drops.of(device_id).note("before_birth", message)
            return []
        drops = self._drops.of(device_id)
        values, needs_rebirth = scope.take(body, drops, received.received_ms)
        if needs_rebirth:
            self.rebirth.want()
        return [values] if values.names else []

    def _device_birth(self, device_id: str, body: Payload, now_ms: int) -> list[HostEvent]:
        drops = self._drops.of(device_id)
        device = self.devices.get(device_id)
        others_count = len(self.scope.metrics) + sum(
            len(other.metrics) for key, other in self.devices.items() if key != device_id
        )
        reason: HostDrop | None = None
        if device is None and len(self.devices) >= self._options.devices_max:
            reason = "devices_max"
        elif others_count + len(body.metrics) > self._options.metrics_max:
            reason = "metrics_max"
        if reason is not None:
            drops.note(reason, f"DBIRTH of {len(body.metrics)} metrics")
            is_online = device is not None and device.is_online
            self._unborn.discard(device_id)
            if len(self._refused) < self._options.devices_max:
                self._refused.add(device_id)
            return [self._device_offline(device_id, now_ms, "not_reborn")] if is_online else []
        self._refused.discard(device_id)
        if device is None:
            device = self.devices[device_id] = HostScope(device_id)
        is_rebirth = device.is_online
        device.bear(body, drops, now_ms)
        self._unborn.discard(device_id)
        online = DeviceOnline(
            group_id=self.key[0],
            node_id=self.key[1],
            device_id=device_id,
            time_ms=payload_time_ms(body, now_ms),
            is_rebirth=is_rebirth,
            metrics=device.metrics,
        )
        return [online, device.born_values(self.key, now_ms)]

    def _device_death(self, device_id: str, received: Received) -> list[HostEvent]:
        device = self.devices.get(device_id)
        if device is None or not device.is_online:
            self._drops.of(device_id).note("death_duplicate", "DDEATH")
            return []
        self._unborn.discard(device_id)
        time_ms = payload_time_ms(Payload(timestamp_ms=received.time_ms), received.received_ms)
        return [self._device_offline(device_id, time_ms, "death")]

    # --- offline -------------------------------------------------------------------------------

    def _expect_birth(self, device_id: str, now_ms: int) -> None:
        device = self.devices.get(device_id)
        if device is not None and device.is_online:
            self._unborn.add(device_id)
            self._unborn_since_ms = now_ms

    def _device_offline(self, device_id: str, time_ms: int, why: OfflineReason) -> DeviceOffline:
        return DeviceOffline(
            group_id=self.key[0],
            node_id=self.key[1],
            device_id=device_id,
            time_ms=time_ms,
            reason=why,
            stale_names=self.devices[device_id].go_offline(time_ms),
        )

    def _offline(self, reason: OfflineReason, now_ms: int) -> list[HostEvent]:
        self.offline_reason = reason
        self._drops.note("superseded", "held at the end", count=self._order.stop())
        self._unborn.clear()
        self.rebirth.forget()
        of_device: OfflineReason = "node_death" if reason == "death" else reason
        events: list[HostEvent] = [
            self._device_offline(device_id, now_ms, of_device)
            for device_id, device in self.devices.items()
            if device.is_online
        ]
        node = NodeOffline(
            group_id=self.key[0],
            node_id=self.key[1],
            time_ms=now_ms,
            reason=reason,
            stale_names=self.scope.go_offline(now_ms),
        )
        return [*events, node]
