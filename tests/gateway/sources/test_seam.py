"""The one conformance suite of the source seam: every kind passes it against a real device."""

import contextlib
import json
import struct

import anyio
import pytest
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
from pymodbus.server import ModbusTcpServer

from bench.processes import Broker
from contract.config import (
    BrokerConfig,
    ModbusGroupConfig,
    ModbusSourceConfig,
    ModbusTagConfig,
    MqttSourceConfig,
    MqttTagConfig,
    TagConfig,
)
from gateway.errors import SourceError
from gateway.sources.opcua.access import Pki
from gateway.sources.registry import Surroundings, make_source
from plant.ports import free_port
from runtime.clock import SystemClock
from runtime.mqtt import connect
from sparkplug_b import DataType
from tests.gateway.sources.plc import URI, VT, Plc, Port, config, driven, until

pytestmark = [pytest.mark.slow, pytest.mark.broker]
CLOCK = SystemClock()


class OpcUaDevice:
    """asyncua's server."""

    keeps_what_we_missed = False

    def __init__(self, _tmp_path):
        self._plc = Plc()

    async def start(self):
        await self._plc.start()
        await self._plc.variable("Speed", 1.0)
        await self._plc.variable("Running", False, VT.Boolean)

    async def stop(self):
        await self._plc.stop()

    async def set(self, name, value):
        vtype = VT.Boolean if isinstance(value, bool) else VT.Double
        await self._plc.write(name, value, vtype=vtype, time_us=CLOCK.wall_us())

    def config(self):
        tags = [
            TagConfig(node=f"nsu={URI};s={name}", group="g", name=name, device="D")
            for name in ("Speed", "Running", "Wrong")
        ]
        return config(self._plc.endpoint, tags=tags)


class ModbusDevice:
    """pymodbus' server: Speed in holding registers 0 and 1, Running in coil 3."""

    keeps_what_we_missed = False

    def __init__(self, _tmp_path):
        self._port = free_port()
        self._server = None

    async def start(self):
        self._device = ModbusDeviceContext(
            co=ModbusSequentialDataBlock(1, [0] * 10),
            hr=ModbusSequentialDataBlock(1, [0] * 10),
        )
        self._server = ModbusTcpServer(
            ModbusServerContext(devices=self._device, single=True),
            address=("127.0.0.1", self._port),
        )
        await self._server.serve_forever(background=True)

    async def stop(self):
        await self._server.shutdown()

    async def set(self, name, value):
        client = AsyncModbusTcpClient("127.0.0.1", port=self._port)
        await client.connect()
        if name == "Running":
            answer = await client.write_coil(3, value)
        else:
            words = list(struct.unpack(">HH", struct.pack(">f", value)))
            answer = await client.write_registers(0, words)
        client.close()
        assert not answer.isError()

    def config(self):
        tag = {"group": "g", "device": "D"}
        return ModbusSourceConfig(
            name="line1",
            endpoint=f"modbus://127.0.0.1:{self._port}",
            timeout_ms=1000,
            groups=[ModbusGroupConfig(name="g", interval_ms=20)],
            tags=[
                ModbusTagConfig(name="Speed", address=0, type="Float", **tag),
                ModbusTagConfig(name="Running", address=3, table="coil", type="Boolean", **tag),
                ModbusTagConfig(name="Wrong", address=9000, **tag),
            ],
        )


class MqttDevice:
    """mosquitto, and a publisher."""

    keeps_what_we_missed = True  # the broker kept our session over its restart

    def __init__(self, tmp_path):
        self._broker = Broker(tmp_path)
        self._values = {"Speed": 1.0, "Running": False}

    async def start(self):
        await self._broker.start()

    async def stop(self):
        await self._broker.stop()

    async def set(self, name, value):
        self._values[name] = value
        connection = await connect(BrokerConfig(url=self._broker.url), "device", None, CLOCK)
        payload = json.dumps({"values": self._values, "at": CLOCK.wall_us() // 1000})
        connection.publish("plant/line1", payload.encode(), qos=1)
        done = anyio.Event()
        connection.fence(done.set)
        await done.wait()
        await connection.close()

    def config(self):
        tag = {"topic": "plant/line1", "device": "D", "time": "/at", "time_format": "ms"}
        return MqttSourceConfig(
            name="line1",
            broker=BrokerConfig(url=self._broker.url),
            tags=[
                MqttTagConfig(name="Speed", value="/values/Speed", **tag),
                MqttTagConfig(name="Running", value="/values/Running", type="Boolean", **tag),
                MqttTagConfig(name="Wrong", value="/values/Wrong", **tag),
            ],
        )


@pytest.fixture(params=[OpcUaDevice, ModbusDevice, MqttDevice], ids=["opcua", "modbus", "mqtt"])
async def device(request, tmp_path):
    device = request.param(tmp_path)
    await device.start()
    yield device
    with contextlib.suppress(Exception):
        await device.stop()


def source(device, tmp_path):
    pki = Pki(tmp_path / "pki", CLOCK)
    around = Surroundings(gateway_id="gw", data_dir=tmp_path, clock=CLOCK, pki=pki)
    return make_source(device.config(), around)


async def until_up(one):
    await until(lambda: one.status().state == "up")


async def test_values_arrive_with_their_types_and_times(device, tmp_path):
    port, one = Port(), source(device, tmp_path)
    before_us = CLOCK.wall_us() - 1_000_000
    async with driven(one, port):
        await until_up(one)
        await device.set("Speed", 2.5)
        await device.set("Running", True)
        await until(lambda: port.values("Speed")[-1:] == [2.5])
        await until(lambda: port.values("Running")[-1:] == [1])
    types = {spec.name: spec.data_type for spec in port.specs}
    assert types["Running"] == DataType.BOOLEAN
    assert types["Speed"] in {DataType.DOUBLE, DataType.FLOAT}
    value, time_us, status = port.rows("Speed")[-1]
    assert (value, status) == (2.5, 0)
    assert before_us < time_us <= CLOCK.wall_us()
    report = one.status()
    assert report.tags_total == 3
    assert report.values_count >= 2


async def test_a_wrong_tag_is_named_and_its_neighbours_go_on(device, tmp_path):
    port, one = Port(), source(device, tmp_path)
    async with driven(one, port):
        await until_up(one)
        await device.set("Speed", 7.0)
        await until(lambda: port.values("Speed")[-1:] == [7.0])
        await until(lambda: one.status().troubles_count == 1)
        [trouble] = one.status().troubles
    assert "Wrong" in f"{trouble.tag} {trouble.address}"
    assert trouble.code
    assert trouble.message
    assert not [v for v in port.values("Wrong") if v is not None]


async def test_a_device_that_goes_away_is_said_and_comes_back(device, tmp_path):
    port, one = Port(), source(device, tmp_path)
    async with driven(one, port):
        await until_up(one)
        await device.set("Speed", 1.5)
        await until(lambda: port.values("Speed")[-1:] == [1.5])
        await device.stop()
        await until(lambda: one.status().state == "waiting")
        assert one.status().reason
        await device.start()
        await until_up(one)
        await device.set("Speed", 3.5)
        await until(lambda: port.values("Speed")[-1:] == [3.5])
    assert ("session_gap" in port.reasons()) is not device.keeps_what_we_missed
    assert one.status().sessions_count >= 2


async def test_an_absent_device_is_an_error_of_the_session(device, tmp_path):
    await device.stop()
    one = source(device, tmp_path)
    with pytest.raises(SourceError):
        await one.run_session(Port())
    assert one.status().state == "waiting"
    assert one.status().reason


async def test_a_full_intake_holds_the_source_back_and_loses_nothing(device, tmp_path):
    port, one = SlowPort(), source(device, tmp_path)
    async with driven(one, port):
        await until_up(one)
        await device.set("Speed", 4.5)
        await until(lambda: port.held_count > 0)
        put_count = port.put_count
        await device.set("Speed", 5.5)
        await anyio.wait_all_tasks_blocked()
        assert port.put_count == put_count
        port.open()
        await until(lambda: port.values("Speed")[-1:] == [5.5])


class SlowPort(Port):
    """Its ``put`` waits until it is opened."""

    def __init__(self):
        super().__init__()
        self._opened = anyio.Event()
        self.held_count = 0
        self.put_count = 0

    def open(self):
        self._opened.set()

    async def put(self, batch, marks, stored):
        self.put_count += 1
        self.held_count += 1
        await self._opened.wait()
        await super().put(batch, marks, stored)
