"""Commands at a real broker: what is carried out, what is refused, and that both are audited."""

import pytest

from bench.processes import Broker, running
from gateway.sinks.sparkplug import sink as sink_module
from runtime.clock import SystemClock
from sparkplug_b import DataType
from tests.gateway.flow.test_commands import Machine
from tests.gateway.sinks.broker_host import hosting, until
from tests.gateway.sinks.edge_node import born, node_at, spec

pytestmark = [pytest.mark.broker]
DOUBLE = DataType.DOUBLE


@pytest.fixture
async def broker(tmp_path):
    async with running(Broker(tmp_path)) as broker:
        yield broker


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(sink_module, "CHECK_S", 0.05)


def allow(node):
    """Put p of Press on the allow-list; o of Oven is not."""
    node.tags.register("s", [spec("p", "Press", writable=True), spec("o", "Oven")])


def now_ms():
    return SystemClock().wall_us() // 1000


async def audited(node, count):
    found = []

    async def read():
        found[:] = await node.desk.newest(100)
        return len(found) >= count

    while not await read():
        await SystemClock().sleep_s(0.01)
    return found[::-1]


async def test_a_command_writes_a_tag_of_the_allow_list_by_name_or_alias(tmp_path, broker):
    machine = Machine()
    async with (
        hosting(broker.port) as host,
        node_at(tmp_path, broker, sources=[machine]) as node,
    ):
        allow(node)
        node.start()
        await born(host)
        births = {m.device: m.payload.metrics[0] for m in host.of("DBIRTH")}
        read_only = {d: m.properties.entries["readOnly"].value for d, m in births.items()}
        assert read_only == {"Press": False, "Oven": True}
        await host.command([("p", DOUBLE, 1.5)], device="Press", sent_ms=now_ms())
        await host.command([(births["Press"].alias, DOUBLE, 2.5)], device="Press")
        await host.command([("p", DataType.INT32, 3)], device="Press")
        await until(lambda: len(machine.written) == 3)
        assert machine.written == [("nsu=u;s=p", v) for v in (1.5, 2.5, 3.0)]
        await host.command([("o", DOUBLE, 9.0)], device="Oven", sent_ms=now_ms())
        await host.command([("Properties/Software Version", DataType.STRING, "evil")])
        entries = await audited(node, 5)
        assert [(e.name, e.outcome, e.reason) for e in entries[3:]] == [
            ("o", "refused", "not_writable"),
            ("Properties/Software Version", "refused", "not_a_tag"),
        ]
        assert entries[0].origin == f"{broker.url} spBv1.0/G/DCMD/N/Press"
        assert len(machine.written) == 3
        assert node.sink.report().commands == {"submitted": 3, "refused": 2}


async def test_by_default_no_tag_can_be_written(tmp_path, broker):
    machine = Machine()
    async with (
        hosting(broker.port) as host,
        node_at(tmp_path, broker, sources=[machine]) as node,
    ):
        node.start()
        await born(host)
        await host.command([("p", DOUBLE, 1.5)], device="Press")
        await host.command([("o", DOUBLE, 1.5)], device="Oven")
        assert {e.reason for e in await audited(node, 2)} == {"not_writable"}
        assert machine.written == []


async def test_old_retained_and_senseless_commands_are_dropped_with_a_count(tmp_path, broker):
    machine = Machine()
    async with (
        hosting(broker.port) as host,
        node_at(tmp_path, broker, sources=[machine]) as node,
    ):
        allow(node)
        await host.command([("p", DOUBLE, 1.0)], device="Press", retain=True)
        await host.until(lambda: host.of("DCMD"))
        node.start()
        await born(host)
        await host.command([("p", DOUBLE, 2.0)], device="Press", sent_ms=now_ms() - 61_000)
        await host.command([("nothing", DOUBLE, 2.0)], device="Press")
        await host.command([("p", DataType.STRING, "x")], device="Press")
        await host.command([("p", DOUBLE, 2.0)], device="Furnace")
        await host.publish("spBv1.0/G/DCMD/N/Press", b"\xff\xff\xff")
        await host.command([("p", DOUBLE, 5.0)], device="Press", sent_ms=now_ms() - 59_000)
        await until(lambda: machine.written)
        assert machine.written == [("nsu=u;s=p", 5.0)]
        counts = node.sink.report().commands
        assert counts.pop("malformed") == 1
        assert counts == {
            "retained": 1, "too_old": 1, "unknown_metric": 2, "type_mismatch": 1, "submitted": 1
        }  # fmt: skip
        assert [e.reason for e in await audited(node, 2)] == ["too_old", ""]


async def test_a_host_whose_clock_is_wrong_may_still_ask_for_a_rebirth(tmp_path, broker):
    async with hosting(broker.port) as host, node_at(tmp_path, broker) as node:
        node.start()
        await born(host)
        # its payload says 1970
        await host.ask_rebirth()
        await born(host, devices=4)
        assert node.sink.report().commands == {"rebirth": 1}


async def test_a_limit_of_zero_takes_commands_of_any_age(tmp_path, broker):
    machine = Machine()
    async with (
        hosting(broker.port) as host,
        node_at(tmp_path, broker, sources=[machine], command_age_s_max=0) as node,
    ):
        allow(node)
        node.start()
        await born(host)
        await host.command([("p", DOUBLE, 1.0)], device="Press", sent_ms=1)
        await until(lambda: machine.written)
