"""Commands: what a host asks for, read against the birth; never an exception for its bytes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkplug_b import (
    BirthMetric,
    DataType,
    DeviceBirth,
    EdgeNodeSession,
    Metric,
    Payload,
    encode,
)
from sparkplug_b import sparkplug_b_pb2 as pb

T = 1_790_000_000_000
NCMD = "spBv1.0/G/NCMD/N"
DCMD = "spBv1.0/G/DCMD/N/Press"


def metric(name, alias, data_type, value):
    return BirthMetric(name=name, alias=alias, data_type=data_type, value=value, time_ms=T)


def session():
    made = EdgeNodeSession("G", "N", bd_seq=0)
    made.connected()
    node = DeviceBirth(metrics=[metric("limit", 0, DataType.INT32, 1)])
    press = DeviceBirth(
        device_id="Press",
        metrics=[
            metric("speed", 1, DataType.DOUBLE, 1.0),
            metric("mode", 2, DataType.INT8, 1),
            metric("label", 3, DataType.STRING, "a"),
        ],
    )
    list(made.birth(node, [press], T))
    return made


def payload(*metrics, timestamp_ms=None):
    return encode(Payload(timestamp_ms=timestamp_ms, metrics=metrics))


def rebirth(value=True, name="Node Control/Rebirth", data_type=DataType.BOOLEAN):
    return payload(Metric(name=name, data_type=data_type, value=value))


def only(found):
    assert len(found) == 1
    return found[0]


def test_a_rebirth_request_is_recognised():
    made = session()
    command = only(made.on_command(NCMD, rebirth(), retained=False))
    assert (command.kind, command.device_id, command.value) == ("rebirth", None, True)
    assert not made.command_drops


@pytest.mark.sparkplug(
    "tck-id-operational-behavior-data-commands-rebirth-action-2",
)
def test_a_rebirth_request_needs_neither_data_type_nor_timestamp_nor_birth():
    message = pb.Payload()
    message.metrics.add(name="Node Control/Rebirth", boolean_value=True)
    data = message.SerializeToString()
    assert only(session().on_command(NCMD, data, retained=False)).kind == "rebirth"
    unborn = EdgeNodeSession("G", "N", bd_seq=0)
    unborn.connected()
    assert only(unborn.on_command(NCMD, data, retained=False)).kind == "rebirth"


@pytest.mark.parametrize(
    "data",
    [
        rebirth(False),
        rebirth(1, data_type=DataType.INT32),
        rebirth("true", data_type=DataType.STRING),
    ],
)
def test_a_rebirth_request_other_than_true_is_counted(data):
    made = session()
    assert made.on_command(NCMD, data, retained=False) == []
    assert made.command_drops == {"rebirth_not_true": 1}


def test_a_device_can_be_asked_for_its_rebirth():
    data = rebirth(name="Device Control/Rebirth")
    command = only(session().on_command(DCMD, data, retained=False))
    assert (command.kind, command.device_id) == ("rebirth", "Press")
    made = session()
    assert made.on_command(DCMD.replace("Press", "Oven"), data, retained=False) == []
    assert made.command_drops == {"unknown_metric": 1}


def test_the_node_s_rebirth_is_no_metric_of_a_device():
    made = session()
    assert made.on_command(DCMD, rebirth(), retained=False) == []
    assert made.command_drops == {"unknown_metric": 1}


def test_a_retained_command_is_not_carried_out():
    made = session()
    assert made.on_command(NCMD, rebirth(), retained=True) == []
    assert made.command_drops == {"retained": 1}


def test_a_write_comes_by_name_with_its_data_type():
    data = payload(Metric(name="speed", data_type=DataType.DOUBLE, value=2.5), timestamp_ms=T)
    command = only(session().on_command(DCMD, data, retained=False))
    assert command.kind == "write"
    assert (command.device_id, command.name, command.value) == ("Press", "speed", 2.5)
    assert (command.data_type, command.time_ms) == (DataType.DOUBLE, T)


def test_a_write_comes_by_alias_without_data_type_and_is_read_by_the_birth_s():
    message = pb.Payload()
    message.metrics.add(alias=2, int_value=0xFFFFFFFF, timestamp=T)
    message.metrics.add(alias=3, string_value="b")
    commands = session().on_command(DCMD, message.SerializeToString(), retained=False)
    assert [(c.name, c.alias, c.value, c.time_ms) for c in commands] == [
        ("mode", 2, -1, T),
        ("label", 3, "b", None),
    ]


def test_alias_zero_is_an_alias():
    message = pb.Payload()
    message.metrics.add(alias=0, int_value=5)
    command = only(session().on_command(NCMD, message.SerializeToString(), retained=False))
    assert (command.name, command.value) == ("limit", 5)


def test_an_alias_of_another_scope_is_unknown():
    made = session()
    message = pb.Payload()
    message.metrics.add(alias=1, double_value=5)
    assert made.on_command(NCMD, message.SerializeToString(), retained=False) == []
    assert made.command_drops == {"unknown_metric": 1}


def test_a_null_is_handed_on_and_nothing_at_all_is_counted():
    made = session()
    data = payload(Metric(name="speed", is_null=True), Metric(name="mode"))
    assert only(made.on_command(DCMD, data, retained=False)).value is None
    assert made.command_drops == {"no_value": 1}


def test_unknown_names_do_not_spoil_their_neighbours():
    made = session()
    data = payload(
        Metric(name="nope", data_type=DataType.INT32, value=1),
        Metric(alias=99, data_type=DataType.INT32, value=1),
        Metric(data_type=DataType.INT32, value=1),
        Metric(name="speed", data_type=DataType.DOUBLE, value=2.5),
    )
    assert only(made.on_command(DCMD, data, retained=False)).name == "speed"
    assert made.command_drops == {"unknown_metric": 3}


@pytest.mark.parametrize(
    ("name", "said", "sent", "value"),
    [
        ("mode", DataType.INT64, -128, -128),
        ("mode", DataType.UINT32, 127, 127),
        ("speed", DataType.FLOAT, 1.5, 1.5),
        ("speed", DataType.INT32, 2, 2.0),
        ("label", DataType.TEXT, "b", "b"),
    ],
)
def test_a_near_data_type_is_taken_when_the_value_fits(name, said, sent, value):
    data = payload(Metric(name=name, data_type=said, value=sent))
    command = only(session().on_command(DCMD, data, retained=False))
    assert command.value == value
    assert type(command.value) is type(value)


@pytest.mark.parametrize(
    ("name", "said", "sent"),
    [
        ("mode", DataType.INT32, 128),
        ("mode", DataType.DOUBLE, 1.0),
        ("mode", DataType.BOOLEAN, True),
        ("speed", DataType.STRING, "1"),
        ("speed", DataType.BOOLEAN, True),
        ("label", DataType.INT32, 1),
        ("label", DataType.BYTES, b"a"),
    ],
)
def test_a_value_that_does_not_fit_the_metric_is_counted(name, said, sent):
    made = session()
    data = payload(Metric(name=name, data_type=said, value=sent))
    assert made.on_command(DCMD, data, retained=False) == []
    assert made.command_drops == {"type_mismatch": 1}


@pytest.mark.parametrize(
    "topic",
    ["", "x", "spBv1.0/G/NCMD/Other", "spBv1.0/G/NDATA/N", "spBv1.0/STATE/H", "spBv1.0/G/NCMD/N/D"],
)
def test_a_topic_that_is_no_command_for_this_node_is_counted(topic):
    made = session()
    assert made.on_command(topic, rebirth(), retained=False) == []
    assert made.command_drops == {"topic": 1}


def test_a_payload_over_the_limit_is_malformed():
    made = session()
    assert made.on_command(NCMD, encode(Payload(body=b"x" * 300_000)), retained=False) == []
    assert made.command_drops == {"malformed": 1}


@given(st.text(max_size=30) | st.just(NCMD) | st.just(DCMD), st.binary(max_size=200), st.booleans())
@settings(max_examples=200, deadline=None)
def test_no_input_raises(topic, data, retained):
    assert isinstance(session().on_command(topic, data, retained=retained), list)
