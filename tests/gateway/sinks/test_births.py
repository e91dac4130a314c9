"""Births name every tag in use with type, last value, quality, unit and range."""

import math

import pytest

from central.ingest.sparkplug.host import GATEWAY_ID_METRIC
from gateway.sinks.sparkplug.births import GATEWAY_ID, device_births, node_birth
from sparkplug_b import DataType, EdgeNodeSession, decode
from sparkplug_b.datatype import pack_array
from tests.gateway.sinks.tags import Tags, definition

NOW_MS = 1_800_000_000_000


def born(tags):
    """(device, name) -> metric as a host reads it."""
    session = EdgeNodeSession("g", "n", bd_seq=0)
    session.connected()
    births = device_births(tags.in_use(), tags, NOW_MS)
    found = {}
    for message in session.birth(node_birth("1.2", NOW_MS), births, NOW_MS):
        device = message.topic.split("/")[4] if "DBIRTH" in message.topic else ""
        for metric in decode(message.payload).metrics:
            found[device, metric.name] = metric
    return found


def properties(metric):
    return {name: p.value for name, p in metric.properties.entries.items()}


def test_the_node_says_what_it_is():
    found = born(Tags())
    assert found["", "Properties/Software Version"].value == "1.2"
    assert found["", "Properties/Hardware Make"].value == "Factory+ Edge"
    assert {"bdSeq", "Node Control/Rebirth"} <= {name for _, name in found}


def test_each_tag_is_born_in_its_device_with_alias_type_and_facts():
    tags = Tags(
        definition(0, DataType.DOUBLE, device="Press", unit="bar", low=0.0, high=250.0),
        definition(7, DataType.STRING, device="Oven", description="which batch"),
    )
    tags.report(0, 1.5, time_us=7_654_321)
    tags.report(7, "B-1", status=0x40900000)
    found = born(tags)
    press, oven = found["Press", "tag0"], found["Oven", "tag7"]
    assert (press.alias, press.data_type, press.value) == (1, DataType.DOUBLE, 1.5)
    assert press.time_ms == 7654
    assert properties(press) == {
        "engUnit": "bar", "engLow": 0.0, "engHigh": 250.0, "readOnly": True, "Quality": 192
    }  # fmt: skip
    assert (oven.alias, oven.data_type, oven.value) == (8, DataType.STRING, "B-1")
    assert properties(oven) == {"Documentation": "which batch", "readOnly": True, "Quality": 500}


def test_only_a_tag_of_the_allow_list_is_born_as_writable():
    tags = Tags(definition(0, DataType.DOUBLE), definition(1, DataType.DOUBLE))
    tags.writable = {1}
    found = born(tags)
    assert [properties(found["d", f"tag{n}"])["readOnly"] for n in (0, 1)] == [True, False]


def test_a_tag_whose_source_is_down_is_born_with_its_last_value_as_stale():
    tags = Tags(definition(0, DataType.DOUBLE), definition(1, DataType.DOUBLE, source="t"))
    tags.report(0, 1.0)
    tags.report(1, 2.0)
    tags.down = {"s"}
    found = born(tags)
    assert (found["d", "tag0"].value, properties(found["d", "tag0"])["Quality"]) == (1.0, 500)
    assert (found["d", "tag1"].value, properties(found["d", "tag1"])["Quality"]) == (2.0, 192)


def test_next_server_is_offered_only_where_there_is_one():
    names = [m.name for m in node_birth("1", NOW_MS).metrics]
    more = [m.name for m in node_birth("1", NOW_MS, has_next_server=True).metrics]
    assert "Node Control/Next Server" not in names
    assert more == [*names, "Node Control/Next Server"]


def test_a_tag_that_never_reported_is_born_null_and_stale():
    found = born(Tags(definition(0, DataType.INT32)))["d", "tag0"]
    assert (found.is_null, found.value, found.time_ms) == (True, None, NOW_MS)
    assert properties(found)["Quality"] == 500


def test_a_tag_without_a_value_is_born_null_with_its_quality():
    tags = Tags(definition(0, DataType.INT32))
    tags.report(0, None, status=0x80000000)
    found = born(tags)["d", "tag0"]
    assert (found.is_null, properties(found)["Quality"]) == (True, 0)


@pytest.mark.parametrize(
    ("data_type", "held", "born_as"),
    [
        (DataType.BOOLEAN, 1, True),
        (DataType.DATETIME, 1_500_999, 1500),
        (DataType.UINT64, 2**64 - 1, 2**64 - 1),
        (DataType.INT64, -(2**63), -(2**63)),
        (DataType.FLOAT, 0.5, 0.5),
        (DataType.FLOAT, math.inf, math.inf),
        (DataType.DOUBLE, -0.0, -0.0),
        (DataType.STRING, "", ""),
        (DataType.BYTES, b"\0", b"\0"),
        (DataType.INT16_ARRAY, pack_array(DataType.INT16_ARRAY, [-1, 2]), (-1, 2)),
        (DataType.STRING_ARRAY, pack_array(DataType.STRING_ARRAY, ["a", ""]), ("a", "")),
    ],
)
def test_a_value_of_each_kind_is_born_as_the_host_knows_it(data_type, held, born_as):
    tags = Tags(definition(0, data_type))
    tags.report(0, held)
    found = born(tags)["d", "tag0"]
    assert repr(found.value) == repr(born_as)
    assert properties(found)["Quality"] == 192


@pytest.mark.parametrize(
    ("data_type", "held"),
    [
        (DataType.INT8, 128),
        (DataType.UINT16, -1),
        (DataType.FLOAT, 1e300),
        (DataType.DATETIME, -5_000_000),
    ],
)
def test_a_value_that_outgrew_its_type_is_born_null_and_bad_and_stops_nobody(data_type, held):
    tags = Tags(definition(0, data_type), definition(1, DataType.DOUBLE))
    tags.report(0, held)
    tags.report(1, 2.0)
    found = born(tags)
    assert (found["d", "tag0"].is_null, properties(found["d", "tag0"])["Quality"]) == (True, 0)
    assert found["d", "tag1"].value == 2.0


def test_nan_is_born_as_nan():
    tags = Tags(definition(0, DataType.DOUBLE), definition(1, DataType.FLOAT))
    tags.report(0, math.nan)
    tags.report(1, math.nan)
    found = born(tags)
    assert all(math.isnan(found["d", name].value) for name in ("tag0", "tag1"))


def test_a_time_before_1970_is_born_as_1970():
    tags = Tags(definition(0, DataType.DOUBLE))
    tags.report(0, 1.0, time_us=-1)
    assert born(tags)["d", "tag0"].time_ms == 0


def test_an_enrolled_gateway_says_who_it_is_so_that_the_hub_stores_its_values_once():
    def facts(**identity):
        return {m.name: m.value for m in node_birth("1.2", NOW_MS, **identity).metrics}

    assert GATEWAY_ID not in facts()
    assert facts(gateway_id="gw-1")[GATEWAY_ID] == "gw-1"
    assert GATEWAY_ID == GATEWAY_ID_METRIC, "the hub looks for the same name"
