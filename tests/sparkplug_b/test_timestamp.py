"""ms by the specification, ns for Factory+: written on request, read by the rule of 1e15."""

import numpy as np
import pytest

from sparkplug_b import (
    BirthMetric,
    DataType,
    DeviceBirth,
    EdgeNodeSession,
    EdgeOptions,
    EncodeError,
    Metric,
    MetricColumn,
    MetricValues,
    Payload,
    Template,
    data_payload,
    decode,
    encode,
    encode_metrics,
    normalise_ms,
)
from tests.sparkplug_b.test_host_bench import Bench, T, metric

NS = T * 1_000_000


@pytest.mark.parametrize(
    ("timestamp", "time_ms"),
    [(0, 0), (10**15 - 1, 10**15 - 1), (10**15, 10**9), (NS + 999_999, T), (T, T)],
)
def test_from_1e15_up_a_timestamp_is_ns(timestamp, time_ms):
    assert normalise_ms(timestamp) == time_ms


MEMBER = Metric(name="m", data_type=DataType.INT8, value=1, time_ms=T)
PAYLOAD = Payload(
    timestamp_ms=T,
    metrics=(
        Metric(
            name="t",
            time_ms=T,
            data_type=DataType.TEMPLATE,
            value=Template(is_definition=True, metrics=(MEMBER,)),
        ),
        Metric(name="absent", data_type=DataType.DATETIME, value=T),
    ),
)


def test_in_ns_every_timestamp_is_written_in_ns_but_no_value():
    raw = decode(encode(PAYLOAD, timestamp_unit="ns"))
    template, absent = raw.metrics
    assert raw.timestamp_ms == template.time_ms == template.value.metrics[0].time_ms == NS
    assert absent.time_ms is None
    assert absent.value == T


@pytest.mark.parametrize("unit", ["ms", "ns"])
def test_normalised_both_units_are_read_alike(unit):
    assert decode(encode(PAYLOAD, timestamp_unit=unit), normalise=True) == PAYLOAD


def test_a_time_too_late_for_ns_is_refused():
    with pytest.raises(EncodeError):
        encode(Payload(timestamp_ms=1 << 60), timestamp_unit="ns")
    with pytest.raises(EncodeError, match="is no time"):
        data_payload(b"", timestamp_ms=1 << 60, seq=0, timestamp_unit="ns")
    with pytest.raises(EncodeError, match="time_ms: a time after 2262 in ns"):
        encode_metrics(column(1, time_ms=1 << 50), timestamp_unit="ns")


def column(rows, time_ms=T, time_ns=None):
    return MetricColumn(
        DataType.INT32,
        np.arange(rows, dtype=np.uint64),
        np.full(rows, time_ms),
        np.arange(rows),
        time_ns=None if time_ns is None else np.full(rows, time_ns),
    )


@pytest.mark.parametrize("rows", [3, 100])
@pytest.mark.parametrize("time_ns", [None, NS + 123_456])
def test_columns_are_written_in_ns_as_exactly_as_they_are_known(rows, time_ns):
    encoded = encode_metrics(column(rows, time_ns=time_ns), timestamp_unit="ns")
    body = data_payload(encoded.body, timestamp_ms=T, seq=1, timestamp_unit="ns")
    payload = decode(body)
    assert payload.timestamp_ms == NS
    assert {m.time_ms for m in payload.metrics} == {time_ns or NS}
    assert len(payload.metrics) == rows
    assert {m.time_ms for m in decode(body, normalise=True).metrics} == {T}


def test_columns_in_ms_leave_the_ns_alone():
    encoded = encode_metrics(column(3, time_ns=NS + 7))
    payload = decode(data_payload(encoded.body, timestamp_ms=T, seq=1))
    assert {m.time_ms for m in payload.metrics} == {T}


@pytest.mark.parametrize("bad", [np.array([NS]), np.array([NS, -1])])
def test_ns_of_another_length_or_before_1970_are_refused(bad):
    wrong = column(2)
    wrong.time_ns = bad
    with pytest.raises(EncodeError, match="time_ns"):
        encode_metrics(wrong, timestamp_unit="ns")


def session(unit):
    return EdgeNodeSession("G", "N", bd_seq=0, options=EdgeOptions(timestamp_unit=unit))


def every_message(edge):
    speed = BirthMetric(name="s", alias=0, data_type=DataType.INT32, value=1, time_ms=T)
    yield edge.will(T)
    edge.connected()
    yield from edge.birth(DeviceBirth(), [DeviceBirth(device_id="D", metrics=[speed])], T)
    yield edge.data("D", encode_metrics(column(1), timestamp_unit="ns").body, T)
    yield edge.device_death("D", T)
    yield edge.death(T)


def test_a_session_in_ns_writes_ns_in_all_its_messages():
    for message in every_message(session("ns")):
        payload = decode(message.payload)
        assert payload.timestamp_ms == NS, message.topic
        assert {m.time_ms for m in payload.metrics} <= {NS}, message.topic


def test_a_command_stamped_in_ns_is_read_in_ms():
    edge = session("ms")
    edge.connected()
    speed = BirthMetric(name="s", data_type=DataType.INT32, value=1, time_ms=T)
    list(edge.birth(DeviceBirth(metrics=[speed]), [], T))
    write = Metric(name="s", time_ms=T, data_type=DataType.INT32, value=2)
    ncmd = encode(Payload(timestamp_ms=T, metrics=(write,)), timestamp_unit="ns")
    (command,) = edge.on_command("spBv1.0/G/NCMD/N", ncmd, retained=False)
    assert command.time_ms == T


@pytest.mark.parametrize(("is_normalised", "time_ms"), [(True, T), (False, NS)])
def test_a_host_reads_a_node_in_ns_when_told_to(is_normalised, time_ms):
    bench = Bench(is_normalised=is_normalised)
    bench.edge = session("ns")
    bench.edge.connected()
    node = DeviceBirth(metrics=[metric("load", 1)])
    births = bench.give(*bench.births(node=node, devices=()))
    events = bench.give(
        bench.edge.data(None, encode_metrics(one_load(), timestamp_unit="ns").body, T)
    )
    times = [e.times_ms for e in [*births, *events] if isinstance(e, MetricValues)]
    assert [at for one in times for at in one] == [time_ms] * 3
    assert bench.node.scope.metrics["load"].time_ms == time_ms


def one_load():
    return MetricColumn(DataType.INT32, np.array([1], np.uint64), np.array([T]), np.array([5]))
