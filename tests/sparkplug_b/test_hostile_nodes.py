"""A node that sends rubbish beside one that does not: rejected with a reason, noted by node."""

import pytest

from sparkplug_b import (
    BirthMetric,
    DataType,
    DeviceBirth,
    Dropped,
    EdgeNodeSession,
    Metric,
    MetricValues,
    Payload,
    encode,
)
from sparkplug_b.host_drops import DETAIL_CHARS_MAX, NOTES_MAX
from tests.sparkplug_b.test_codec_limits import length
from tests.sparkplug_b.test_host_bench import KEY, PRESS, Bench, T, body, rebirths

BAD = ("G", "Bad")


def speed(value):
    return Metric(name="speed", time_ms=T, data_type=DataType.INT32, value=value)


def bad_node(bench):
    """Bring a second node up; it turns bad afterwards."""
    edge = EdgeNodeSession(*BAD, bd_seq=3)
    edge.connected()
    metrics = [
        BirthMetric(name="speed", alias=9, data_type=DataType.INT32, value=1, time_ms=T),
    ]
    bench.give(*edge.birth(DeviceBirth(metrics=metrics), [], T))
    bench.host.take_drops()
    return edge


def payload(*metrics, seq=1):
    return encode(Payload(timestamp_ms=T, seq=seq, metrics=metrics), with_data_types=False)


def templates_in_templates(depth):
    metric = b""
    for _ in range(depth):
        template = b"\x12" + length(metric) + metric if metric else b""
        metric = b"\x92\x01" + length(template) + template
    return b"\x12" + length(metric) + metric


CASES = {
    "truncated": ("NDATA", payload(speed(2))[:-3], "malformed", "NDATA: malformed"),
    "no protobuf": ("NDATA", b"\xff" * 40, "malformed", "NDATA: malformed"),
    "wrong type": (
        "NDATA",
        payload(Metric(name="speed", data_type=DataType.DOUBLE, value=1.5)),
        "malformed",
        "NDATA: type_mismatch: INT32 in double_value",
    ),
    "out of range": (
        "NDATA",
        payload(Metric(name="speed", data_type=DataType.INT64, value=2**40)),
        "malformed",
        "NDATA: out_of_range",
    ),
    "unknown alias": (
        "NDATA",
        payload(Metric(alias=77, data_type=DataType.INT32, value=1)),
        "unknown_metric",
        "alias 77",
    ),
    "no seq": ("NDATA", payload(speed(2), seq=None), "no_seq", "NDATA: seq None"),
    "seq beyond 255": (
        "NDATA",
        encode(Payload(seq=256, metrics=(speed(2),))),
        "no_seq",
        "NDATA: seq 256",
    ),
    "a million metrics": (
        "NDATA",
        b"\x12\x02\x10\x01" * 1_000_000,
        "malformed",
        "NDATA: too_many: metrics",
    ),
    "too large": ("NDATA", bytes(4 * 1024 * 1024 + 1), "malformed", "NDATA: too_large"),
    "templates 100 deep": (
        "NBIRTH",
        templates_in_templates(100),
        "malformed",
        "NBIRTH: malformed",
    ),
    "templates 40 deep": (
        "NBIRTH",
        templates_in_templates(40),
        "malformed",
        "NBIRTH: too_deep",
    ),
    "death of another session": (
        "NDEATH",
        payload(Metric(name="bdSeq", data_type=DataType.INT64, value=2), seq=None),
        "death_bd_seq",
        "bdSeq 2, born with 3",
    ),
    "data of an unborn device": ("DDATA/D", payload(speed(1)), "before_birth", "DDATA"),
}


@pytest.mark.parametrize("case", CASES)
def test_rubbish_is_counted_and_noted_with_its_node_and_cause(case):
    kind, data, reason, detail = CASES[case]
    bench = Bench().born()
    bad_node(bench)
    message, _, device = kind.partition("/")
    topic = f"spBv1.0/G/{message}/Bad" + (f"/{device}" if device else "")
    bench.host.on_message(topic, data, retained=False, now_ms=T)
    (note,) = bench.host.take_drops()
    assert (note.group_id, note.node_id, note.device_id) == (*BAD, device or None)
    assert (note.reason, note.count) == (reason, 1)
    assert note.detail.startswith(detail)
    assert bench.host.drops[reason] == 1
    assert bench.host.nodes[BAD].scope.is_online  # nothing of it was believed
    # The other node goes on.
    events = bench.give(bench.edge.data(None, body(1, 42), T))
    assert [e.values for e in events if isinstance(e, MetricValues)] == [[42]]
    assert bench.value("load") == 42
    assert bench.host.take_drops() == []


def test_a_gap_is_noted_with_the_number_that_did_not_come():
    bench = Bench().born()
    bench.edge.data(None, body(1, 1), T)  # seq 2, lost
    bench.give(bench.edge.data(None, body(1, 2), T))
    events = bench.host.on_timer(T + 5_000)
    assert len(rebirths(events)) == 1
    notes = [n for n in bench.host.take_drops() if n.reason == "gap"]
    assert [(n.group_id, n.node_id, n.detail) for n in notes] == [(*KEY, "seq 2 did not come")]


def test_late_and_early_messages_are_put_in_order_without_a_drop():
    bench = Bench().born()
    first, second = (bench.edge.data(None, body(1, n), T) for n in (1, 2))
    assert bench.give(second) == []
    values = [e.values for e in bench.give(first)]
    assert values == [[1], [2]]
    assert bench.host.take_drops() == []


def test_an_alias_that_two_metrics_have_means_none_of_them_and_says_which():
    bench = Bench()
    bench.send("G/NBIRTH/N", *(named(name, alias=5) for name in "ab"), seq=0)
    bench.send("G/NDATA/N", Metric(alias=5, time_ms=T, data_type=DataType.INT32, value=1), seq=1)
    notes = {n.reason: n for n in bench.host.take_drops()}
    assert notes["alias_clash"].count == 2
    assert notes["alias_clash"].detail == "alias 5"


def named(name, alias=None):
    return Metric(name=name, alias=alias, time_ms=T, data_type=DataType.INT32, value=1)


@pytest.mark.parametrize("name", ["a\0b", "line\nbreak", "\x1b[2J", "\x85"])
def test_a_metric_with_control_characters_in_its_name_is_quarantined_alone(name):
    bench = Bench()
    bench.send("G/NBIRTH/N", named(name, 1), named("good", 2), named("a+#/b", 3), seq=0)
    assert [*bench.node.scope.metrics] == ["good", "a+#/b"]  # MQTT's characters are no harm here
    data = [Metric(alias=n, time_ms=T, data_type=DataType.INT32, value=7) for n in (1, 2)]
    events = bench.send("G/NDATA/N", *data, seq=1)
    assert [(e.names, e.values) for e in events] == [(["good"], [7])]  # and no rebirth request
    (note,) = [n for n in bench.host.take_drops() if n.reason == "bad_name"]
    assert note.count == 2


@pytest.mark.parametrize(
    "topic",
    ["spBv1.0/G/NDATA/+", "spBv1.0/#", "spBv1.0/G/NDATA/N\n", "spBv1.0/\x07/NDATA/N", "a/b", ""],
)
def test_a_topic_with_wildcards_or_control_characters_is_of_no_node(topic):
    bench = Bench().born()
    assert bench.host.on_message(topic, payload(), retained=False, now_ms=T) == []
    (note,) = bench.host.take_drops()
    assert (note.group_id, note.node_id, note.reason, note.detail) == (None, None, "topic", topic)
    assert [*bench.host.nodes] == [KEY]


@pytest.mark.parametrize("text", [b"", b"{", b"ONLINE", b'{"online":1,"timestamp":1}', b"[]"])
def test_a_state_that_is_no_json_of_ours_is_noted_with_its_text(text):
    bench = Bench().born()
    topic = f"spBv1.0/STATE/{bench.host.host_id}"
    assert bench.host.on_message(topic, text, retained=True, now_ms=T) == []
    assert bench.host.take_drops() == [
        Dropped(
            group_id=None,
            node_id=None,
            device_id=None,
            reason="state",
            count=1,
            detail=text.decode(),
        )
    ]


def test_notes_add_up_until_they_are_taken():
    bench = Bench().born()
    for number in range(5):
        bench.send("G/DDATA/N/Press", named(f"m{number}"), seq=2 + number)
    notes = bench.host.take_drops()
    assert [(n.device_id, n.reason, n.count, n.detail) for n in notes] == [
        (PRESS.device_id, "unknown_metric", 5, "m4")
    ]


def test_notes_are_bounded_and_so_is_their_text():
    bench = Bench()
    for number in range(NOTES_MAX + 10):
        bench.host.on_message(f"spBv1.0/G/NDATA/N{number}", b"", retained=False, now_ms=T)
    bench.host.on_message("x" * 1_000, b"", retained=False, now_ms=T)
    notes = bench.host.take_drops()
    assert len(notes) == NOTES_MAX + 2
    beyond = [n for n in notes if n.node_id is None]
    assert [(n.reason, n.count, len(n.detail)) for n in beyond] == [
        ("before_birth", 10, 5),
        ("topic", 1, DETAIL_CHARS_MAX),
    ]
    assert bench.host.drops["before_birth"] == NOTES_MAX + 10
