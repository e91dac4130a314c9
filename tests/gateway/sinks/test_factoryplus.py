"""Factory+ conventions at a real broker, read by an independent codec (npm sparkplug-payload)."""

import base64
import contextlib
import json
import subprocess
from pathlib import Path

import pytest

from bench.processes import Broker, running
from contract.config import BrokerConfig, SparkplugConfig
from contract.config_factoryplus import (
    DeviceConventions,
    FactoryPlusConfig,
    FolderConfig,
    InformationConfig,
    Isa95Config,
)
from contract.factoryplus import alert_instance, config_revision, device_identities, node_instance
from gateway.sinks.sparkplug import factoryplus as factoryplus_module
from gateway.sinks.sparkplug import sink as sink_module
from gateway.sinks.sparkplug.encode import TagPlaces, encode_rows
from gateway.sinks.sparkplug.factoryplus import Alert, Conventions
from gateway.sinks.sparkplug.sink import SparkplugSink
from sparkplug_b import DataType, decode
from tests.contract.batches import doubles
from tests.gateway.sinks.broker_host import hosting
from tests.gateway.sinks.edge_node import spec
from tests.gateway.sinks.line import line_at
from tests.gateway.sinks.tags import definition, row

INTEROP = Path(__file__).parents[2] / "sparkplug_b" / "interop"
PRESS = "5d2c3a0e-91f4-4c2b-8a47-0f6e1b7d9c31"
AXIS = "e39007e9-1427-4867-9d72-1c00c663db15"
PRESS_ID = "a7c1e5b2-3d4f-4e6a-8b9c-0d1e2f3a4b5c"
FACTORY_PLUS = "11ad7b32-1d32-4c4a-b0c9-fa049208939a"
TYPE = "633a7da3-ea2a-4e3f-8e84-35691a07465f"
TIME_US = 1_800_000_000_123_456


def conventions(**changed):
    press = DeviceConventions(
        schema_uuid=PRESS,
        instance_uuid=PRESS_ID,
        folders={"Axes/1": FolderConfig(schema_uuid=AXIS)},
        information=InformationConfig(manufacturer="Schuler", model="P250", serial="0042"),
        isa95=Isa95Config(enterprise="AMRC", site="F2050", area="A", work_center="C",
                          work_unit="U"),
    )  # fmt: skip
    oven = DeviceConventions(schema_uuid=AXIS, record_to_historian=False)
    return FactoryPlusConfig(devices={"Press": press, "Oven": oven}, **changed)


class Alerts:
    def __init__(self):
        self.active = False

    def __call__(self):
        return [Alert(name="Connection_s", type_uuid=TYPE, active=self.active)]


@pytest.fixture
async def broker(tmp_path):
    async with running(Broker(tmp_path)) as broker:
        yield broker


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(sink_module, "CHECK_S", 0.05)
    monkeypatch.setattr(factoryplus_module, "ALERTS_CHECK_S", 0.0)


SPECS = [
    spec("Axes/1/Position", "Press"),
    spec("Force", "Press", record=False),
    spec("Heat", "Oven"),
]


@contextlib.asynccontextmanager
async def node_at(directory, broker, config, *specs):
    async with line_at(directory, *(specs or SPECS)) as line:
        line.alerts = Alerts()
        sparkplug = SparkplugConfig(group="G", node="N", broker=BrokerConfig(url=broker.url))
        added = Conventions(config, ("G", "N"), "ab" * 32, line.alerts, line.clock)
        line.attach(SparkplugSink(sparkplug, line.book, line.directory, "1.0", line.clock, added))
        yield line


def read_by_npm(messages):
    """Payloads as sparkplug-payload has them, metrics by name."""
    lines = [json.dumps({"decode": base64.b64encode(m.raw).decode()}) for m in messages]
    done = subprocess.run(
        ["node", "interop.mjs"], input="\n".join(lines), cwd=INTEROP, capture_output=True,
        text=True, check=True, timeout=30,
    )  # fmt: skip
    found = [json.loads(line)["ok"] for line in done.stdout.splitlines()]
    for payload in found:
        payload["metrics"] = {m.get("name"): m for m in payload["metrics"]}
    return found


def values(payload):
    return {name: m["value"] for name, m in payload["metrics"].items()}


@pytest.mark.broker
async def test_births_say_who_is_who_to_a_reader_that_is_not_ours(tmp_path, broker):
    config = conventions()
    async with hosting(broker.port) as host, node_at(tmp_path, broker, config) as line:
        line.start()
        await host.until(lambda: len(host.of("DBIRTH")) == 2)
        devices = {m.device: m for m in host.of("DBIRTH")}
        node, press, oven = read_by_npm([host.of("NBIRTH")[0], devices["Press"], devices["Oven"]])
    assert node["uuid"] == press["uuid"] == oven["uuid"] == FACTORY_PLUS
    node_uuid = node_instance(config, "G", "N")
    folder = "Alerts/Connection_s"
    said = values(node)
    assert said["Schema_UUID"] == "15360868-2f35-4b52-990b-49329fb246fe"
    assert said["Instance_UUID"] == node_uuid
    assert said["Config_Revision"] == config_revision("ab" * 32)
    assert said["Node Properties/Type"] == "Factory+ Edge"
    assert said[f"{folder}/Schema_UUID"] == "8853aa15-2228-4309-b98e-e086cefbc72c"
    assert said[f"{folder}/Instance_UUID"] == alert_instance(node_uuid, folder)
    assert (said[f"{folder}/Type"], said[f"{folder}/Active"]) == (TYPE, False)
    said = values(press)
    wanted = {
        "Schema_UUID": PRESS,
        "Instance_UUID": PRESS_ID,
        "Axes/1/Schema_UUID": AXIS,
        "Device_Information/Schema_UUID": "2dd093e9-1450-44c5-be8c-c0d78e48219b",
        "Device_Information/Manufacturer": "Schuler",
        "Device_Information/Model": "P250",
        "Device_Information/Serial": "0042",
        "Device_Information/ISA95_Hierarchy/Schema_UUID": "84ac3397-f3a2-440a-99e5-5bb9f6a75091",
        "Device_Information/ISA95_Hierarchy/Enterprise": "AMRC",
        "Device_Information/ISA95_Hierarchy/Site": "F2050",
        "Device_Information/ISA95_Hierarchy/Area": "A",
        "Device_Information/ISA95_Hierarchy/Work Center": "C",
        "Device_Information/ISA95_Hierarchy/Work Unit": "U",
    }
    assert said.items() >= wanted.items()
    uuids = {n: m for n, m in press["metrics"].items() if n.endswith("_UUID")}
    assert {m["type"] for m in uuids.values()} == {"UUID"}
    parts = {p.path: p.instance_uuid for p in device_identities(config, "G", "N")["Press"].parts}
    assert said["Axes/1/Instance_UUID"] == parts["Axes/1"]


@pytest.mark.broker
async def test_what_is_not_recorded_is_transient_in_births_and_data(tmp_path, broker):
    async with hosting(broker.port) as host, node_at(tmp_path, broker, conventions()) as line:
        line.start()
        await host.until(lambda: len(host.of("DBIRTH")) == 2)
        await line.put((0, 1.0), (1, 2.0), (2, 3.0))
        await host.until(lambda: len(host.data()) == 3)
        births = {
            m.name: m.is_transient for b in host.of("DBIRTH") for m in b.payload.metrics if m.alias
        }
        data = {m.value: m.is_transient for d in host.of("DDATA") for m in d.payload.metrics}
    assert births == {"Axes/1/Position": False, "Force": True, "Heat": True}
    assert data == {1.0: False, 2.0: True, 3.0: True}


@pytest.mark.broker
async def test_in_acs_s_unit_all_times_are_nanoseconds_and_keep_their_microseconds(
    tmp_path, broker
):
    config = conventions(acs_nanoseconds=True)
    async with hosting(broker.port) as host, node_at(tmp_path, broker, config) as line:
        line.start()
        await host.until(lambda: len(host.of("DBIRTH")) == 2)
        await line.put((0, 1.0, TIME_US))
        await host.until(host.data)
        messages = [*host.of("NBIRTH", "DBIRTH"), host.of("DDATA")[-1]]
        *births, data = read_by_npm(messages)
    for payload in [*births, data]:
        times = [payload["timestamp"], *(m["timestamp"] for m in payload["metrics"].values())]
        assert all(int(t["$long"]) > 10**18 for t in times), times
    assert [int(m["timestamp"]["$long"]) for m in data["metrics"].values()] == [TIME_US * 1000]


@pytest.mark.broker
async def test_an_alert_that_changes_is_told_as_node_data(tmp_path, broker):
    async with hosting(broker.port) as host, node_at(tmp_path, broker, conventions()) as line:
        line.start()
        await host.until(lambda: len(host.of("DBIRTH")) == 2)
        alias = next(
            m.alias for m in host.of("NBIRTH")[0].payload.metrics if m.name.endswith("/Active")
        )
        for active in (True, False):
            line.alerts.active = active
            await host.until(lambda: len(host.of("NDATA")) == 2 - line.alerts.active)
        told = [(m.alias, m.value) for d in host.of("NDATA") for m in d.payload.metrics]
        assert told == [(alias, True), (alias, False)]
        assert {d.payload.uuid for d in host.of("NDATA")} == {FACTORY_PLUS}


@pytest.mark.broker
async def test_a_found_tag_with_a_name_of_ours_has_no_metric_and_its_neighbours_do(
    tmp_path, broker
):
    specs = [spec("Instance_UUID", "Press", data_type=DataType.STRING), spec("Force", "Press")]
    config = conventions()
    async with hosting(broker.port) as host, node_at(tmp_path, broker, config, *specs) as line:
        line.start()
        await host.until(lambda: host.of("DBIRTH"))
        await line.put((1, 2.0))
        await host.until(host.data)
        names = [m.name for m in host.of("DBIRTH")[0].payload.metrics]
    assert names.count("Instance_UUID") == 1
    assert "Force" in names


@pytest.mark.broker
async def test_without_conventions_nothing_of_them_is_said(tmp_path, broker):
    async with hosting(broker.port) as host, node_at(tmp_path, broker, None) as line:
        line.start()
        await host.until(lambda: len(host.of("DBIRTH")) == 2)
        line.alerts.active = True
        await line.put((1, 2.0))
        await host.until(host.data)
        payloads = [m.payload for m in host.messages]
        names = {m.name for p in payloads for m in p.metrics if m.name}
    assert {p.uuid for p in payloads} == {None}
    assert not any("UUID" in n or "Alert" in n for n in names)
    assert host.of("NDATA") == []


def test_a_time_before_1970_or_beyond_2262_is_written_as_the_nearest_in_nanoseconds():
    tag = definition(0, DataType.DOUBLE)
    batch = doubles((0, 1.0, -5), (0, 2.0, 2**62))
    places = TagPlaces([tag], unit="ns")
    messages, left_out = encode_rows([row(batch)], places, is_historical=False)
    found = decode(messages[0].body, types={1: DataType.DOUBLE})
    assert left_out == 0
    assert [m.time_ms for m in found.metrics] == [0, (2**63 - 1) // 1000 * 1000]
