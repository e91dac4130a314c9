"""The fast encoder against protobuf: equal bytes, for every type, on both of its ways."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkplug_b import (
    DataType,
    EncodeError,
    MetricColumn,
    Quality,
    data_payload,
    decode,
    encode_metrics,
    pack_array,
)
from sparkplug_b import sparkplug_b_pb2 as pb
from sparkplug_b.columns import SMALL_ROWS_MAX
from sparkplug_b.datatype import ARRAY_TYPES, INTEGER_RANGE, STRING_TYPES, WIRE_FIELD
from tests.sparkplug_b.strategies import SCALARS, UINT64

T = 1_790_000_000_000
ALIASES = st.sampled_from([0, 1, 127, 128, 16_383, 16_384, 2**63, 2**64 - 1]) | UINT64
TIMES = st.sampled_from([0, 127, 128, 2**42 - 1, 2**63 - 1]) | st.integers(T, T + 10_000_000)
QUALITIES = st.sampled_from([192, 192, 0, 500])


def value_strategy(data_type):
    if data_type in ARRAY_TYPES:
        return st.binary(max_size=200)
    if data_type is DataType.DOUBLE:
        return st.floats()
    if data_type is DataType.FLOAT:
        return st.floats(width=32)
    return SCALARS[data_type]


def dtype_of(data_type):
    if data_type in {DataType.FLOAT, DataType.DOUBLE}:
        return np.float32 if data_type is DataType.FLOAT else np.float64
    if data_type is DataType.BOOLEAN:
        return np.bool_
    if data_type in INTEGER_RANGE:
        return np.int64 if INTEGER_RANGE[data_type][0] < 0 else np.uint64
    return None


def column_of(data_type, rows):
    """rows: (alias, time_ms, value, quality, null)"""
    dtype = dtype_of(data_type)
    values = [row[2] for row in rows]
    return MetricColumn(
        data_type=data_type,
        alias=np.array([row[0] for row in rows], np.uint64),
        time_ms=np.array([row[1] for row in rows], np.int64),
        values=values if dtype is None else np.array(values, dtype),
        quality=np.array([row[3] for row in rows], np.int32),
        null=np.array([row[4] for row in rows], np.bool_),
    )


def by_protobuf(data_type, rows, *, is_historical, is_transient=False):
    """The same metrics through upb, whose output is canonical: fields in order of number."""
    message = pb.Payload()
    ends = []
    field = WIRE_FIELD[data_type]
    for alias, time_ms, value, quality, null in rows:
        metric = message.metrics.add(alias=alias, timestamp=time_ms)
        if is_historical:
            metric.is_historical = True
        if is_transient:
            metric.is_transient = True
        if quality != Quality.GOOD:
            metric.properties.keys.append("Quality")
            metric.properties.values.add(type=3, int_value=quality & 0xFFFFFFFF)
        if null:
            metric.is_null = True
        else:
            mask = 0xFFFFFFFF if field == "int_value" else 2**64 - 1
            setattr(metric, field, value & mask if data_type in INTEGER_RANGE else value)
        size = metric.ByteSize()
        ends.append((ends[-1] if ends else 0) + size + (2 if size < 128 else 3))
    return message.SerializeToString(), ends


@pytest.mark.parametrize("data_type", sorted(WIRE_FIELD))
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_bytes_equal_those_of_protobuf_for_few_rows_and_for_many(data_type, data):
    flags = {name: data.draw(st.booleans()) for name in ("is_historical", "is_transient")}
    row = st.tuples(ALIASES, TIMES, value_strategy(data_type), QUALITIES, st.booleans())
    plain = st.tuples(ALIASES, TIMES, value_strategy(data_type), st.just(192), st.just(False))
    few = data.draw(st.lists(row, min_size=1, max_size=6) | st.lists(plain, min_size=1, max_size=6))
    many = few * (SMALL_ROWS_MAX // len(few) + 1)
    assert len(few) <= SMALL_ROWS_MAX < len(many)
    for rows in (few, many):
        found = encode_metrics(column_of(data_type, rows), **flags)
        body, ends = by_protobuf(data_type, rows, **flags)
        assert found.body == body
        assert found.ends.tolist() == ends


@pytest.mark.parametrize("row_count", [1, SMALL_ROWS_MAX, SMALL_ROWS_MAX + 1, 1000])
@pytest.mark.parametrize("first_alias", [1, 200])
def test_rows_that_are_all_good_equal_protobuf_at_every_size(row_count, first_alias):
    rows = [(first_alias + i, T + i, i / 7, 192, False) for i in range(row_count)]
    column = column_of(DataType.DOUBLE, rows)
    column.quality = column.null = None
    body, ends = by_protobuf(DataType.DOUBLE, rows, is_historical=False)
    found = encode_metrics(column)
    assert found.body == body
    assert found.ends.tolist() == ends


def test_the_payload_decodes_with_the_types_of_the_birth():
    rows = [(i, T + i, i - 50, 192, False) for i in range(100)]
    body = encode_metrics(column_of(DataType.INT16, rows)).body
    data = data_payload(body, timestamp_ms=T, seq=0, uuid="u")
    found = decode(data, types=dict.fromkeys(range(100), DataType.INT16))
    assert (found.timestamp_ms, found.seq, found.uuid) == (T, 0, "u")
    assert [metric.value for metric in found.metrics] == list(range(-50, 50))
    assert {(m.name, m.data_type) for m in found.metrics} == {(None, None)}
    assert pb.Payload.FromString(data).HasField("seq")


def test_payload_bytes_equal_protobuf():
    rows = [(7, T, 1.5, 192, False)]
    body = encode_metrics(column_of(DataType.DOUBLE, rows)).body
    message = pb.Payload(timestamp=T, seq=200, uuid="ä")
    message.metrics.add(alias=7, timestamp=T, double_value=1.5)
    assert data_payload(memoryview(body), timestamp_ms=T, seq=200, uuid="ä") == (
        message.SerializeToString()
    )


def test_a_body_can_be_cut_at_its_ends():
    rows = [(i, T, "x" * i, 192, False) for i in range(1, 10)]
    found = encode_metrics(column_of(DataType.STRING, rows))
    first = data_payload(found.body[: found.ends[3]], timestamp_ms=T, seq=1)
    second = data_payload(found.body[found.ends[3] :], timestamp_ms=T, seq=2)
    assert [m.alias for m in decode(first).metrics] == [1, 2, 3, 4]
    assert [m.alias for m in decode(second).metrics] == [5, 6, 7, 8, 9]


def test_nan_keeps_its_bits():
    odd_nan = struct.unpack("<d", bytes.fromhex("010000000000f87f"))[0]
    for count in (1, SMALL_ROWS_MAX + 1):
        body = encode_metrics(
            column_of(DataType.DOUBLE, [(1, T, odd_nan, 192, False)] * count)
        ).body
        assert body.endswith(bytes.fromhex("69010000000000f87f"))


def test_rows_that_are_null_are_not_looked_at():
    column = column_of(DataType.INT8, [(1, T, 9999, 192, True), (2, T, -1, 192, False)])
    found = decode(data_payload(encode_metrics(column).body, timestamp_ms=T, seq=0))
    assert [(m.is_null, m.value) for m in found.metrics] == [(True, None), (False, 2**32 - 1)]


@pytest.mark.parametrize("rows", [3, 100])
@pytest.mark.parametrize("quality", [-1, 1, 193, 2**31 - 1])
def test_another_quality_than_bad_good_or_stale_is_refused(rows, quality):
    column = column_of(DataType.DOUBLE, [(1, T, 1.0, 192, False)] * rows)
    column.quality[1] = quality
    with pytest.raises(EncodeError, match=f"quality: {quality} is no Quality"):
        encode_metrics(column)


def test_quality_is_a_property_only_where_it_is_not_good():
    rows = [(1, T, 1.0, 192, False), (2, T, 1.0, 500, False), (3, T, 1.0, 0, True)]
    found = decode(
        data_payload(encode_metrics(column_of(DataType.DOUBLE, rows)).body, timestamp_ms=T, seq=0)
    )
    properties = [m.properties.entries["Quality"] if m.properties else None for m in found.metrics]
    assert properties[0] is None
    assert [p.value for p in properties[1:]] == [500, 0]
    assert {p.data_type for p in properties[1:]} == {DataType.INT32}


def test_no_rows_are_no_bytes():
    found = encode_metrics(column_of(DataType.DOUBLE, []))
    assert found.body == b""
    assert found.ends.tolist() == []


def test_float_is_taken_from_float64_when_it_fits():
    column = column_of(DataType.FLOAT, [(1, T, 1.5, 192, False)])
    narrow = encode_metrics(column).body
    column.values = np.array([1.5], np.float64)
    assert encode_metrics(column).body == narrow
    column.values = np.array([math.inf], np.float64)
    assert encode_metrics(column).body.endswith(struct.pack("<f", math.inf))


def test_boolean_is_taken_from_zero_and_one():
    column = column_of(DataType.BOOLEAN, [(1, T, True, 192, False), (2, T, False, 192, False)])
    expected = encode_metrics(column).body
    column.values = np.array([1, 0], np.int64)
    assert encode_metrics(column).body == expected


def test_every_other_row_and_big_endian_arrays_are_taken():
    values = np.arange(400, dtype=">f8")[::2]
    column = MetricColumn(
        DataType.DOUBLE,
        np.arange(400, dtype=np.uint64)[::2],
        np.full(400, T, np.int64)[::2],
        values,
    )
    rows = [(2 * i, T, 2.0 * i, 192, False) for i in range(200)]
    assert encode_metrics(column).body == by_protobuf(DataType.DOUBLE, rows, is_historical=False)[0]


@pytest.mark.parametrize("count", [1, SMALL_ROWS_MAX + 1])
@pytest.mark.parametrize(
    ("data_type", "values"),
    [
        (DataType.INT8, np.array([128])),
        (DataType.INT8, np.array([-129])),
        (DataType.UINT8, np.array([-1])),
        (DataType.UINT32, np.array([2**32])),
        (DataType.UINT64, np.array([-1])),
        (DataType.DATETIME, np.array([-1])),
        (DataType.INT64, np.array([2**63], np.uint64)),
        (DataType.INT32, np.array([1.0])),
        (DataType.INT32, np.array([True])),
        (DataType.DOUBLE, np.array([1])),
        (DataType.FLOAT, np.array([1e300])),
        (DataType.BOOLEAN, np.array([2])),
        (DataType.BOOLEAN, np.array([1.0])),
        (DataType.STRING, [b"a"]),
        (DataType.STRING, ["\ud800"]),
        (DataType.BYTES, ["a"]),
        (DataType.INT8_ARRAY, [(1, 2)]),
        (DataType.DATASET, [b"a"]),
        (DataType.UNKNOWN, np.array([1])),
    ],
)
def test_a_value_that_does_not_fit_is_refused(count, data_type, values):
    column = MetricColumn(
        data_type,
        np.ones(count, np.uint64),
        np.full(count, T, np.int64),
        np.repeat(values, count) if isinstance(values, np.ndarray) else values * count,
    )
    with pytest.raises(EncodeError):
        encode_metrics(column)


@pytest.mark.parametrize("name", ["time_ms", "values", "quality", "null"])
def test_lengths_that_differ_are_refused(name):
    column = column_of(DataType.DOUBLE, [(1, T, 1.0, 0, True)])
    setattr(column, name, np.repeat(getattr(column, name), 2))
    with pytest.raises(EncodeError) as caught:
        encode_metrics(column)
    assert caught.value.field == name


def test_a_negative_time_is_refused():
    with pytest.raises(EncodeError):
        encode_metrics(column_of(DataType.DOUBLE, [(1, -1, 1.0, 192, False)]))


def test_a_seq_or_a_time_beyond_its_field_is_refused():
    for seq, timestamp_ms in ((256, T), (-1, T), (0, -1), (0, 2**64)):
        with pytest.raises(EncodeError):
            data_payload(b"", timestamp_ms=timestamp_ms, seq=seq)


def test_packed_arrays_pass_as_they_are():
    packed = pack_array(DataType.STRING_ARRAY, ["a", "b"])
    body = encode_metrics(column_of(DataType.STRING_ARRAY, [(1, T, packed, 192, False)])).body
    data = data_payload(body, timestamp_ms=T, seq=0)
    assert decode(data, types={1: DataType.STRING_ARRAY}).metrics[0].value == ("a", "b")


def test_every_type_with_a_wire_field_is_covered_here():
    assert set(WIRE_FIELD) == set(SCALARS) | ARRAY_TYPES
    assert set(WIRE_FIELD) >= STRING_TYPES
