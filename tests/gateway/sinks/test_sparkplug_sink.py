"""The edge node at a real broker, seen by a recording host; rows come from a real journal."""

import itertools

import pytest

from bench.processes import Broker, running
from gateway.sinks.sparkplug import sink as sink_module
from runtime import mqtt
from tests.gateway.sinks.broker_host import hosting, until
from tests.gateway.sinks.edge_node import born, confirmed, forget_retained, node_at, spec

pytestmark = [pytest.mark.broker]


@pytest.fixture
async def broker(tmp_path):
    async with running(Broker(tmp_path)) as broker:
        yield broker


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(sink_module, "CHECK_S", 0.05)
    monkeypatch.setattr(sink_module, "REBIRTH_PAUSE_S", 0.0)


async def test_births_come_first_then_data_by_alias_and_the_seq_has_no_gap(tmp_path, broker):
    async with hosting(broker.port) as host, node_at(tmp_path, broker) as node:
        await node.put((0, 1.0), (1, 10.0))
        node.start()
        await born(host)
        assert host.kinds()[:3] == ["NBIRTH", "DBIRTH", "DBIRTH"]
        assert {m.device: m.values for m in host.of("DBIRTH")} == {"Press": [1.0], "Oven": [10.0]}
        await node.put((0, 2.0))
        await node.put((0, 3.0), (1, 30.0))
        await confirmed(node)
        # the row from before the session is backlog, the others are live
        await host.until(lambda: len(host.data()) == 5)
        assert sorted(host.data()) == [
            (1.0, True), (2.0, False), (3.0, False), (10.0, True), (30.0, False)
        ]  # fmt: skip
        data = host.of("DDATA")
        assert all(m.name is None for message in data for m in message.payload.metrics)
        assert [message.seq for message in host.messages] == list(range(len(host.messages)))
        assert node.sink.report().state in {"live", "catching_up"}
        assert node.sink.report().sent == 5


async def test_more_than_256_messages_wrap_the_seq(tmp_path, broker):
    async with hosting(broker.port) as host, node_at(tmp_path, broker) as node:
        node.start()
        await born(host)
        for value in range(270):
            await node.put((0, float(value)))
        await host.until(lambda: len(host.data()) == 270)
        numbers = [message.seq for message in host.messages]
        assert all((a + 1) % 256 == b for a, b in itertools.pairwise(numbers))
        assert len(numbers) > 256


async def test_a_lost_connection_makes_the_broker_send_the_death_of_that_birth(tmp_path, broker):
    async with hosting(broker.port) as host, node_at(tmp_path, broker) as node:
        node.start()
        await born(host)
        # as a power cut of the box: no DISCONNECT
        node.sink._connection._client._connection._transport.abort()
        await born(host, devices=4)
        deaths, births = host.of("NDEATH"), host.of("NBIRTH")
        assert [m.bd_seq for m in births] == [0, 1]
        assert [m.bd_seq for m in deaths] == [0]
        assert host.messages.index(deaths[0]) < host.messages.index(births[1])
        assert births[1].seq == 0


async def test_a_rebirth_command_is_answered_by_all_births(tmp_path, broker):
    async with hosting(broker.port) as host, node_at(tmp_path, broker) as node:
        node.start()
        await born(host)
        await node.put((0, 5.0))
        await host.until(host.data)
        before = len(host.messages)
        await host.ask_rebirth()
        await host.until(lambda: len(host.of("DBIRTH", start=before)) == 2)
        again = [m for m in host.messages[before:] if m.kind != "NCMD"]
        assert [m.kind for m in again] == ["NBIRTH", "DBIRTH", "DBIRTH"]
        assert [m.seq for m in again] == [0, 1, 2]
        assert again[0].bd_seq == 0
        assert {m.device: m.values for m in again[1:]} == {"Press": [5.0], "Oven": [None]}
        await node.put((0, 6.0))
        await host.until(lambda: len(host.data()) == 2)
        assert host.messages[-1].seq == 3
        assert node.sink.births_count == 2


async def test_commands_for_others_and_nonsense_are_not_obeyed(tmp_path, broker):
    async with hosting(broker.port) as host, node_at(tmp_path, broker) as node:
        node.start()
        await born(host)
        # Press is a device of this node, but Node Control belongs to the node
        await host.publish("spBv1.0/G/NCMD/Other", b"")
        await node.put((0, 1.0))
        await host.until(host.data)
        await confirmed(node)
        assert node.sink.births_count == 1


async def test_tags_that_change_are_born_again_and_only_their_device(tmp_path, broker):
    async with hosting(broker.port) as host, node_at(tmp_path, broker) as node:
        node.start()
        await born(host)
        before = len(host.messages)
        node.tags.register("s", [spec("p", "Press", unit="bar"), spec("o", "Oven")])
        node.middle.intake.set_deadbands([(2, 0.0)])
        await node.put((2, 7.0))
        await host.until(lambda: host.data(before))
        assert host.kinds(before) == ["DDEATH", "DBIRTH", "DDATA"]
        assert {m.device for m in host.messages[before:]} == {"Press"}
        node.tags.register("s", [spec("o", "Oven")])
        before = len(host.messages)
        await host.until(lambda: host.kinds(before) == ["DDEATH"])
        assert host.messages[-1].device == "Press"
        numbers = [m.seq for m in host.messages]
        assert numbers == list(range(len(numbers)))


async def test_rows_are_confirmed_only_by_the_brokers_answer(tmp_path, broker):
    async with hosting(broker.port) as host, node_at(tmp_path, broker) as node:
        node.start()
        await born(host)
        broker.freeze()
        await node.put((0, 1.0))
        await node.put((0, 2.0))
        # sent, as far as the sink knows
        await until(lambda: node.sink.report().sent >= 2)
        assert node.pending == 2
        assert node.sink._connection.fences_open >= 1
        broker.thaw()
        await confirmed(node)
        assert [value for value, _ in host.data()] == [1.0, 2.0]


async def test_what_a_half_open_link_took_goes_out_again_as_history_after_the_births(
    tmp_path, broker, monkeypatch
):
    monkeypatch.setattr(mqtt, "FENCE_TIMEOUT_S", 0.3)
    monkeypatch.setattr(mqtt, "CONNECT_TIMEOUT_S", 0.5)
    # the primary host holds the births back until the recording host is there again
    async with node_at(tmp_path, broker, primary_host="scada") as node:
        async with hosting(broker.port) as host:
            await host.say_state(100, online=True)
            node.start()
            await born(host)
            await node.put((0, 1.0))
            await confirmed(node)
        broker.freeze()
        await node.put((0, 2.0))
        await until(lambda: "half-open" in node.sink.report().reason)
        await node.put((0, 3.0))
        assert node.pending == 2
        # what stood in the frozen broker's socket is lost with it
        await broker.kill()
        forget_retained(tmp_path)
        await broker.start()
        async with hosting(broker.port) as host:
            await host.say_state(200, online=True)
            await confirmed(node)
            await host.until(lambda: {v for v, _ in host.data()} >= {2.0, 3.0})
            kinds = host.kinds()
            births = [n for n, kind in enumerate(kinds) if kind == "DBIRTH"]
            assert all(n > max(births, default=-1) for n, k in enumerate(kinds) if k == "DDATA")
            assert all(historical for value, historical in host.data() if value in {2.0, 3.0})


async def test_nothing_of_an_outage_is_missing(tmp_path, broker):
    async with hosting(broker.port) as host, node_at(tmp_path, broker) as node:
        node.start()
        await born(host)
        await node.put((0, 1.0))
        await confirmed(node)
        seen = {value for value, _ in host.data()}
        await broker.stop()
        for value in range(2, 8):
            await node.put((0, float(value)))
        assert node.pending == 6
        await broker.start()
    assert seen == {1.0}


async def test_history_keeps_its_times_and_order(tmp_path, broker):
    async with hosting(broker.port) as host, node_at(tmp_path, broker) as node:
        for value in range(20):
            await node.put((0, float(value), 1_000_000 + 1000 * value))
        node.start()
        await confirmed(node)
        await host.until(lambda: len(host.data()) == 20)
        metrics = [m for message in host.of("DDATA") for m in message.payload.metrics]
        assert [m.time_ms for m in metrics] == [1000 + n for n in range(20)]
        assert all(m.is_historical for m in metrics)


async def test_a_gateway_that_stops_says_its_death_itself(tmp_path, broker):
    async with hosting(broker.port) as host, node_at(tmp_path, broker) as node:
        node.start()
        await born(host)
        node.tasks.cancel_scope.cancel()
        await host.until(lambda: len(host.of("NDEATH")) == 1)
        assert host.of("NDEATH")[0].bd_seq == 0


async def test_what_no_metric_can_carry_is_counted_and_its_neighbours_are_sent(tmp_path, broker):
    unknown = 7
    async with hosting(broker.port) as host, node_at(tmp_path, broker) as node:
        node.start()
        await born(host)
        await node.put((0, 1.0), (unknown, 7.0))
        await confirmed(node)
        report = node.sink.report()
        assert (report.sent, report.left_out) == (1, 1)


# -- a primary host ---


async def test_with_a_primary_host_nothing_is_sent_until_it_is_online(tmp_path, broker):
    async with (
        hosting(broker.port) as host,
        node_at(tmp_path, broker, primary_host="scada") as node,
    ):
        node.start()
        await node.put((0, 1.0))
        await until(lambda: "not online" in node.sink.report().reason)
        assert host.messages == []
        await host.say_state(100, online=False)
        await node.put((0, 2.0))
        await host.until(lambda: host.messages)
        await host.say_state(200, online=True)
        await born(host)
        await confirmed(node)
        assert sorted(host.data()) == [(1.0, True), (2.0, True)]


async def test_when_the_primary_host_goes_the_node_dies_and_waits_for_its_return(tmp_path, broker):
    async with (
        hosting(broker.port) as host,
        node_at(tmp_path, broker, primary_host="scada") as node,
    ):
        await host.say_state(100, online=True)
        node.start()
        await born(host)
        await host.say_state(200, online=False)
        await host.until(lambda: host.of("NDEATH"))
        await node.put((0, 1.0))
        await host.say_state(300, online=True)
        await born(host, devices=4)
        await confirmed(node)
        assert [value for value, _ in host.data()] == [1.0]
        births = host.of("NBIRTH")
        assert births[1].bd_seq == births[0].bd_seq + len(host.of("NDEATH"))


async def test_an_older_state_is_not_believed(tmp_path, broker):
    async with (
        hosting(broker.port) as host,
        node_at(tmp_path, broker, primary_host="scada") as node,
    ):
        await host.say_state(100, online=True)
        node.start()
        await born(host)
        await host.say_state(50, online=False)
        await node.put((0, 1.0))
        await host.until(host.data)
        assert host.of("NDEATH") == []


async def test_a_host_that_went_offline_while_the_node_was_away_is_waited_for(tmp_path, broker):
    async with (
        hosting(broker.port) as host,
        node_at(tmp_path, broker, primary_host="scada") as node,
    ):
        await host.say_state(100, online=True)
        node.start()
        await born(host)
        before = len(host.messages)
        node.sink._connection._client._connection._transport.abort()
        await host.say_state(200, online=False)
        await until(lambda: "not online" in node.sink.report().reason)
        assert host.of("NBIRTH", start=before) == []


async def test_after_a_reconnect_the_host_has_to_say_again_that_it_is_online(tmp_path, broker):
    async with node_at(tmp_path, broker, primary_host="scada") as node:
        async with hosting(broker.port) as host:
            await host.say_state(100, online=True)
            node.start()
            await born(host)
        # with the broker goes what it retained
        await broker.kill()
        forget_retained(tmp_path)
        await broker.start()
        async with hosting(broker.port) as host:
            await until(lambda: "not online" in node.sink.report().reason)
            assert host.of("NBIRTH") == []
            await host.say_state(200, online=True)
            await born(host)
