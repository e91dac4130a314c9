"""The UNS mirror at a real broker, read by mqtt.js; rows come from a real journal."""

import contextlib
import json
from pathlib import Path

import anyio
import pytest

from bench.processes import Broker, running
from contract.config_factoryplus import DeviceConventions, FactoryPlusConfig, FolderConfig
from contract.config_factoryplus import Isa95Config as Isa95
from contract.config_sparkplug import BrokerConfig
from contract.config_uns import UnsConfig
from contract.factoryplus import device_identities
from contract.sample import SampleBatch, ValueKind, columns_of
from gateway.sinks.uns.sink import UnsSink
from sparkplug_b import DataType
from tests.gateway.sinks.broker_host import DEADLINE_S, until
from tests.gateway.sinks.edge_node import spec
from tests.gateway.sinks.line import line_at

pytestmark = [pytest.mark.broker]
INTEROP = Path(__file__).parents[2] / "sparkplug_b" / "interop"
PRESS = "5d2c3a0e-91f4-4c2b-8a47-0f6e1b7d9c31"
AXIS = "e39007e9-1427-4867-9d72-1c00c663db15"
PRESS_ID = "a7c1e5b2-3d4f-4e6a-8b9c-0d1e2f3a4b5c"
AXIS_ID = "0b1c2d3e-4f5a-4b6c-8d7e-9f0a1b2c3d4e"
CONVENTIONS = FactoryPlusConfig(
    devices={
        "Press": DeviceConventions(
            schema_uuid=PRESS,
            instance_uuid=PRESS_ID,
            folders={"Axes/1": FolderConfig(schema_uuid=AXIS, instance_uuid=AXIS_ID)},
            isa95=Isa95(enterprise="AMRC", site="F2050", area="Cell 1"),
        ),
        "Oven": DeviceConventions(schema_uuid=PRESS, isa95=None),
    }
)
ROOT = "UNS/v1/AMRC/F2050/Cell 1/Edge/Press"
SPECS = [
    spec("Axes/1/Position", "Press", unit="mm"),
    spec("Force", "Press", record=False),
    spec("Heat", "Oven"),
    spec("Elsewhere", "Load"),
]


class Reader:
    def __init__(self, process):
        self._process = process
        self._buffer = b""
        self.messages = []

    async def line(self):
        with anyio.fail_after(DEADLINE_S):
            while b"\n" not in self._buffer:
                self._buffer += await self._process.stdout.receive()
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    async def message(self):
        found = json.loads(await self.line())
        found["body"] = json.loads(found["body"])
        self.messages.append(found)
        return found

    async def value(self, name, value):
        """Read until a tag has a value; returns the message."""
        while True:
            found = await self.message()
            if found["topic"] == f"{ROOT}/{name}" and found["body"]["value"] == value:
                return found


@contextlib.asynccontextmanager
async def reading(broker):
    command = ["node", "uns_reader.mjs", broker.url]
    async with await anyio.open_process(command, cwd=INTEROP, stderr=None) as process:
        reader = Reader(process)
        try:
            assert await reader.line() == "ready"
            yield reader
        finally:
            process.kill()


@pytest.fixture
async def broker(tmp_path):
    async with running(Broker(tmp_path)) as broker:
        yield broker


@contextlib.asynccontextmanager
async def mirror_at(directory, broker, *specs, broker_config=None, **config):
    broker_config = broker_config or BrokerConfig(url=broker.url, version="5.0")
    async with line_at(directory, *(specs or SPECS)) as line:
        uns = UnsConfig(broker=broker_config, **{"interval_ms": 100} | config)
        devices = device_identities(CONVENTIONS, "G", "N")
        sink = UnsSink(uns, devices, "mirror", line.book, line.clock)
        line.attach(sink, is_live_only=True)
        yield line


async def test_a_value_is_mirrored_as_acs_s_own_ingester_writes_it(tmp_path, broker):
    async with reading(broker) as reader, mirror_at(tmp_path, broker) as line:
        line.start()
        await line.put((0, 1.5, 1_800_000_000_123_456))
        await line.put((2, 9.0), (3, 9.0))
        found = await reader.message()
        assert found["topic"] == f"{ROOT}/Axes/1/Position"
        assert found["body"] == {"timestamp": "2027-01-15T08:00:00.123456000Z", "value": 1.5}
        assert found["user"] == {
            "InstanceUUID": PRESS_ID,
            "SchemaUUID": PRESS,
            "Transient": "false",
            "Unit": "mm",
            "Type": "Double",
            "InstanceUUIDPath": f"{PRESS_ID}:{AXIS_ID}",
            "SchemaUUIDPath": f"{PRESS}:{AXIS}",
        }
        assert found["retain"] is False
        await line.put((1, 2.0))
        found = await reader.message()
        # what has no enterprise, or no conventions at all, did not come between
        assert found["topic"] == f"{ROOT}/Force"
        assert found["user"]["Transient"] == "true"
        assert found["user"]["InstanceUUIDPath"] == f"{PRESS_ID}:"
        await line.confirmed()


async def test_values_between_two_messages_are_overtaken_and_counted(tmp_path, broker):
    async with (
        reading(broker) as reader,
        mirror_at(tmp_path, broker, interval_ms=3_600_000) as line,
    ):
        line.start()
        await until(lambda: line.sink.report().state == "live")
        await line.put((0, 1.0, 1))
        await reader.value("Axes/1/Position", 1.0)
        for value in range(2, 50):
            await line.put((0, float(value), value), (1, 7.0))
        await reader.value("Force", 7.0)
        await line.confirmed()
        assert len(reader.messages) == 2
        report = line.sink.report()
        # one of the 48 still waits for its turn
        assert (report.sent, report.left_out) == (2, 47)


async def test_after_an_outage_the_last_values_come_and_no_backlog(tmp_path, broker):
    async with mirror_at(tmp_path, broker) as line:
        for value in range(10):
            await line.put((0, float(value), value + 1))
        # nothing is kept for a mirror that is away
        assert line.outlet.lanes.pending_rows == 0
        async with reading(broker) as reader:
            line.start()
            await reader.value("Axes/1/Position", 9.0)
            line.sink._connection._client._connection._transport.abort()
            await line.put((1, 3.0))
            await reader.value("Force", 3.0)
            values = [m["body"]["value"] for m in reader.messages if "Position" in m["topic"]]
            assert set(values) == {9.0}


async def test_a_value_that_is_not_good_says_so(tmp_path, broker):
    async with reading(broker) as reader, mirror_at(tmp_path, broker) as line:
        line.start()
        await line.put((0, 4.0, 1, 0x80000000))
        found = await reader.value("Axes/1/Position", 4.0)
        assert found["user"]["Quality"] == "0"


async def test_a_retained_mirror_is_there_for_who_comes_later(tmp_path, broker):
    async with mirror_at(tmp_path, broker, retain=True) as line:
        line.start()
        await line.put((0, 5.0))
        await line.confirmed()
        async with reading(broker) as reader:
            assert (await reader.value("Axes/1/Position", 5.0))["retain"] is True


async def test_a_tag_that_changes_its_place_is_sent_there(tmp_path, broker):
    async with reading(broker) as reader, mirror_at(tmp_path, broker) as line:
        line.start()
        await line.put((0, 6.0))
        await reader.value("Axes/1/Position", 6.0)
        number = line.tags.register("s", [spec("New/Level", "Press", data_type=DataType.INT32)])[0]
        await line.put((number, 8.0))
        assert (await reader.value("New/Level", 8))["user"]["Type"] == "Int32"


async def test_a_value_larger_than_the_broker_takes_is_left_out_and_the_others_go_on(
    tmp_path, broker
):
    specs = [spec("Note", "Press", data_type=DataType.STRING), spec("Force", "Press")]
    limited = BrokerConfig(url=broker.url, version="5.0", packet_bytes_max=4_000)
    async with (
        reading(broker) as reader,
        mirror_at(tmp_path, broker, *specs, broker_config=limited) as line,
    ):
        line.start()
        await until(lambda: line.sink.report().state == "live")
        text = columns_of(ValueKind.TEXT, [0], [1], [0], ["x" * 4_000])
        await line.put_batch(SampleBatch((text,)))
        await line.put((1, 2.0))
        await reader.value("Force", 2.0)
        report = line.sink.report()
        assert (report.left_out, report.connects) == (1, 1)
