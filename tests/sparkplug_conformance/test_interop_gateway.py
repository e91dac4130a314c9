"""Software that none of us wrote reads our gateway: npm sparkplug-client, and pysparkplug.

Both followed the whole scenario at a broker with the generated access list.
"""

import pytest
from pysparkplug import DataType

from tests.sparkplug_conformance.scenario import MACHINES, NODE

pytestmark = [pytest.mark.broker, pytest.mark.slow]

# name in the plant -> type by Sparkplug; from plant.model
TYPES = {
    "Running": DataType.BOOLEAN,
    "GoodParts": DataType.UINT32,
    "Energy": DataType.UINT64,
    "Batch": DataType.STRING,
    "CycleStarted": DataType.DATETIME,
    "Temperature": DataType.DOUBLE,
    "Pressure": DataType.FLOAT,
    "Stroke": DataType.INT16,
    "Trim": DataType.INT8,
    "Override": DataType.UINT8,
    "Position": DataType.INT32,
    "Encoder": DataType.INT64,
    "Zones": DataType.DOUBLE_ARRAY,
    "Guards": DataType.BOOLEAN_ARRAY,
}


def test_pysparkplug_reads_a_value_of_every_type_from_births_and_data(scene):
    births = [m for b in scene.reader.messages("DBIRTH") for m in b.payload.metrics]
    data = [m for d in scene.reader.messages("DDATA") for m in d.payload.metrics]
    for found in (births, data):
        values = {m.name: m for m in found if m.value is not None}
        assert {name: values[name].datatype for name in TYPES} == TYPES
    good = {m.name: m.value for m in data}
    assert good["Energy"] > 2**53, "a receiver that goes through a double shows it"
    assert good["Encoder"] < -(2**61)
    assert len(good["Zones"]) == 8
    assert len(good["Guards"]) == 6
    assert all(isinstance(one, bool) for one in good["Guards"])
    assert good["Batch"].split("-")[0] in {machine.upper() for machine in MACHINES}


def test_pysparkplug_sees_the_devices_die_with_their_source_and_come_back(scene):
    dead = {m.topic.device_id for m in scene.reader.messages("DDEATH")}
    assert dead == set(MACHINES)
    born = [m.topic.device_id for m in scene.reader.messages("DBIRTH")]
    assert all(born.count(machine) >= 3 for machine in MACHINES)


def test_the_npm_host_reads_births_with_names_aliases_and_values(scene):
    births = scene.host.of("DBIRTH")
    found = {m["name"]: m for b in births for m in b["payload"]["metrics"]}
    # the npm package knows no arrays
    scalars = {name for name, data_type in TYPES.items() if data_type < DataType.INT8_ARRAY}
    assert {name for name, m in found.items() if m["value"] is not None} >= scalars
    assert found["Energy"]["type"] == "UInt64"
    assert int(found["Energy"]["value"]["$long"]) > 2**53
    tags = [m for name, m in found.items() if name in TYPES]
    assert len({m["alias"]["$long"] for m in tags}) == len(tags)


def test_the_npm_host_follows_the_gateway_through_kill_and_restarts(scene):
    deaths = scene.host.of("NDEATH")
    numbers = [int(d["payload"]["metrics"][0]["value"]["$long"]) for d in deaths]
    # on MQTT 5 the NDEATH that was published is followed by the Will, as the rules want it
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(len(set(numbers))))
    births = scene.host.of("NBIRTH")
    seqs = [int(b["payload"]["seq"]["$long"]) for b in births]
    assert seqs == [0] * len(births)
    assert len(births) >= 5
    topic = f"spBv1.0/{NODE[0]}/NBIRTH/{NODE[1]}"
    assert {b["topic"] for b in births} == {topic}
