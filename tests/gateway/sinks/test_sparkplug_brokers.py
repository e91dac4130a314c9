"""Several brokers and the primary host: where the node is, and when it goes elsewhere."""

import pytest

from bench.processes import Broker, running
from contract.config import BrokerConfig
from gateway.sinks.sparkplug import sink as sink_module
from plant.ports import free_port
from sparkplug_b import DataType
from tests.gateway.sinks.broker_host import hosting, until
from tests.gateway.sinks.edge_node import born, confirmed, node_at

pytestmark = [pytest.mark.broker]
HOST = {"primary_host": "scada"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(sink_module, "CHECK_S", 0.05)
    monkeypatch.setattr(sink_module, "REBIRTH_PAUSE_S", 0.0)
    monkeypatch.setattr("gateway.flow.drive.MOVE_PAUSE_S", 0.0)


@pytest.fixture
async def broker(tmp_path):
    async with running(Broker(tmp_path)) as broker:
        yield broker


@pytest.fixture
async def two(tmp_path):
    """Two brokers, each with a recording host: (broker, host) each."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    async with (
        running(Broker(tmp_path / "a")) as first,
        running(Broker(tmp_path / "b")) as second,
        hosting(first.port) as at_first,
        hosting(second.port) as at_second,
    ):
        yield (first, at_first), (second, at_second)


def others(*brokers):
    return [BrokerConfig(url=broker.url) for broker in brokers]


async def test_where_the_first_broker_is_not_there_the_next_one_is_taken(tmp_path):
    async with running(Broker(tmp_path)) as broker, hosting(broker.port) as host:
        nobody = BrokerConfig(url=f"mqtt://127.0.0.1:{free_port()}")
        async with node_at(tmp_path, nobody, fallback_brokers=others(broker)) as node:
            await node.put((0, 1.0))
            node.start()
            await born(host)
            await confirmed(node)
            assert node.sink.report().target == broker.url
            assert host.of("NBIRTH")[0].bd_seq == 1
            assert host.data() == [(1.0, True)]


async def test_next_server_is_offered_and_obeyed_and_the_bdseq_goes_on(tmp_path, two):
    ((first, at_first), (second, at_second)) = two
    async with node_at(tmp_path, first, fallback_brokers=others(second)) as node:
        # retained: of unknown age, so not obeyed
        command = [("Node Control/Next Server", DataType.BOOLEAN, True)]
        await at_first.command(command, retain=True)
        await at_first.until(lambda: at_first.of("NCMD"))
        node.start()
        await born(at_first)
        controls = {m.name: m for m in at_first.of("NBIRTH")[0].payload.metrics}
        control = controls["Node Control/Next Server"]
        assert (control.data_type, control.value) == (DataType.BOOLEAN, False)
        assert control.alias is None
        await node.put((0, 1.0))
        await at_first.until(at_first.data)
        assert node.sink.report().commands == {"retained": 1}
        await at_first.command(command)
        await born(at_second)
        # it had left the first before it came to the second
        assert [m.bd_seq for m in at_first.of("NDEATH")] == [0]
        assert [m.bd_seq for m in at_second.of("NBIRTH")] == [1]
        assert node.sink.report().target == second.url
        await node.put((0, 2.0))
        await at_second.until(at_second.data)
        await at_second.command(command)
        await born(at_first, devices=4)
        assert [m.bd_seq for m in at_first.of("NBIRTH")] == [0, 2]
        assert node.outlet.retries_count == 0


async def test_with_one_broker_there_is_no_next_server(tmp_path, broker):
    async with hosting(broker.port) as host, node_at(tmp_path, broker) as node:
        node.start()
        await born(host)
        names = [m.name for m in host.of("NBIRTH")[0].payload.metrics]
        assert "Node Control/Next Server" not in names
        await host.command([("Node Control/Next Server", DataType.BOOLEAN, True)])
        await node.put((0, 1.0))
        await host.until(host.data)
        assert host.of("NDEATH") == []


@pytest.mark.sparkplug(
    "tck-id-operational-behavior-edge-node-termination-host-offline-reconnect",
    "tck-id-operational-behavior-primary-application-state-with-multiple-servers-walk",
)
async def test_when_the_primary_host_goes_the_node_goes_to_the_next_broker_and_loses_nothing(
    tmp_path, two
):
    ((first, at_first), (second, at_second)) = two
    config = {"fallback_brokers": others(second), "primary_host": "scada"}
    async with node_at(tmp_path, first, **config) as node:
        await at_first.say_state(100, online=True)
        node.start()
        await born(at_first)
        await node.put((0, 1.0))
        await at_first.until(at_first.data)
        await confirmed(node)
        await at_first.say_state(200, online=False)
        await at_first.until(lambda: at_first.of("NDEATH"))
        await node.put((0, 2.0))
        await until(lambda: node.sink.report().target == second.url)
        assert at_second.messages == []
        await at_second.say_state(50, online=True)
        await born(at_second)
        await confirmed(node)
        assert at_second.data() == [(2.0, True)]


async def test_the_wait_for_a_primary_host_at_one_broker_ends_and_the_next_is_tried(tmp_path, two):
    ((first, at_first), (second, at_second)) = two
    config = {"fallback_brokers": others(second), "primary_host": "scada", "host_wait_s": 0.1}
    async with node_at(tmp_path, first, **config) as node:
        await at_second.say_state(1, online=True)
        node.start()
        await born(at_second)
        assert {m.kind for m in at_first.messages} == {"NDEATH"}


async def test_an_old_state_is_not_believed_after_a_reconnect_either(tmp_path, broker):
    async with (
        hosting(broker.port) as host,
        node_at(tmp_path, broker, **HOST) as node,
    ):
        await host.say_state(100, online=True)
        node.start()
        await born(host)
        await host.say_state(200, online=False)
        await until(lambda: "is not online" in node.sink.report().reason)
        before = len(host.messages)
        await host.say_state(150, online=True)
        await host.say_state(300, online=True, host="other")
        for text in (b"ONLINE", b"{", b'{"online":true}', b'{"online":1,"timestamp":400}'):
            await host.publish("spBv1.0/STATE/scada", text)
        # it has read all of that once it has read this
        await host.say_state(250, online=False)
        await until(lambda: node.sink._walk.host.timestamp_ms == 250)
        assert host.of("NBIRTH", start=before) == []
        await host.say_state(260, online=True)
        await born(host, start=before)


async def test_invalid_states_do_not_end_a_session(tmp_path, broker):
    async with (
        hosting(broker.port) as host,
        node_at(tmp_path, broker, **HOST) as node,
    ):
        await host.say_state(100, online=True)
        node.start()
        await born(host)
        for text in (b"OFFLINE", b"", b'{"online":false}', b'{"online":false,"timestamp":"9"}'):
            await host.publish("spBv1.0/STATE/scada", text)
        await host.say_state(300, online=False, host="other")
        await host.say_state(99, online=False)
        await node.put((0, 1.0))
        await host.until(host.data)
        assert host.of("NDEATH") == []
