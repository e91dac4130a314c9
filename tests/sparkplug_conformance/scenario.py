"""The scenario of issue 3: one gateway through all that can befall it, seen by an independent host.

Real processes: plant, mosquitto with the generated access list, gateway (MQTT 3.1.1, after its kill
MQTT 5) and the npm host; and a reader made with pysparkplug. All clients but the last go through
one recording proxy, whose stream the checker judges afterwards. Every step waits for something in
that stream, none for a length of time.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import msgspec

from bench.processes import Broker, Gateway, Plant
from contract.broker_acl import host_entry, mosquitto_acl, node_entry
from plant.model import NAMESPACE_URI
from runtime.clock import SystemClock
from tests.sparkplug_b.npm_program import NpmProgram, npm_program
from tests.sparkplug_b.pysparkplug_peer import PyReader, reading
from tests.sparkplug_conformance.acl_broker import PASSWORD, AclBroker
from tests.sparkplug_conformance.proxy import DEADLINE_S, Recorder, open_proxy
from tests.sparkplug_conformance.raw_client import signed_in
from tests.sparkplug_conformance.stream import Closed, Event, Puback, Publish

NODE = ("Conform", "Gateway")
HOST_ID = "scada"
STATE = f"spBv1.0/STATE/{HOST_ID}"
NCMD = f"spBv1.0/{NODE[0]}/NCMD/{NODE[1]}"
HOUR_MS = 3_600_000
MACHINES = ("Press", "Oven", "Robot")
CONVENTIONS = {
    "schema_uuid": "1ad1a5a5-0000-4000-8000-000000000001",
    "information": {"manufacturer": "Maker"},
}
REBIRTH = {"name": "Node Control/Rebirth", "type": "Boolean", "value": True}


def gateway_document(endpoint: str, broker_url: str, version: str) -> dict[str, object]:
    # several samples of a tag in one publish: their order in a message is judged too
    group = {"name": "fast", "sampling_interval_ms": 100, "publishing_interval_ms": 600}
    rules = [
        {"below": f"nsu={NAMESPACE_URI};s={machine}", "group": "fast", "device": machine}
        for machine in MACHINES
    ]
    source = {
        "name": "plant",
        "kind": "opcua",
        "endpoint": endpoint,
        "security": {"policy": "None", "mode": "None", "allow_insecure": True},
        "groups": [group],
        "rules": rules,
    }
    broker = {"url": broker_url, "version": version, "username": "gateway", "password": PASSWORD}
    sparkplug = {
        "group": NODE[0],
        "node": NODE[1],
        "primary_host": HOST_ID,
        "death_delay_s": 0,
        "broker": broker,
    }
    return {
        "hub": {"enabled": False},
        "sources": [source],
        "sparkplug": sparkplug,
        # with Factory+ conventions: they add metrics of the node, which NDATA then tells
        "factoryplus": {"devices": dict.fromkeys(MACHINES, CONVENTIONS)},
    }


@dataclass
class Scene:
    """What stands on the stage.

    Attributes:
        door: the proxy's port.
        marks: at which event each step began.
    """

    recorder: Recorder
    broker: Broker
    plant: Plant
    gateway: Gateway
    host: NpmProgram
    reader: PyReader
    door: int
    marks: dict[str, int] = field(default_factory=dict)

    @property
    def events(self) -> list[Event]:
        return self.recorder.events

    def mark(self, step: str) -> int:
        self.marks[step] = len(self.events)
        return self.marks[step]

    def sent(self, kind: str, since: int = 0) -> list[Publish]:
        """Return what the node has published of a message type."""
        found = [e.packet for e in self.events[since:] if e.sender == "client"]
        topic = f"spBv1.0/{NODE[0]}/{kind}/{NODE[1]}"
        return [
            p for p in found if isinstance(p, Publish) and f"{p.topic}/".startswith(f"{topic}/")
        ]

    async def until_sent(self, kind: str, since: int, count: int = 1) -> None:
        await self.recorder.until(f"{count} {kind}", lambda: len(self.sent(kind, since)) >= count)

    async def until_host_has(self, kind: str, start: int, count: int = 1) -> None:
        await self.host.until(
            f"{count} {kind} at the host", lambda: len(self.host.of(kind, start)) >= count
        )

    async def until_born(self, since: int) -> None:
        await self.until_sent("NBIRTH", since)
        await self.until_sent("DBIRTH", since, len(MACHINES))
        await self.until_sent("DDATA", since)

    async def until_read(self, since: int, topic: str) -> None:
        """Wait until the node has acknowledged a message of a topic."""

        def has() -> bool:
            given: set[tuple[int, int]] = set()
            for event in self.events[since:]:
                packet, key = event.packet, event.connection
                if isinstance(packet, Publish) and packet.topic == topic:
                    if event.sender == "broker" and packet.qos:
                        given.add((key, packet.packet_id))
                elif isinstance(packet, Puback) and (key, packet.packet_id) in given:
                    return True
            return False

        await self.recorder.until(f"the node reads {topic}", has)

    async def say_state(self, offset_ms: int = 0, *, online: bool) -> int:
        """Let the host say a STATE of now, or of another time; wait until the node has it."""
        since = len(self.events)
        time_ms = SystemClock().wall_us() // 1000 + offset_ms
        await self.host.tell(state={"online": online, "timestamp": time_ms})
        await self.until_read(since, STATE)
        return since


async def play(scene: Scene, broker_url: str) -> None:
    """Go through all steps."""
    await _start(scene)
    await _rebirth(scene)
    await _source_loss(scene)
    await _broker_loss(scene)
    await _kill(scene, broker_url)
    await _host_offline(scene)
    scene.mark("stop")
    await scene.gateway.stop()
    await scene.until_sent("NDEATH", scene.marks["stop"])
    await scene.recorder.until(
        "the node's connection closes",
        lambda: any(isinstance(e.packet, Closed) for e in scene.events[scene.marks["stop"] :]),
    )


async def _start(scene: Scene) -> None:
    """Start with the host away: nothing is sent until it is online, by a STATE that counts."""
    await scene.host.until("the host's subscription", lambda: scene.host.events("ready"))
    async with signed_in(scene.door, "other", PASSWORD) as other:
        await other.publish("spBv1.0/STATE/other", b'{"online": true, "timestamp": 9}', retain=True)
    await scene.host.tell(state={"online": False})
    await scene.plant.start()
    await scene.gateway.start()
    await scene.until_read(0, STATE)
    await scene.say_state(-HOUR_MS, online=True)
    since = scene.mark("start")
    await scene.say_state(online=True)
    await scene.until_born(since)
    await scene.until_host_has("DDATA", 0)
    with anyio.fail_after(DEADLINE_S):
        while not scene.reader.messages("DDATA"):  # noqa: ASYNC110 - a thread, which tells nobody
            await anyio.sleep(0.02)


async def _rebirth(scene: Scene) -> None:
    since, start = scene.mark("rebirth"), len(scene.host.lines)
    payload = {"timestamp": {"$long": str(scene.events[-1].time_ms)}, "metrics": [REBIRTH]}
    # at QoS 1, as the Java TCK does: the acknowledgement shows when the node has read it
    await scene.host.tell(publish={"topic": NCMD, "payload": payload, "qos": 1})
    await scene.until_born(since)
    await scene.until_host_has("NBIRTH", start)
    since = await scene.say_state(-HOUR_MS, online=False)
    await scene.until_sent("DDATA", since + 4)


async def _source_loss(scene: Scene) -> None:
    since = scene.mark("source loss")
    port = scene.plant.port
    await scene.plant.kill()
    await scene.until_sent("DDEATH", since, len(MACHINES))
    await scene.until_sent("NDATA", since)
    since = scene.mark("source back")
    scene.plant = Plant(scene.plant.scan_log.parent, "--engine", "asyncua", port=port)
    await scene.plant.start()
    await scene.until_sent("DBIRTH", since, len(MACHINES))
    await scene.until_sent("DDATA", since)


async def _broker_loss(scene: Scene) -> None:
    since = scene.mark("broker loss")
    await scene.broker.stop()
    await scene.broker.start()
    # the broker's stop was the end of the host's connection too, and published its Will
    await scene.say_state(online=True)
    await scene.until_born(since)


async def _kill(scene: Scene, broker_url: str) -> None:
    since, start = scene.mark("kill"), len(scene.host.lines)
    await scene.host.until("the host is back", lambda: scene.host.events("ready") > 1)
    await scene.gateway.kill()
    await scene.until_host_has("NDEATH", start)
    document = gateway_document(scene.plant.endpoint, broker_url, "5.0")
    scene.gateway.config_path.write_bytes(msgspec.json.encode(document))
    await scene.gateway.start()
    await scene.until_born(since)


async def _host_offline(scene: Scene) -> None:
    since = scene.mark("host offline")
    await scene.say_state(online=False)
    await scene.until_sent("NDEATH", since)
    since = scene.mark("host back")
    await scene.say_state(online=True)
    await scene.until_born(since)


@contextlib.asynccontextmanager
async def open_scene(directory: Path) -> AsyncIterator[tuple[Scene, str]]:
    """Set the stage; everything is stopped at the end, whatever happens."""
    entries = [
        node_entry("gateway", *NODE, primary_host=HOST_ID),
        host_entry("host", HOST_ID),
        host_entry("other", "other"),
        host_entry("reader", "reader"),
        # the npm client has an edge node's Will, also where it plays a host
        node_entry("host", "Npm", HOST_ID),
    ]
    users = {entry.username for entry in entries}
    recorder, broker = Recorder(), AclBroker(directory, users, mosquitto_acl(entries))
    plant = Plant(directory, "--engine", "asyncua")
    async with contextlib.AsyncExitStack() as stack:
        await broker.start()
        stack.push_async_callback(broker.kill)
        proxy = await stack.enter_async_context(open_proxy(recorder, broker.port))
        options = {"url": proxy.url, "hostId": HOST_ID, "group": NODE[0]}
        options |= {"username": "host", "password": PASSWORD}
        host = await stack.enter_async_context(npm_program("host.mjs", **options))
        login = ("reader", PASSWORD)
        reader = stack.enter_context(reading("reader", login, broker.port, NODE[0]))
        gateway = Gateway(directory, gateway_document(plant.endpoint, proxy.url, "3.1.1"))
        scene = Scene(recorder, broker, plant, gateway, host, reader, proxy.port)
        stack.push_async_callback(gateway.kill)
        stack.push_async_callback(_kill_plant, scene)
        yield scene, proxy.url


async def _kill_plant(scene: Scene) -> None:
    await scene.plant.kill()
