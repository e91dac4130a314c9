"""`decode_columns` against `decode`: the same content, or DecodeError with the same cause."""

import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkplug_b import (
    DEFAULT_LIMITS,
    DataType,
    DecodeError,
    Limits,
    Metric,
    MetricColumn,
    Payload,
    PropertySet,
    PropertyValue,
    data_payload,
    decode,
    decode_columns,
    encode,
    encode_metrics,
)
from sparkplug_b.codec import _parse
from sparkplug_b.column_decoder import ColumnReader
from sparkplug_b.column_wire import varint
from sparkplug_b.datatype import INTEGER_RANGE
from sparkplug_b.decoder import Reader
from tests.sparkplug_b.strategies import METRICS, PAYLOADS

T = 1_790_000_000_000
BAD = PropertySet(entries={"Quality": PropertyValue(data_type=DataType.INT32, value=0)})
NESTED = PropertySet(
    entries={"a": PropertyValue(data_type=DataType.PROPERTY_SET, value=BAD), "b": BAD.entries}
)


def outcome(function, data, **options):
    try:
        found = function(data, **options)
    except DecodeError as error:
        return error.cause
    return found if isinstance(found, Payload) else found.payload()


def assert_same(data, **options):
    ours, theirs = outcome(decode_columns, data, **options), outcome(decode, data, **options)
    assert ours == theirs or repr(ours) == repr(theirs)  # NaN equals nothing


def plain_value(chance, data_type):
    if data_type in INTEGER_RANGE:
        low, high = INTEGER_RANGE[data_type]
        near = chance.choice([low, high, 0, 1, 127, 128, 255, 256, 2**31, 2**32])
        return min(max(near + chance.choice([0, 0, -1, 1]), low), high)
    if data_type is DataType.BOOLEAN:
        return chance.random() < 0.5
    return np.float32(chance.uniform(-1e6, 1e6)).item()


PLAIN_TYPES = [*INTEGER_RANGE, DataType.FLOAT, DataType.DOUBLE, DataType.BOOLEAN]


def plain_metrics(chance, first_alias):
    """Return many metrics of one kind, as a node sends them."""
    data_type = chance.choice(PLAIN_TYPES)
    by_name, is_null = chance.random() < 0.3, chance.random() < 0.15
    shared = {
        "is_null": is_null,
        "is_historical": chance.random() < 0.3,
        "is_transient": chance.random() < 0.2,
        "properties": chance.choice([None, None, BAD]),
    }
    at = None if chance.random() < 0.1 else chance.choice([T, 0, 1 << 63, T * 1_000_000])
    for row in range(chance.randint(12, 60)):
        yield Metric(
            name=f"folder/{'x' * (row % 3)}{row}" if by_name else None,
            alias=None if by_name and chance.random() < 0.5 else first_alias + row,
            time_ms=None if at is None else at + row % 5,
            data_type=data_type,
            value=None if is_null else plain_value(chance, data_type),
            **shared,
        )


def big_payload(seed, odd=()):
    chance = random.Random(seed)  # noqa: S311 - test data, not secrets
    groups = [list(plain_metrics(chance, 100 * n)) for n in range(chance.randint(2, 6))]
    metrics = [metric for group in groups for metric in group] + list(odd)
    if chance.random() < 0.5:
        chance.shuffle(metrics)
    types = {m.alias: m.data_type for m in metrics if m.alias is not None}
    types |= {m.name: m.data_type for m in metrics if m.name is not None}
    known = {key: kind for key, kind in types.items() if chance.random() < 0.98}
    return Payload(timestamp_ms=T, seq=seed % 256, metrics=tuple(metrics)), known, chance


@given(st.integers(0, 2**32), st.lists(METRICS, max_size=3), st.booleans(), st.booleans())
@settings(max_examples=80, deadline=None)
def test_columns_are_what_decode_says(seed, odd, with_data_types, normalise):
    payload, types, _ = big_payload(seed, odd)
    data = encode(payload, with_data_types=with_data_types)
    assert_same(data, types=types, normalise=normalise)
    assert_same(data, normalise=normalise)


@given(st.integers(0, 2**32), st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_damaged_columns_fail_as_decode_does(seed, damage_count):
    payload, types, chance = big_payload(seed)
    data = bytearray(encode(payload, with_data_types=chance.random() < 0.3))
    for _ in range(damage_count):
        data[chance.randrange(len(data))] = chance.randrange(256)
    if chance.random() < 0.3:
        data = data[: chance.randrange(len(data))]
    assert_same(bytes(data), types=types)


TAGS = [0x08, 0x10, 0x18, 0x20, 0x28, 0x30, 0x38, 0x50, 0x58, 0x70, 0x65, 0x69, 0x7A, 0x4A, 0x0A]


def wire_field(chance, tag):
    """Write a field as its tag asks, or as no sane encoder does."""
    kind, number = tag & 7, chance.choice([0, 1, 2, 127, 128, 300, 2**31, 2**32, 2**63, 2**64 - 1])
    if kind == 0:
        body = varint(number)
        if chance.random() < 0.1:
            body = body[:-1] + bytes((body[-1] | 0x80, 0))  # long-winded
    elif kind == 2:
        body = b"\x04ab\xc3\xa4" if chance.random() < 0.9 else b"\x02\xff\xfe"
        body = b"\x00" if tag == 0x4A else body
    else:
        body = bytes(chance.choices(range(256), k=8 if kind == 1 else 4))
    return bytes((tag,)) + body


@given(st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_metrics_written_strangely_are_read_as_decode_reads_them(seed):
    chance = random.Random(seed)  # noqa: S311 - test data, not secrets
    rows = []
    for _ in range(chance.randint(1, 4)):
        tags = chance.choices(TAGS, k=chance.randint(1, 5))
        for _ in range(chance.randint(20, 60)):
            row = b"".join(wire_field(chance, tag) for tag in tags)
            rows.append(b"\x12" + varint(len(row)) + row)
    types = {n: chance.choice([*DataType]) for n in (0, 1, 2, 127)}
    assert_same(b"".join(rows) + b"\x18\x05", types=types)


def rows_of(*metrics):
    return b"".join(b"\x12" + varint(len(one)) + one for one in metrics)


def plain_rows(odd, *, value):
    """Return plain metrics, alias 1 to 120, and odd ones of the same length in their midst."""
    plain = [b"\x10" + varint(n) + value for n in range(1, 121)]
    assert {len(one) for one in odd} <= {len(plain[0])}
    return rows_of(*plain[:60], *odd, *plain[60:])


def int_value(number):
    return b"\x50" + varint(number)


MANY = {
    "numbers below the type's range": plain_rows(
        [b"\x10\x01" + int_value(2**32 - 200)], value=int_value(2**32 - 1)
    ),
    "numbers in the type's own width": plain_rows(
        [b"\x10\x01" + int_value(200)], value=int_value(255)
    ),
    "more than 32 bits in int_value": plain_rows(
        [b"\x10\x03" + int_value(2**34 + 5)], value=int_value(2**32 - 1)
    ),
    "a flag that is 2": plain_rows([b"\x10\x03\x28\x02\x70\x01"], value=b"\x28\x01\x70\x01"),
    "flags that are all 2": plain_rows([], value=b"\x28\x02\x70\x01"),
    "a boolean that is 2": plain_rows([b"\x10\x03\x70\x02"], value=b"\x70\x01"),
    "a boolean that does not end": plain_rows([b"\x10\x03\x70\x81"], value=b"\x70\x01"),
    "an alias that does not end": plain_rows([b"\x70\x01\x10\x81"], value=b"\x70\x01"),
    "aliases that stand twice": plain_rows([], value=b"\x10\x05\x70\x01"),
    "values that stand twice": plain_rows([], value=b"\x70\x01\x50\x02"),
    "values before their null": plain_rows([], value=b"\x70\x01\x38\x01"),
    "fields in another order": plain_rows([], value=b"\x70\x01\x18\x05"),
    "data types of a later version": plain_rows([], value=b"\x20\x7f\x70\x01"),
    "data types that are sent and unknown": plain_rows([], value=b"\x20\x00\x50\x05"),
    "properties that do not end": plain_rows([], value=b"\x70\x01\x4a\x05\x0a"),
    "properties that stand twice": plain_rows(
        [], value=b"\x4a\x07\x0a\x01a\x12\x02\x10\x01\x4a\x07\x0a\x01b\x12\x02\x10\x01"
    ),
    "properties without a value": plain_rows([], value=b"\x70\x01\x4a\x03\x0a\x01a"),
    "long-winded varints": plain_rows([], value=b"\x18\x85\x80\x00\x70\x01"),
    "ten bytes with too much in the last": plain_rows(
        [], value=b"\x18" + b"\xff" * 9 + b"\x03\x70\x01"
    ),
    "ten bytes": plain_rows([], value=b"\x58" + b"\xff" * 9 + b"\x01"),
    "empty metrics": rows_of(*[b""] * 150),
    "names that all reach beyond their metric": rows_of(*[b"\x0a\x05ab"] * 200),
    "names that reach beyond their metric": rows_of(*[b"\x10\x01\x70\x01"] * 120, b"\x0a\x7fab"),
    "names that are not UTF-8": rows_of(*[b"\x0a\x02\xff\xfe\x70\x01"] * 120),
    "long names": rows_of(*[b"\x0a\x81\x01" + b"n" * 129 + b"\x70\x01"] * 120),
    "names that stand twice": rows_of(*[b"\x0a\x01a\x0a\x01b\x70\x01"] * 120),
    "a payload field twice": plain_rows([], value=b"\x70\x01") + b"\x18\x01\x18\x02",
    "a field of a later version": plain_rows([], value=b"\x70\x01") + b"\x78\x01",
    "a uuid that is not UTF-8": plain_rows([], value=b"\x70\x01") + b"\x22\x01\xff",
    "a body that does not end": plain_rows([], value=b"\x70\x01") + b"\x2a\x05ab",
    "metrics on both sides of a seq": plain_rows([], value=b"\x70\x01")
    + b"\x18\x01"
    + plain_rows([], value=b"\x70\x00"),
}
ONE_TYPE = [None, DataType.INT8, DataType.UINT32, DataType.INT64, DataType.BOOLEAN]


@pytest.mark.parametrize("padding", [b"", b"\x2a\x8f\x4e" + bytes(9_999)])
@pytest.mark.parametrize("case", MANY)
def test_each_strange_writing_is_read_as_decode_reads_it(case, padding):
    data = padding + MANY[case]  # a body: long enough to be looked at
    for kind in ONE_TYPE:
        assert_same(data, types={} if kind is None else dict.fromkeys(range(256), kind))


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_payload_that_ends_early_is_malformed_wherever_it_ends(cut):
    data = rows_of(*[b"\x10\x01\x69" + bytes(8)] * 200)[:-cut]
    assert outcome(decode_columns, data) == outcome(decode, data) == "malformed"


@given(PAYLOADS)
@settings(max_examples=100, deadline=None)
def test_a_payload_of_anything_is_read_alike(payload):
    assert_same(encode(payload))


@pytest.mark.parametrize("limit", [{"metrics_count_max": 149}, {"items_count_max": 149}])
def test_limits_count_alike(limit):
    metrics = [Metric(alias=n, time_ms=T, properties=BAD, is_null=True) for n in range(150)]
    data = encode(Payload(metrics=tuple(metrics)))
    limits = Limits(**limit)
    assert outcome(decode_columns, data, limits=limits) == "too_many"
    assert_same(data, limits=limits)
    name, most = limit.popitem()
    assert_same(data, limits=msgspec.structs.replace(limits, **{name: most + 1}))
    assert outcome(decode_columns, data, limits=Limits(**{name: most + 1})) == Payload(
        metrics=tuple(metrics)
    )


def doubles(rows, quality=None):
    column = MetricColumn(
        DataType.DOUBLE,
        np.arange(rows, dtype=np.uint64),
        np.full(rows, T),
        np.arange(rows) / 8,
        quality=quality,
    )
    return data_payload(encode_metrics(column).body, timestamp_ms=T, seq=1)


def read_alone(data, types):
    """Return what the fast half makes of it, and how many metrics it left to protobuf."""
    left_count = 0

    def read(part, limits):
        nonlocal left_count
        columns = Reader(types, limits).columns(_parse(part, limits))
        left_count += len(columns)
        return columns, 0

    reader = ColumnReader(data, types, DEFAULT_LIMITS, normalise=False, read=read)
    return reader.columns(), left_count


@pytest.mark.parametrize("data_type", PLAIN_TYPES)
@pytest.mark.parametrize("has_null", [False, True])
def test_what_our_own_encoder_writes_is_never_left_to_protobuf(data_type, has_null):
    rows = 500
    chance = random.Random(1)  # noqa: S311 - test data, not secrets
    values = [plain_value(chance, data_type) for _ in range(rows)]
    is_unsigned = INTEGER_RANGE.get(data_type, (-1, 0))[0] == 0
    column = MetricColumn(
        data_type,
        np.arange(rows, dtype=np.uint64),
        np.full(rows, T),
        np.array(values, np.uint64 if is_unsigned else None),
        null=np.arange(rows) % 3 == 0 if has_null else None,
    )
    data = data_payload(encode_metrics(column).body, timestamp_ms=T, seq=1, uuid="u")
    columns, left_count = read_alone(data, dict.fromkeys(range(rows), data_type))
    assert columns is not None
    assert left_count < rows / 10  # varints of a rare length
    assert_same(data, types=dict.fromkeys(range(rows), data_type))


def test_a_quality_that_many_share_is_read_once():
    quality = np.where(np.arange(200) % 2, 192, 500).astype(np.int32)
    data = doubles(200, quality)
    columns, left_count = read_alone(data, {})
    assert left_count == 2  # one of each width of alias
    assert len(columns.properties) == 100
    assert_same(data)


def test_columns_of_few_metrics_are_read_one_by_one():
    assert read_alone(doubles(20), {}) == (None, 0)
    assert_same(doubles(20))
