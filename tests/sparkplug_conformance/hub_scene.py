"""The hub's host application at two MQTT servers, with edge nodes that none of us wrote.

Real hub process, two mosquittos (one spoken to in MQTT 3.1.1, one in MQTT 5) behind recording
proxies, an edge node made of npm's sparkplug-client and one made of pysparkplug. The hub is driven
by its HTTP side, in threads: the proxies live on this loop.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread
import httpx

from bench.processes import Broker, running
from runtime.clock import SystemClock
from tests.central.support import HubProcess, Zygote, sign_in
from tests.sparkplug_b.npm_program import NpmProgram, npm_program
from tests.sparkplug_b.pysparkplug_peer import PyEdgeNode
from tests.sparkplug_conformance.proxy import DEADLINE_S, Proxy, Recorder, open_proxy
from tests.sparkplug_conformance.raw_client import raw_client
from tests.sparkplug_conformance.stream import Connect, Event, Publish

HOST_ID = "Hub"
STATE = f"spBv1.0/STATE/{HOST_ID}"
GROUP, NPM_NODE, PY_NODE = "Interop", "Npm", "Py"
SPEED, MODE = 2.5, "auto"

NPM_BIRTH = {
    "metrics": [
        {"name": "Node Control/Rebirth", "type": "Boolean", "value": False},
        {"name": "Speed", "type": "Double", "value": 1.5},
        {"name": "Mode", "type": "String", "value": "manual"},
    ]
}
NPM_DEVICE = {
    "metrics": [
        {"name": "Force", "type": "Double", "value": 10.5, "alias": {"$long": "7"}},
        {"name": "Count", "type": "Int64", "value": {"$long": "-5"}, "alias": {"$long": "8"}},
        {"name": "On", "type": "Boolean", "value": True, "alias": {"$long": "9"}},
    ]
}


@dataclass
class HubScene:
    """What stands on the stage; `seen`: the device's values by node, as the hub showed them."""

    recorder: Recorder
    servers: list[Broker]
    doors: list[Proxy]
    hub: HubProcess
    npm: NpmProgram
    py: PyEdgeNode
    person: httpx.Client | None = None
    seen: dict[str, dict[str, object]] = field(default_factory=dict)

    @property
    def events(self) -> list[Event]:
        return self.recorder.events

    async def ask(self, path: str, **params: object) -> dict[str, object]:
        """Return what the hub says; nothing where it knows nothing."""

        def get() -> dict[str, object]:
            assert self.person is not None
            answer = self.person.get(path, params=params)  # type: ignore[arg-type]
            return answer.json() if answer.status_code == 200 else {}

        return await anyio.to_thread.run_sync(get)

    async def command(self, path: str, **body: object) -> int:
        def post() -> int:
            assert self.person is not None
            return self.person.post(f"/api/sparkplug/{path}/command", json=body).status_code

        return await anyio.to_thread.run_sync(post)

    async def state_of(self, node: str) -> str:
        found = await self.ask(f"/api/sparkplug/nodes/{GROUP}/{node}")
        return str(found["node"]["state"]) if found else ""  # type: ignore[index]

    async def metrics_of(self, node: str, device: str) -> dict[str, object]:
        """Return the current values that the hub shows, by name."""
        params = {"device": device} if device else {}
        found = await self.ask(f"/api/sparkplug/nodes/{GROUP}/{node}", **params)
        metrics = found.get("metrics", [])
        return {m["name"]: m["value"] for m in metrics}  # type: ignore[attr-defined]

    def states(self, since: int = 0) -> list[bool]:
        """Return the STATEs that the hub has published."""
        found = [e.packet for e in self.events[since:] if e.sender == "client"]
        own = [p for p in found if isinstance(p, Publish) and p.topic == STATE]
        return [json.loads(p.payload)["online"] for p in own]

    def born_on(self) -> dict[int, list[tuple[bool, int]]]:
        """Return (online, timestamp) of the hub's STATEs, by its connections."""
        found: dict[int, list[tuple[bool, int]]] = {}
        hubs = {
            e.connection
            for e in self.events
            if isinstance(e.packet, Connect) and e.packet.will and e.packet.will.topic == STATE
        }
        for event in self.events:
            packet = event.packet
            if event.sender != "client" or event.connection not in hubs:
                continue
            if isinstance(packet, Publish) and packet.topic == STATE:
                body = json.loads(packet.payload)
                said = found.setdefault(event.connection, [])
                said.append((body["online"], body["timestamp"]))
        return found

    async def until_states(self, since: int, *wanted: bool) -> None:
        await self.recorder.until(
            f"STATE {wanted}", lambda: self.states(since)[: len(wanted)] == list(wanted)
        )


async def until(what: Callable[[], object]) -> None:
    """Wait for what another process or thread does in its own time."""
    with anyio.fail_after(DEADLINE_S):
        while not await what():  # type: ignore[misc]  # noqa: ASYNC110
            await anyio.sleep(0.05)


async def play(scene: HubScene) -> None:
    await _births(scene)
    await _commands(scene)
    await _death_and_return(scene)
    await _server_loss(scene)
    await anyio.to_thread.run_sync(scene.hub.stop)
    await scene.recorder.until("two deaths", lambda: _deaths(scene) == 2)


def _deaths(scene: HubScene) -> int:
    return sum(not said[-1][0] for said in scene.born_on().values())


async def _births(scene: HubScene) -> None:
    await scene.until_states(0, True, True)
    scene.py.connect(scene.doors[1].port)

    async def are_online() -> bool:
        return [await scene.state_of(n) for n in (NPM_NODE, PY_NODE)] == ["online", "online"]

    await until(are_online)
    speed = {"metrics": [{"name": "Speed", "type": "Double", "value": SPEED}]}
    force = {"metrics": [{"alias": {"$long": "7"}, "type": "Double", "value": 11.5}]}
    await scene.npm.tell(node=speed)
    await scene.npm.tell(device="D", data=force)
    scene.py.say(DOUBLE=SPEED, INT16=-7)

    async def have_values() -> bool:
        npm, py = await scene.metrics_of(NPM_NODE, ""), await scene.metrics_of(PY_NODE, "D")
        device = await scene.metrics_of(NPM_NODE, "D")
        seen = (npm.get("Speed"), device.get("Force"), py.get("DOUBLE"), py.get("INT16"))
        return seen == (SPEED, 11.5, SPEED, -7)

    await until(have_values)
    for node in (NPM_NODE, PY_NODE):
        scene.seen[node] = await scene.metrics_of(node, "D")


async def _commands(scene: HubScene) -> None:
    births = scene.npm.events("born")
    assert await scene.command(f"{GROUP}/{NPM_NODE}", rebirth=True) == 200
    await scene.npm.until("the npm node is born again", lambda: scene.npm.events("born") > births)
    assert await scene.command(f"{GROUP}/{NPM_NODE}", metrics={"Mode": MODE}) == 200
    assert await scene.command(f"{GROUP}/{NPM_NODE}/D", metrics={"Force": 3.5, "On": False}) == 200
    await scene.npm.until("both commands", lambda: len(commands(scene.npm)) == 3)
    assert await scene.command(f"{GROUP}/{PY_NODE}/D", metrics={"INT16": 3}) == 200

    async def has_come() -> bool:
        return bool(scene.py.commands)

    await until(has_come)


def commands(npm: NpmProgram) -> list[dict[str, object]]:
    return [line for line in npm.lines if "command" in line]


async def _death_and_return(scene: HubScene) -> None:
    births = scene.npm.events("born")
    await scene.npm.tell(drop=True)
    await scene.npm.until("the npm node is born again", lambda: scene.npm.events("born") > births)
    await anyio.to_thread.run_sync(scene.py.drop)

    async def is_dead() -> bool:
        return await scene.state_of(PY_NODE) == "offline"

    await until(is_dead)


async def _server_loss(scene: HubScene) -> None:
    """Lose the first server; then say on the second that the host is offline: its own T answers."""
    await scene.servers[0].stop()
    await scene.servers[0].start()
    await scene.recorder.until("a third session", lambda: len(scene.born_on()) == 3)
    since = len(scene.events)
    async with raw_client(scene.doors[1].port) as other:
        await other.connect("other", None, None)
        old = json.dumps({"online": False, "timestamp": SystemClock().wall_us() // 1000})
        await other.publish(STATE, old.encode(), retain=True)
    # what the other said is in the record too
    await scene.until_states(since, False, True)


@contextlib.asynccontextmanager
async def open_hub_scene(zygote: Zygote, directory: Path) -> AsyncIterator[HubScene]:
    for name in ("a", "b"):
        (directory / name).mkdir()
    recorder = Recorder()
    async with contextlib.AsyncExitStack() as stack:
        servers = [Broker(directory / name) for name in ("a", "b")]
        doors = []
        for server in servers:
            await stack.enter_async_context(running(server))
            doors.append(await stack.enter_async_context(open_proxy(recorder, server.port)))
        document = directory / "sparkplug.json"
        versions = ("3.1.1", "5.0")
        listed = [
            {"url": door.url, "name": version, "version": version}
            for door, version in zip(doors, versions, strict=True)
        ]
        rule = {"group": GROUP, "node": "*", "metric": "*"}
        fields = {"store_linger_ms": 10, "rebirth_interval_ms": 100, "reorder_timeout_ms": 300}
        rules = [rule, rule | {"device": "*"}]
        text = {"host_id": HOST_ID, "servers": listed, "write_allow": rules} | fields
        document.write_text(json.dumps(text))
        options = {"url": doors[0].url, "group": GROUP, "node": NPM_NODE, "birth": NPM_BIRTH}
        npm = npm_program("edge.mjs", **options, devices={"D": NPM_DEVICE})
        hub = HubProcess(zygote, directory / "hub", linger_s=0.02, sparkplug=document)
        await anyio.to_thread.run_sync(lambda: hub.start(until_code=True))
        stack.callback(_end, hub)
        scene = HubScene(
            recorder, servers, doors, hub, await stack.enter_async_context(npm), _py_node()
        )
        scene.person = await anyio.to_thread.run_sync(sign_in, hub)
        stack.callback(scene.person.close)
        yield scene


def _end(hub: HubProcess) -> None:
    if hub.is_running():
        hub.kill()


def _py_node() -> PyEdgeNode:
    return PyEdgeNode(GROUP, PY_NODE, "D")
