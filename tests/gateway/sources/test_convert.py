"""Decoded segments become samples: kinds, types, scaling, times; what does not fit is counted."""

import json
import struct
from datetime import UTC, datetime
from uuid import UUID

import numpy as np
import pytest
from asyncua import ua
from hypothesis import given
from hypothesis import strategies as st

from contract.batch import decode_batch, encode_batch
from contract.mapping import KIND_OF
from contract.sample import SampleBatch, ValueKind
from gateway.sources.opcua.convert import MODEL_HANDLE, TagColumns, to_batch
from gateway.sources.opcua.decode import Segment, decode_publish_response
from gateway.sources.opcua.fallback import decode_item
from gateway.sources.opcua.types import EPOCH_TICKS, data_type_of, hold
from sparkplug_b.datatype import DataType, pack_array, unpack_array
from tests.contract.batches import bits_of, rows_of
from tests.gateway.sources.notifications import (
    SCALARS,
    VT,
    comparable,
    items_of,
    moment,
    publish_response,
    us_1970,
)

NOW_US = 1_800_000_000_000_000
PLAIN = {
    "status": 0,
    "source_us": 10**16,
    "server_us": None,
    "source_pico": None,
    "server_pico": None,
}
TIME_US = us_1970(10**16)


def tags(*kinds, gain=1.0, offset=0.0):
    """Tag columns of tags 0, 1, 2 ..., all scaled alike."""
    columns = TagColumns()
    columns.set([(index, kind, gain, offset) for index, kind in enumerate(kinds)])
    return columns


def convert(drawn, columns):
    data = publish_response(items_of(drawn))
    return to_batch(decode_publish_response(data, 0, decode_item).segments, columns, NOW_US)


def one(kind, vtype, value, mask=PLAIN):
    """Send one value of a type as tag 0, whose data type is the type's own; return the sample."""
    data_type = data_type_of(vtype.value, is_array=kind == "array")
    batch, left_out = convert([(kind, vtype, [value], mask)], tags(KIND_OF[data_type]))
    assert not len(left_out)
    ((_, tag, time_us, status, held),) = rows_of(batch)
    assert tag == 0
    return batch.columns[0].kind, data_type, held, time_us, status


I64 = 0xFFFFFFFFFFFFFFFF
SCALAR_CASES = [
    (VT.Boolean, True, ValueKind.INT, DataType.BOOLEAN, 1),
    (VT.SByte, -128, ValueKind.INT, DataType.INT8, -128 & I64),
    (VT.Byte, 255, ValueKind.INT, DataType.UINT8, 255),
    (VT.Int16, -(2**15), ValueKind.INT, DataType.INT16, -(2**15) & I64),
    (VT.UInt16, 2**16 - 1, ValueKind.INT, DataType.UINT16, 2**16 - 1),
    (VT.Int32, -(2**31), ValueKind.INT, DataType.INT32, -(2**31) & I64),
    (VT.UInt32, 2**32 - 1, ValueKind.INT, DataType.UINT32, 2**32 - 1),
    (VT.Int64, -(2**63), ValueKind.INT, DataType.INT64, 2**63),
    (VT.UInt64, 2**64 - 1, ValueKind.UINT, DataType.UINT64, 2**64 - 1),
    (VT.Float, 0.1, ValueKind.DOUBLE, DataType.FLOAT, bits_of(float(np.float32(0.1)))),
    (VT.Double, -0.0, ValueKind.DOUBLE, DataType.DOUBLE, 2**63),
    (
        VT.DateTime,
        datetime(1969, 12, 31, 23, 59, 59, 5, UTC),
        ValueKind.INT,
        DataType.DATETIME,
        -999_995 & I64,
    ),
    (VT.String, "é", ValueKind.TEXT, DataType.STRING, "é"),
    (VT.String, "", ValueKind.TEXT, DataType.STRING, ""),
    (VT.ByteString, b"\0\xff", ValueKind.BYTES, DataType.BYTES, b"\0\xff"),
    (VT.Guid, UUID(int=7), ValueKind.TEXT, DataType.STRING, str(UUID(int=7))),
    (VT.StatusCode, ua.StatusCode(0x80AB0000), ValueKind.INT, DataType.UINT32, 0x80AB0000),
    (VT.LocalizedText, ua.LocalizedText("läuft", "de"), ValueKind.TEXT, DataType.STRING, "läuft"),
    (VT.QualifiedName, ua.QualifiedName("Name", 2), ValueKind.TEXT, DataType.STRING, "Name"),
    (VT.NodeId, ua.NodeId("Press", 2), ValueKind.TEXT, DataType.STRING, "ns=2;s=Press"),
    (
        VT.ExpandedNodeId,
        ua.ExpandedNodeId(70_000, 2),
        ValueKind.TEXT,
        DataType.STRING,
        "ns=2;i=70000",
    ),
    (VT.XmlElement, ua.XmlElement("<a/>"), ValueKind.TEXT, DataType.STRING, "<a/>"),
]


@pytest.mark.parametrize(("vtype", "value", "kind", "data_type", "held"), SCALAR_CASES)
@pytest.mark.parametrize("count", [1, 20])
def test_each_scalar_type_has_its_kind_and_sparkplug_type(
    vtype, value, kind, data_type, held, count
):
    assert data_type_of(vtype.value, is_array=False) == data_type
    way = "scalar" if vtype in SCALARS else "slow"
    batch, left_out = convert([(way, vtype, [value] * count, PLAIN)], tags(*[kind] * 5))
    assert not len(left_out)
    assert [(k, v) for k, *_, v in rows_of(batch)] == [(kind, held)] * count
    assert rows_of(decode_batch(encode_batch(batch))) == rows_of(batch)


@given(
    st.sampled_from(sorted(SCALARS, key=int)).flatmap(lambda t: st.tuples(st.just(t), SCALARS[t]))
)
def test_a_number_is_held_without_change(typed):
    vtype, value = typed
    kind, data_type, held, time_us, status = one("scalar", vtype, value)
    assert kind is KIND_OF[data_type]
    if vtype is VT.DateTime:
        assert np.uint64(held).astype(np.int64) == us_1970(comparable(13, value))
    elif kind is ValueKind.DOUBLE:
        assert struct.pack("<Q", held) == struct.pack("<d", value)
    else:
        assert held == int(value) & I64
    assert (time_us, status) == (TIME_US, 0)


ARRAY_CASES = [
    (VT.Boolean, [True, False, True], DataType.BOOLEAN_ARRAY),
    (VT.SByte, [-1, 2], DataType.INT8_ARRAY),
    (VT.Byte, [1, 255], DataType.UINT8_ARRAY),
    (VT.Int16, [-3], DataType.INT16_ARRAY),
    (VT.UInt16, [3], DataType.UINT16_ARRAY),
    (VT.Int32, [-3], DataType.INT32_ARRAY),
    (VT.UInt32, [3], DataType.UINT32_ARRAY),
    (VT.Int64, [-(2**63)], DataType.INT64_ARRAY),
    (VT.UInt64, [2**64 - 1], DataType.UINT64_ARRAY),
    (VT.Float, [0.5], DataType.FLOAT_ARRAY),
    (VT.Double, [0.1, -0.0], DataType.DOUBLE_ARRAY),
    (VT.String, ["a", "", "é"], DataType.STRING_ARRAY),
    (VT.Double, [], DataType.DOUBLE_ARRAY),
]


@pytest.mark.parametrize(("vtype", "value", "data_type"), ARRAY_CASES)
def test_an_array_is_packed_as_sparkplug_packs_it(vtype, value, data_type):
    kind, found, held, *_ = one("array", vtype, value)
    assert (kind, found) == (ValueKind.BYTES, data_type)
    assert held == pack_array(data_type, value)
    assert unpack_array(data_type, held) == value


def test_an_array_of_times_is_in_ms():
    *_, held, _, _ = one("array", VT.DateTime, [datetime(1970, 1, 1, 0, 0, 1, 999, tzinfo=UTC)])
    assert unpack_array(DataType.DATETIME_ARRAY, held) == [1000]


def test_strings_in_an_array_lose_what_would_cut_them_in_two():
    *_, held, _, _ = one("array", VT.String, ["a\0b", None])
    assert unpack_array(DataType.STRING_ARRAY, held) == ["a\ufffdb", ""]


def test_arrays_without_a_sparkplug_type_travel_as_json():
    *_, held, _, _ = one("array", VT.LocalizedText, [ua.LocalizedText("a"), ua.LocalizedText("b")])
    assert json.loads(held) == ["a", "b"]


def matrix():
    value = ua.Variant([[1.0, 2.0], [3.0, 4.0]], VT.Double, Dimensions=[2, 2])
    item = ua.MonitoredItemNotification(ClientHandle=0, Value=ua.DataValue(value))
    data = publish_response([item])
    return decode_publish_response(data, 0, decode_item).segments


def test_a_matrix_travels_as_text_or_is_counted_and_breaks_nothing():
    batch, left_out = to_batch(matrix(), tags(ValueKind.TEXT), NOW_US)
    assert [(k, v) for k, *_, v in rows_of(batch)] == [(ValueKind.TEXT, "[[1.0, 2.0], [3.0, 4.0]]")]
    assert not len(left_out)
    batch, left_out = to_batch(matrix(), tags(ValueKind.BYTES), NOW_US)
    assert (rows_of(batch), left_out.tolist()) == ([], [0])


@pytest.mark.parametrize("way", ["slow", "array"])
def test_text_that_is_not_utf8_is_stored_readable(way):
    latin = "K\udcfchlung"  # what asyncua makes of Latin-1 "Kühlung"
    value = [latin] if way == "array" else latin
    kind, data_type, *_ = one(way, VT.String, value)
    batch, _ = convert([(way, VT.String, [value], PLAIN)], tags(kind))
    stored = decode_batch(encode_batch(batch)).columns[0].value[0]
    assert (unpack_array(data_type, stored)[0] if way == "array" else stored) == "K\ufffdhlung"


@pytest.mark.parametrize("vtype", [VT.String, VT.LocalizedText, VT.QualifiedName, VT.ByteString])
def test_text_and_bytes_without_a_value_keep_their_neighbours_order(vtype):
    made = {
        VT.String: ["a", None, "b"],
        VT.LocalizedText: [ua.LocalizedText("a", "de"), ua.LocalizedText(None), None],
        VT.QualifiedName: [ua.QualifiedName("a"), ua.QualifiedName(None), None],
        VT.ByteString: [b"a", None, b"b"],
    }[vtype]
    values = [v for v in made if v is not None or vtype in {VT.String, VT.ByteString}]
    kind = KIND_OF[data_type_of(vtype.value, is_array=False)]
    batch, left_out = convert([("slow", vtype, values, PLAIN)], tags(*[kind] * 5))
    assert not len(left_out)
    held = {tag: value for _, tag, _, _, value in rows_of(batch)}
    if vtype is VT.String:
        assert held == {0: "a", 1: None, 2: "b"}
    elif vtype is VT.ByteString:
        assert held == {0: b"a", 1: b"", 2: b"b"}
    else:
        assert held == {0: "a", 1: ""}


def test_no_value_is_a_sample_with_its_status():
    for mask in (PLAIN | {"status": 0x80AB0000}, PLAIN):
        batch, left_out = convert([("null", VT.Null, [None], mask)], tags(ValueKind.DOUBLE))
        assert rows_of(batch) == [(ValueKind.NULL, 0, TIME_US, mask["status"], None)]
        assert not len(left_out)


def test_a_null_string_has_no_value_and_a_null_byte_string_is_empty():
    assert one("slow", VT.String, None)[0] is ValueKind.NULL
    assert one("slow", VT.ByteString, None)[2] == b""


@pytest.mark.parametrize("count", [1, 20])
def test_the_source_time_wins_then_the_server_time_then_the_clock(count):
    def times(**mask):
        batch, _ = convert(
            [("scalar", VT.Double, [float(n) for n in range(count)], PLAIN | mask)],
            tags(*[ValueKind.DOUBLE] * 5),
        )
        return set(batch.columns[0].time_us.tolist())

    assert times(server_us=5) == {TIME_US}
    assert times(source_us=None, server_us=10**16 + 1) == {TIME_US + 1}
    assert times(source_us=None) == {NOW_US}


def test_a_time_between_two_microseconds_is_rounded_down_also_before_1970():
    ticks = np.array([EPOCH_TICKS + 19, EPOCH_TICKS - 1], dtype=np.int64)
    segment = Segment(11, np.zeros(2, np.uint32), ticks, np.zeros(2, np.uint32), np.zeros(2))
    batch, _ = to_batch([segment], tags(ValueKind.DOUBLE), NOW_US)
    assert batch.columns[0].time_us.tolist() == [1, -1]


# -- scaling ---


@pytest.mark.parametrize("vtype", [VT.Int16, VT.UInt64, VT.Float, VT.Double])
@pytest.mark.parametrize("count", [1, 20])
def test_a_scaled_number_is_a_double(vtype, count):
    columns = tags(*[ValueKind.DOUBLE] * 5, gain=0.5, offset=-1.0)
    batch, left_out = convert([("scalar", vtype, [7] * count, PLAIN)], columns)
    assert not len(left_out)
    assert [(k, v) for k, *_, v in rows_of(batch)] == [(ValueKind.DOUBLE, bits_of(2.5))] * count


def test_only_the_scaled_tags_of_a_run_are_scaled():
    columns = TagColumns()
    columns.set([(0, ValueKind.DOUBLE, 2.0, 0.0), (1, ValueKind.DOUBLE, 1.0, 0.0)])
    columns.set([(n, ValueKind.INT, 1.0, 0.0) for n in (2, 3, 4)])
    batch, left_out = convert([("scalar", VT.Int32, [10] * 20, PLAIN)], columns)
    assert not len(left_out)
    values = {}
    for kind, tag, *_, value in rows_of(batch):
        values.setdefault((kind, tag), set()).add(value)
    assert values == {
        (ValueKind.DOUBLE, 0): {bits_of(20.0)},
        (ValueKind.DOUBLE, 1): {bits_of(10.0)},
        (ValueKind.INT, 2): {10},
        (ValueKind.INT, 3): {10},
        (ValueKind.INT, 4): {10},
    }


def test_scaling_infinity_away_is_no_error():
    batch, _ = convert(
        [("scalar", VT.Double, [float("inf")], PLAIN)], tags(ValueKind.DOUBLE, gain=0.0)
    )
    assert np.isnan(batch.columns[0].value).all()


def test_the_order_of_a_tags_samples_survives_scaling():
    columns = tags(*[ValueKind.DOUBLE] * 5, gain=2.0)
    batch, _ = convert([("scalar", VT.UInt32, list(range(40)), PLAIN)], columns)
    part = batch.columns[0]
    for tag in range(5):
        assert part.value[part.tag == tag].tolist() == [2.0 * n for n in range(tag, 40, 5)]


# -- what does not fit ---


@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize(
    ("wanted", "way", "vtype", "value"),
    [
        (ValueKind.DOUBLE, "slow", VT.String, "x"),
        (ValueKind.INT, "scalar", VT.Double, 1.5),
        (ValueKind.UINT, "scalar", VT.Int32, 1),
        (ValueKind.TEXT, "scalar", VT.Double, 1.0),
        (ValueKind.BYTES, "slow", VT.String, "x"),
        (ValueKind.DOUBLE, "array", VT.Double, [1.0]),
    ],
)
def test_a_value_of_another_type_is_left_out_and_counted(wanted, way, vtype, value, count):
    batch, left_out = convert([(way, vtype, [value] * count, PLAIN)], tags(*[wanted] * 5))
    assert rows_of(batch) == []
    assert sorted(left_out.tolist()) == sorted(n % 5 for n in range(count))


def test_a_whole_number_fits_a_double_tag():
    batch, left_out = convert([("scalar", VT.Int32, [3], PLAIN)], tags(ValueKind.DOUBLE))
    assert not len(left_out)
    assert rows_of(batch)[0][4] == bits_of(3.0)


def test_one_tag_whose_type_changed_does_not_touch_its_neighbours():
    columns = TagColumns()
    columns.set([(n, ValueKind.DOUBLE if n else ValueKind.TEXT, 1.0, 0.0) for n in range(5)])
    batch, left_out = convert([("scalar", VT.Double, [1.0] * 20, PLAIN)], columns)
    assert left_out.tolist() == [0] * 4
    assert len(batch) == 16


@pytest.mark.parametrize("way", ["scalar", "slow"])
def test_a_handle_that_is_no_tag_is_left_out_and_counted(way):
    vtype, value = (VT.Double, 1.0) if way == "scalar" else (VT.String, "x")
    kind = ValueKind.DOUBLE if way == "scalar" else ValueKind.TEXT
    batch, left_out = convert([(way, vtype, [value] * 5, PLAIN)], tags(kind, kind))
    assert [tag for _, tag, *_ in rows_of(batch)] == [0, 1]
    assert sorted(left_out.tolist()) == [2, 3, 4]


def test_a_tag_number_between_those_in_use_has_no_kind():
    columns = TagColumns()
    columns.set([(4, ValueKind.DOUBLE, 1.0, 0.0)])
    batch, left_out = convert([("scalar", VT.Double, [1.0] * 5, PLAIN)], columns)
    assert len(batch) == 1
    assert left_out.tolist() == [0, 1, 2, 3]


def test_read_equals_what_fits_plus_what_is_left_out():
    drawn = [
        ("scalar", VT.Double, [1.0] * 33, PLAIN),
        ("slow", VT.String, ["x"] * 7, PLAIN),
        ("null", VT.Null, [None] * 3, PLAIN),
        ("array", VT.Int16, [[1]] * 2, PLAIN),
    ]
    batch, left_out = convert(drawn, tags(ValueKind.DOUBLE, ValueKind.TEXT, ValueKind.BYTES))
    assert len(batch) + len(left_out) == 33 + 7 + 3 + 2


def test_a_value_that_its_own_type_cannot_hold_is_said_so():
    with pytest.raises((ValueError, TypeError, OverflowError)):
        hold(VT.Int32.value, "seven", is_array=False)
    assert hold(VT.DateTime.value, moment(0), is_array=False) == (
        ValueKind.INT,
        us_1970(0),
    )
    assert SampleBatch(()).columns == ()


def test_a_value_of_the_item_that_watches_the_model_is_no_tags_and_no_drop():
    """node-opcua sends one when a subscription moves to another session."""
    columns = tags(ValueKind.INT)
    data = decode_publish_response(
        publish_response(items_of([("scalar", VT.Byte, [1], PLAIN)])), 0, decode_item
    ).segments
    data[0].handle[:] = MODEL_HANDLE
    batch, left_out = to_batch(data, columns, NOW_US)
    assert (len(batch), left_out.tolist()) == (0, [])
