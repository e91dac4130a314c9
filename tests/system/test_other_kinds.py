"""A gateway with MQTT and Modbus sources, whole: from a message to a Sparkplug host."""

from __future__ import annotations

import json

import anyio
import msgspec
import pytest
from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
from pymodbus.server import ModbusTcpServer

from bench.processes import Broker, Gateway, HarnessError, running
from contract.config import BrokerConfig
from gateway.web.views import GatewayStatus
from plant.ports import free_port
from runtime.clock import SystemClock
from runtime.mqtt import connect
from tests.gateway.sinks.broker_host import hosting

pytestmark = [pytest.mark.slow, pytest.mark.broker]
CLOCK = SystemClock()
DEADLINE_S = 60


def document(broker, modbus_port):
    return {
        "gateway": {"id": "kinds"},
        "sparkplug": {"group": "G", "node": "N", "broker": {"url": broker.url}},
        "hub": {"enabled": False},
        "sources": [
            {
                "name": "cell",
                "kind": "mqtt",
                "broker": {"url": broker.url},
                "tags": [{"topic": "cell/state", "value": "/rpm", "name": "Speed"}],
            },
            {
                "name": "meter",
                "kind": "modbus",
                "endpoint": f"modbus://127.0.0.1:{modbus_port}",
                "groups": [{"name": "g", "interval_ms": 100}],
                "tags": [{"name": "Power", "group": "g", "address": 4}],
            },
        ],
    }


async def both_up(gateway):
    with anyio.fail_after(DEADLINE_S):
        while True:
            try:
                raw = await gateway._get("/api/status")
                sources = msgspec.json.decode(raw, type=GatewayStatus).sources
            except HarnessError:
                sources = []
            if sources and all(source.state == "up" for source in sources):
                return {source.name: source.kind for source in sources}
            await anyio.sleep(0.1)


async def publish(broker, value):
    connection = await connect(BrokerConfig(url=broker.url), "cell", None, CLOCK)
    connection.publish("cell/state", json.dumps({"rpm": value}).encode(), qos=1)
    read = anyio.Event()
    connection.fence(read.set)
    await read.wait()
    await connection.close()


async def test_messages_and_registers_reach_a_sparkplug_host(tmp_path):
    port = free_port()
    device = ModbusDeviceContext(hr=ModbusSequentialDataBlock(1, [0, 0, 0, 0, 321, 0]))
    context = ModbusServerContext(devices=device, single=True)
    server = ModbusTcpServer(context, address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    try:
        async with (
            running(Broker(tmp_path)) as broker,
            hosting(broker.port) as host,
            running(Gateway(tmp_path, document(broker, port))) as gateway,
        ):
            assert await both_up(gateway) == {"cell": "mqtt", "meter": "modbus"}
            await publish(broker, 1234.5)
            await host.until(lambda: seen(host, "cell", 1234.5) and seen(host, "meter", 321))
    finally:
        await server.shutdown()


def seen(host, device, value):
    return any(
        value in message.values
        for message in host.messages
        if message.device == device and message.kind in {"DBIRTH", "DDATA"}
    )
