"""A gateway whole, with a server that has alarms: they reach a Sparkplug host, whose set-point
reaches the machine and ends the alarm."""

from __future__ import annotations

import json

import msgspec
import pytest

from bench.processes import Broker, Gateway, running
from gateway.web.views import GatewayStatus
from sparkplug_b import DataType
from tests.gateway.sinks.broker_host import hosting
from tests.gateway.sources.node_plant import node_plant

pytestmark = [pytest.mark.slow, pytest.mark.broker]


def document(broker, plant):
    def at(name):
        return f"nsu={plant.namespace};s={name}"

    group = {"name": "g", "sampling_interval_ms": 50, "publishing_interval_ms": 50}
    return {
        "gateway": {"id": "alarms"},
        "sparkplug": {"group": "G", "node": "N", "broker": {"url": broker.url}},
        "hub": {"enabled": False},
        "sources": [
            {
                "name": "line1",
                "kind": "opcua",
                "endpoint": plant.endpoint,
                "security": {"policy": "None", "mode": "None", "allow_insecure": True},
                "groups": [group],
                "tags": [{"node": at("V0"), "group": "g", "name": "Level", "writable": True}],
                "events": [{"name": "Alarms", "group": "g"}],
            }
        ],
    }


def alarms(host):
    """The states of the alarm that the host was told, in order."""
    texts = [value for message in host.of("DDATA") for value in message.values
             if isinstance(value, str) and '"HighV0"' in value]  # fmt: skip
    return [json.loads(text)["active"] for text in texts]


async def test_an_alarm_reaches_a_host_and_its_set_point_ends_it(tmp_path):
    async with (
        node_plant(tmp_path / "node", alarms=True) as plant,
        running(Broker(tmp_path)) as broker,
        hosting(broker.port) as host,
        running(Gateway(tmp_path, document(broker, plant))) as gateway,
    ):
        await host.until(lambda: "DBIRTH" in host.kinds())
        await host.until(lambda: any(0.0 in m.values for m in host.of("DBIRTH", "DDATA")))
        await plant.ask(write=[["V0", 150.0, None]])
        await host.until(lambda: alarms(host)[-1:] == [True])
        await host.command([("Level", DataType.DOUBLE, 20.0)], device="line1")
        await host.until(lambda: alarms(host)[-1:] == [False])
        await host.until(lambda: any(20.0 in m.values for m in host.of("DDATA")))
        raw = await gateway._get("/api/status")
        status = msgspec.json.decode(raw, type=GatewayStatus)
        assert status.sources[0].profile == "node-opcua (detected)"
        assert status.sinks["sparkplug"].commands["submitted"] == 1
