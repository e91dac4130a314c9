"""The edge node's session: births first, seq, bdSeq, aliases, deaths."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sparkplug_b import (
    BirthMetric,
    DataType,
    DeviceBirth,
    DeviceStateError,
    DuplicateAliasError,
    DuplicateNameError,
    EdgeNodeSession,
    EncodeError,
    Metric,
    MetricColumn,
    NotBornError,
    NotConnectedError,
    PropertyValue,
    SessionError,
    Template,
    TopicError,
    decode,
    encode_metrics,
    next_bd_seq,
)

T = 1_790_000_000_000
BODY = encode_metrics(
    MetricColumn(
        DataType.DOUBLE, np.array([1], np.uint64), np.array([T]), np.array([2.5]), None, None
    )
).body


def metric(name, alias=None, **rest):
    rest = {"data_type": DataType.DOUBLE, "value": 1.0, "time_ms": T} | rest
    return BirthMetric(name=name, alias=alias, **rest)


NODE = DeviceBirth(metrics=[metric("load", 1)])
PRESS = DeviceBirth(device_id="Press", metrics=[metric("temp", 2)])
OVEN = DeviceBirth(device_id="Oven", metrics=[metric("temp", 3)])


def connected(**rest):
    session = EdgeNodeSession("G", "N", bd_seq=rest.pop("bd_seq", 7), **rest)
    session.connected()
    return session


def born(**rest):
    session = connected(**rest)
    list(session.birth(NODE, [PRESS], T))
    return session


def names(message):
    return [m.name for m in decode(message.payload).metrics]


def test_bd_seq_starts_at_zero_and_goes_from_255_to_zero():
    assert next_bd_seq(None) == 0
    assert next_bd_seq(0) == 1
    assert next_bd_seq(255) == 0


def test_the_will_is_an_ndeath_at_qos_1_with_only_bd_seq_and_no_seq():
    will = EdgeNodeSession("G", "N", bd_seq=7).will(T)
    payload = decode(will.payload)
    assert (will.topic, will.qos, will.retain) == ("spBv1.0/G/NDEATH/N", 1, False)
    assert payload.seq is None
    assert [(m.name, m.data_type, m.value) for m in payload.metrics] == [
        ("bdSeq", DataType.INT64, 7)
    ]


def test_commands_and_the_primary_host_are_subscribed_at_qos_1():
    assert EdgeNodeSession("NCMD", "N", bd_seq=0, primary_host_id="H").subscriptions() == [
        ("spBv1.0/NCMD/NCMD/N", 1),
        ("spBv1.0/NCMD/DCMD/N/+", 1),
        ("spBv1.0/STATE/H", 1),
    ]
    assert len(EdgeNodeSession("G", "N", bd_seq=0).subscriptions()) == 2


def test_births_come_node_first_with_seq_from_zero_at_qos_0():
    session = connected()
    messages = list(session.birth(NODE, [PRESS, OVEN], T))
    assert [m.topic for m in messages] == [
        "spBv1.0/G/NBIRTH/N",
        "spBv1.0/G/DBIRTH/N/Press",
        "spBv1.0/G/DBIRTH/N/Oven",
    ]
    assert [decode(m.payload).seq for m in messages] == [0, 1, 2]
    assert {(m.qos, m.retain, decode(m.payload).timestamp_ms) for m in messages} == {(0, False, T)}
    assert (session.state, session.seq) == ("born", 3)


def test_the_nbirth_has_bd_seq_and_a_rebirth_control_without_alias():
    message = next(connected().birth(NODE, [], T))
    found = {m.name: m for m in decode(message.payload).metrics}
    assert set(found) == {"bdSeq", "Node Control/Rebirth", "load"}
    assert (found["bdSeq"].data_type, found["bdSeq"].value) == (DataType.INT64, 7)
    rebirth = found["Node Control/Rebirth"]
    assert (rebirth.data_type, rebirth.value, rebirth.alias) == (DataType.BOOLEAN, False, None)
    assert (found["load"].alias, found["load"].time_ms) == (1, T)


def test_birth_metrics_carry_type_null_properties_and_transience():
    properties = {
        "engUnit": PropertyValue(data_type=DataType.STRING, value="°C"),
        "Quality": PropertyValue(data_type=DataType.INT32, value=0),
    }
    device = DeviceBirth(
        device_id="D",
        metrics=[metric("a", 0, value=None, properties=properties, is_transient=True)],
    )
    _, message = connected().birth(DeviceBirth(), [device], T)
    found = decode(message.payload).metrics[0]
    assert (found.alias, found.is_null, found.is_transient) == (0, True, True)
    assert found.data_type is DataType.DOUBLE
    assert found.properties.entries == properties


def test_metrics_of_a_birth_stand_in_order_of_time():
    node = DeviceBirth(metrics=[metric("new", 1, time_ms=T - 1), metric("old", 2, time_ms=T - 9)])
    message = next(connected().birth(node, [], T))
    assert names(message) == ["old", "new", "bdSeq", "Node Control/Rebirth"]


def test_the_payload_uuid_is_in_births_data_and_device_deaths_but_not_in_deaths():
    session = connected(payload_uuid="u")
    messages = [
        *session.birth(NODE, [PRESS], T),
        session.data(None, BODY, T),
        session.device_death("Press", T),
    ]
    assert {decode(m.payload).uuid for m in messages} == {"u"}
    assert decode(session.death(T).payload).uuid is None


def test_data_takes_the_next_seq_and_wraps_from_255_to_zero():
    session = born()
    seqs = [decode(session.data(None, BODY, T).payload).seq for _ in range(300)]
    assert seqs == [(2 + i) % 256 for i in range(300)]


@pytest.mark.sparkplug(
    "tck-id-topics-ndata-payload",
    "tck-id-topics-ddata-payload",
)
def test_data_goes_to_the_topic_of_the_node_or_the_device():
    session = born()
    assert session.data(None, BODY, T).topic == "spBv1.0/G/NDATA/N"
    message = session.data("Press", BODY, T + 5)
    assert (message.topic, message.qos, message.retain) == ("spBv1.0/G/DDATA/N/Press", 0, False)
    payload = decode(message.payload, types={1: DataType.DOUBLE})
    assert payload.timestamp_ms == T + 5
    assert [(m.alias, m.value) for m in payload.metrics] == [(1, 2.5)]


def test_data_before_the_last_dbirth_is_refused():
    session = EdgeNodeSession("G", "N", bd_seq=0)
    for _ in range(2):
        with pytest.raises(NotBornError):
            session.data(None, BODY, T)
        if session.state == "offline":
            session.connected()
    births = session.birth(NODE, [PRESS], T)
    next(births)
    with pytest.raises(NotBornError):
        session.data(None, BODY, T)
    next(births)
    with pytest.raises(NotBornError):  # the consumer has the DBIRTH, but has not sent it yet
        session.data(None, BODY, T)
    assert next(births, None) is None
    session.data("Press", BODY, T)


def test_births_before_connack_are_refused():
    with pytest.raises(NotConnectedError, match="connected"):
        EdgeNodeSession("G", "N", bd_seq=0).birth(NODE, [], T)


def test_a_rebirth_has_the_same_bd_seq_and_seq_back_at_zero():
    session = born()
    for _ in range(5):
        session.data(None, BODY, T)
    messages = list(session.birth(NODE, [PRESS], T + 1))
    payload = decode(messages[0].payload)
    assert [decode(m.payload).seq for m in messages] == [0, 1]
    assert {m.name: m.value for m in payload.metrics}["bdSeq"] == 7
    assert decode(session.data(None, BODY, T).payload).seq == 2


def test_a_rebirth_may_drop_a_device_and_give_its_alias_to_another():
    session = born()
    other = DeviceBirth(device_id="Oven", metrics=[metric("temp", 2)])
    list(session.birth(NODE, [other], T))
    with pytest.raises(DeviceStateError):
        session.data("Press", BODY, T)
    session.data("Oven", BODY, T)


def test_a_birth_that_another_birth_overtakes_cannot_go_on():
    session = connected()
    first = session.birth(NODE, [PRESS], T)
    next(first)
    list(session.birth(NODE, [PRESS], T))
    with pytest.raises(SessionError):
        next(first)
    assert session.state == "born"


def test_a_birth_that_is_refused_changes_nothing():
    session = born()
    clash = DeviceBirth(device_id="Oven", metrics=[metric("x", 1)])
    with pytest.raises(DuplicateAliasError):
        session.birth(NODE, [clash], T)
    assert (session.state, session.seq) == ("born", 2)
    session.data("Press", BODY, T)


@pytest.mark.parametrize(
    ("node", "devices"),
    [
        ([metric("a", 1), metric("b", 1)], []),
        ([metric("a", 0)], [[metric("b", 0)]]),
        ([], [[metric("a", 5)], [metric("b", 5)]]),
    ],
)
def test_an_alias_is_unique_over_the_node_and_all_its_devices(node, devices):
    births = [DeviceBirth(device_id=f"D{i}", metrics=m) for i, m in enumerate(devices)]
    with pytest.raises(DuplicateAliasError):
        connected().birth(DeviceBirth(metrics=node), births, T)


def test_the_alias_of_a_template_s_member_counts_too():
    member = Metric(name="m", alias=1, data_type=DataType.INT8, value=1)
    template = Template(is_definition=False, template_ref="t", metrics=(member,))
    node = DeviceBirth(
        metrics=[metric("a", 1), metric("b", data_type=DataType.TEMPLATE, value=template)]
    )
    with pytest.raises(DuplicateAliasError):
        connected().birth(node, [], T)


@pytest.mark.parametrize(
    "metrics",
    [
        [metric("a"), metric("a")],
        [metric("bdSeq")],
        [metric("Node Control/Rebirth")],
    ],
)
def test_a_name_stands_once_in_a_birth_and_the_session_s_own_are_taken(metrics):
    with pytest.raises(DuplicateNameError):
        connected().birth(DeviceBirth(metrics=metrics), [], T)


@pytest.mark.parametrize("bad", [metric(""), metric("a", data_type=DataType.UNKNOWN, value=None)])
def test_a_metric_without_name_or_type_is_refused(bad):
    with pytest.raises(EncodeError):
        connected().birth(DeviceBirth(metrics=[bad]), [], T)


def test_a_value_that_does_not_fit_leaves_the_session_unborn_and_takes_no_seq():
    session = connected()
    bad = DeviceBirth(device_id="D", metrics=[metric("a", data_type=DataType.INT8, value=500)])
    births = session.birth(NODE, [bad], T)
    next(births)
    with pytest.raises(EncodeError):
        next(births)
    assert (session.state, session.seq) == ("connected", 1)


def test_a_device_that_comes_later_is_born_and_dies_with_the_next_seq():
    session = born()
    birth = session.device_birth(OVEN, T)
    death = session.device_death("Oven", T + 1)
    assert (birth.topic, death.topic) == ("spBv1.0/G/DBIRTH/N/Oven", "spBv1.0/G/DDEATH/N/Oven")
    assert [decode(m.payload).seq for m in (birth, death)] == [2, 3]
    payload = decode(death.payload)
    assert (payload.timestamp_ms, payload.metrics) == (T + 1, ())
    with pytest.raises(DeviceStateError):
        session.data("Oven", BODY, T)


def test_a_born_device_needs_a_death_before_its_next_birth():
    session = born()
    with pytest.raises(DeviceStateError):
        session.device_birth(PRESS, T)
    session.device_death("Press", T)
    session.device_birth(PRESS, T)  # and its alias is free again
    with pytest.raises(DuplicateAliasError):
        session.device_birth(DeviceBirth(device_id="Oven", metrics=[metric("x", 2)]), T)
    assert session.seq == 4


@pytest.mark.parametrize("call", ["device_death", "data"])
def test_an_unborn_device_has_no_death_and_no_data(call):
    session = born()
    with pytest.raises(DeviceStateError):
        session.device_death("Oven", T) if call == "device_death" else session.data("Oven", BODY, T)


def test_a_device_stands_once_in_a_birth():
    with pytest.raises(DeviceStateError):
        connected().birth(NODE, [PRESS, DeviceBirth(device_id="Press")], T)


def test_a_deliberate_death_has_the_will_s_bd_seq_and_ends_the_session():
    session = born()
    death = session.death(T)
    assert (death.topic, death.qos, death.retain) == ("spBv1.0/G/NDEATH/N", 1, False)
    assert death == session.will(T)
    assert session.state == "offline"
    with pytest.raises(NotBornError):
        session.data(None, BODY, T)
    with pytest.raises(NotConnectedError):
        session.birth(NODE, [], T)
    with pytest.raises(NotConnectedError):
        session.death(T)
    with pytest.raises(SessionError):
        session.connected()


def test_a_lost_connection_ends_the_session_in_the_middle_of_a_birth_too():
    session = connected()
    births = session.birth(NODE, [PRESS], T)
    next(births)
    session.disconnected()
    with pytest.raises(SessionError):
        next(births)
    assert session.state == "offline"


@pytest.mark.parametrize("bad", ["", "a/b", "a+", "#", "a\0"])
def test_ids_are_checked(bad):
    for group_id, node_id in ((bad, "N"), ("G", bad)):
        with pytest.raises(TopicError):
            EdgeNodeSession(group_id, node_id, bd_seq=0)
    with pytest.raises(TopicError):
        connected().birth(NODE, [DeviceBirth(device_id=bad)], T)


class SessionMachine(RuleBasedStateMachine):
    """Whatever the calls: seq counts up by one from each NBIRTH, and a host sees no gap."""

    def __init__(self):
        super().__init__()
        self.session = connected()
        self.seqs = []
        self.born = set()

    def sent(self, message):
        payload = decode(message.payload)
        if "/NBIRTH/" in message.topic:
            self.seqs = []
        self.seqs.append(payload.seq)

    @rule(devices=st.sets(st.sampled_from("ABC")))
    def birth(self, devices):
        births = [DeviceBirth(device_id=d, metrics=[metric("x", ord(d))]) for d in sorted(devices)]
        for message in self.session.birth(NODE, births, T):
            self.sent(message)
        self.born = set(devices)

    @precondition(lambda self: self.session.state == "born")
    @rule(device=st.sampled_from("ABC"))
    def toggle(self, device):
        if device in self.born:
            self.sent(self.session.device_death(device, T))
        else:
            birth = DeviceBirth(device_id=device, metrics=[metric("x", ord(device))])
            self.sent(self.session.device_birth(birth, T))
        self.born ^= {device}

    @precondition(lambda self: self.session.state == "born")
    @rule(device=st.none() | st.sampled_from("ABC"), count=st.integers(1, 90))
    def data(self, device, count):
        for _ in range(count):
            if device is None or device in self.born:
                self.sent(self.session.data(device, BODY, T))
            else:
                with pytest.raises(DeviceStateError):
                    self.session.data(device, BODY, T)

    @invariant()
    def seq_has_no_gap(self):
        assert self.seqs == [i % 256 for i in range(len(self.seqs))]
        assert self.session.seq == len(self.seqs) % 256


TestSession = SessionMachine.TestCase
TestSession.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
