"""A stream made by `sparkplug_b.HostSession` alone, as a host application would send it.

The edge nodes that it commands are the library's too; what the checker judges is the host.
"""

from __future__ import annotations

from collections.abc import Iterable

from sparkplug_b import CommandToSend, EdgeNodeSession, HostEvent, HostSession, OutboundMessage
from tests.sparkplug_conformance.library_stream import device_birth, node_birth
from tests.sparkplug_conformance.made_stream import Script
from tests.sparkplug_conformance.stream import Closed, Disconnect, Event, Publish, Will

HOST_ID = "library"
GROUP, NODE = "Lib", "Commanded"


class HostScript(Script):
    """Plays a host application of the library, and the node that it hears."""

    def send(self, message: OutboundMessage) -> None:
        self.publish(message.topic, message.payload, message.qos, retain=message.retain)

    def hear(self, host: HostSession, message: OutboundMessage) -> None:
        self.deliver(message.topic, message.payload, qos=1)
        self.obey(
            host.on_message(message.topic, message.payload, retained=False, now_ms=self.now_ms)
        )

    def obey(self, events: Iterable[HostEvent]) -> None:
        for event in events:
            if isinstance(event, CommandToSend):
                self.send(event.message)

    def open_session(self, host: HostSession) -> None:
        will = host.will(self.now_ms)
        told = Will(topic=will.topic, payload=will.payload, qos=will.qos, retain=will.retain)
        self.connect("host", told, 4)
        host.connected()
        self.subscribe(host.subscriptions())
        self.send(host.birth())


def library_host_stream() -> list[Event]:
    script, host = HostScript(), HostSession(HOST_ID)
    script.open_session(host)
    # the Will of an older connection arrives late
    late = OutboundMessage(
        topic=f"spBv1.0/STATE/{HOST_ID}",
        payload=b'{"online": false, "timestamp": 5}',
        qos=1,
        retain=True,
    )
    script.hear(host, late)
    # data before the birth makes it ask for one
    data = Publish(topic=f"spBv1.0/{GROUP}/NDATA/{NODE}", payload=b"\x18\x05")
    script.add(data, "broker")
    script.obey(host.on_message(data.topic, data.payload, retained=False, now_ms=script.now_ms))
    node = EdgeNodeSession(GROUP, NODE, bd_seq=0)
    node.connected()
    now_ms = script.now_ms
    devices = [device_birth("ByAlias", now_ms, 100), device_birth("ByName", now_ms, None)]
    for message in node.birth(node_birth(now_ms), devices, now_ms):
        script.hear(host, message)
    now_ms = script.now_ms
    script.send(host.command(GROUP, NODE, None, {"load": 1.5, "speed": -7}, now_ms))
    for device in ("ByAlias", "ByName"):
        values = {"types/DOUBLE": 2.5, "types/STRING": "x", "types/BOOLEAN": True}
        script.send(host.command(GROUP, NODE, device, values, now_ms))
    script.send(host.rebirth(GROUP, NODE, None, now_ms))
    script.send(host.death(script.now_ms))
    script.add(Disconnect())
    script.add(Closed())
    # the next connection breaks: its Will speaks
    script.open_session(host)
    host.disconnected(script.now_ms)
    script.add(Closed())
    return script.events
