"""The host's session: order of messages, rebirth requests, bad births, limits."""

import pytest

from sparkplug_b import (
    CommandToSend,
    DataType,
    DeviceBirth,
    DeviceOnline,
    Metric,
    MetricValues,
    NodeOffline,
    NodeOnline,
    Payload,
    decode,
    encode,
)
from tests.sparkplug_b.test_host_bench import PRESS, Bench, T, body, kinds, metric, rebirths


# --- order
def test_seq_goes_on_from_255_to_zero():
    bench = Bench().born()
    for value in range(600):
        bench.give(bench.edge.data(None, body(1, value), T))
    assert bench.value("load") == 599
    assert bench.host.drops == {}


@pytest.mark.sparkplug(
    "tck-id-operational-behavior-host-reordering-start",
    "tck-id-operational-behavior-host-reordering-success",
)
def test_a_gap_that_is_filled_in_time_leaves_no_trace():
    bench = Bench().born()
    first, second, third = (bench.edge.data(None, body(1, value), T) for value in (5, 6, 7))
    assert bench.give(third) == []
    assert bench.give(second) == []
    assert bench.host.due_ms == T + 5_000
    assert [event.values for event in bench.give(first)] == [[5], [6], [7]]
    assert bench.host.due_ms is None
    assert bench.host.on_timer(T + 9_000) == []
    assert bench.host.drops == {}


@pytest.mark.sparkplug(
    "tck-id-operational-behavior-host-reordering-param",
    "tck-id-operational-behavior-host-reordering-start",
    "tck-id-operational-behavior-host-reordering-rebirth",
)
def test_a_gap_that_stays_open_releases_what_was_held_and_asks_for_a_rebirth():
    bench = Bench(reorder_timeout_ms=500).born()
    bench.edge.data(None, body(1, 5), T)
    assert bench.give(bench.edge.data(None, body(1, 6), T)) == []
    assert bench.host.on_timer(T + 499) == []
    values, request = bench.host.on_timer(T + 500)
    assert values.values == [6]
    message = request.message
    assert (message.topic, message.qos, message.retain) == ("spBv1.0/G/NCMD/N", 0, False)
    payload = decode(message.payload)
    assert (payload.seq, payload.timestamp_ms) == (None, T + 500)
    [asked] = payload.metrics
    assert (asked.name, asked.alias) == ("Node Control/Rebirth", None)
    assert (asked.data_type, asked.value) == (DataType.BOOLEAN, True)
    commands = bench.edge.on_command(message.topic, message.payload, retained=False)
    assert [command.kind for command in commands] == ["rebirth"]


def test_what_is_held_is_dropped_where_a_birth_may_be_among_the_lost():
    bench = Bench().born()
    for _ in range(252):  # up to seq 253
        bench.give(bench.edge.data(None, body(1, 1), T))
    for _ in range(3):
        bench.edge.data(None, body(1, 1), T)
    assert bench.give(bench.edge.data(None, body(1, 77), T)) == []
    assert len(rebirths(bench.host.on_timer(T + 5_000))) == 1
    assert bench.value("load") == 1
    assert bench.give(bench.edge.data(None, body(1, 78), T), at=T + 5_001) == []
    assert bench.host.drops == {"gap": 1, "after_gap": 2}
    bench.born(at=T + 5_002)
    bench.give(bench.edge.data(None, body(1, 79), T + 5_003), at=T + 5_003)
    assert bench.value("load") == 79


def test_held_messages_can_be_dropped_by_option_and_a_gap_given_up_at_once():
    bench = Bench(reorder_timeout_ms=0, is_released_after_gap=False).born()
    bench.edge.data(None, body(1, 5), T)
    assert len(rebirths(bench.give(bench.edge.data(None, body(1, 6), T)))) == 1
    assert bench.value("load") == 1
    assert bench.host.drops == {"gap": 1, "after_gap": 1}


@pytest.mark.parametrize("limit", [{"reorder_messages_max": 2}, {"reorder_bytes_max": 100}])
def test_a_full_reorder_buffer_gives_the_gap_up_early(limit):
    bench = Bench(**limit).born()
    bench.edge.data(None, body(1, 0), T)
    events = []
    for value in range(20):
        events += bench.give(bench.edge.data(None, body(1, value), T))
    assert len(rebirths(events)) == 1
    assert bench.value("load") == 19
    assert bench.host.drops == {"gap": 1}


def test_a_repeated_message_is_ignored():
    bench = Bench()
    births = bench.births()
    data = bench.edge.data(None, body(1, 5), T)
    bench.give(*births, data)
    assert bench.give(*births, data) == []
    ahead = bench.edge.data(None, body(1, 6), T), bench.edge.data(None, body(1, 7), T)
    assert bench.give(ahead[1], ahead[1]) == []
    assert bench.host.drops == {"duplicate": 4}


def test_a_device_birth_that_overtakes_the_rebirth_before_it_waits_for_it():
    bench = Bench().born()
    for value in range(20):
        bench.give(bench.edge.data(None, body(1, value), T))
    oven = DeviceBirth(device_id="Oven", metrics=[metric("temp", 2)])
    nbirth, dbirth = bench.births(devices=[oven], at=T + 50)
    assert bench.give(dbirth, at=T + 50) == []
    events = bench.give(nbirth, at=T + 51)
    assert kinds(events) == [NodeOnline, MetricValues, DeviceOnline, MetricValues]


def test_late_messages_of_before_the_rebirth_are_superseded():
    bench = Bench()
    old_births = bench.births()
    late = bench.edge.data("Press", body(2, 5), T + 5)
    new = bench.births(at=T + 10)
    bench.give(*new, at=T + 10)
    assert bench.give(late, old_births[0], at=T + 12) == []
    assert bench.host.drops == {"superseded": 2}
    assert bench.host.due_ms is None


def test_a_birth_that_comes_again_after_its_death_does_not_raise_the_dead():
    bench = Bench()
    births = bench.births()
    again = bench.births(at=T + 5)
    bench.give(*births, *again, bench.will, at=T + 6)
    assert bench.give(again[0], births[0], at=T + 7) == []
    assert not bench.node.scope.is_online


@pytest.mark.parametrize("is_known", [True, False])
def test_an_ndeath_that_overtakes_the_birth_of_its_session_keeps_the_node_offline(is_known):
    bench = Bench()
    if is_known:
        bench.born()
        bench.give(bench.will)
    bench.connect(8)
    births = bench.births(at=T + 10)
    assert bench.give(bench.will, births[0], at=T + 11) == []
    assert not bench.node.scope.is_online
    bench.connect(9)
    assert bench.born(at=T + 20).node.scope.is_online


# --- rebirth requests
def test_data_before_the_birth_asks_for_a_rebirth_not_more_often_than_the_interval():
    bench = Bench(rebirth_interval_ms=1_000)
    bench.births()
    messages = [bench.edge.data("Press", body(2, 5), T) for _ in range(30)]
    assert len(rebirths(bench.give(*messages))) == 1
    assert bench.host.drops == {"before_birth": 30}
    assert bench.host.due_ms == T + 1_000
    assert len(rebirths(bench.host.on_timer(T + 999))) == 0
    assert len(rebirths(bench.host.on_timer(T + 1_000))) == 1
    bench.born(at=T + 1_100)
    assert bench.host.due_ms is None


def test_requests_to_a_silent_node_end():
    bench = Bench(rebirth_interval_ms=1_000, rebirth_requests_max=3)
    bench.send("G/NDATA/N", seq=4)
    times = []
    while (due_ms := bench.host.due_ms) is not None:
        assert len(rebirths(bench.host.on_timer(due_ms))) == 1
        times.append(due_ms - T)
    assert times == [1_000, 2_000]


def test_data_of_a_device_that_is_not_born_asks_for_a_rebirth():
    bench = Bench().born()
    assert len(rebirths(bench.send("G/DDATA/N/Oven", Metric(alias=9), seq=2))) == 1
    assert bench.host.drops == {"before_birth": 1}


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (Metric(alias=99, data_type=DataType.INT32, value=1), "unknown_metric"),
        (Metric(name="no such", data_type=DataType.INT32, value=1), "unknown_metric"),
        (Metric(alias=2, data_type=DataType.INT32, value=1), "unknown_metric"),  # the device's
        (Metric(alias=1, data_type=DataType.DOUBLE, value=1.0), "retyped"),
    ],
)
def test_data_that_the_birth_does_not_know_asks_for_a_rebirth_and_the_rest_is_taken(wrong, reason):
    bench = Bench().born()
    good = Metric(alias=1, data_type=DataType.INT32, value=4)
    events = bench.send("G/NDATA/N", wrong, good, seq=2)
    assert kinds(events) == [MetricValues, CommandToSend]
    assert events[0].values == [4]
    assert bench.host.drops == {reason: 1}


@pytest.mark.parametrize("kind", ["NBIRTH/N", "DBIRTH/N/Press", "NDATA/N", "DDATA/N/Press"])
def test_a_malformed_payload_asks_for_a_rebirth(kind):
    bench = Bench().born()
    events = bench.host.on_message(f"spBv1.0/G/{kind}", b"\xff\xff", retained=False, now_ms=T)
    assert len(rebirths(events)) == 1
    assert bench.host.drops["malformed"] == 1


def test_a_malformed_ndeath_is_only_counted():
    bench = Bench().born()
    assert bench.host.on_message("spBv1.0/G/NDEATH/N", b"\xff", retained=False, now_ms=T) == []
    assert bench.host.drops == {"malformed": 1}


def test_a_value_that_is_not_of_its_type_costs_its_message_but_opens_no_gap():
    bench = Bench().born()
    text = Metric(alias=1, data_type=DataType.STRING, value="x")
    payload = encode(Payload(timestamp_ms=T, seq=2, metrics=(text,)), with_data_types=False)
    events = bench.host.on_message("spBv1.0/G/NDATA/N", payload, retained=False, now_ms=T)
    assert len(rebirths(events)) == 1
    assert bench.send("G/NDATA/N", Metric(alias=1, data_type=DataType.INT32, value=8), seq=3)
    assert bench.host.drops == {"malformed": 1}


@pytest.mark.parametrize("seq", [None, 256])
def test_a_message_without_a_seq_of_one_byte_is_refused(seq):
    bench = Bench().born()
    assert len(rebirths(bench.send("G/NDATA/N", seq=seq))) == 1
    assert bench.host.drops == {"no_seq": 1}


def test_no_rebirth_is_asked_before_our_own_birth():
    bench = Bench(is_up=False)
    bench.host.will(T)
    bench.host.connected()
    assert bench.send("G/NDATA/N", seq=4) == []
    bench.host.birth()
    assert len(rebirths(bench.host.on_timer(T + 1))) == 1


# --- bad births and limits
def test_a_clashing_alias_stands_for_no_metric():
    bench = Bench()
    twins = [Metric(name=n, alias=4, data_type=DataType.INT32, value=1) for n in "ab"]
    bd_seq = Metric(name="bdSeq", data_type=DataType.INT64, value=0)
    nameless = Metric(data_type=DataType.INT32, value=1)
    bench.send("G/NBIRTH/N", bd_seq, *twins, twins[0], nameless, seq=0)
    by_alias = Metric(alias=4, data_type=DataType.INT32, value=9)
    by_name = Metric(name="a", data_type=DataType.INT32, value=8)
    bench.send("G/NDATA/N", by_alias, by_name, seq=1)
    assert (bench.value("a"), bench.value("b")) == (8, 1)
    assert bench.host.drops == {"alias_clash": 2, "name_twice": 1, "no_name": 1}


def test_a_birth_without_bd_seq_is_taken_and_any_ndeath_ends_it():
    bench = Bench()
    assert kinds(bench.send("G/NBIRTH/N", seq=0)) == [NodeOnline, MetricValues]
    assert kinds(bench.give(bench.will)) == [NodeOffline]
    assert bench.host.drops == {"no_bd_seq": 1}


def test_a_hostile_timestamp_is_replaced_by_the_time_of_receipt():
    bench = Bench().born()
    late = Metric(alias=1, data_type=DataType.INT32, value=4, time_ms=2**64 - 1)
    [event] = bench.send("G/NDATA/N", late, seq=2)
    assert event.times_ms == [T]
    assert bench.host.drops == {"bad_time": 1}


def test_nodes_over_the_limit_are_counted_and_offline_ones_can_be_forgotten():
    bench = Bench(nodes_max=1).born()
    assert bench.send("G/NBIRTH/other", seq=0) == []
    assert bench.host.drops == {"nodes_max": 1}
    assert not bench.host.forget("G", "N")
    bench.give(bench.will)
    assert bench.host.forget("G", "N")
    assert bench.send("G/NBIRTH/other", seq=0) != []


@pytest.mark.parametrize(
    ("limit", "reason"), [({"devices_max": 1}, "devices_max"), ({"metrics_max": 5}, "metrics_max")]
)
def test_devices_over_a_limit_stay_out_without_asking_for_rebirths(limit, reason):
    bench = Bench(**limit)
    oven = DeviceBirth(device_id="Oven", metrics=[metric("a", 3), metric("b", 4)])
    events = bench.give(*bench.births(devices=[PRESS, oven]))
    events += bench.give(bench.edge.data("Oven", body(3, 1), T))
    assert list(bench.node.devices) == ["Press"]
    assert rebirths(events) == []
    assert bench.host.drops == {reason: 1, "before_birth": 1}


def test_a_node_with_too_many_metrics_is_refused_as_a_whole():
    bench = Bench(metrics_max=2)
    assert bench.give(*bench.births(), bench.edge.data(None, body(1, 1), T)) == []
    assert bench.host.drops == {"metrics_max": 3}
    assert not bench.node.scope.is_online
