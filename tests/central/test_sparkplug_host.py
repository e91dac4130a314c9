"""The Sparkplug host in a real hub, at a real broker, with edge nodes of our own sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import httpx
import pytest
from msgspec.structs import replace

from bench.processes import Broker, running
from contract.mapping import STATUS_NO_COMMUNICATION as STALE
from runtime.tls import client_context
from sparkplug_b import DataType, Metric, PropertySet, PropertyValue
from tests.central.edge_node import EdgeNode, document, double, now_ms, read, until
from tests.central.support import HubProcess, Zygote, enrol, new_code, sign_in

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Broker]:
    async with running(Broker(tmp_path_factory.mktemp("broker"))) as broker:
        yield broker


@pytest.fixture(scope="module")
def host_hub(
    zygote: Zygote, broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HubProcess]:
    directory = tmp_path_factory.mktemp("host")
    rules = [
        {"group": "Plant", "node": "*", "device": "*", "metric": "Set*"},
        {"group": "Plant", "node": "*", "metric": "Speed"},
    ]
    with document(directory, broker.url, write_allow=rules, exclude=["Plant/Excluded*"]) as path:
        hub = HubProcess(
            zygote, directory / "hub", linger_s=0.02, flush_interval_s=0.5, sparkplug=path
        )
        hub.start(until_code=True)
    yield hub
    hub.stop()


@pytest.fixture(scope="module")
def person(host_hub: HubProcess) -> Iterator[httpx.Client]:
    client = sign_in(host_hub)
    yield client
    client.close()


def detail(person: httpx.Client, node: str, group: str = "Plant", **params: Any) -> dict[str, Any]:
    found: dict[str, Any] = read(person, f"/api/sparkplug/nodes/{group}/{node}", **params)
    return found


def state(person: httpx.Client, node: str) -> tuple[str, str]:
    found = detail(person, node)
    return (found["node"]["state"], found["node"]["reason"]) if found else ("", "")


def series(person: httpx.Client, node: str, name: str, device: str = "") -> list[tuple[Any, int]]:
    """(value, status) of a tag's samples, in source order."""
    gateway = f"sp:Plant:{node}"
    answer = person.get(f"/api/gateways/{gateway}/tags", params={"search": name})
    if answer.status_code != 200:
        return []
    tags = [t["tag"] for t in answer.json()["tags"]]
    ids = [t["id"] for t in tags if t["name"] == name and t["device"] == device]
    if not ids:
        return []
    answer = person.get(
        "/api/timeseries/raw",
        params={"gateway": gateway, "tag": ids[0], "start": "1970-01-01", "end": "2100-01-01"},
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return list(zip(body["value"], body["status"], strict=True))


async def test_an_edge_nodes_values_are_samples_like_a_gateways(
    broker: Broker, person: httpx.Client
) -> None:
    node = EdgeNode(broker.url, "Line1")
    unit = {"engUnit": PropertyValue(data_type=DataType.STRING, value="m/s")}
    press = [double("Force", 7.0, alias=5), double("Set/Limit", 1.0)]
    await node.start([double("Speed", 1.0, properties=unit)], {"Press": press})
    node.values(None, Speed=2.0)
    node.data("Press", Metric(alias=5, value=8.0, time_ms=now_ms()))
    await until(lambda: series(person, "Line1", "Force", "Press") == [(7.0, 0), (8.0, 0)])
    await until(lambda: series(person, "Line1", "Speed") == [(1.0, 0), (2.0, 0)])
    tags = read(person, "/api/gateways/sp:Plant:Line1/tags")["tags"]
    speed = next(t for t in tags if t["tag"]["name"] == "Speed")
    assert (speed["tag"]["unit"], speed["last"]["value"]) == ("m/s", 2.0)
    found = detail(person, "Line1", device="Press")
    assert found["node"]["state"] == "online"
    assert found["node"]["gateway"] == "sp:Plant:Line1"
    assert [(d["device"], d["state"]) for d in found["devices"]] == [("Press", "online")]
    assert {m["name"]: m["value"] for m in found["metrics"]} == {"Force": 8.0, "Set/Limit": 1.0}
    await node.stop()
    await until(lambda: state(person, "Line1") == ("offline", "death"))


async def test_a_dead_node_is_offline_its_values_stale_and_good_again_after_a_birth(
    broker: Broker, person: httpx.Client
) -> None:
    early = now_ms() - 60_000
    node = await EdgeNode(broker.url, "Line2").start(
        [double("Speed", 3.0, time_ms=early)], {"Press": [double("Force", 4.0)]}
    )
    await until(lambda: series(person, "Line2", "Force", "Press") == [(4.0, 0)])
    node.cut()
    await until(lambda: state(person, "Line2") == ("offline", "death"))
    found = detail(person, "Line2", device="Press")
    assert [(d["state"], d["reason"]) for d in found["devices"]] == [("offline", "node_death")]
    assert all(m["is_stale"] for m in found["metrics"])
    stale = [(3.0, 0), (3.0, STALE)]
    await until(lambda: series(person, "Line2", "Speed") == stale)
    again = EdgeNode(broker.url, "Line2", bd_seq=1)
    await again.start([double("Speed", 3.0, time_ms=early)], {})
    await until(lambda: series(person, "Line2", "Speed") == [*stale, (3.0, 0)])
    assert state(person, "Line2") == ("online", "")
    late = node.session.death(now_ms())
    again.raw(late.topic, late.payload)
    again.birth()
    await until(lambda: detail(person, "Line2")["node"]["births_count"] == 3)
    found = detail(person, "Line2")["node"]
    assert (found["state"], found["bd_seq"], found["drops"]["death_bd_seq"]) == ("online", 1, 1)
    assert series(person, "Line2", "Speed") == [*stale, (3.0, 0)], "a rebirth repeats nothing"
    await again.stop()


async def test_history_is_kept_but_not_current_and_the_transient_is_not_kept(
    broker: Broker, person: httpx.Client
) -> None:
    node = await EdgeNode(broker.url, "Line3").start(
        [
            double("Speed", 1.0),
            double("Passing", 1.0, is_transient=True),
            double("Off", None),
        ]
    )
    await until(lambda: series(person, "Line3", "Off") == [(None, 0)])
    quality = PropertySet(entries={"Quality": PropertyValue(data_type=DataType.INT32, value=0)})
    hour_later = now_ms() + 3_600_000
    node.data(None, Metric(name="Speed", value=2.0, time_ms=now_ms(), properties=quality))
    node.data(None, Metric(name="Speed", value=9.0, time_ms=hour_later, is_historical=True))
    node.values(None, Passing=2.0)
    wanted = [(1.0, 0), (2.0, 0x80000000), (9.0, 0)]
    await until(lambda: series(person, "Line3", "Speed") == wanted)
    tags = read(person, "/api/gateways/sp:Plant:Line3/tags")["tags"]
    last = {t["tag"]["name"]: t["last"]["value"] for t in tags}
    assert last == {"Speed": 2.0, "Off": None}
    node.data(None, Metric(name="Speed", value=2.5, time_ms=now_ms() * 1_000_000))
    await until(lambda: (2.5, 0) in series(person, "Line3", "Speed"))
    await node.stop()


async def test_one_bad_node_costs_the_others_nothing(broker: Broker, person: httpx.Client) -> None:
    good = await EdgeNode(broker.url, "Good").start([double("Speed", 0.0)])
    bad = EdgeNode(broker.url, "Bad")
    bad.is_answering = False
    await bad.start([double("Speed", 0.0, alias=1)])
    bad.raw("spBv1.0/Plant/NDATA/Bad", b"\xff\xff\xff")
    bad.raw("spBv1.0/Plant/NDATA/Unborn", bad.skip().payload)
    bad.raw("spBv1.0/Plant/DDATA/Bad/NoSuchDevice", bad.skip().payload)
    bad.raw("spBv1.0/Plant/NDATA/e\u0301\u202e'; DROP TABLE tags; --", b"\x08")
    bad.raw("spBv1.0/Plant/NDATA/" + "n" * 300, b"\x08")
    bad.raw("spBv1.0/STATE/Hub", b"nonsense")
    bad.raw("spBv1.0/Plant/NONSENSE/Bad", b"")
    good.values(None, Speed=1.0)
    await until(lambda: series(person, "Good", "Speed") == [(0.0, 0), (1.0, 0)])
    drops = (await until(lambda: detail(person, "Unborn")))["node"]
    assert drops["drops"] == {"before_birth": 1}
    assert (drops["state"], drops["reason"], drops["gateway"]) == ("stale", "no_birth", None)
    bad_drops = await until(lambda: detail(person, "Bad")["node"]["drops"])
    assert bad_drops["malformed"] == 1
    await until(lambda: len(bad.commands) > 0)
    assert detail(person, "Bad")["node"]["rebirths_requested_count"] >= 1
    text = metrics(person)
    assert 'factoryplus_hub_sparkplug_drops_total{cause="topic"}' in text
    assert 'factoryplus_hub_sparkplug_nodes{state="online"}' in text
    await bad.stop()
    await good.stop()


async def test_a_gap_that_is_filled_in_time_loses_nothing_and_one_that_is_not_asks_for_a_birth(
    broker: Broker, person: httpx.Client
) -> None:
    node = await EdgeNode(broker.url, "Line4").start([double("Speed", 0.0)])
    late = node.skip()
    node.values(None, Speed=2.0)
    node.publish(late)
    await until(lambda: len(series(person, "Line4", "Speed")) == 3)
    assert detail(person, "Line4")["node"]["rebirths_requested_count"] == 0
    node.skip()
    node.values(None, Speed=3.0)
    await until(lambda: detail(person, "Line4")["node"]["births_count"] == 2)
    found = detail(person, "Line4")["node"]
    assert (found["gaps_count"], found["rebirths_requested_count"]) == (1, 1)
    await until(lambda: (3.0, 0) in series(person, "Line4", "Speed"))
    losses = await until(lambda: person.get("/api/gateways/sp:Plant:Line4/losses").json()["losses"])
    assert [loss["reason"] for loss in losses] == ["missed_notification"]
    await node.stop()


async def test_our_own_gateways_and_excluded_nodes_are_followed_but_not_stored_twice(
    broker: Broker, person: httpx.Client, host_hub: HubProcess, tmp_path: Path
) -> None:
    member = await anyio.to_thread.run_sync(
        lambda: enrol(host_hub, tmp_path / "gateway", new_code(person))
    )
    claim = double("Properties/Gateway Id", member.id, data_type=DataType.STRING)
    ours = await EdgeNode(broker.url, "Ours").start([double("Speed", 1.0), claim])
    excluded = await EdgeNode(broker.url, "Excluded1").start([double("Speed", 1.0)])
    liar = replace(claim, value="gw-unknown")
    theirs = await EdgeNode(broker.url, "Theirs").start([double("Speed", 1.0), liar])
    await until(lambda: series(person, "Theirs", "Speed") == [(1.0, 0)])
    await until(lambda: detail(person, "Ours")["node"]["not_stored"] == f"own gateway {member.id}")
    assert detail(person, "Excluded1")["node"]["not_stored"] == "excluded by the document"
    assert state(person, "Excluded1") == state(person, "Ours") == ("online", "")
    for name in ("Ours", "Excluded1"):
        assert read(person, f"/api/gateways/sp:Plant:{name}/tags") == {}
    member.client.close()
    for node in (ours, excluded, theirs):
        await node.stop()


def metrics(person: httpx.Client) -> str:
    return person.get("/metrics").text


def stranger_status(hub: HubProcess) -> int:
    ca_pem = (hub.directory / "ca" / "ca.pem").read_text()
    with httpx.Client(base_url=hub.url, verify=client_context(ca_pem)) as stranger:
        return command(stranger, "Plant/Line5", rebirth=True)[0]


def command(person: httpx.Client, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
    answer = person.post(f"/api/sparkplug/{path}/command", json=body)
    return answer.status_code, answer.json()


async def test_a_command_is_checked_against_the_birth_sent_once_and_audited(
    broker: Broker, person: httpx.Client, host_hub: HubProcess
) -> None:
    press = [
        double("Set/Limit", 1.0, alias=9),
        double("Set/Count", 1, data_type=DataType.INT16),
        double("Force", 1.0),
    ]
    node = await EdgeNode(broker.url, "Line5").start([double("Speed", 1.0)], {"Press": press})
    await until(lambda: detail(person, "Line5", device="Press").get("metrics"))

    def send(path: str, **body: Any) -> Any:
        return anyio.to_thread.run_sync(lambda: command(person, path, **body))

    status, done = await send(
        "Plant/Line5/Press", metrics={"Set/Limit": 2, "Set/Count": -3}, reason="test"
    )
    assert (status, done["outcome"], done["person"], done["kind"]) == (200, "sent", "ada", "write")
    await until(lambda: node.commands)
    topic, payload = node.commands.pop()
    assert topic == "spBv1.0/Plant/DCMD/Line5/Press"
    assert payload.seq is None
    assert [(m.name, m.alias, m.value) for m in payload.metrics] == [
        (None, 9, 2.0),
        ("Set/Count", None, -3),
    ]
    for body, wanted, code, field in (
        ({"metrics": {"Set/Nothing": 1}}, 422, "sparkplug.unknown_metric", "metrics.Set/Nothing"),
        ({"metrics": {"Set/Count": 1.5}}, 422, "sparkplug.type_mismatch", "metrics.Set/Count"),
        ({"metrics": {"Set/Count": 70_000}}, 422, "sparkplug.type_mismatch", "metrics.Set/Count"),
        ({"metrics": {"Set/Limit": "2"}}, 422, "sparkplug.type_mismatch", "metrics.Set/Limit"),
        ({"metrics": {"Set/Limit": True}}, 422, "sparkplug.type_mismatch", "metrics.Set/Limit"),
        ({"metrics": {"Force": 1.0}}, 403, "sparkplug.write_not_allowed", "metrics.Force"),
        ({}, 422, "sparkplug.command_empty", "metrics"),
    ):
        status, answer = await send("Plant/Line5/Press", **body)
        assert (status, answer["faults"][0]["code"]) == (wanted, code), answer
        assert answer["faults"][0]["path"] == field
    assert (await send("Plant/Line5/Gone", rebirth=True))[0] == 404
    assert (await send("Plant/Line5", rebirth=True))[0] == 200
    await until(lambda: detail(person, "Line5")["node"]["births_count"] == 2)
    assert [topic for topic, _ in node.commands] == ["spBv1.0/Plant/NCMD/Line5"]
    await node.stop()
    await until(lambda: state(person, "Line5") == ("offline", "death"))
    status, answer = await send("Plant/Line5", metrics={"Speed": 1.0})
    assert (status, answer["code"]) == (409, "sparkplug.node_offline")
    audit = read(person, "/api/sparkplug/commands")
    mine = [c for c in audit["commands"] if c["node"] == "Line5"]
    assert [c["outcome"] for c in mine] == ["refused", "sent", *["refused"] * 7, "sent"]
    assert mine[-1]["metrics"] == {"Set/Limit": 2, "Set/Count": -3}
    assert mine[-1]["reason"] == "test"
    assert stranger_status(host_hub) == 401
