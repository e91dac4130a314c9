"""How tags are read: groups, polling, pacing; what is silent; a redundant set."""

from pathlib import Path

import anyio
import pytest
from asyncua import ua
from asyncua.server.internal_session import InternalSession
from asyncua.server.monitored_item_service import MonitoredItemService

from contract.config import GroupConfig, GroupDeadband, PacingConfig, TagConfig
from gateway.sources.base import TagSpec
from gateway.sources.opcua import heal, publish, redundancy, subscribe, watchdog
from gateway.sources.opcua.discover import FoundTag
from gateway.sources.opcua.monitor import own_deadband
from gateway.sources.opcua.source import OpcUaSource
from runtime.clock import SystemClock
from sparkplug_b.datatype import DataType
from tests.gateway.sources.plc import URI, Plc, Port, Proxy, config, driven, until

pytestmark = pytest.mark.slow  # asyncua builds its address space anew for each server


@pytest.fixture(scope="module")
async def plc():
    plc = Plc()
    await plc.start()
    yield plc
    await plc.stop()


def tag(name, group="g"):
    return TagConfig(node=f"nsu={URI};s={name}", group=group, name=name)


def group(name="g", **changed):
    fields = {"sampling_interval_ms": 20, "publishing_interval_ms": 20, "queue_size": 100}
    return GroupConfig(name=name, **fields | changed)


def source(endpoint, tmp_path, **changed):
    return OpcUaSource(config(endpoint, **changed), SystemClock(), Path(tmp_path) / "sessions")


# -- groups ---


async def test_the_server_leaves_out_what_lies_within_the_deadband_of_the_group(plc, tmp_path):
    await plc.variable("Band", 0.0)
    port = Port()
    groups = [group(deadband=GroupDeadband(absolute=1.0))]
    async with driven(source(plc.endpoint, tmp_path, tags=[tag("Band")], groups=groups), port):
        await until(lambda: port.values("Band") == [0.0])
        for n, value in enumerate((0.5, 1.0, 3.0, 3.5, 5.0)):
            await plc.write("Band", value, time_us=n + 1)
        await until(lambda: port.values("Band")[-1:] == [5.0])
    # asyncua compares with the value before, also where it did not report that
    assert port.values("Band") == [0.0, 3.0, 5.0]


async def test_a_new_time_alone_is_a_change_where_the_group_says_so(plc, tmp_path):
    await plc.variable("Stamped", 1.0)
    port = Port()
    groups = [group(trigger="status_value_timestamp")]
    async with driven(source(plc.endpoint, tmp_path, tags=[tag("Stamped")], groups=groups), port):
        await until(lambda: port.count() == 1)
        await plc.write("Stamped", 1.0, time_us=7)
        await until(lambda: port.count() == 2)
    assert [(v, t) for v, t, _ in port.rows("Stamped")] == [(1.0, 0), (1.0, 7)]
    assert port.specs[0].deadband < 0  # so that the pipeline lets it through, too


async def test_what_the_server_gives_less_of_is_shown_and_entered_once(plc, tmp_path, monkeypatch):
    monkeypatch.setattr(MonitoredItemService, "_revise_queue_size", lambda _self, _wanted: 5)
    await plc.variable("Less", 0.0)
    port = Port()
    opc = source(plc.endpoint, tmp_path, tags=[tag("Less")], groups=[group()])
    async with driven(opc, port):
        await until(lambda: port.count() == 1 and opc.status().state == "up")
        (shown,) = opc.status().groups
    port.durable_marks |= {"g/id": 0}  # nothing to take over: all is made anew
    async with driven(opc, port):
        await until(lambda: opc.status().sessions_count == 2 and opc.status().state == "up")
    assert (shown.requested["queue_size"], shown.revised["queue_size"]) == (100, [5, 5])
    assert shown.revised["publishing_interval_ms"] == [20, 20]
    (entry,) = [rest for reason, _, _, rest in port.losses if reason == "revised"]
    assert "queues 5 changes of a tag instead of 100" in entry["detail"]


def test_a_deadband_that_the_server_refuses_is_applied_here_in_the_unit_of_the_tag():
    spec = TagSpec(
        name="x", device="d", data_type=DataType.DOUBLE, address="a", gain=2.0, low=0.0, high=50.0
    )
    found = FoundTag(node_id=None, group="g", spec=spec, variable="a")
    assert own_deadband(found, group(deadband=GroupDeadband(absolute=1.5))) == 3.0
    assert own_deadband(found, group(deadband=GroupDeadband(percent=10))) == 10.0
    assert own_deadband(found, group()) is None
    text = FoundTag(
        node_id=None,
        variable="a",
        group="g",
        spec=TagSpec(name="x", device="d", data_type=DataType.STRING, address="a"),
    )
    assert own_deadband(text, group(deadband=GroupDeadband(absolute=1.5))) is None


async def test_a_refused_deadband_costs_the_deadband_and_not_the_tag(plc, tmp_path, monkeypatch):
    create = MonitoredItemService._create_data_change_monitored_item

    async def without_filters(self, item):
        if type(item.RequestedParameters.Filter).__name__ != "DataChangeFilter":
            return await create(self, item)
        result = ua.MonitoredItemCreateResult()
        result.StatusCode = ua.StatusCode(ua.StatusCodes.BadMonitoredItemFilterUnsupported)
        return result

    monkeypatch.setattr(MonitoredItemService, "_create_data_change_monitored_item", without_filters)
    await plc.variable("NoBand", 4.0)
    port = Port()
    groups = [group(deadband=GroupDeadband(absolute=1.0))]
    opc = source(plc.endpoint, tmp_path, tags=[tag("NoBand")], groups=groups)
    async with driven(opc, port):
        await until(lambda: port.values("NoBand") == [4.0])
        await until(lambda: opc.status().notices)
        report = opc.status()
    assert (report.troubles_count, report.groups[0].items_count) == (0, 1)
    assert "no deadband to 1 tags" in report.notices[0]
    assert [spec.deadband for spec in port.specs] == [0.0, 1.0]  # the second: ours, in its place


async def test_a_server_that_takes_few_items_at_once_is_asked_for_ever_fewer(
    plc, tmp_path, monkeypatch
):
    root = await plc.folder("Few")
    for n in range(25):
        await plc.variable(f"F{n}", float(n), parent=root)
    sizes = []
    create = InternalSession.create_monitored_items

    async def few(self, parameters):
        sizes.append(len(parameters.ItemsToCreate))
        if sizes[-1] > 7:
            raise ua.uaerrors.BadTooManyOperations
        return await create(self, parameters)

    monkeypatch.setattr(InternalSession, "create_monitored_items", few)
    port = Port()
    tags = [tag(f"F{n}") for n in range(25)]
    pacing = PacingConfig(items_per_call=20, pause_ms=1)
    async with driven(
        source(plc.endpoint, tmp_path, tags=tags, groups=[group()], pacing=pacing), port
    ):
        await until(lambda: port.count() == 25)
    assert [size for size in sizes if size > 1] == [20, 10, 5, 5, 5, 5, 5]


# -- polling ---


async def test_a_polled_group_reads_in_parts_and_a_bad_node_faults_its_tag_only(
    plc, tmp_path, monkeypatch
):
    reads = []
    read = InternalSession.read

    async def few(self, parameters):
        reads.append(len(parameters.NodesToRead))
        if self.external and len(parameters.NodesToRead) > 3:
            raise ua.uaerrors.BadTooManyOperations
        return await read(self, parameters)

    for n in range(5):
        await plc.variable(f"P{n}", float(n))
    port = Port()
    groups = [GroupConfig(name="p", mode="poll", interval_ms=20)]
    tags = [tag(f"P{n}", "p") for n in range(5)]
    opc = source(plc.endpoint, tmp_path, tags=tags, groups=groups)
    async with driven(opc, port):
        await until(lambda: port.count() >= 10)
        monkeypatch.setattr(InternalSession, "read", few)
        await plc.remove("P3")
        await until(lambda: opc.status().troubles_count == 1)
        await plc.write("P4", 44.0, time_us=9)
        await until(lambda: port.values("P4")[-1:] == [44.0])
        (trouble,) = opc.status().troubles
        (shown,) = opc.status().groups
    assert (trouble.tag, trouble.code) == ("P3", "BadNodeIdUnknown")
    assert port.rows("P4")[-1] == (44.0, 9, 0)
    assert port.rows("P3")[-1][0] is None  # a bad status alone, as of now
    assert (shown.mode, shown.items_count, shown.requested) == ("poll", 5, {"interval_ms": 20})
    assert port.losses == [] or {reason for reason, *_ in port.losses} == {"poll_missed"}


async def test_polled_cycles_that_come_late_are_counted_and_entered(plc, tmp_path, monkeypatch):
    await plc.variable("Late", 1.0)
    port = Port()
    groups = [GroupConfig(name="p", mode="poll", interval_ms=20)]
    opc = source(plc.endpoint, tmp_path, tags=[tag("Late", "p")], groups=groups)
    put = Port.put

    async def slow(self, batch, marks, stored):
        await anyio.sleep(0.1)
        await put(self, batch, marks, stored)

    async with driven(opc, port):
        await until(lambda: port.count() > 2)
        monkeypatch.setattr(Port, "put", slow)
        await until(lambda: opc.status().groups[0].missed_cycles_count >= 3)
    entries = [loss for loss in port.losses if loss[0] == "poll_missed"]
    # one tag: as many samples as cycles
    assert sum(rest["count"] for *_, rest in entries) == opc._polled["p"].missed_cycles_count
    assert all(
        last_us - first_us == 20_000 * rest["count"] for _, first_us, last_us, rest in entries
    )


# -- silence ---


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(watchdog, "LOOK_S", 0.05)
    monkeypatch.setattr(watchdog, "SILENT_S_MIN", 0.5)
    monkeypatch.setattr(subscribe, "KEEP_ALIVE_S", 0.1)
    monkeypatch.setattr(heal, "LOOK_S", 0.05)


@pytest.mark.usefixtures("quick")
async def test_a_subscription_that_no_longer_tells_changes_is_found_out_and_rebuilt(plc, tmp_path):
    await plc.variable("Dead", 1.0)
    port = Port()
    opc = source(plc.endpoint, tmp_path, tags=[tag("Dead")], groups=[group(silence_s_max=1)])
    before = set(plc.subscriptions)
    async with driven(opc, port):
        await until(lambda: port.values("Dead") == [1.0])
        (ours,) = set(plc.subscriptions) - before
        # it answers with keep-alives for ever, and has forgotten what to watch
        ours.monitored_item_srv.delete_all_monitored_items()
        await plc.write("Dead", 2.0, time_us=5)
        await until(lambda: port.values("Dead") == [1.0, 2.0])
        await until(lambda: "session_gap" in port.reasons())
        assert opc.status().sessions_count == 2


@pytest.mark.usefixtures("quick")
async def test_a_quiet_group_whose_values_are_ours_is_left_alone(plc, tmp_path):
    await plc.variable("Quiet", 1.0)
    port = Port()
    opc = source(plc.endpoint, tmp_path, tags=[tag("Quiet")], groups=[group(silence_s_max=1)])
    compared = []
    differing = watchdog.Watchdog._differing

    async def count(self, *arguments):
        compared.append(await differing(self, *arguments))
        return compared[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watchdog.Watchdog, "_differing", count)
        async with driven(opc, port):
            await until(lambda: len(compared) >= 1)
            assert opc.status().sessions_count == 1
    assert compared == [[]]


@pytest.mark.usefixtures("quick")
async def test_a_subscription_deleted_behind_our_back_is_missed_while_another_goes_on(
    plc, tmp_path
):
    await plc.variable("One", 1.0)
    await plc.variable("Two", 1.0)
    port = Port()
    groups = [group("a"), group("b")]
    opc = source(plc.endpoint, tmp_path, tags=[tag("One", "a"), tag("Two", "b")], groups=groups)
    async with driven(opc, port):
        await until(lambda: port.count() == 2 and opc.status().state == "up")
        service = plc.server.iserver.subscription_service
        await service.delete_subscriptions([opc._subscriptions.known["b"].id])
        await plc.write("Two", 2.0, time_us=5)
        await until(lambda: port.values("Two") == [1.0, 2.0])


class Deaf(Proxy):
    """Forwards; while ``is_deaf`` it swallows what the server says, and cuts nothing."""

    is_deaf = False

    async def _handle(self, reader, writer):
        await super()._handle(reader, Muffled(self, writer))


class Muffled:
    """The side of a connection that a deaf proxy writes to."""

    def __init__(self, proxy, writer):
        self._proxy = proxy
        self._writer = writer
        self.transport = writer.transport
        self.close = writer.close

    def write(self, data):
        if not self._proxy.is_deaf:
            self._writer.write(data)


@pytest.mark.usefixtures("quick")
async def test_a_link_that_swallows_every_answer_is_found_out_and_rebuilt(
    plc, tmp_path, monkeypatch
):
    monkeypatch.setattr(publish, "SILENCE_S", 0.5)
    await plc.variable("Swallowed", 1.0)
    port = Port()
    proxy = Deaf(plc.port)
    opc = source(proxy.endpoint, tmp_path, tags=[tag("Swallowed")], groups=[group()])
    async with proxy.serving(), driven(opc, port):
        await until(lambda: port.values("Swallowed") == [1.0])
        proxy.is_deaf = True
        await plc.write("Swallowed", 2.0, time_us=5)
        await until(lambda: opc.status().state == "waiting")
        proxy.is_deaf = False
        await until(lambda: port.values("Swallowed") == [1.0, 2.0])
    assert port.losses == []


# -- redundancy ---


@pytest.mark.usefixtures("quick")
async def test_of_a_redundant_set_the_best_server_is_read_and_left_when_it_falls(
    plc, tmp_path, monkeypatch
):
    monkeypatch.setattr(redundancy, "LOOK_S", 0.05)
    other = Plc()
    await other.start()
    await plc.variable("Both", 1.0)
    await other.variable("Both", 10.0)
    level = plc.server.get_node(ua.NodeId(ua.ObjectIds.Server_ServiceLevel))
    level_of_other = other.server.get_node(ua.NodeId(ua.ObjectIds.Server_ServiceLevel))
    await level_of_other.write_value(ua.Variant(210, ua.VariantType.Byte))
    port = Port()
    opc = source(
        plc.endpoint, tmp_path, tags=[tag("Both")], groups=[group()], endpoints=[other.endpoint]
    )
    try:
        async with driven(opc, port):
            await until(lambda: port.values("Both") == [1.0])
            assert opc.status().endpoint == plc.endpoint
            await level.write_value(ua.Variant(100, ua.VariantType.Byte))
            await until(lambda: port.values("Both") == [1.0, 10.0])
            assert opc.status().endpoint == other.endpoint
            await until(lambda: "session_gap" in port.reasons())
            await other.stop()
            await plc.write("Both", 2.0, time_us=5)
            await until(lambda: port.values("Both")[-1:] == [2.0])
            assert opc.status().endpoint == plc.endpoint
    finally:
        await level.write_value(ua.Variant(255, ua.VariantType.Byte))
