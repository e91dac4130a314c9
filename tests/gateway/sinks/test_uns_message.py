"""What the mirror writes for each kind of value, and who may be sent when."""

import json
import math

import numpy as np
import pytest

from contract.config_factoryplus import DeviceConventions, Isa95Config
from contract.factoryplus import device_identity
from gateway.sinks.base import LastValue
from gateway.sinks.uns.message import json_of, place_of, quality_property, type_word
from gateway.sinks.uns.waiting import TICK_S, Waiting
from sparkplug_b import DataType
from sparkplug_b.datatype import pack_array
from tests.gateway.sinks.tags import definition

UUID = "5d2c3a0e-91f4-4c2b-8a47-0f6e1b7d9c31"
NODE = "a7c1e5b2-3d4f-4e6a-8b9c-0d1e2f3a4b5c"


def tags(*numbers):
    return np.array(numbers, dtype=np.uint32)


@pytest.mark.parametrize(
    ("data_type", "held", "shown"),
    [
        (DataType.DOUBLE, 0.1, 0.1),
        (DataType.DOUBLE, math.nan, None),
        (DataType.FLOAT, -math.inf, None),
        (DataType.BOOLEAN, 1, True),
        (DataType.UINT64, 2**64 - 1, 2**64 - 1),
        (DataType.STRING, "Ä\n", "Ä\n"),
        (DataType.DATETIME, 1_800_000_000_000_001, "2027-01-15T08:00:00.000001000Z"),
        (DataType.BYTES, b"\x00\x01", "AAE="),
        (DataType.INT16_ARRAY, pack_array(DataType.INT16_ARRAY, [-1, 2]), [-1, 2]),
        (DataType.INT16_ARRAY, b"\x01", None),
        (DataType.INT32, None, None),
    ],
)
def test_each_kind_of_value_is_plain_json(data_type, held, shown):
    found = json.loads(json_of(data_type, LastValue(held, 0, -1)))
    assert found == {"timestamp": "1969-12-31T23:59:59.999999000Z", "value": shown}


def test_types_are_named_as_sparkplug_names_them():
    wanted = {
        DataType.UINT16: "UInt16",
        DataType.DATETIME: "DateTime",
        DataType.UUID: "UUID",
        DataType.FLOAT_ARRAY: "FloatArray",
        DataType.DATETIME_ARRAY: "DateTimeArray",
    }
    assert {data_type: type_word(data_type) for data_type in wanted} == wanted


def test_quality_goes_along_only_when_it_is_not_good():
    assert quality_property(0) == quality_property(0x00960000) == ()
    assert quality_property(0x80000000) == (("Quality", "0"),)
    assert quality_property(0x40900000) == (("Quality", "500"),)


def test_the_topic_ends_at_the_deepest_level_and_holds_no_wildcard():
    config = DeviceConventions(schema_uuid=UUID, isa95=Isa95Config(enterprise="AMRC"))
    identity = device_identity(NODE, "Press", config)
    tag = definition(0, DataType.DOUBLE, device="Press", name="Load+#/Peak")
    assert place_of(tag, identity).topic == "UNS/v1/AMRC/Edge/Press/Load__/Peak"
    long = definition(0, DataType.DOUBLE, device="Press", name="x" * 65_536)
    assert place_of(long, identity) is None


def test_the_rate_bounds_all_tags_together_and_nobody_is_passed_over():
    waiting = Waiting(0.1, 20)
    everybody = list(range(40))
    waiting.use(everybody, [])
    waiting.begin([], 0.0)
    sent = []
    for tick in range(8):
        waiting.note(tags(*everybody))
        sent.append(waiting.take_due(tick * 0.25).tolist())
    assert [len(s) for s in sent] == [5] * 8
    assert sorted(sum(sent, [])) == everybody  # noqa: RUF017 - few
    # 8 x 40 noted, 40 sent, 35 of those sent before the last round wait again
    assert waiting.overtaken_count == 320 - 40 - 35


def test_a_tag_waits_for_its_interval_and_tags_that_are_not_mirrored_are_ignored():
    waiting = Waiting(10.0, 1000)
    waiting.use([1, 3], [])
    waiting.begin([], 0.0)
    assert waiting.next_s(0.0) == math.inf
    waiting.note(tags(0, 1, 2, 3, 4, 99))
    assert waiting.take_due(0.0).tolist() == [1, 3]
    waiting.note(tags(1, 1))
    assert waiting.take_due(9.0).tolist() == []
    assert waiting.next_s(9.0) == 1.0
    assert waiting.next_s(10.0) == TICK_S
    assert waiting.take_due(10.0).tolist() == [1]
    assert waiting.overtaken_count == 1


def test_a_tag_that_is_gone_waits_no_more_and_a_new_one_does():
    waiting = Waiting(10.0, 1000)
    waiting.use([0, 1], [])
    waiting.begin([0, 1], 0.0)
    waiting.use([1, 5], [5])
    assert waiting.take_due(0.0).tolist() == [1, 5]
