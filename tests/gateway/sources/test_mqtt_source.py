"""MQTT messages: what is read out of them, and that none is acknowledged before it is durable."""

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.processes import Broker, running
from contract.config import BrokerConfig, MqttSourceConfig, MqttTagConfig, Scale
from contract.sample import ValueKind
from gateway.sources.base import TagSpec
from gateway.sources.mqtt import collector as collector_module
from gateway.sources.mqtt.collector import SAMPLES_MAX, STATUS_NO_DATA, Collector
from gateway.sources.mqtt.reading import (
    AbsentError,
    MisfitError,
    find,
    held,
    parse_pointer,
    time_us,
)
from gateway.sources.mqtt.source import MqttSource
from runtime.clock import SystemClock
from runtime.mqtt import MqttError, connect
from sparkplug_b import DataType
from tests.gateway.sources.plc import Port, driven, until

CLOCK = SystemClock()
BROKER = BrokerConfig(url="mqtt://127.0.0.1:1")


def collector(*tags):
    config = MqttSourceConfig(
        name="m", broker=BROKER, tags=[MqttTagConfig(topic="t", **tag) for tag in tags]
    )
    made = Collector(config)
    made.indexes = range(len(tags))
    return made


def rows(made):
    batch, _ = made.take()
    return {
        int(c.tag[i]): (None if c.value is None else c.value[i], int(c.status[i]))
        for c in batch.columns
        for i in range(len(c))
    }


# -- reading ---


def test_a_pointer_finds_members_and_items():
    document = {"a/b": [{"x": 1}, {"x": 2}], "": 3}
    assert find(document, parse_pointer("/a~1b/1/x")) == 2
    assert find(document, parse_pointer("/")) == 3
    assert find(document, parse_pointer("")) is document
    for absent in ("/no", "/a~1b/2", "/a~1b/x", "/a~1b/0/x/y"):
        with pytest.raises(AbsentError):
            find(document, parse_pointer(absent))


@pytest.mark.parametrize(
    ("data_type", "value", "wanted"),
    [
        (DataType.DOUBLE, 3, (ValueKind.DOUBLE, 3.0)),
        (DataType.BOOLEAN, 1, (ValueKind.INT, 1)),
        (DataType.INT32, 4.0, (ValueKind.INT, 4)),
        (DataType.UINT64, 2**64 - 1, (ValueKind.UINT, 2**64 - 1)),
        (DataType.STRING, {"a": 1}, (ValueKind.TEXT, '{"a":1}')),
        (DataType.DATETIME, "1970-01-01T00:00:01Z", (ValueKind.INT, 1_000_000)),
        (DataType.DOUBLE, None, (ValueKind.NULL, None)),
    ],
)
def test_a_value_is_held_as_its_tag_says(data_type, value, wanted):
    assert held(data_type, value) == wanted


@pytest.mark.parametrize(
    ("data_type", "value"),
    [
        (DataType.DOUBLE, True),
        (DataType.DOUBLE, "3"),
        (DataType.DOUBLE, 10**400),
        (DataType.FLOAT, 1e39),
        (DataType.INT32, 2**31),
        (DataType.INT32, 1.5),
        (DataType.UINT64, -1),
        (DataType.BOOLEAN, 2),
        (DataType.STRING, "x" * 70_000),
        (DataType.DATETIME, "tomorrow"),
    ],
)
def test_a_value_of_another_type_is_a_misfit(data_type, value):
    with pytest.raises(MisfitError):
        held(data_type, value)


def test_times_are_read_in_their_units():
    assert time_us("2026-01-01T00:00:00.000001+01:00", "iso8601") == 1_767_222_000_000_001
    assert time_us(1_767_222_000, "s") == time_us(1_767_222_000_000, "ms") == 1_767_222_000_000_000
    assert time_us(1_767_222_000_000_000_999, "ns") == 1_767_222_000_000_000
    for wrong in (("x", "iso8601"), (True, "s"), (-1, "ms"), (1e300, "s"), (float("nan"), "s")):
        with pytest.raises(MisfitError):
            time_us(*wrong)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(JSON, st.sampled_from(["Boolean", "Int32", "UInt64", "Float", "Double", "String"]))
def test_whatever_a_message_holds_it_gives_a_value_or_a_named_trouble(document, kind):
    made = collector({"name": "a", "value": "/x", "type": kind, "time": "/t"}, {"name": "b"})
    made.message("t", msgspec.json.encode({"x": document, "t": document}), 1)
    made.message("t", b"\xff not json", 2)
    batch, _ = made.take()
    for columns in batch.columns:
        columns.check()
    assert made.troubles[0].message


def test_one_bad_value_leaves_the_others_of_its_message():
    made = collector(
        {"name": "a", "value": "/a"},
        {"name": "b", "value": "/b", "scale": Scale(gain=2.0, offset=1.0)},
        {"name": "c", "value": "/c"},
        {"name": "d", "value": "/d"},
    )
    made.message("t", b'{"a": "text", "b": 4, "d": null}', 1)
    assert rows(made) == {1: (9.0, 0), 3: (None, STATUS_NO_DATA)}
    assert made.take_drops() == {"type_changed": 1}
    assert {t.code for t in made.troubles.values()} == {"mqtt.misfit", "mqtt.absent"}
    made.message("t", b'{"a": 1, "b": 4, "c": 2, "d": 3}', 2)
    assert made.troubles == {}


def test_what_is_not_acknowledged_is_dropped_at_the_bound_and_counted():
    made = collector({"name": "a"})
    for _ in range(SAMPLES_MAX + 3):
        made.message("t", b"1", 1)
    assert made.waiting_count == SAMPLES_MAX
    assert made.take_drops() == {"intake_full": 3}


# -- at a real broker ---


async def publish(broker, *payloads):
    connection = await connect(BrokerConfig(url=broker.url), "device", None, CLOCK)
    for payload in payloads:
        connection.publish("t", payload, qos=1)
    done = anyio.Event()
    connection.fence(done.set)
    await done.wait()
    await connection.close()


@pytest.mark.broker
@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
async def test_what_was_not_durable_at_a_kill_comes_again_and_what_was_does_not(tmp_path, version):
    async with running(Broker(tmp_path)) as broker:
        config = MqttSourceConfig(
            name="m",
            broker=BrokerConfig(url=broker.url, version=version),
            tags=[MqttTagConfig(topic="t", name="a")],
        )
        port = Port()
        one = MqttSource(config, "gw", CLOCK)
        async with driven(one, port):
            await until(lambda: one.status().state == "up")
            await publish(broker, b"1")
            await until(lambda: port.values("a") == [1.0])
            port.store = False  # from here on nothing becomes durable
            await publish(broker, b"2")
            await until(lambda: port.values("a") == [1.0, 2.0])
        await publish(broker, b"3")  # nobody is there: the broker keeps it
        again = Port()
        async with driven(MqttSource(config, "gw", CLOCK), again):
            await until(lambda: len(again.values("a")) == 2)
        assert again.values("a") == [2.0, 3.0]
        assert again.reasons() == []


def test_a_message_beyond_the_bound_is_left_with_a_broker_that_sends_it_again():
    made, told = collector({"name": "a"}), []
    for _ in range(SAMPLES_MAX):
        assert made.message("t", b"1", 1, lambda: told.append(1))
    assert not made.message("t", b"1", 1, lambda: told.append(2))
    _, acknowledge = made.take()
    for tell in acknowledge:
        tell()
    assert set(told) == {1}
    assert made.take_drops() == {}


def test_only_what_nobody_sends_again_counts_as_lost_when_it_is_let_go():
    made = collector({"name": "a"})
    made.message("t", b"1", 1)
    made.message("t", b"2", 1, lambda: None)
    assert made.discard() == 1
    assert not made.has_work
    assert made.discard() == 0


@pytest.mark.broker
async def test_more_messages_than_are_held_all_arrive_and_once(tmp_path, monkeypatch):
    monkeypatch.setattr(collector_module, "SAMPLES_MAX", 10)
    async with running(Broker(tmp_path)) as broker:
        config = MqttSourceConfig(
            name="m", broker=BrokerConfig(url=broker.url), tags=[MqttTagConfig(topic="t", name="a")]
        )
        port, one = Port(), MqttSource(config, "gw", CLOCK)
        async with driven(one, port):
            await until(lambda: one.status().state == "up")
            await publish(broker, *(b"%d" % n for n in range(40)))
            await until(lambda: len(port.values("a")) >= 40)
        assert sorted(port.values("a")) == list(range(40))
        assert one.status().sessions_count > 1


class LostConnection:
    """A link that was lost in the moment after the last message."""

    fences_open = 0

    def check(self):
        raise MqttError("the broker closed the connection")


@pytest.mark.parametrize(("qos", "stored"), [(0, [7.0]), (1, [])])
async def test_what_came_before_a_lost_link_is_stored_unless_it_comes_again(qos, stored):
    tags = [MqttTagConfig(topic="t", name="a")]
    one, port = (
        MqttSource(MqttSourceConfig(name="m", broker=BROKER, qos=qos, tags=tags), "gw", CLOCK),
        Port(),
    )
    one._collector.indexes = port.register(
        [TagSpec(name="a", device="m", data_type=DataType.DOUBLE, address="t#")]
    )
    if qos:
        one._kept("t", b"7", False, lambda: None)
    else:
        one._received("t", b"7", False)
    with pytest.raises(MqttError):
        await one._step(LostConnection(), port)
    assert port.values("a") == stored
