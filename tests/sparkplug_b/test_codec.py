"""Round trips, presence on the wire, and liberal reading."""

import dataclasses
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkplug_b import (
    DataSet,
    DataType,
    EncodeError,
    Metric,
    Parameter,
    Payload,
    PropertySet,
    PropertyValue,
    Template,
    decode,
    encode,
    pack_array,
)
from sparkplug_b import sparkplug_b_pb2 as pb
from sparkplug_b.datatype import ARRAY_TYPES
from sparkplug_b.errors import DecodeError
from tests.sparkplug_b.strategies import PAYLOADS, SCALARS, array_of

T = 1_790_000_000_000


def one(data_type, value, **rest):
    return Payload(metrics=(Metric(name="m", data_type=data_type, value=value, **rest),))


def raw(data_type, field, value):
    message = pb.Payload()
    metric = message.metrics.add(name="m", **{field: value})
    if data_type is not None:
        metric.datatype = data_type
    return message.SerializeToString()


def value_of(data, **kwargs):
    return decode(data, **kwargs).metrics[0].value


@given(PAYLOADS)
@settings(max_examples=100, deadline=None)
def test_a_payload_comes_back_equal(payload):
    assert decode(encode(payload)) == payload


@pytest.mark.parametrize("data_type", sorted(SCALARS) + sorted(ARRAY_TYPES))
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_every_value_type_comes_back_equal_and_by_the_birth_s_type(data_type, data):
    value = data.draw(array_of(data_type) if data_type in ARRAY_TYPES else SCALARS[data_type])
    payload = one(data_type, value)
    assert value_of(encode(payload)) == value
    without = encode(payload, with_data_types=False)
    assert decode(without).metrics[0].data_type is None
    assert value_of(without, types={"m": data_type}) == value


def test_nan_and_infinity_pass():
    assert math.isnan(value_of(encode(one(DataType.DOUBLE, math.nan))))
    assert value_of(encode(one(DataType.FLOAT, -math.inf))) == -math.inf


def test_packed_bytes_are_taken_as_an_array():
    packed = pack_array(DataType.INT16_ARRAY, [1, -2])
    assert value_of(encode(one(DataType.INT16_ARRAY, packed))) == (1, -2)


def test_zero_and_false_are_written():
    payload = Payload(
        timestamp_ms=0,
        seq=0,
        metrics=(
            Metric(alias=0, time_ms=0, data_type=DataType.BOOLEAN, value=False),
            Metric(
                name="t",
                data_type=DataType.TEMPLATE,
                value=Template(is_definition=False, template_ref="d"),
            ),
        ),
    )
    message = pb.Payload.FromString(encode(payload))
    first, second = message.metrics
    assert message.HasField("seq")
    assert message.HasField("timestamp")
    assert first.HasField("alias")
    assert first.HasField("timestamp")
    assert first.WhichOneof("value") == "boolean_value"
    assert second.template_value.HasField("is_definition")


def test_null_is_marked_and_has_no_value():
    message = pb.Payload.FromString(encode(one(DataType.INT32, None, is_null=True)))
    assert message.metrics[0].is_null
    assert message.metrics[0].WhichOneof("value") is None
    assert not pb.Payload.FromString(encode(one(DataType.INT32, 1))).metrics[0].HasField("is_null")


def test_is_historical_and_is_transient_are_left_out_unless_true():
    metric = pb.Payload.FromString(encode(one(DataType.INT32, 1))).metrics[0]
    assert not metric.HasField("is_historical")
    assert not metric.HasField("is_transient")


def test_null_wins_over_a_value_that_was_sent_with_it():
    message = pb.Payload()
    message.metrics.add(name="m", datatype=3, is_null=True, int_value=5)
    metric = decode(message.SerializeToString()).metrics[0]
    assert metric.is_null
    assert metric.value is None


@pytest.mark.parametrize(
    ("data_type", "field", "number"),
    [
        (DataType.INT8, "int_value", -1 & 0xFFFFFFFF),
        (DataType.INT64, "long_value", 2**64 - 1),
        (DataType.UINT32, "long_value", 4_000_000_000),
        (DataType.UINT16, "int_value", 65_535),
        (DataType.DATETIME, "long_value", T),
    ],
)
def test_integers_are_written_to_the_field_that_peers_expect(data_type, field, number):
    value = number if data_type not in {DataType.INT8, DataType.INT64} else -1
    metric = pb.Payload.FromString(encode(one(data_type, value))).metrics[0]
    assert metric.WhichOneof("value") == field
    assert getattr(metric, field) == number


@pytest.mark.parametrize(
    ("data_type", "field", "wire", "value"),
    [
        (DataType.INT8, "int_value", 0xFF, -1),
        (DataType.INT8, "int_value", 0xFFFFFFFF, -1),
        (DataType.INT8, "long_value", 2**64 - 128, -128),
        (DataType.INT8, "int_value", 0x80, -128),
        (DataType.INT8, "int_value", 0x7F, 127),
        (DataType.INT16, "int_value", 0x8000, -32768),
        (DataType.INT16, "int_value", 0xFFFF8000, -32768),
        (DataType.INT32, "int_value", 0x80000000, -(2**31)),
        (DataType.INT32, "long_value", 2**64 - 5, -5),
        (DataType.INT32, "long_value", 2**32 - 5, -5),
        (DataType.INT64, "int_value", 7, 7),
        (DataType.UINT32, "int_value", 2**32 - 1, 2**32 - 1),
        (DataType.UINT32, "long_value", 2**32 - 1, 2**32 - 1),
        (DataType.UINT8, "long_value", 255, 255),
    ],
)
def test_integers_are_read_in_every_form_that_senders_use(data_type, field, wire, value):
    assert value_of(raw(data_type, field, wire)) == value
    assert value_of(raw(None, field, wire), types={"m": data_type}) == value


@pytest.mark.parametrize(
    ("data_type", "field", "wire", "cause"),
    [
        (DataType.INT8, "int_value", 0x100, "out_of_range"),
        (DataType.INT8, "int_value", 0xFFFF, "out_of_range"),
        (DataType.UINT8, "int_value", 256, "out_of_range"),
        (DataType.UINT32, "long_value", 2**32, "out_of_range"),
        (DataType.INT32, "long_value", 2**33, "out_of_range"),
        (DataType.DOUBLE, "int_value", 1, "type_mismatch"),
        (DataType.FLOAT, "double_value", 1.0, "type_mismatch"),
        (DataType.BOOLEAN, "int_value", 1, "type_mismatch"),
        (DataType.INT32, "double_value", 1.0, "type_mismatch"),
        (DataType.STRING, "bytes_value", b"a", "type_mismatch"),
        (DataType.DATASET, "int_value", 1, "type_mismatch"),
        (DataType.TEMPLATE, "string_value", "a", "type_mismatch"),
        (DataType.PROPERTY_SET, "int_value", 1, "type_mismatch"),
        (DataType.INT32, "dataset_value", {}, "type_mismatch"),
        (DataType.INT32, "template_value", {}, "type_mismatch"),
        (DataType.INT32, "extension_value", {}, "type_mismatch"),
        (DataType.INT32_ARRAY, "bytes_value", b"abc", "malformed"),
    ],
)
def test_a_value_that_its_type_cannot_have_is_refused_not_cut(data_type, field, wire, cause):
    with pytest.raises(DecodeError) as caught:
        decode(raw(data_type, field, wire))
    assert caught.value.cause == cause
    assert caught.value.code == "sparkplug.decode"


def test_without_a_known_type_the_raw_field_is_returned():
    assert value_of(raw(None, "int_value", 0xFFFFFFFF)) == 0xFFFFFFFF
    assert value_of(raw(None, "double_value", 2.5)) == 2.5
    assert value_of(raw(None, "extension_value", {})) is None


def test_a_data_type_of_a_later_version_is_unknown_and_raw():
    metric = decode(raw(99, "int_value", 5)).metrics[0]
    assert metric.data_type is DataType.UNKNOWN
    assert metric.value == 5


def test_types_are_found_by_alias_before_name_and_the_payload_s_own_go_first():
    message = pb.Payload()
    message.metrics.add(alias=0, int_value=0xFF)
    message.metrics.add(alias=1, name="m", int_value=0xFF)
    message.metrics.add(alias=0, int_value=0xFF, datatype=DataType.UINT8)
    types = {0: DataType.INT8, 1: DataType.INT8, "m": DataType.UINT8}
    found = decode(message.SerializeToString(), types=types)
    assert [metric.value for metric in found.metrics] == [-1, -1, 255]


def test_types_of_a_dataset_may_be_packed():
    # field 3 once as a packed list: 1a 02 03 0c
    body = (
        bytes.fromhex("0802" + "120161" + "120162" + "1a02030c" + "2209" + "0a020805" + "0a033201")
        + b"x"
    )
    inner = b"\x20\x10" + b"\x8a\x01" + bytes([len(body)]) + body
    found = value_of(b"\x12" + bytes([len(inner)]) + inner)
    assert found == DataSet(
        columns=("a", "b"), types=(DataType.INT32, DataType.STRING), rows=((5, "x"),)
    )


@pytest.mark.parametrize(
    ("data_type", "value"),
    [
        (DataType.INT8, 128),
        (DataType.UINT8, -1),
        (DataType.INT32, 1.0),
        (DataType.INT32, True),
        (DataType.INT32, "1"),
        (DataType.FLOAT, 3.5e38),
        (DataType.DOUBLE, "1"),
        (DataType.DOUBLE, True),
        (DataType.DOUBLE, 10**400),
        (DataType.BOOLEAN, 1),
        (DataType.STRING, b"a"),
        (DataType.STRING, "\ud800"),
        (DataType.BYTES, "a"),
        (DataType.UNKNOWN, 1),
        (DataType.PROPERTY_SET, 1),
        (DataType.DATASET, 1),
        (DataType.INT32, DataSet(columns=(), types=())),
        (DataType.INT32, Template(is_definition=True)),
        (DataType.INT32, (1, 2)),
        (None, 1),
        (DataType.DATASET, DataSet(columns=("a",), types=())),
        (DataType.DATASET, DataSet(columns=("a",), types=(DataType.UUID,))),
        (DataType.DATASET, DataSet(columns=("a",), types=(DataType.INT8,), rows=((),))),
        (DataType.DATASET, DataSet(columns=("a",), types=(DataType.INT8,), rows=((300,),))),
        (DataType.TEMPLATE, Template(is_definition=True, template_ref="d")),
        (DataType.TEMPLATE, Template(is_definition=False)),
        (
            DataType.TEMPLATE,
            Template(
                is_definition=True,
                parameters=(Parameter(name="p", data_type=DataType.BYTES, value=b""),),
            ),
        ),
    ],
)
def test_encode_refuses_what_a_type_cannot_hold(data_type, value):
    with pytest.raises(EncodeError):
        encode(one(data_type, value))


def test_an_encode_error_names_the_path_to_the_member():
    member = Metric(name="speed", data_type=DataType.INT8, value=1000)
    template = Template(is_definition=True, metrics=(member,))
    with pytest.raises(EncodeError) as caught:
        encode(
            Payload(metrics=(Metric(name="motor", data_type=DataType.TEMPLATE, value=template),))
        )
    assert caught.value.field == "motor/speed"


@pytest.mark.parametrize(
    "entry",
    [
        PropertyValue(data_type=None, value=1),
        PropertyValue(data_type=DataType.BYTES, value=b""),
        PropertyValue(data_type=DataType.INT32, value=PropertySet(entries={})),
        PropertyValue(data_type=DataType.PROPERTY_SET, value=1),
    ],
)
def test_encode_refuses_a_property_that_its_type_cannot_hold(entry):
    payload = one(DataType.INT32, 1, properties=PropertySet(entries={"k": entry}))
    with pytest.raises(EncodeError):
        encode(payload)


def test_null_with_a_value_is_refused():
    with pytest.raises(EncodeError):
        encode(one(DataType.INT32, 1, is_null=True))


def test_numbers_beyond_their_field_are_encode_errors():
    for payload in (Payload(timestamp_ms=-1), Payload(seq=2**64), Payload(uuid="\ud800")):
        with pytest.raises(EncodeError):
            encode(payload)


def test_payload_data_is_frozen():
    with pytest.raises((AttributeError, dataclasses.FrozenInstanceError)):
        Payload().seq = 1
    assert msgspec.structs.replace(Payload(), seq=1).seq == 1
