"""The Sparkplug host through kills, take-overs and several servers: real hubs, real brokers."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.processes import Broker, running
from contract.config import BrokerConfig
from runtime.mqtt import connect
from tests.central.edge_node import CLOCK, EdgeNode, document, double, read, until
from tests.central.support import HubProcess, Zygote, sign_in

pytestmark = [pytest.mark.broker, pytest.mark.slow]
STATE = "spBv1.0/STATE/Hub"


class Watcher:
    """Hears every STATE of the host: (online, timestamp)."""

    def __init__(self) -> None:
        self.states: list[tuple[bool, int]] = []
        self.connection: Any = None

    @property
    def online(self) -> list[bool]:
        return [online for online, _ in self.states]

    @property
    def times(self) -> list[int]:
        return [time for _, time in self.states]

    def hear(self, _topic: str, payload: bytes, _retained: bool) -> None:
        body = json.loads(payload)
        assert set(body) == {"online", "timestamp"}
        self.states.append((body["online"], body["timestamp"]))


@asynccontextmanager
async def watching(broker: Broker) -> AsyncIterator[Watcher]:
    watcher = Watcher()
    config = BrokerConfig(url=broker.url)
    watcher.connection = await connect(config, "watcher", ("watcher", b"", 0), CLOCK)
    watcher.connection.on_message = watcher.hear
    await watcher.connection.subscribe(STATE, 1)
    yield watcher
    await watcher.connection.close()


def nodes(person: httpx.Client) -> dict[str, tuple[str, str, str]]:
    found = read(person, "/api/sparkplug/nodes")["nodes"]
    return {n["node"]: (n["state"], n["reason"], n["server"]) for n in found}


def kept_births(hub: HubProcess) -> int:
    with closing(sqlite3.connect(hub.directory / "hub.db")) as database:
        return int(database.execute("SELECT count(*) FROM edge_scopes").fetchone()[0])


def values(person: httpx.Client, node: str) -> list[float]:
    tags = person.get(f"/api/gateways/sp:Plant:{node}/tags", params={"search": "Speed"}).json()
    if not tags.get("tags"):
        return []
    params = {"gateway": f"sp:Plant:{node}", "tag": tags["tags"][0]["tag"]["id"]}
    params |= {"start": "1970-01-01", "end": "2100-01-01"}
    answer = person.get("/api/timeseries/raw", params=params).json()
    return [v for v, s in zip(answer["value"], answer["status"], strict=True) if s == 0]


async def test_state_is_retained_put_right_and_never_goes_back_and_a_kill_loses_nothing_spooled(
    zygote: Zygote, tmp_path: Path
) -> None:
    async with running(Broker(tmp_path)) as broker, watching(broker) as watcher:
        with document(tmp_path, broker.url) as path:
            hub = HubProcess(
                zygote, tmp_path / "hub", linger_s=0.02, flush_interval_s=3600, sparkplug=path
            )
            hub.start(until_code=True)
        person = sign_in(hub)
        await until(lambda: watcher.online == [True])
        watcher.connection.publish(STATE, b'{"online":false,"timestamp":1}', qos=1, retain=True)
        await until(lambda: watcher.online == [True, False, True])
        assert watcher.times[2] == watcher.times[0]
        node = await EdgeNode(broker.url, "Line1").start([double("Speed", 0.0)])
        node.is_answering = False
        for value in range(1, 40):
            node.values(None, Speed=float(value))
        await until(lambda: len(values(person, "Line1")) == 40)
        await until(lambda: kept_births(hub) == 1)
        hub.kill()
        await until(lambda: watcher.online == [True, False, True, False])
        person.close()
        hub.start()
        person = sign_in(hub)
        await until(lambda: watcher.online[4:] == [True])
        assert watcher.times[4] > watcher.times[0]
        assert watcher.times[3] == watcher.times[0], "the Will repeats the birth's time"
        await until(lambda: len(values(person, "Line1")) == 40)
        assert values(person, "Line1") == [float(value) for value in range(40)]
        assert nodes(person)["Line1"] == ("stale", "hub_restarted", "server0")
        asked = person.get("/api/sparkplug/nodes/Plant/Line1").json()
        assert {m["name"] for m in asked["metrics"]} == {"Node Control/Rebirth", "Speed"}
        assert {m["name"]: m["value"] for m in asked["metrics"]}["Speed"] == 39.0
        await until(lambda: node.commands)
        node.birth()
        await until(lambda: nodes(person)["Line1"][0] == "online")
        hub.stop()
        await until(lambda: watcher.online[4:] == [True, False])
        assert watcher.times[5] > watcher.times[4], "a death on purpose has a time of its own"
        person.close()
        await node.stop()


async def test_of_two_hubs_one_is_the_host_and_the_other_takes_over(
    zygote: Zygote, tmp_path: Path
) -> None:
    async with running(Broker(tmp_path)) as broker, watching(broker) as watcher:
        database = f"sqlite+aiosqlite:///{tmp_path / 'shared.db'}"
        with document(tmp_path, broker.url, lease_s=2) as path:
            settings = {"database_url": database, "sparkplug": path, "linger_s": 0.02}
            first = HubProcess(zygote, tmp_path / "one", **settings).start(until_code=True)
            person = sign_in(first)
            await until(lambda: watcher.online == [True])
            second = HubProcess(zygote, tmp_path / "two", **settings).start()
        other = sign_in(second)
        node = await EdgeNode(broker.url, "Line1").start([double("Speed", 0.0)])
        await until(lambda: values(person, "Line1") == [0.0])
        assert other.get("/api/sparkplug").json()["is_host"] is False
        await until(lambda: nodes(other).get("Line1", ("",))[0] == "online")
        refusal = other.post("/api/sparkplug/Plant/Line1/command", json={"rebirth": True})
        assert (refusal.status_code, refusal.json()["code"]) == (503, "sparkplug.not_the_host")
        assert first.url in refusal.json()["message"]
        assert watcher.online == [True], "the second hub has not connected"
        first.kill()
        await until(lambda: watcher.online == [True, False, True])
        assert watcher.times[2] > watcher.times[0]
        await until(lambda: nodes(other)["Line1"][0] == "online")
        node.values(None, Speed=1.0)
        await until(lambda: 1.0 in values(other, "Line1"))
        second.stop()
        await until(lambda: watcher.online[3:] == [False])
        person.close()
        other.close()
        await node.stop()


async def test_a_frozen_host_that_wakes_up_gives_way_to_the_one_that_took_over(
    zygote: Zygote, tmp_path: Path
) -> None:
    async with running(Broker(tmp_path)) as broker, watching(broker) as watcher:
        database = f"sqlite+aiosqlite:///{tmp_path / 'shared.db'}"
        with document(tmp_path, broker.url, lease_s=2) as path:
            settings = {"database_url": database, "sparkplug": path, "linger_s": 0.02}
            first = HubProcess(zygote, tmp_path / "one", **settings).start(until_code=True)
            person = sign_in(first)
            await until(lambda: watcher.online == [True])
            second = HubProcess(zygote, tmp_path / "two", **settings).start()
        other = sign_in(second)
        os.kill(first._pid, signal.SIGSTOP)
        await until(lambda: read(other, "/api/sparkplug")["is_host"])
        await until(lambda: watcher.online[1:] == [False, True])
        os.kill(first._pid, signal.SIGCONT)
        await until(lambda: not read(person, "/api/sparkplug")["is_host"])
        assert "sparkplug.lease_lost" in first.log.read_text()
        node = await EdgeNode(broker.url, "Line1").start([double("Speed", 5.0)])
        await until(lambda: values(other, "Line1") == [5.0])
        assert watcher.online == [True, False, True], "the old host has said nothing more"
        host = read(person, "/api/sparkplug")
        assert (host["is_host"], host["holder_url"]) == (False, second.url)
        for hub, client in ((second, other), (first, person)):
            client.close()
            hub.stop()
        await node.stop()


async def test_a_node_belongs_to_the_server_of_its_newest_birth(
    zygote: Zygote, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    async with (
        running(Broker(tmp_path / "a")) as one,
        running(Broker(tmp_path / "b")) as two,
    ):
        with document(tmp_path, one.url, two.url) as path:
            hub = HubProcess(zygote, tmp_path / "hub", linger_s=0.02, sparkplug=path)
            hub.start(until_code=True)
        person = sign_in(hub)
        before = await EdgeNode(one.url, "Line1").start([double("Speed", 0.0)])
        steady = await EdgeNode(two.url, "Line2").start([double("Speed", 0.0)])
        await until(lambda: nodes(person).get("Line1") == ("online", "", "server0"))
        after = await EdgeNode(two.url, "Line1", bd_seq=1).start([double("Speed", 1.0)])
        await until(lambda: nodes(person)["Line1"] == ("online", "", "server1"))
        before.cut()
        await until(
            lambda: (
                "other_server"
                in person.get("/api/sparkplug/nodes/Plant/Line1").json()["node"]["drops"]
            )
        )
        assert nodes(person)["Line1"] == ("online", "", "server1")
        await one.stop()
        after.values(None, Speed=2.0)
        await until(lambda: 2.0 in values(person, "Line1"))
        servers = await until(lambda: lost(person, "server0"))
        assert [s["state"] for s in servers] == ["waiting", "connected"]
        assert nodes(person)["Line1"][0] == "online"
        two.signal(signal.SIGKILL)  # stopped in order it would publish the Wills first
        await until(lambda: {n[:2] for n in nodes(person).values()} == {LOST})
        hub.stop()
        person.close()
        del steady


LOST = ("stale", "connection_lost")


def lost(person: httpx.Client, name: str) -> list[dict[str, Any]]:
    servers: list[dict[str, Any]] = person.get("/api/sparkplug").json()["servers"]
    is_lost = any(s["name"] == name and s["state"] == "waiting" for s in servers)
    return servers if is_lost else []
