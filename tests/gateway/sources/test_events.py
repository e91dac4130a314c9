"""Events and alarms: from the server into samples, none left out, none invented."""

import json

import pytest
from asyncua import ua

from contract.config import TagConfig
from contract.config_acting import EventConfig
from contract.sample import SampleBatch, ValueKind, columns_of
from gateway.flow.tags import TagTable
from gateway.pipeline.exception import ReportByException
from gateway.pipeline.last import LastValues
from gateway.sources.opcua import events as events_module
from gateway.sources.opcua.events import EventReader, EventStream, event_item
from gateway.sources.opcua.session import Namespaces
from sparkplug_b import DataType
from tests.contract.batches import rows_of
from tests.gateway.flow.parts import Middle
from tests.gateway.sources.acting_plant import CALL, WRITE, counted_services, node
from tests.gateway.sources.plc import URI, VT, Plc, Port, Proxy, driven, until
from tests.gateway.sources.test_source import source

pytestmark = pytest.mark.slow  # asyncua builds its address space anew for each server

ALARMS = EventConfig(name="Alarms", group="g")


@pytest.fixture(scope="module")
async def plc():
    plc = Plc()
    await plc.start()
    await plc.variable("V", 1.0)
    yield plc
    await plc.stop()


async def generator(plc, kind=ua.ObjectIds.BaseEventType):
    return await plc.server.get_event_generator(ua.NodeId(kind), plc.server.nodes.server)


async def trigger(made, message, severity=500, **fields):
    made.event.Severity = severity
    for name, value in fields.items():
        setattr(made.event, name, value)
    await made.trigger(message=message)


def told(port, name="Alarms"):
    return [json.loads(text) for text in port.values(name)]


async def test_each_event_is_a_sample_with_its_own_time_even_when_it_says_the_same(plc, tmp_path):
    made = await generator(plc)
    port = Port()
    with counted_services() as counts:
        async with driven(
            source(tmp_path, plc.endpoint, tags=[TagConfig(node=node("V"), group="g")],
                   events=[ALARMS]), port,
        ):  # fmt: skip
            await until(lambda: port.count() >= 1)
            for _ in range(3):
                await trigger(made, "over temperature", 700)
            await until(lambda: len(told(port)) >= 3)
            # a value comes beside them, in the same subscription
            await plc.write("V", 2.0)
            await until(lambda: port.values("V")[-1:] == [2.0])
        assert counts[WRITE] == 0
        assert counts[CALL] == 1, "ConditionRefresh, once"
    events = told(port)
    assert [e["message"] for e in events] == ["over temperature"] * 3
    first = events[0]
    assert first["severity"] == 700
    assert first["source_name"] == "Server"
    assert first["source_node"] == "i=2253"
    assert first["event_type"] == "i=2041"
    assert len({e["event_id"] for e in events}) == 3
    assert "refresh" not in first
    assert "condition_id" not in first, "a plain event has no condition"
    times = [time_us for _, time_us, _ in port.rows("Alarms")]
    assert times == sorted(times)
    assert first["time"].endswith("Z")
    spec = next(s for s in port.specs if s.name == "Alarms")
    assert spec.data_type is DataType.STRING
    assert spec.deadband < 0, "never filtered by report-by-exception"
    assert not spec.writable


async def test_events_stand_in_the_journal_one_by_one(plc, tmp_path):
    made = await generator(plc)
    table = TagTable([])
    middle = Middle(tmp_path)
    driving = source(tmp_path, plc.endpoint, events=[ALARMS])
    async with middle.running(), driven(driving, middle.port("line1", table)):
        await until(lambda: driving.status().state == "up")
        for _ in range(2):
            await trigger(made, "door open")
        await until(lambda: middle.intake.counters.stored >= 2)
    (tag,) = table.in_use()
    rows = [rows_of(row.batch()) for row in middle.rows()]
    middle.close()
    texts = [json.loads(value) for batch in rows for _, index, _, _, value in batch
             if index == tag.index]  # fmt: skip
    assert [text["message"] for text in texts] == ["door open"] * 2
    assert middle.intake.counters.filtered == 0
    assert tag.data_type == DataType.STRING


def test_equal_texts_are_reported_each_time_where_every_sample_counts():
    by_exception = ReportByException(LastValues())
    by_exception.set_deadbands([(0, 0.0), (1, events_module.EVERY_SAMPLE)])
    text = columns_of(ValueKind.TEXT, [0, 1, 0, 1], [1, 1, 2, 2], [0] * 4, ["x"] * 4)
    kept = by_exception.filter(SampleBatch((text,)))
    assert sorted(kept.columns[0].tag.tolist()) == [0, 1, 1]


async def test_severity_and_type_are_filtered_at_the_server(plc, tmp_path):
    base, system = await generator(plc), await generator(plc, ua.ObjectIds.SystemEventType)
    streams = [
        EventConfig(name="Severe", group="g", severity_min=600),
        EventConfig(name="System", group="g", types=["ns=0;i=2130"], refresh=False),
        EventConfig(name="Both", group="g", severity_min=600, types=["ns=0;i=2130", "ns=0;i=2041"]),
        EventConfig(name="Nowhere", group="g", node="nsu=urn:none;i=1"),
    ]
    port = Port()
    driving = source(tmp_path, plc.endpoint, events=streams)
    async with driven(driving, port):
        await until(lambda: driving.status().state == "up")
        await trigger(base, "mild", 300)
        await trigger(system, "system mild", 300)
        await trigger(base, "severe", 600)
        await trigger(system, "system severe", 900)
        await until(lambda: len(told(port, "Both")) >= 2)
        troubles = driving.status().troubles
    assert [e["message"] for e in told(port, "Severe")] == ["severe", "system severe"]
    assert [e["message"] for e in told(port, "System")] == ["system mild", "system severe"]
    assert [e["message"] for e in told(port, "Both")] == ["severe", "system severe"]
    assert [(t.tag, t.code) for t in troubles] == [("Nowhere", "namespace_unknown")]


async def test_what_was_not_stored_when_the_link_broke_comes_again(plc, tmp_path):
    made = await generator(plc)
    port = Port(store=False)
    async with Proxy(plc.port).serving() as proxy:
        driving = source(tmp_path, proxy.endpoint, events=[ALARMS])
        async with driven(driving, port):
            await until(lambda: driving.status().state == "up")
            await trigger(made, "first")
            await until(lambda: len(told(port)) == 1)
            assert plc.unacknowledged(), "not acknowledged before it is stored"
            proxy.cut()
            await trigger(made, "while cut off")
            port.store = True
            port.store_all()
            await until(lambda: driving.status().sessions_count == 2)
            await until(lambda: driving.status().state == "up")
            # shows that one is missing: else the next keep-alive would, seconds later
            await trigger(made, "after")
            await until(lambda: len(told(port)) >= 3)
    assert [e["message"] for e in told(port)] == ["first", "while cut off", "after"]
    assert "missed_notification" not in port.reasons()


async def test_conditions_that_hold_are_told_again_after_a_new_subscription(plc, tmp_path):
    made = await generator(plc, ua.ObjectIds.AlarmConditionType)
    made.event.ConditionName = "Pump"
    made.event.ConditionClassId = ua.NodeId(ua.ObjectIds.BaseConditionClassType)
    made.event.NodeId = ua.NodeId("Pump", plc.index)
    made.event.add_property("AckedState/Id", False, VT.Boolean)
    made.event.add_property("ActiveState/Id", True, VT.Boolean)
    made.event.Retain = True
    await plc.server.iserver.setup_condition_methods()
    service = plc.server.iserver.subscription_service
    service._conditions[made.event.NodeId] = made.event
    port = Port()
    try:
        async with driven(source(tmp_path, plc.endpoint, events=[ALARMS]), port):
            await until(lambda: any(e.get("condition_name") == "Pump" for e in told(port)))
    finally:
        service._conditions.clear()
    (event,) = (e for e in told(port) if e.get("condition_name") == "Pump")
    assert event["refresh"] is True
    assert event["acked"] is False
    assert event["active"] is True
    assert event["retain"] is True
    assert event["condition_id"] == f"nsu={URI};s=Pump"


async def test_a_server_that_refuses_the_filter_is_asked_for_plain_events(
    plc, tmp_path, monkeypatch
):
    real = event_item
    asked = []

    def picky(handle, node_id, stream, *, whole):
        asked.append(whole)
        item = real(handle, node_id, stream, whole=whole)
        if whole:
            item.ItemToMonitor.AttributeId = ua.AttributeIds.Value
            item.RequestedParameters.Filter = ua.DataChangeFilter(DeadbandType=9)
        return item

    monkeypatch.setattr("gateway.sources.opcua.monitor.event_item", picky)
    monkeypatch.setattr(
        "gateway.sources.opcua.monitor._NO_FILTER",
        frozenset({"BadServiceUnsupported", "BadMonitoredItemFilterUnsupported",
                   "BadAttributeIdInvalid", "BadFilterNotAllowed", "BadEventFilterInvalid"}),
    )  # fmt: skip
    made = await generator(plc)
    port = Port()
    stream = EventConfig(name="Alarms", group="g", severity_min=600)
    driving = source(tmp_path, plc.endpoint, events=[stream])
    async with driven(driving, port):
        await until(lambda: driving.status().state == "up")
        assert asked == [True, False]
        await trigger(made, "mild", 300)
        await trigger(made, "severe", 800)
        await until(lambda: told(port))
        assert not any("deadband" in note for note in driving.status().notices)
    assert [e["message"] for e in told(port)] == ["severe"]


# -- without a server ---


def reader():
    return EventReader(Namespaces(["http://opcfoundation.org/UA/", URI]))


def fields(**named):
    order = [name for name, *_ in events_module._FIELDS]
    base = {"event_type": ua.NodeId(2041), "severity": 500, "event_id": b"\x01\x02"}
    return [(base | named).get(name) for name in order]


STREAMS = {7: EventStream(config=ALARMS)}


def read(events, overflowed=None, made=None):
    lost = []
    batch = (made or reader()).batch(events, STREAMS, 99, overflowed or lost.append)
    return batch, lost


def test_the_servers_overflow_is_told_and_is_no_event():
    batch, lost = read([(7, fields(event_type=ua.NodeId(3035)))])
    assert lost == [7]
    assert len(batch) == 0


def test_what_comes_between_refresh_start_and_end_says_so():
    made = reader()
    batch, _ = read(
        [
            (7, fields(event_type=ua.NodeId(2787))),
            (7, fields(message=ua.LocalizedText("held"))),
            (7, fields(event_type=ua.NodeId(2788))),
            (7, fields(message=ua.LocalizedText("new"))),
        ],
        made=made,
    )
    texts = [json.loads(text) for text in batch.columns[0].value]
    assert [(t["message"], t.get("refresh")) for t in texts] == [("held", True), ("new", None)]


def test_events_of_others_and_hostile_fields_are_no_samples():
    made = reader()
    batch, _ = read(
        [
            (8, fields()),  # another's item
            (7, []),  # nothing at all
            (7, fields(event_type="i=2041")),  # a text where a node id belongs
            (7, fields(time="yesterday", message="x" * 10_000, source_name=b"\xff" * 9000)),
            (7, fields(severity=float("inf"), source_node=ua.NodeId(1, 5), active=[True])),
        ],
        made=made,
    )
    assert made.refused_count == 2
    assert batch.columns[0].kind is ValueKind.TEXT
    assert batch.columns[0].time_us.tolist() == [99, 99], "the time they came"
    first = json.loads(batch.columns[0].value[0])
    assert len(first["message"]) == events_module.TEXT_CHARS_MAX
    assert all(len(text) < 20_000 for text in batch.columns[0].value)


def test_a_stream_whose_filter_changes_is_another_tag():
    addresses = {
        events_module._address(EventConfig(name="A", group="g", **changed))
        for changed in ({}, {"severity_min": 2}, {"types": ["ns=0;i=1"]}, {"queue_size": 5})
    }
    assert len(addresses) == 4
