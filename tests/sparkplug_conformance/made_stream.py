"""Streams made by hand, without fault, for the tests of the checker to damage.

Payloads are built with Tahu's schema. `Script` is a short way to write down who sends what.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from pysparkplug._protobuf import Payload

from tests.sparkplug_conformance.stream import (
    Closed,
    Connack,
    Connect,
    Disconnect,
    Event,
    Packet,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Will,
)

T = 1_790_000_000_000
WATCHER = 9
"""The connection of a client that subscribes to everything."""
STATE = "spBv1.0/STATE/scada"


class Script:
    """Collects events, one millisecond apart."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.connection = 0
        self._packet_id = 0

    @property
    def now_ms(self) -> int:
        return T + len(self.events)

    def add(self, packet: Packet, sender: str = "client", connection: int = 0) -> None:
        number = connection or self.connection
        self.events.append(
            Event(connection=number, sender=sender, time_ms=self.now_ms, packet=packet)
        )

    def connect(self, client_id: str, will: Will, level: int, *filters: str) -> None:
        self.connection += 1
        told = Connect(level=level, client_id=client_id, is_clean=True, keep_alive_s=15, will=will)
        self.add(told)
        self.add(Connack(code=0), "broker")
        if filters:
            self.subscribe([(topic, 1) for topic in filters])

    def subscribe(self, wanted: Sequence[tuple[str, int]]) -> None:
        self.add(Subscribe(packet_id=1, filters=tuple(wanted)))
        self.add(Suback(packet_id=1, codes=tuple(qos for _, qos in wanted)), "broker")

    def deliver(self, topic: str, payload: bytes, qos: int = 1) -> None:
        """Let the node read a message, and acknowledge it."""
        self._packet_id += 1
        self.add(
            Publish(topic=topic, payload=payload, qos=qos, packet_id=self._packet_id), "broker"
        )
        if qos:
            self.add(Puback(packet_id=self._packet_id))

    def publish(self, topic: str, payload: bytes, qos: int = 0, *, retain: bool = False) -> None:
        self.add(Publish(topic=topic, payload=payload, qos=qos, retain=retain))


def state(*, online: bool, time_ms: int) -> bytes:
    return json.dumps({"online": online, "timestamp": time_ms}).encode()


def metric(payload, name, datatype, time_ms, **fields):
    """Add a metric; `field=value` names the field of the oneof."""
    added = payload.metrics.add(timestamp=time_ms)
    if name is not None:
        added.name = name
    if datatype is not None:
        added.datatype = datatype
    for field, value in fields.items():
        setattr(added, field, value)
    return added


def death(bd_seq: int) -> bytes:
    payload = Payload(timestamp=T)
    metric(payload, "bdSeq", 4, T, long_value=bd_seq)
    return payload.SerializeToString()


def command(name: str, now_ms: int, datatype: int, **value) -> bytes:
    payload = Payload(timestamp=now_ms)
    metric(payload, name, datatype, now_ms, **value)
    return payload.SerializeToString()


class NodeScript(Script):
    """The edge node G/N with the devices D1 and D2."""

    def __init__(self) -> None:
        super().__init__()
        self.bd_seq = -1
        self._seq = 0
        self._value = 0

    def open(self, level: int) -> None:
        self.bd_seq += 1
        will = Will(topic="spBv1.0/G/NDEATH/N", payload=death(self.bd_seq), qos=1, retain=False)
        filters = ("spBv1.0/G/NCMD/N", "spBv1.0/G/DCMD/N/+", STATE)
        self.connect("node", will, level, *filters)

    def send(self, kind: str, payload: Payload, device: str = "") -> None:
        payload.timestamp = self.now_ms
        payload.seq = self._seq
        self._seq = (self._seq + 1) % 256
        rest = f"/{device}" if device else ""
        self.publish(f"spBv1.0/G/{kind}/N{rest}", payload.SerializeToString())

    def births(self) -> None:
        self._seq = 0
        self.send("NBIRTH", nbirth(self.bd_seq, self.now_ms))
        self.device_birth("D1")
        self.device_birth("D2")

    def device_birth(self, device: str) -> None:
        payload, first = Payload(), 10 if device == "D1" else 20
        for number in range(2):
            added = metric(payload, f"m{number}", 10, self.now_ms, double_value=1.0)
            added.alias = first + number
        metric(payload, "none", 12, self.now_ms, is_null=True).alias = first + 2
        quality(added, 192)
        self.send("DBIRTH", payload, device)

    def data(self, device: str) -> None:
        payload, self._value = Payload(), self._value + 1
        aliases = {"": (1, 2), "D1": (10, 11), "D2": (20, 21)}[device]
        for offset, alias in enumerate(aliases):
            time_ms = self.now_ms + offset
            metric(payload, None, None, time_ms, alias=alias, double_value=self._value)
        self.send("DDATA" if device else "NDATA", payload, device)

    def close(self) -> None:
        self.add(Closed())


def quality(target, value: int) -> None:
    target.properties.keys.extend(["Quality", "engUnit"])
    target.properties.values.add(type=3, int_value=value)
    target.properties.values.add(type=12, string_value="bar")


def nbirth(bd_seq: int, now_ms: int) -> Payload:
    """A node's birth with a metric of every structure."""
    payload = Payload()
    metric(payload, "bdSeq", 4, now_ms, long_value=bd_seq)
    metric(payload, "Node Control/Rebirth", 11, now_ms, boolean_value=False)
    for alias in (1, 2):
        metric(payload, f"n{alias}", 10, now_ms, double_value=0.5, alias=alias)
    table = metric(payload, "table", 16, now_ms).dataset_value
    table.num_of_columns = 2
    table.columns.extend(["a", "b"])
    table.types.extend([3, 12])
    row = table.rows.add()
    row.elements.add(int_value=1)
    row.elements.add(string_value="x")
    motor = metric(payload, "Motor", 19, now_ms).template_value
    motor.is_definition = True
    motor.version = "1"
    motor.metrics.add(name="speed", datatype=10, double_value=0.0)
    motor.parameters.add(name="maker", type=12, string_value="M")
    one = metric(payload, "motor 1", 19, now_ms).template_value
    one.is_definition = False
    one.template_ref = "Motor"
    one.metrics.add(name="speed", datatype=10, double_value=3.0)
    one.parameters.add(name="maker", type=12, string_value="N")
    return payload


def node_stream() -> list[Event]:
    """Everything that a node's rules are about, once: three sessions of G/N with host scada."""
    script = NodeScript()
    script.open(4)
    script.deliver("spBv1.0/STATE/other", state(online=True, time_ms=99))
    script.deliver(STATE, state(online=False, time_ms=5))
    script.deliver(STATE, state(online=True, time_ms=3))
    script.deliver(STATE, state(online=True, time_ms=10))
    script.births()
    for device in ("", "D1", "D2"):
        script.data(device)
    asked = command("Node Control/Rebirth", script.now_ms, 11, boolean_value=True)
    script.deliver("spBv1.0/G/NCMD/N", asked)
    script.births()
    script.data("D1")
    script.deliver(STATE, state(online=False, time_ms=4))
    script.data("D2")
    script.send("DDEATH", Payload(), "D2")
    script.device_birth("D2")
    script.data("D2")
    script.close()
    died = Publish(topic="spBv1.0/G/NDEATH/N", payload=death(0))
    script.add(died, "broker", connection=WATCHER)

    script.open(5)
    script.deliver(STATE, state(online=True, time_ms=10))
    script.births()
    script.data("D1")
    script.deliver(STATE, state(online=False, time_ms=20))
    script.publish("spBv1.0/G/NDEATH/N", death(1), 1)
    script.add(Disconnect(code=4))
    script.close()

    script.open(4)
    script.deliver(STATE, state(online=True, time_ms=30))
    script.births()
    script.publish("spBv1.0/G/NDEATH/N", death(2), 1)
    script.add(Disconnect())
    script.close()
    return script.events


def host_stream() -> list[Event]:
    """The host scada: two sessions, its own STATE heard offline, and commands."""
    script = Script()
    for level in (4, 5):
        since = script.now_ms
        will = Will(topic=STATE, payload=state(online=False, time_ms=since), qos=1, retain=True)
        script.connect("scada", will, level, STATE, "spBv1.0/#")
        script.publish(STATE, state(online=True, time_ms=since), 1, retain=True)
        script.deliver(STATE, state(online=False, time_ms=since))
        script.publish(STATE, state(online=True, time_ms=since), 1, retain=True)
        birth = NodeScript()
        birth.bd_seq = 0
        birth.births()
        for event in birth.events:
            script.add(event.packet, "broker")
        asked = command("Node Control/Rebirth", script.now_ms, 11, boolean_value=True)
        script.publish("spBv1.0/G/NCMD/N", asked)
        script.publish("spBv1.0/G/NCMD/N", command("n1", script.now_ms, 10, double_value=1.0))
        script.publish("spBv1.0/G/DCMD/N/D1", command("m0", script.now_ms, 10, double_value=2.0))
        now_ms = script.now_ms
        script.publish(STATE, state(online=False, time_ms=now_ms), 1, retain=True)
        script.add(Disconnect())
        script.add(Closed())
    return script.events
