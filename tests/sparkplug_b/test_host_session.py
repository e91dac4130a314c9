"""The host's session: own STATE, births, data, deaths, commands."""

import pytest

from sparkplug_b import (
    DataType,
    DeviceBirth,
    DeviceOffline,
    DeviceOnline,
    DeviceStateError,
    EncodeError,
    HostOptions,
    HostSession,
    Metric,
    MetricValues,
    NodeOffline,
    NodeOnline,
    NotBornError,
    NotConnectedError,
    SessionError,
    TopicError,
    decode,
)
from tests.sparkplug_b.test_host_bench import PRESS, Bench, T, body, kinds, metric, rebirths, state


# --- our own STATE
def test_will_and_birth_are_state_at_qos_1_retained_with_one_timestamp():
    host = HostSession("H")
    will = host.will(T)
    host.connected()
    birth = host.birth()
    for message in (will, birth):
        assert (message.topic, message.qos, message.retain) == ("spBv1.0/STATE/H", 1, True)
    assert state(will) == {"online": False, "timestamp": T}
    assert state(birth) == {"online": True, "timestamp": T}


def test_the_timestamp_of_state_never_goes_back_when_the_clock_does():
    host = HostSession("H", last_state_time_ms=T)
    assert state(host.will(T - 60_000))["timestamp"] == T + 1
    host.connected()
    assert state(host.birth())["timestamp"] == T + 1
    assert state(host.death(T - 50_000)) == {"online": False, "timestamp": T + 1}
    host.disconnected(T)
    assert state(host.will(T))["timestamp"] == host.state_time_ms == T + 2


@pytest.mark.sparkplug(
    "tck-id-host-topic-phid-death-payload-timestamp-disconnect-clean",
    "tck-id-host-topic-phid-death-payload-timestamp-disconnect-with-no-disconnect-packet",
)
def test_a_deliberate_death_says_the_time_of_now():
    host = Bench().host
    message = host.death(T + 500)
    assert (message.topic, message.qos, message.retain) == ("spBv1.0/STATE/H", 1, True)
    assert state(message) == {"online": False, "timestamp": T + 500}
    with pytest.raises(NotConnectedError):
        host.death(T + 501)
    with pytest.raises(NotConnectedError):
        host.birth()


def test_calls_out_of_order_are_refused():
    host = HostSession("H")
    with pytest.raises(SessionError):
        host.connected()
    with pytest.raises(NotConnectedError):
        host.birth()
    host.will(T)
    host.connected()
    with pytest.raises(SessionError):
        host.will(T)
    with pytest.raises(TopicError):
        HostSession("a/b")


def test_own_state_comes_first_in_the_subscriptions_which_may_be_narrowed_to_groups():
    assert HostSession("H").subscriptions() == [("spBv1.0/STATE/H", 1), ("spBv1.0/#", 1)]
    narrow = HostSession("H", options=HostOptions(group_ids=("A", "B")))
    assert narrow.subscriptions()[1:] == [("spBv1.0/A/#", 1), ("spBv1.0/B/#", 1)]


@pytest.mark.sparkplug(
    "tck-id-message-flow-hid-sparkplug-state-message-delivered",
)
def test_a_false_own_state_is_answered_by_the_birth_with_the_same_timestamp():
    host = Bench().host
    said = b'{"online":false,"timestamp":5}'
    [event] = host.on_message("spBv1.0/STATE/H", said, retained=False, now_ms=T + 9)
    assert event.kind == "state"
    assert state(event.message) == {"online": True, "timestamp": T}
    said = b'{"online":true,"timestamp":5}'
    assert host.on_message("spBv1.0/STATE/H", said, retained=False, now_ms=T) == []


def test_a_false_own_state_before_our_birth_is_not_answered():
    host = HostSession("H")
    host.will(T)
    host.connected()
    said = b'{"online":false,"timestamp":5}'
    assert host.on_message("spBv1.0/STATE/H", said, retained=True, now_ms=T) == []


def test_foreign_or_broken_topics_and_retained_messages_are_counted():
    bench = Bench()
    births = bench.births()
    for topic in ("spBv1.0/STATE/other", "spBv1.0/STATE/H", "other/x", "spBv1.0/G/NCMD/N"):
        assert bench.host.on_message(topic, b"ONLINE", retained=False, now_ms=T) == []
    assert bench.give(*births, retained=True) == []
    wanted = {"foreign_state": 1, "state": 1, "topic": 1, "command": 1, "retained": 2}
    assert bench.host.drops == wanted
    assert bench.host.nodes == {}


# --- births, data, deaths
def test_births_put_node_and_device_online_with_their_values():
    bench = Bench()
    events = bench.give(*bench.births(), at=T + 5)
    assert kinds(events) == [NodeOnline, MetricValues, DeviceOnline, MetricValues]
    node, values, device, temp = events
    assert (node.bd_seq, node.time_ms, node.is_rebirth) == (7, T, False)
    assert sorted(values.names) == ["Node Control/Rebirth", "load", "mode"]
    assert (device.device_id, temp.names, temp.values) == ("Press", ["temp"], [1])
    assert (temp.origin, temp.data_types, temp.times_ms) == ("birth", [DataType.INT32], [T])
    assert bench.node.devices["Press"].is_online


def test_data_by_alias_gets_name_and_sign_from_the_birth():
    bench = Bench().born()
    [event] = bench.give(bench.edge.data("Press", body(2, -5, T + 3), T + 4), at=T + 9)
    assert (event.device_id, event.names, event.values) == ("Press", ["temp"], [-5])
    assert (event.times_ms, event.received_ms, event.origin) == ([T + 3], T + 9, "data")
    assert bench.value("temp", "Press") == -5


def test_historical_data_is_handed_on_but_does_not_change_the_current_value():
    bench = Bench().born()
    old = Metric(alias=1, value=9, data_type=DataType.INT32, time_ms=T - 9, is_historical=True)
    [event] = bench.send("G/NDATA/N", old, seq=2)
    assert (event.values, event.is_historical) == ([9], [True])
    assert bench.value("load") == 1


def test_a_null_is_a_value_and_data_without_a_value_is_counted():
    bench = Bench().born()
    [event] = bench.send(
        "G/NDATA/N", Metric(alias=1, is_null=True), Metric(alias=1), Metric(name="mode"), seq=2
    )
    assert (event.names, event.values, event.times_ms) == (["load"], [None], [T])
    assert bench.value("load") is None
    assert bench.host.drops["no_value"] == 2


@pytest.mark.sparkplug(
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-offline",
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-tags-stale",
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-devices-offline",
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-devices-tags-stale",
)
def test_ndeath_of_this_session_makes_node_and_devices_stale_at_the_hosts_time():
    bench = Bench().born()
    events = bench.give(bench.will, at=T + 700)
    assert [(type(e), e.time_ms, e.reason) for e in events] == [
        (DeviceOffline, T + 700, "node_death"),
        (NodeOffline, T + 700, "death"),
    ]
    assert events[0].stale_names == ("temp",)
    assert set(events[1].stale_names) == {"Node Control/Rebirth", "load", "mode"}
    for scope in (bench.node.scope, bench.node.devices["Press"]):
        assert (scope.is_online, scope.stale_since_ms) == (False, T + 700)


def test_ndeath_of_an_older_session_is_ignored():
    bench = Bench().born()
    old = bench.will
    bench.connect(8)
    bench.born(at=T + 10)
    assert bench.give(old, at=T + 20) == []
    assert bench.node.scope.is_online
    assert bench.host.drops["death_bd_seq"] == 1


def test_a_second_ndeath_is_ignored():
    bench = Bench().born()
    bench.give(bench.edge.death(T + 1))
    assert bench.give(bench.will) == []
    assert bench.host.drops["death_duplicate"] == 1


@pytest.mark.sparkplug(
    "tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-offline",
    "tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-tags-stale",
)
def test_ddeath_makes_the_device_stale_at_the_time_of_the_payload():
    bench = Bench().born()
    [event] = bench.give(bench.edge.device_death("Press", T + 30), at=T + 50)
    assert (event.device_id, event.time_ms, event.reason) == ("Press", T + 30, "death")
    assert bench.node.devices["Press"].stale_since_ms == T + 30
    assert bench.node.scope.is_online
    events = bench.give(bench.edge.device_birth(PRESS, T + 60), at=T + 60)
    assert kinds(events) == [DeviceOnline, MetricValues]
    assert bench.node.devices["Press"].stale_since_ms is None


def test_a_rebirth_keeps_devices_online_that_follow_and_gives_up_the_others():
    bench = Bench(device_birth_timeout_ms=1_000).born()
    oven = DeviceBirth(device_id="Oven", metrics=[metric("temp", 3)])
    events = bench.give(*bench.births(devices=[oven], at=T + 10), at=T + 10)
    assert events[0].is_rebirth
    assert bench.host.due_ms == T + 1_010
    [event] = bench.host.on_timer(T + 1_010)
    assert (event.device_id, event.reason, event.time_ms) == ("Press", "not_reborn", T + 1_010)
    assert bench.node.devices["Oven"].is_online


def test_the_lost_connection_of_the_host_makes_everything_stale_and_asks_again_when_back():
    bench = Bench().born()
    host = bench.host
    events = host.disconnected(T + 100)
    assert [(type(e), e.reason, e.time_ms) for e in events] == [
        (DeviceOffline, "connection_lost", T + 100),
        (NodeOffline, "connection_lost", T + 100),
    ]
    assert bench.give(*bench.births()) == []
    assert host.due_ms is None
    host.will(T + 200)
    host.connected()
    assert host.on_timer(T + 200) == []  # nothing before our own birth
    host.birth()
    assert len(rebirths(host.on_timer(T + 201))) == 1
    bench.born(at=T + 300)
    assert bench.node.devices["Press"].is_online


def test_an_ndeath_after_the_lost_connection_says_that_the_node_is_dead():
    bench = Bench().born()
    bench.host.disconnected(T + 100)
    bench.host.will(T + 200)
    bench.host.connected()
    [event] = bench.give(bench.will, at=T + 250)
    assert (type(event), event.reason) == (NodeOffline, "death")
    bench.host.birth()
    assert bench.host.on_timer(T + 300) == []


# --- commands
def test_commands_are_understood_by_the_edge_node_and_carry_time_but_no_seq():
    bench = Bench().born()
    message = bench.host.command("G", "N", None, {"load": 5, "mode": "auto"}, T + 1)
    assert (message.topic, message.qos, message.retain) == ("spBv1.0/G/NCMD/N", 0, False)
    payload = decode(message.payload)
    assert (payload.timestamp_ms, payload.seq) == (T + 1, None)
    assert [(m.name, m.alias) for m in payload.metrics] == [(None, 1), ("mode", None)]
    found = bench.edge.on_command(message.topic, message.payload, retained=False)
    assert [(c.name, c.value) for c in found] == [("load", 5), ("mode", "auto")]
    message = bench.host.command("G", "N", "Press", {"temp": None}, T + 1)
    assert message.topic == "spBv1.0/G/DCMD/N/Press"
    [found] = bench.edge.on_command(message.topic, message.payload, retained=False)
    assert (found.name, found.value, found.device_id) == ("temp", None, "Press")


def test_commands_leave_the_data_type_out_if_so_configured():
    bench = Bench(is_typed_command=False).born()
    message = bench.host.command("G", "N", None, {"load": 5}, T)
    assert decode(message.payload).metrics[0].data_type is None


def test_a_person_can_ask_a_node_or_a_device_for_a_rebirth():
    bench = Bench().born()
    for device_id in (None, "Press"):
        message = bench.host.rebirth("G", "N", device_id, T)
        [found] = bench.edge.on_command(message.topic, message.payload, retained=False)
        assert (found.kind, found.device_id) == ("rebirth", device_id)


def test_commands_that_cannot_work_are_refused():
    bench = Bench().born()
    host = bench.host
    with pytest.raises(EncodeError):
        host.command("G", "N", None, {"load": "five"}, T)
    with pytest.raises(SessionError):
        host.command("G", "N", None, {"no such": 5}, T)
    with pytest.raises(DeviceStateError):
        host.command("G", "N", "Oven", {"temp": 5}, T)
    with pytest.raises(NotBornError):
        host.command("G", "other", None, {"load": 5}, T)
    host.disconnected(T)
    with pytest.raises(NotConnectedError):
        host.rebirth("G", "N", None, T)
