"""Rows become DATA that a Sparkplug host reads back: value, time, quality, order per tag."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.mapping import KIND_OF, metric_value
from contract.sample import SampleBatch, ValueKind
from gateway.sinks.sparkplug.encode import ALIAS_OF_FIRST_TAG, TagPlaces, encode_rows
from sparkplug_b import DataType, DeviceBirth, EdgeNodeSession, Quality, decode
from sparkplug_b.datatype import INTEGER_RANGE, pack_array
from tests.contract.batches import TEXTS, columns, doubles
from tests.gateway.sinks.tags import definition, row

NOW_MS = 1_800_000_000_000
FLOAT32 = st.floats(width=32)
VALUE_OF = {
    DataType.DOUBLE: st.floats(),
    DataType.FLOAT: FLOAT32,
    DataType.BOOLEAN: st.integers(0, 1),
    DataType.DATETIME: st.integers(0, 4 * 10**15),
    DataType.STRING: TEXTS,
    DataType.BYTES: st.binary(max_size=8),
    DataType.DOUBLE_ARRAY: st.lists(st.floats(), max_size=3).map(
        lambda v: pack_array(DataType.DOUBLE_ARRAY, v)
    ),
    DataType.STRING_ARRAY: st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3),
        max_size=3,
    ).map(lambda v: pack_array(DataType.STRING_ARRAY, v)),
} | {
    data_type: st.integers(low, high)
    for data_type, (low, high) in INTEGER_RANGE.items()
    if data_type is not DataType.DATETIME
}
TYPES = sorted(VALUE_OF)
STATUS = st.sampled_from([0, 0, 0x00000480, 0x40000000, 0x40900000, 0x408F0000, 0x80AB0000])
QUALITY = {0x40000000: 0, 0x40900000: 500, 0x408F0000: 500, 0x80AB0000: 0}
TAGS = [
    definition(index, data_type, device="de"[index % 2]) for index, data_type in enumerate(TYPES)
]


@st.composite
def samples(draw):
    """Samples of the tags, times growing: (tag, time_us, status, value as held or None)."""
    found = []
    for n in range(draw(st.integers(1, 30))):
        tag = draw(st.integers(0, len(TAGS) - 1))
        value = draw(VALUE_OF[TYPES[tag]])
        if draw(st.integers(0, 9)) == 0:
            value = None
        found.append((tag, 1000 * n + draw(st.integers(0, 999)), draw(STATUS), value))
    return found


def batch_of(rows):
    kinds = {}
    for tag, time_us, status, value in rows:
        kind = ValueKind.NULL if value is None else KIND_OF[TYPES[tag]]
        held = (
            struct.unpack("<Q", struct.pack("<d", value))[0] if kind is ValueKind.DOUBLE else value
        )
        kinds.setdefault(kind, []).append((tag, time_us, status, held))
    return SampleBatch(tuple(columns(kind, kinds[kind]) for kind in sorted(kinds)))


def read(messages, definitions=TAGS):
    """(device, alias) -> metrics, in order, of encoded messages as a host reads them."""
    types = {d.index + ALIAS_OF_FIRST_TAG: DataType(d.data_type) for d in definitions}
    session = EdgeNodeSession("g", "n", bd_seq=0)
    session.connected()
    births = [DeviceBirth(device_id=device) for device in {d.device for d in definitions}]
    list(session.birth(DeviceBirth(), births, NOW_MS))
    found = {}
    for data in messages:
        payload = decode(session.data(data.device, data.body, NOW_MS).payload, types=types)
        assert len(payload.metrics) == data.samples_count
        for metric in payload.metrics:
            found.setdefault((data.device, metric.alias), []).append(metric)
    return found


def bits(value):
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, tuple):
        return tuple(bits(v) for v in value)
    return value


@given(samples(), st.booleans())
@settings(max_examples=120)
def test_a_host_reads_every_sample_as_it_was(rows, is_historical):
    messages, left_out = encode_rows(
        [row(batch_of(rows))], TagPlaces(TAGS), is_historical=is_historical
    )
    assert left_out == 0
    found = read(messages)
    expected = {}
    for sample in rows:
        tag = sample[0]
        expected.setdefault((TAGS[tag].device, tag + ALIAS_OF_FIRST_TAG), []).append(sample)
    assert found.keys() == expected.keys()
    for key, wanted in expected.items():
        for metric, (tag, time_us, status, value) in zip(found[key], wanted, strict=True):
            data_type = TYPES[tag]
            assert (metric.name, metric.is_historical) == (None, is_historical)
            assert metric.time_ms == time_us // 1000
            assert metric.is_null == (value is None)
            quality = QUALITY.get(status, 192)
            held = metric.properties.entries["Quality"].value if metric.properties else 192
            assert held == quality
            if value is None:
                continue
            if KIND_OF[data_type] is ValueKind.BYTES and data_type is not DataType.BYTES:
                assert pack_array(data_type, list(metric.value)) == value
            else:
                assert bits(metric.value) == bits(metric_value(data_type, value))


@given(samples(), st.integers(1, 4))
@settings(max_examples=40)
def test_rows_sent_together_are_the_same_as_one_after_the_other(rows, cuts):
    places = TagPlaces(TAGS)
    chunk = -(-len(rows) // cuts)
    parts = [rows[start : start + chunk] for start in range(0, len(rows), chunk)]
    together, _ = encode_rows([row(batch_of(p)) for p in parts], places, is_historical=True)
    apart = []
    for part in parts:
        apart += encode_rows([row(batch_of(part))], places, is_historical=True)[0]
    # as text: NaN does not equal itself
    assert sorted(map(repr, read(together).items())) == sorted(map(repr, read(apart).items()))


def test_each_device_gets_its_own_messages():
    tags = [definition(0, DataType.DOUBLE, device="a"), definition(1, DataType.DOUBLE, device="b")]
    messages, _ = encode_rows(
        [row(doubles((1, 1.0), (0, 2.0), (1, 3.0)))], TagPlaces(tags), is_historical=False
    )
    assert sorted((m.device, m.samples_count) for m in messages) == [("a", 1), ("b", 2)]


def test_tags_of_several_types_share_a_message():
    tags = [definition(0, DataType.DOUBLE), definition(1, DataType.INT32)]
    batch = SampleBatch(
        (
            columns(ValueKind.DOUBLE, [(0, 0, 0, 0)]),
            columns(ValueKind.INT, [(1, 0, 0, 7)]),
        )
    )
    messages, _ = encode_rows([row(batch)], TagPlaces(tags), is_historical=False)
    assert len(messages) == 1


@pytest.mark.parametrize("kind", ["numbers", "texts"])
def test_messages_are_cut_at_their_size_and_lose_nothing(kind):
    count = 300
    if kind == "numbers":
        tags = [definition(0, DataType.DOUBLE)]
        batch = doubles(*[(0, float(n), 1000 * n) for n in range(count)])
    else:
        tags = [definition(0, DataType.STRING)]
        rows = [(0, 1000 * n, 0, "x" * (700 if n == 5 else n % 40)) for n in range(count)]
        batch = SampleBatch((columns(ValueKind.TEXT, rows),))
    places = TagPlaces(tags)
    messages, left_out = encode_rows([row(batch)], places, is_historical=False, bytes_max=500)
    assert left_out == 0
    assert sum(m.samples_count for m in messages) == count
    (metrics,) = read(messages, tags).values()
    assert [m.time_ms for m in metrics] == list(range(count))
    # only a metric that is larger by itself makes a larger message
    assert [m.samples_count for m in messages if len(m.body) > 500] in ([], [1])


# -- what is left out ---


def test_tags_that_are_not_born_are_left_out_and_counted():
    tags = [definition(1, DataType.DOUBLE)]
    batch = doubles((0, 1.0), (1, 2.0), (2, 3.0), (900, 4.0))
    messages, left_out = encode_rows([row(batch)], TagPlaces(tags), is_historical=False)
    assert left_out == 3
    assert list(read(messages, tags)) == [("d", 2)]
    messages, left_out = encode_rows([row(batch)], TagPlaces([]), is_historical=False)
    assert (messages, left_out) == ([], 4)


@pytest.mark.parametrize(
    ("data_type", "kind", "good", "bad"),
    [
        (DataType.INT8, ValueKind.INT, [-128, 127], [128, -129]),
        (DataType.UINT32, ValueKind.INT, [0, 2**32 - 1], [-1, 2**32]),
        (DataType.FLOAT, ValueKind.DOUBLE, [1.5, float("inf"), float("nan")], [1e300, -1e39]),
        (DataType.STRING, ValueKind.TEXT, ["a"], ["\ud800"]),
    ],
)
def test_a_value_that_outgrew_its_type_is_left_out_and_its_neighbours_go_on(
    data_type, kind, good, bad
):
    values = [v for pair in zip(good * 40, bad * 40, strict=False) for v in pair]
    rows = [(0, 1000 * n, 0, value) for n, value in enumerate(values)]
    batch = SampleBatch((columns(kind, rows),))
    fake = row(doubles((0, 1.0)))
    fake.batch = batch
    tags = [definition(0, data_type)]
    messages, left_out = encode_rows([fake], TagPlaces(tags), is_historical=False)
    (metrics,) = read(messages, tags).values()
    wanted = [n for n, value in enumerate(values) if repr(value) in map(repr, good)]
    assert [m.time_ms for m in metrics] == wanted
    assert left_out == len(values) - len(wanted)


def test_times_before_1970_are_sent_as_1970():
    tags = [definition(0, DataType.DATETIME), definition(1, DataType.DOUBLE)]
    batch = SampleBatch(
        (
            columns(ValueKind.DOUBLE, [(1, -(10**15), 0, 0)]),
            columns(ValueKind.INT, [(0, 5, 0, -(2**63))]),
        )
    )
    messages, left_out = encode_rows([row(batch)], TagPlaces(tags), is_historical=False)
    found = read(messages, tags)
    assert left_out == 0
    assert found["d", 1][0].value == 0
    assert found["d", 2][0].time_ms == 0


def test_a_boolean_that_is_two_is_true():
    tags = [definition(0, DataType.BOOLEAN)]
    batch = SampleBatch((columns(ValueKind.INT, [(0, 0, 0, 2), (0, 1, 0, 0)]),))
    messages, _ = encode_rows([row(batch)], TagPlaces(tags), is_historical=False)
    assert [m.value for m in read(messages, tags)["d", 1]] == [True, False]


def test_a_lost_value_stands_between_the_values_around_it():
    tags = [definition(0, DataType.DOUBLE)]
    batch = SampleBatch(
        (
            columns(ValueKind.DOUBLE, [(0, 1000, 0, 0), (0, 3000, 0, 0)]),
            columns(ValueKind.NULL, [(0, 2000, 0x80000000, None)]),
        )
    )
    messages, _ = encode_rows([row(batch)], TagPlaces(tags), is_historical=False)
    metrics = read(messages, tags)["d", 1]
    assert [(m.time_ms, m.is_null) for m in metrics] == [(1, False), (2, True), (3, False)]
    assert metrics[1].properties.entries["Quality"].value == Quality.BAD


def test_places_are_those_of_the_births():
    places = TagPlaces([definition(3, DataType.INT16, device="x")])
    groups = places.groups(np.array([0, 3, 7], dtype=np.uint32))
    assert groups.tolist() == [0xFFFF00, DataType.INT16, 0xFFFF00]


def test_a_row_filled_from_history_is_historical_in_the_live_lane_too():
    live = batch_of([(0, 1_000_000, 0, 1.0)])
    filled = SampleBatch(live.columns, is_historical=True)
    messages, left_out = encode_rows(
        [row(live), row(filled), row(live)], TagPlaces(TAGS), is_historical=False
    )
    (metrics,) = read(messages).values()
    assert left_out == 0
    assert [bool(metric.is_historical) for metric in metrics] == [False, True, False]
