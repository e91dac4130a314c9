"""Devices live and die with their sources; what the node says when it stops; what is too large."""

import pytest

from bench.processes import Broker, running
from contract.config import BrokerConfig
from contract.sample import SampleBatch, ValueKind
from gateway.sinks.sparkplug import sink as sink_module
from sparkplug_b import DataType
from tests.contract.batches import columns
from tests.gateway.sinks.broker_host import hosting, until
from tests.gateway.sinks.edge_node import born, confirmed, node_at, spec

pytestmark = [pytest.mark.broker]


class LimitedBroker(Broker):
    """A mosquitto that takes no packet above ``packet_bytes_max``."""

    def __init__(self, directory, packet_bytes_max):
        super().__init__(directory)
        with (directory / "mosquitto.conf").open("a") as file:
            file.write(f"max_packet_size {packet_bytes_max}\n")


@pytest.fixture
async def broker(tmp_path):
    async with running(Broker(tmp_path)) as broker:
        yield broker


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(sink_module, "CHECK_S", 0.05)
    monkeypatch.setattr(sink_module, "REBIRTH_PAUSE_S", 0.0)


def check_order(host):
    """The stream obeys: seq without gap, no DATA or death of a device that is not born."""
    alive, seq = set(), 0
    for message in host.messages:
        if message.kind in {"NCMD", "DCMD", "STATE", "NDEATH"}:
            continue
        seq = 0 if message.kind == "NBIRTH" else (seq + 1) % 256
        assert message.seq == seq, host.messages
        if message.kind == "NBIRTH":
            alive.clear()
        elif message.kind == "DBIRTH":
            assert message.device not in alive, host.messages
            alive.add(message.device)
        else:
            assert message.device in alive, host.messages
            if message.kind == "DDEATH":
                alive.remove(message.device)
    return alive


def two_sources(node):
    """Oven gets a tag of a second source; its index is 2."""
    node.tags.register("t", [spec("o2", "Oven")])
    node.middle.intake.set_deadbands([(2, 0.0)])


@pytest.mark.sparkplug(
    "tck-id-operational-behavior-device-ddeath",
)
async def test_devices_are_born_when_their_source_is_up_and_die_when_it_is_gone(tmp_path, broker):
    async with hosting(broker.port) as host, node_at(tmp_path, broker, death_delay_s=0.0) as node:
        node.start()
        await host.until(lambda: host.of("NBIRTH"))
        assert host.of("DBIRTH") == []
        for life in range(3):
            node.sources.up("s")
            await born(host, devices=2 * (life + 1))
            await node.put((0, float(life)), (1, float(10 + life)))
            await host.until(lambda n=life: len(host.data()) == 2 * (n + 1))
            node.sources.ended("s")
            await host.until(lambda n=life: len(host.of("DDEATH")) == 2 * (n + 1))
        await confirmed(node)
        assert check_order(host) == set()
        assert sorted(value for value, _ in host.data()) == [0.0, 1.0, 2.0, 10.0, 11.0, 12.0]
        assert not any(historical for _, historical in host.data())
        assert node.sink.report().left_out == 0


async def test_a_short_absence_of_a_source_is_no_death(tmp_path, broker):
    async with hosting(broker.port) as host, node_at(tmp_path, broker, death_delay_s=60) as node:
        node.sources.up("s")
        node.start()
        await born(host)
        node.sources.ended("s")
        await node.put((0, 1.0))
        await host.until(host.data)
        node.sources.up("s")
        await node.put((0, 2.0))
        await host.until(lambda: len(host.data()) == 2)
        assert host.of("DDEATH") == []
        assert len(host.of("DBIRTH")) == 2


async def test_a_device_of_two_sources_lives_on_and_tags_of_the_lost_one_are_stale(
    tmp_path, broker
):
    async with hosting(broker.port) as host, node_at(tmp_path, broker, death_delay_s=0.0) as node:
        two_sources(node)
        node.sources.up("s")
        node.sources.up("t")
        await node.put((1, 1.0), (2, 2.0))
        node.start()
        await born(host)
        before = len(host.messages)
        node.sources.ended("t")
        await host.until(lambda: any(m.qualities for m in host.of("DDATA", start=before)))
        stale = next(m for m in host.of("DDATA", start=before) if m.qualities)
        assert (stale.device, stale.values, stale.qualities) == ("Oven", [2.0], [500])
        await host.ask_rebirth()
        await born(host, start=before)
        oven = next(m for m in host.of("DBIRTH", start=before) if m.device == "Oven")
        by_name = {m.name: m.properties.entries["Quality"].value for m in oven.payload.metrics}
        assert by_name == {"o": 192, "o2": 500}
        before = len(host.messages)
        node.sources.up("t")
        await host.until(lambda: host.of("DDATA", start=before))
        fresh = host.of("DDATA", start=before)[0]
        # good is what needs no property
        assert (fresh.values, fresh.qualities) == ([2.0], [])
        node.sources.ended("s")
        node.sources.ended("t")
        await host.until(lambda: len(host.of("DDEATH")) == 2)
        assert check_order(host) == set()


async def test_a_rebirth_leaves_dead_devices_dead(tmp_path, broker):
    async with hosting(broker.port) as host, node_at(tmp_path, broker, death_delay_s=0.0) as node:
        two_sources(node)
        node.sources.up("t")
        node.start()
        await born(host, devices=1)
        before = len(host.messages)
        await host.ask_rebirth()
        await born(host, start=before, devices=1)
        await node.put((2, 1.0))
        await host.until(host.data)
        assert {m.device for m in host.of("DBIRTH")} == {"Oven"}
        assert check_order(host) == {"Oven"}


async def test_samples_of_a_dead_device_reach_the_broker_as_its_history(tmp_path, broker):
    """Count: what was journalled is told once, whether its device lives or not."""
    async with hosting(broker.port) as host, node_at(tmp_path, broker, death_delay_s=0.0) as node:
        two_sources(node)
        node.sources.up("t")
        for value in range(30):
            await node.put((0, float(value)), (2, float(100 + value)))
        node.start()
        await confirmed(node)
        await host.until(lambda: len(host.data()) == 60)
        # Press has no source that is up: born for its history, stale, and dead again
        await host.until(lambda: [m.device for m in host.of("DDEATH")] == ["Press"])
        press = next(m for m in host.of("DBIRTH") if m.device == "Press")
        assert (press.values, press.qualities) == ([29.0], [500])
        before = len(host.messages)
        node.sources.up("s")
        await born(host, start=before, devices=1)
        assert host.of("DBIRTH", start=before)[0].qualities == [192]
        await node.put((0, 30.0))
        await host.until(lambda: len(host.data()) == 61)
        data = host.data()
        assert sorted(v for v, _ in data) == [float(v) for v in [*range(31), *range(100, 130)]]
        assert [v for v, _ in data if v < 100] == [float(v) for v in range(31)]
        assert [v for v, historical in data if not historical] == [30.0]
        assert check_order(host) == {"Oven", "Press"}
        assert node.sink.report().left_out == 0


async def test_live_samples_that_come_after_the_death_are_history_too(tmp_path, broker):
    async with hosting(broker.port) as host, node_at(tmp_path, broker, death_delay_s=0.0) as node:
        two_sources(node)
        node.sources.up("t")
        node.start()
        await born(host, devices=1)
        # a commit that the disk held up for longer than the source lived
        await node.put((0, 1.0), (2, 2.0))
        await host.until(lambda: host.of("DDEATH"))
        assert sorted(host.data()) == [(1.0, True), (2.0, False)]
        assert check_order(host) == {"Oven"}


async def test_a_changed_type_gets_a_new_alias_and_no_alias_is_used_twice(tmp_path, broker):
    async with hosting(broker.port) as host, node_at(tmp_path, broker) as node:
        node.start()
        await born(host)
        node.tags.register("s", [spec("p", "Press", data_type=DataType.INT32), spec("o", "Oven")])
        await born(host, devices=3)
        node.tags.register("s", [spec("p", "Press"), spec("o", "Oven"), spec("q", "Press")])
        await born(host, devices=4)
        births = [m for m in host.of("DBIRTH") if m.device == "Press"]
        aliases = [{(m.name, m.alias, m.data_type.name) for m in b.payload.metrics} for b in births]
        assert aliases == [
            {("p", 1, "DOUBLE")}, {("p", 3, "INT32")}, {("p", 4, "DOUBLE"), ("q", 5, "DOUBLE")}
        ]  # fmt: skip
        assert check_order(host) == {"Oven", "Press"}


async def test_a_device_is_born_anew_on_command_after_its_death(tmp_path, broker):
    async with hosting(broker.port) as host, node_at(tmp_path, broker) as node:
        node.start()
        await born(host)
        before = len(host.messages)
        await host.command(
            [("Device Control/Rebirth", DataType.BOOLEAN, True)], device="Press", sent_ms=1
        )
        await born(host, start=before, devices=1)
        kinds = [(m.kind, m.device) for m in host.messages[before:] if m.kind != "DCMD"]
        assert kinds == [("DDEATH", "Press"), ("DBIRTH", "Press")]
        assert check_order(host) == {"Oven", "Press"}


# -- the end ---


@pytest.mark.parametrize(("version", "deaths_count"), [("3.1.1", 1), ("5.0", 2)])
async def test_a_node_that_stops_lets_its_devices_die_and_then_itself(
    tmp_path, broker, version, deaths_count
):
    config = BrokerConfig(url=broker.url, version=version)
    async with hosting(broker.port) as host, node_at(tmp_path, config) as node:
        node.start()
        await born(host)
        node.tasks.cancel_scope.cancel()
        await host.until(lambda: len(host.of("NDEATH")) == deaths_count)
        await node.sink._connection.close()
        # MQTT 5 disconnects with reason 0x04: the broker sends the Will as well
        ends = host.kinds()[3:]
        assert ends == ["DDEATH", "DDEATH", *["NDEATH"] * deaths_count]
        assert {m.bd_seq for m in host.of("NDEATH")} == {0}
        assert check_order(host) == set()


async def test_at_a_broker_that_does_not_answer_the_will_speaks_for_the_node(
    tmp_path, broker, monkeypatch
):
    monkeypatch.setattr("runtime.mqtt.SETTLE_TIMEOUT_S", 0.1)
    async with hosting(broker.port) as host, node_at(tmp_path, broker) as node:
        node.start()
        await born(host)
        broker.freeze()
        node.tasks.cancel_scope.cancel()
        await until(lambda: node.sink._connection.is_lost)
        broker.thaw()
        await host.until(lambda: host.of("NDEATH"))
        assert {m.bd_seq for m in host.of("NDEATH")} == {0}


# -- what is too large ---


@pytest.mark.parametrize("told_by", ["broker", "configuration"])
async def test_a_birth_that_is_too_large_is_named_and_stops_no_other_device(tmp_path, told_by):
    limit = 2_000
    if told_by == "broker":
        server, said = LimitedBroker(tmp_path, limit), {"version": "5.0"}
    else:
        server, said = Broker(tmp_path), {"packet_bytes_max": limit}
    async with running(server), hosting(server.port) as host:
        config = BrokerConfig(url=server.url, **said)
        async with node_at(tmp_path, config) as node:
            many = [spec(f"Press/Signal{n}", "Press") for n in range(100)]
            node.tags.register("s", [*many, spec("o", "Oven")])
            node.middle.intake.set_deadbands([(tag, 0.0) for tag in range(200)])
            node.start()
            await born(host, devices=1)
            for value in range(5):
                await node.put((1, float(value)), (2, float(value)))
            await host.until(lambda: len(host.data()) == 5)
            await confirmed(node)
            report = node.sink.report()
            assert (report.state, report.sent, report.left_out) == ("live", 5, 5)
            assert report.reason.startswith("DBIRTH of device 'Press' takes ")
            assert "the broker takes 1998: split the device" in report.reason
            # it is not tried again and again
            assert node.sink.births_count == 1
            node.tags.register("s", [spec("p", "Press"), spec("o", "Oven")])
            await born(host, devices=2)
            await until(lambda: not node.sink.report().reason)
            assert check_order(host) == {"Oven", "Press"}


async def test_a_birth_leaves_out_what_describes_before_its_device_is_refused(tmp_path):
    async with running(LimitedBroker(tmp_path, 4_000)) as server, hosting(server.port) as host:
        config = BrokerConfig(url=server.url, version="5.0")
        async with node_at(tmp_path, config) as node:
            wordy = [spec(f"m{n}", "Press", description="x" * 100, unit="bar") for n in range(30)]
            node.tags.register("s", [*wordy, spec("o", "Oven", description="y")])
            node.start()
            await born(host)
            said = {m.device: m.payload.metrics for m in host.of("DBIRTH")}
            assert len(said["Press"]) == 30
            kept = {name for m in said["Press"] for name in m.properties.entries}
            assert {"Quality", "engUnit"} <= kept
            assert "Documentation" not in kept
            assert "Documentation" in said["Oven"][0].properties.entries
            assert node.sink.report().reason == ""


async def test_data_is_cut_to_what_the_broker_takes_and_a_value_beyond_is_left_out(tmp_path):
    async with running(LimitedBroker(tmp_path, 2_000)) as server, hosting(server.port) as host:
        config = BrokerConfig(url=server.url, version="5.0")
        async with node_at(tmp_path, config) as node:
            node.tags.register("t", [spec("text", "Oven", data_type=DataType.STRING)])
            node.middle.intake.set_deadbands([(2, 0.0)])
            node.start()
            await born(host)
            texts = columns(ValueKind.TEXT, [(2, 1, 0, "x" * 3_000), (2, 2, 0, "short")])
            await node.middle.put("texts", SampleBatch((texts,)))
            await node.put(*[(0, float(n), 1_000_000 + n) for n in range(1_000)])
            await host.until(lambda: len(host.data()) == 1_001)
            await confirmed(node)
            values = [v for v, _ in host.data()]
            assert "short" in values
            assert [v for v in values if v != "short"] == [float(n) for n in range(1_000)]
            assert len(host.of("DDATA")) > 5
            report = node.sink.report()
            assert (report.left_out, report.connects) == (1, 1)


@pytest.mark.parametrize("compression", ["deflate", "gzip"])
async def test_payloads_are_compressed_when_asked_and_read_as_they_were(
    tmp_path, broker, compression
):
    async with (
        hosting(broker.port) as host,
        node_at(tmp_path, broker, compression=compression) as node,
    ):
        many = [spec(f"Press/Signal{n}", "Press") for n in range(50)]
        node.tags.register("s", [*many, spec("o", "Oven")])
        node.middle.intake.set_deadbands([(tag, 0.0) for tag in range(60)])
        node.start()
        await born(host)
        await node.put((2, 1.0))
        await node.put(*[(tag, 5.0) for tag in range(2, 40)])
        await host.until(lambda: len(host.data()) == 39)
        assert check_order(host) == {"Oven", "Press"}
        sizes = {m.device: m.size_bytes for m in host.of("DBIRTH")}
        # 50 metrics of over 60 bytes each
        assert sizes["Press"] < 1_500
