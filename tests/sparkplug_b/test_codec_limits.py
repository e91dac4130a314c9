"""Bytes from anyone: limits hold, and nothing but DecodeError comes out."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sparkplug_b import DataType, DecodeError, Limits, Metric, Payload, Template, decode, encode
from sparkplug_b import sparkplug_b_pb2 as pb
from tests.sparkplug_b.strategies import PAYLOADS


def cause_of(data, **limits):
    with pytest.raises(DecodeError) as caught:
        decode(data, limits=Limits(**limits))
    return caught.value.cause


def decode_or_decode_error(data):
    try:
        return isinstance(decode(data, types={0: DataType.INT8, "m": DataType.STRING}), Payload)
    except DecodeError:
        return True


@given(st.binary(max_size=300))
@example(b"\x12\x04\x0a\x02\xff\xfe")
@example(b"\x22\x01\xff")
@settings(max_examples=300, deadline=None)
def test_random_bytes_raise_nothing_but_decode_error(data):
    assert decode_or_decode_error(data)


@given(PAYLOADS, st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_damaged_payloads_raise_nothing_but_decode_error(payload, seed):
    data = bytearray(encode(payload))
    chance = random.Random(seed)  # noqa: S311 - damage, not secrets
    for _ in range(min(len(data), chance.randint(1, 4))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    assert decode_or_decode_error(bytes(data[: chance.randint(0, len(data))] or data))


@given(
    st.integers(0, 40),
    st.sampled_from(["int_value", "long_value", "float_value", "double_value", "boolean_value"])
    | st.sampled_from(["string_value", "bytes_value", "dataset_value", "template_value"])
    | st.just("extension_value"),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=16),
)
@settings(max_examples=300, deadline=None)
def test_every_type_with_every_field_raises_nothing_but_decode_error(number, field, whole, blob):
    message = pb.Payload()
    metric = message.metrics.add(datatype=number)
    if field == "bytes_value":
        metric.bytes_value = blob
    elif field == "string_value":
        metric.string_value = blob.hex()
    elif field in {"dataset_value", "template_value", "extension_value"}:
        getattr(metric, field).SetInParent()
    else:
        setattr(metric, field, bool(whole) if field == "boolean_value" else whole)
    assert decode_or_decode_error(message.SerializeToString())


def test_more_bytes_than_the_limit_are_too_large():
    data = encode(Payload(body=b"x" * 100))
    assert cause_of(data, payload_bytes_max=100) == "too_large"
    assert decode(data, limits=Limits(payload_bytes_max=len(data))).body == b"x" * 100


def test_more_metrics_than_the_limit_are_too_many_members_included():
    member = Metric(name="m", data_type=DataType.INT8, value=1)
    template = Template(is_definition=True, metrics=(member, member))
    data = encode(Payload(metrics=(Metric(name="t", data_type=DataType.TEMPLATE, value=template),)))
    assert cause_of(data, metrics_count_max=2) == "too_many"
    assert decode(data, limits=Limits(metrics_count_max=3))


def nested_templates(depth):
    template = Template(is_definition=True)
    for _ in range(depth - 1):
        inner = Metric(name="t", data_type=DataType.TEMPLATE, value=template)
        template = Template(is_definition=True, metrics=(inner,))
    return Payload(metrics=(Metric(name="t", data_type=DataType.TEMPLATE, value=template),))


def test_templates_deeper_than_the_limit_are_too_deep():
    assert cause_of(encode(nested_templates(5)), depth_max=4) == "too_deep"
    assert decode(encode(nested_templates(5)), limits=Limits(depth_max=5))
    assert decode(encode(nested_templates(32)))


def test_templates_nested_a_thousand_times_do_not_overflow_the_stack():
    data = b""
    for _ in range(1000):
        template = b"\x12" + length(data) + data if data else b""
        metric = b"\x92\x01" + length(template) + template
        data = metric
    assert cause_of(b"\x12" + length(data) + data) in {"malformed", "too_deep"}


def length(data):
    size, out = len(data), bytearray()
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*out, size])


def test_property_sets_deeper_than_the_limit_are_too_deep():
    message = pb.Payload()
    target = message.metrics.add(name="m").properties
    for _ in range(6):
        target.keys.append("k")
        target = target.values.add(type=20).propertyset_value
        target.SetInParent()
    assert cause_of(message.SerializeToString(), depth_max=5) == "too_deep"
    assert decode(message.SerializeToString(), limits=Limits(depth_max=6))


def test_a_wide_dataset_costs_items():
    message = pb.Payload()
    dataset = message.metrics.add(name="m", datatype=16).dataset_value
    dataset.num_of_columns = 2
    dataset.columns.extend("ab")
    dataset.types.extend([3, 3])
    for _ in range(10):
        dataset.rows.add().elements.extend([pb.Payload.DataSet.DataSetValue(int_value=1)] * 2)
    assert cause_of(message.SerializeToString(), items_count_max=25) == "too_many"


def test_a_boolean_array_of_many_bits_costs_items():
    message = pb.Payload()
    count = 80_000
    blob = count.to_bytes(4, "little") + bytes(count // 8)
    message.metrics.add(name="m", datatype=int(DataType.BOOLEAN_ARRAY), bytes_value=blob)
    assert cause_of(message.SerializeToString(), items_count_max=count - 1) == "too_many"


@pytest.mark.parametrize("column_count", [None, 1, 3, 2**63])
def test_a_dataset_whose_lists_differ_is_inconsistent(column_count):
    message = pb.Payload()
    dataset = message.metrics.add(name="m", datatype=16).dataset_value
    if column_count is not None:
        dataset.num_of_columns = column_count
    dataset.columns.extend(["a", "b"])
    dataset.types.extend([3] if column_count is None else [3, 3])
    assert cause_of(message.SerializeToString()) == "inconsistent"


@pytest.mark.parametrize("cells", [1, 3])
def test_a_row_with_another_number_of_cells_is_inconsistent(cells):
    message = pb.Payload()
    dataset = message.metrics.add(name="m", datatype=16).dataset_value
    dataset.columns.extend(["a", "b"])
    dataset.types.extend([3, 3])
    dataset.rows.add().elements.extend([pb.Payload.DataSet.DataSetValue(int_value=1)] * cells)
    assert cause_of(message.SerializeToString()) == "inconsistent"


@pytest.mark.parametrize(("keys", "values"), [(["a"], 0), (["a"], 2), (["a", "a"], 2)])
def test_properties_that_do_not_pair_up_are_inconsistent(keys, values):
    message = pb.Payload()
    properties = message.metrics.add(name="m").properties
    properties.keys.extend(keys)
    for _ in range(values):
        properties.values.add(type=3, int_value=1)
    assert cause_of(message.SerializeToString()) == "inconsistent"


@pytest.mark.parametrize(
    "data",
    [
        b"\x22\x02\xff\xfe",  # uuid
        b"\x12\x04\x0a\x02\xff\xfe",  # name
        b"\x12\x04\x7a\x02\xff\xfe",  # string_value
        b"\x12\x06\x42\x04\x12\x02\xff\xfe",  # metadata.content_type
        b"\x12\x08\x4a\x06\x0a\x02\xff\xfe\x12\x00",  # a property key
        b"\x12\x09\x8a\x01\x06\x12\x02\xff\xfe\x18\x03",  # a column
        b"\x12\x07\x92\x01\x04\x22\x02\xff\xfe",  # template_ref
    ],
)
def test_a_text_that_is_not_utf8_is_malformed(data):
    with pytest.raises(DecodeError, match="malformed: a text is not UTF-8"):
        decode(data)
