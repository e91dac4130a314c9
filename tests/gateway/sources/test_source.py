"""The OPC UA source against a real server over TCP: finding, reading, losing and coming back."""

import inspect
from pathlib import Path

import anyio
import pytest
from asyncua import Client, ua
from asyncua.client.ua_client import UaClient, UASocketProtocol
from asyncua.common.utils import Buffer

from contract.config import (
    Deadband,
    GroupConfig,
    RuleConfig,
    Scale,
    SecurityConfig,
    TagConfig,
)
from gateway.errors import SourceError
from gateway.sources.opcua import publish, transport
from gateway.sources.opcua import source as source_module
from gateway.sources.opcua.monitor import Monitor, refused
from gateway.sources.opcua.source import OpcUaSource
from plant.ports import free_port
from runtime.clock import SystemClock
from sparkplug_b import DataType
from tests.gateway.sources.plc import (
    DEADLINE_S,
    URI,
    VT,
    Plc,
    Port,
    Proxy,
    config,
    driven,
    until,
)

pytestmark = pytest.mark.slow  # asyncua builds its address space anew for each server


def tag(node, **rest):
    return TagConfig(node=f"nsu={URI};s={node}", group="g", **rest)


def rule(name, **rest):
    return RuleConfig(below=f"nsu={URI};s={name}", group="g", **rest)


def source(tmp_path, endpoint, **rest):
    return OpcUaSource(config(endpoint, **rest), SystemClock(), Path(tmp_path) / "sessions")


@pytest.fixture(scope="module")
async def shared_plc():
    """One server for the tests that do not stop it; each adds nodes of its own."""
    plc = Plc()
    await plc.start()
    yield plc
    await plc.stop()


@pytest.fixture
async def plc():
    plc = Plc()
    await plc.start()
    yield plc
    await plc.stop()


# -- finding tags ---


async def test_tags_are_found_by_namespace_uri_and_named_by_their_path(shared_plc, tmp_path):
    plc = shared_plc
    line = await plc.folder("Line")
    press = await plc.folder("Press", line)
    await plc.variable("Press.Temp", 20.5, parent=press, browse_name="Temp")
    await plc.variable("Press.Count", 7, VT.UInt32, parent=press, browse_name="Count")
    port = Port()
    tags = [tag("Press.Temp"), tag("Press.Count", name="Parts", device="P", record=False)]
    async with driven(source(tmp_path, plc.endpoint, tags=tags), port):
        await until(lambda: port.count() == 2)
    temp, count = port.specs
    assert (temp.name, temp.device, temp.data_type) == ("Line/Press/Temp", "line1", DataType.DOUBLE)
    assert temp.address == f"nsu={URI};s=Press.Temp"
    assert (temp.record, count.record) == (True, False)
    assert (count.name, count.device, count.data_type) == ("Parts", "P", DataType.UINT32)
    assert port.values("Line/Press/Temp") == [20.5]
    assert port.values("Parts") == [7]


async def test_a_rule_takes_all_variables_below_its_node_but_no_properties(shared_plc, tmp_path):
    plc = shared_plc
    root = await plc.folder("Root")
    deep = await plc.folder("Deep", root)
    high = await plc.variable("R.a", 1.0, parent=root, browse_name="a")
    await high.add_property(0, "EURange", ua.Range(Low=-5.0, High=5.0))
    await high.add_property(
        0, "EngineeringUnits", ua.EUInformation(DisplayName=ua.LocalizedText("bar"))
    )
    await plc.variable("R.b", "x", VT.String, parent=deep, browse_name="b")
    await plc.variable("R.c", [1, 2], VT.Int16, parent=deep, browse_name="c")
    await plc.variable("Beside", 1.0)
    port = Port()
    settings = {"deadband": Deadband(absolute=0.5), "record": False}
    rules = [rule("Root", prefix="Plant", device="D", **settings)]
    async with driven(source(tmp_path, plc.endpoint, rules=rules), port):
        await until(lambda: port.count() == 3)
    found = {spec.name: spec for spec in port.specs}
    assert sorted(found) == ["Plant/Deep/b", "Plant/Deep/c", "Plant/a"]
    a = found["Plant/a"]
    assert (a.unit, a.low, a.high, a.deadband, a.device) == ("bar", -5.0, 5.0, 0.5, "D")
    assert not any(spec.record for spec in port.specs)
    # a deadband is for numbers
    assert (found["Plant/Deep/b"].deadband, found["Plant/Deep/b"].data_type) == (
        0.0,
        DataType.STRING,
    )
    assert found["Plant/Deep/c"].data_type == DataType.INT16_ARRAY


async def test_a_node_named_singly_and_by_rule_is_one_tag_with_the_single_settings(
    shared_plc, tmp_path
):
    plc = shared_plc
    root = await plc.folder("Twice")
    await plc.variable("T.a", 10, VT.Int32, parent=root, browse_name="a")
    await plc.variable("T.b", 1, VT.Int32, parent=root, browse_name="b")
    port = Port()
    tags = [tag("T.a", name="scaled", scale=Scale(gain=2.0, offset=1.0), writable=True)]
    async with driven(source(tmp_path, plc.endpoint, tags=tags, rules=[rule("Twice")]), port):
        await until(lambda: port.count() == 2)
    assert [(s.name, s.data_type, s.writable) for s in port.specs] == [
        ("scaled", DataType.DOUBLE, True),
        ("b", DataType.INT32, False),
    ]
    assert port.values("scaled") == [21.0]
    assert port.is_up


async def test_of_two_tags_with_one_name_the_second_is_in_trouble(shared_plc, tmp_path):
    plc = shared_plc
    for folder in ("N1", "N2"):
        root = await plc.folder(folder)
        await plc.variable(f"{folder}.x", 1.0, parent=root, browse_name="x")
    port = Port()
    opc = source(tmp_path, plc.endpoint, rules=[rule("N1"), rule("N2")])
    async with driven(opc, port):
        await until(lambda: port.count() == 1 and opc.status().state == "up")
        report = opc.status()
    assert [spec.address for spec in port.specs] == [f"nsu={URI};s=N1.x"]
    assert [(t.code, t.address) for t in report.troubles] == [
        ("name_duplicate", f"nsu={URI};s=N2.x")
    ]
    assert (report.state, report.tags_total, report.troubles_count) == ("up", 2, 1)


async def test_what_cannot_be_found_is_in_trouble_by_name_and_its_neighbours_go_on(
    shared_plc, tmp_path
):
    plc = shared_plc
    await plc.variable("Good", 1.0)
    await plc.folder("Empty")
    port = Port()
    tags = [
        tag("Good"),
        tag("Missing"),
        TagConfig(node="nsu=urn:nowhere;s=x", group="g"),
        TagConfig(node="nonsense", group="g", name="n"),
    ]
    opc = source(tmp_path, plc.endpoint, tags=tags, rules=[rule("Empty")])
    async with driven(opc, port):
        await until(lambda: port.count() == 1 and opc.status().state == "up")
        report = opc.status()
    codes = {trouble.address: trouble.code for trouble in report.troubles}
    assert codes.pop(f"nsu={URI};s=Missing") == "node_unknown"
    assert codes == {
        "nsu=urn:nowhere;s=x": "namespace_unknown",
        "nonsense": "node_id_malformed",
        f"nsu={URI};s=Empty": "rule_empty",
    }
    assert port.values("Good") == [1.0]


async def test_a_node_that_appears_later_is_picked_up_without_touching_the_others(
    shared_plc, tmp_path, monkeypatch
):
    monkeypatch.setattr(source_module, "RETRY_TROUBLES_S", 0.1)
    plc = shared_plc
    await plc.variable("There", 1.0)
    port = Port()
    opc = source(tmp_path, plc.endpoint, tags=[tag("There"), tag("Later")])
    async with driven(opc, port):
        await until(lambda: port.values("There") == [1.0])
        await until(lambda: opc.status().troubles_count == 1)
        await plc.variable("Later", 5.0)
        await until(lambda: port.values("Later") == [5.0])
        await plc.write("There", 2.0)
        await until(lambda: port.values("There") == [1.0, 2.0])
        report = opc.status()
    assert (report.troubles_count, report.sessions_count) == (0, 1)
    assert port.losses == []


async def test_many_tags_are_asked_for_in_parts(shared_plc, tmp_path):
    plc = shared_plc
    root = await plc.folder("Many")
    for number in range(1200):
        await plc.variable(f"M{number}", float(number), parent=root)
    port = Port()
    async with driven(source(tmp_path, plc.endpoint, rules=[rule("Many")]), port):
        await until(lambda: port.count() == 1200)
    assert {spec.name for spec in port.specs} == {f"M{n}" for n in range(1200)}
    assert all(port.values(f"M{n}") == [float(n)] for n in range(0, 1200, 97))


# -- reading ---


async def test_changes_come_with_value_source_time_and_status_in_order(shared_plc, tmp_path):
    plc = shared_plc
    await plc.variable("Seq", 0.0)
    port = Port()
    opc = source(tmp_path, plc.endpoint, tags=[tag("Seq")])
    async with driven(opc, port):
        await until(lambda: port.count() == 1)
        for n in range(1, 30):
            await plc.write("Seq", float(n), time_us=n * 1000, status=0x40000000 if n == 9 else 0)
        await until(lambda: port.count() == 30)
        report = opc.status()
    assert port.rows("Seq")[1:] == [
        (float(n), n * 1000, 0x40000000 if n == 9 else 0) for n in range(1, 30)
    ]
    assert (report.state, report.values_count) == ("up", 30)
    assert report.last_value_s is not None


async def test_groups_are_subscriptions_of_their_own(shared_plc, tmp_path):
    plc = shared_plc
    before = len(plc.subscriptions)
    await plc.variable("Fast", 1.0)
    await plc.variable("Slow", 2.0)
    port = Port()
    groups = [
        GroupConfig(name="g", publishing_interval_ms=20, sampling_interval_ms=20),
        GroupConfig(name="slow", publishing_interval_ms=100, sampling_interval_ms=100),
    ]
    tags = [tag("Fast"), TagConfig(node=f"nsu={URI};s=Slow", group="slow")]
    async with driven(source(tmp_path, plc.endpoint, tags=tags, groups=groups), port):
        await until(lambda: port.count() == 2)
        intervals = [s.data.RevisedPublishingInterval for s in plc.subscriptions[before:]]
    assert sorted(intervals) == [20.0, 100.0]


async def test_a_tag_whose_type_changes_is_dropped_and_counted_its_neighbour_goes_on(
    shared_plc, tmp_path
):
    plc = shared_plc
    await plc.variable("Turns", 1.0, VT.Double)
    await plc.variable("Stays", 1.0)
    port = Port()
    async with driven(source(tmp_path, plc.endpoint, tags=[tag("Turns"), tag("Stays")]), port):
        await until(lambda: port.count() == 2)
        node = plc.server.iserver.aspace._nodes[plc.node_id("Turns")]
        attribute = node.attributes[ua.AttributeIds.Value]
        attribute.value = ua.DataValue(ua.Variant("text", VT.String))
        for handle, callback in list(attribute.datachange_callbacks.items()):
            await callback(handle, attribute.value)
        await plc.write("Stays", 2.0)
        await until(lambda: port.values("Stays") == [1.0, 2.0])
        await until(lambda: port.dropped == {"type_changed": 1})


async def test_an_overflow_bit_is_entered_in_the_ledger_with_its_range(shared_plc, tmp_path):
    plc = shared_plc
    await plc.variable("Over", 0.0)
    port = Port()
    async with driven(source(tmp_path, plc.endpoint, tags=[tag("Over")]), port):
        await until(lambda: port.count() == 1)
        await plc.write("Over", 1.0, time_us=5_000_000)
        await until(lambda: port.count() == 2)
        await plc.write("Over", 2.0, time_us=9_000_000, status=0x00000480)
        await until(lambda: port.losses)
    ((reason, first, last, rest),) = port.losses
    assert (reason, first, last, rest["tag"]) == ("server_overflow", 5_000_000, 9_000_000, 0)


# -- acknowledging ---


async def test_nothing_is_acknowledged_before_it_is_durable(plc, tmp_path):
    await plc.variable("Ack", 0.0)
    port = Port(store=False)
    async with driven(source(tmp_path, plc.endpoint, tags=[tag("Ack")]), port):
        await until(lambda: port.count() == 1)
        for n in (1.0, 2.0):
            await plc.write("Ack", n)
            await until(lambda wanted=n: port.values("Ack")[-1] == wanted)
        held = plc.unacknowledged()
        assert len(held) >= 3
        # publishing went on several times without any acknowledgement
        assert held == list(range(1, len(held) + 1))
        port.store = True
        port.store_all()
        await plc.write("Ack", 3.0)
        # the acknowledgements go with the next requests
        await until(lambda: not set(plc.unacknowledged()) & set(held))


# -- gaps ---


async def test_a_notification_that_got_lost_is_fetched_by_republish(plc, tmp_path, monkeypatch):
    await plc.variable("Gap", 0.0)
    port = Port(store=False)
    swallowed = []
    decode = publish.PublishLoop._decode

    def lossy(self, body):
        found = decode(self, body)
        if found.items_count and port.count() == 2 and not swallowed:
            swallowed.append(found.sequence_number)
            found.is_keep_alive, found.segments, found.items_count = True, [], 0
            found.sequence_number = self._subscriptions[found.subscription_id].next_sequence
        return found

    monkeypatch.setattr(publish.PublishLoop, "_decode", lossy)
    async with driven(source(tmp_path, plc.endpoint, tags=[tag("Gap")]), port):
        for n in range(5):
            await until(lambda wanted=n: port.count() > wanted or (swallowed and wanted == 2))
            await plc.write("Gap", float(n + 1), time_us=n + 1)
        await until(lambda: port.count() == 6)
    assert swallowed
    assert port.values("Gap") == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert port.losses == []


@pytest.mark.parametrize("way", ["cut", "cut and closed for a moment"])
async def test_a_lost_connection_loses_no_value(plc, tmp_path, way):
    await plc.variable("Count", 0.0)
    port = Port()
    proxy = Proxy(plc.port)
    opc = source(tmp_path, proxy.endpoint, tags=[tag("Count")])
    async with proxy.serving(), driven(opc, port):
        await until(lambda: port.count() == 1)
        value = 0
        for turn in range(4):
            for _ in range(10):
                value += 1
                await plc.write("Count", float(value), time_us=value)
                await anyio.sleep(0.005)
            proxy.is_open = way == "cut"
            proxy.cut()
            for _ in range(10):
                value += 1
                await plc.write("Count", float(value), time_us=value)
                await anyio.sleep(0.005)
            proxy.is_open = True
            await until(lambda wanted=turn: opc.status().sessions_count >= wanted + 2)
            await until(lambda: opc.status().state == "up")
        await until(lambda wanted=value: port.values("Count")[-1:] == [float(wanted)])
    assert port.values("Count") == [float(n) for n in range(value + 1)]
    assert port.losses == []


async def test_what_was_not_durable_when_the_process_died_comes_again(plc, tmp_path):
    await plc.variable("Again", 0.0)
    port = Port()
    tags = [tag("Again")]
    async with driven(source(tmp_path, plc.endpoint, tags=tags), port):
        await until(lambda: port.count() == 1)
        await plc.write("Again", 1.0, time_us=1)
        await until(lambda: port.count() == 2)
        port.store = False
        await plc.write("Again", 2.0, time_us=2)
        await until(lambda: port.count() == 3)
    # the process is gone with what it had not stored
    port.waiting.clear()
    seen = port.count()
    port.store = True
    await plc.write("Again", 3.0, time_us=3)
    async with driven(source(tmp_path, plc.endpoint, tags=tags), port):
        await until(lambda: port.values("Again")[-1:] == [3.0])
    assert port.values("Again")[seen:] == [2.0, 3.0]
    assert port.losses == []


# -- a server that restarts ---


@pytest.mark.parametrize("shift", [False, True])
async def test_after_a_restart_of_the_server_values_flow_again_and_the_gap_is_in_the_ledger(
    tmp_path, shift
):
    plc = Plc()
    await plc.start()
    await plc.variable("A", 1.0)
    port = Port()
    opc = source(tmp_path, plc.endpoint, tags=[tag("A")])
    async with driven(opc, port):
        await until(lambda: port.count() == 1)
        await plc.write("A", 2.0, time_us=7_000_000)
        await until(lambda: port.values("A") == [1.0, 2.0])
        before_us = port.last_stored_time_us()
        await plc.stop()
        await until(lambda: opc.status().state in {"waiting", "connecting"})
        again = Plc(plc.port)

        async def fill(again):
            await again.variable("A", 3.0)
            if shift:
                # the old number stands for another node now
                other = ua.NodeId(ua.String("A"), ua.Int16(plc.index))
                wrong = ua.QualifiedName("wrong", plc.index)
                await again.server.nodes.objects.add_variable(other, wrong, -1.0)

        await again.start(shift=shift, fill=fill)
        assert (again.index != plc.index) == shift
        await until(lambda: port.values("A")[-1:] == [3.0])
        await again.write("A", 4.0, time_us=99_000_000)
        await until(lambda: port.values("A")[-1:] == [4.0])
        await until(lambda: "session_gap" in port.reasons())
        report = opc.status()
        await again.stop()
    assert port.values("A") == [1.0, 2.0, 3.0, 4.0]
    assert [spec.address for spec in port.specs] == [f"nsu={URI};s=A"]
    gaps = [loss for loss in port.losses if loss[0] == "session_gap"]
    first_value_us = port.rows("A")[2][1]
    # a value waits at the server for at most one publishing interval
    assert {first_us for _, first_us, _, _ in gaps} == {before_us - 20_000}
    assert max(last_us for _, _, last_us, _ in gaps) >= first_value_us
    assert report.sessions_count >= 2


# -- what cannot be connected ---


async def fails(tmp_path, endpoint, **changed):
    with anyio.fail_after(DEADLINE_S), pytest.raises(SourceError) as caught:
        await source(tmp_path, endpoint, tags=[tag("x")], **changed).run_session(Port())
    return str(caught.value)


async def test_where_nothing_listens_the_reason_says_so(tmp_path):
    endpoint = f"opc.tcp://127.0.0.1:{free_port()}"
    assert "nothing listens" in await fails(tmp_path, endpoint)


async def test_a_peer_that_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(transport, "REQUEST_TIMEOUT_S", 0.2)
    port = free_port()
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port):
        assert "did not answer" in await fails(tmp_path, f"opc.tcp://127.0.0.1:{port}")


async def test_a_name_that_is_not_known_is_said(tmp_path):
    assert "the name no.such.invalid is not known" in await fails(
        tmp_path, "opc.tcp://no.such.invalid"
    )


async def test_what_is_insecure_without_consent_is_refused_before_anything_is_sent(tmp_path):
    none = SecurityConfig(policy="None", mode="None")
    assert "allow_insecure" in await fails(tmp_path, "opc.tcp://h", security=none)
    assert "password" in await fails(tmp_path, "opc.tcp://h", username="u", password="p")


async def test_a_source_says_why_it_waits(tmp_path):
    opc = source(tmp_path, f"opc.tcp://127.0.0.1:{free_port()}", tags=[tag("x")])
    assert opc.status().state == "starting"
    with pytest.raises(SourceError):
        await opc.run_session(Port())
    report = opc.status()
    assert (report.state, report.sessions_count) == ("waiting", 0)
    assert "nothing listens" in report.reason


# -- what asyncua 2.1.0 has to keep ---


async def test_the_private_calls_of_asyncua_that_are_used_behave_as_expected(shared_plc):
    client = Client(shared_plc.endpoint)
    await client.connect_socket()
    await client.send_hello()
    await client.open_secure_channel()
    await client._create_and_activate_session()
    client._start_renew_loop()
    try:
        protocol = client.uaclient.protocol
        assert isinstance(protocol, UASocketProtocol)
        request = ua.ReadRequest()
        value = ua.ReadValueId()
        value.NodeId = ua.NodeId(ua.ObjectIds.Server_NamespaceArray)
        value.AttributeId = ua.AttributeIds.Value
        request.Parameters.NodesToRead = [value]
        body = await protocol._send_request(request, timeout=0)
        assert isinstance(body, Buffer)
        # the body begins with the response's type id, FourByte
        assert body._data[body.cur_pos : body.cur_pos + 2] == b"\x01\x00"
        assert isinstance(await client.uaclient._send_request(request), Buffer)
        token = client.uaclient.session.authentication_token
        client.uaclient.session.restore_authentication_token(token)
        assert client._renew_channel_task is not None
    finally:
        client.uaclient.request_disconnect()
        await client._cancel_task(client._renew_channel_task)
        await client.uaclient.close_session(True)
        client.disconnect_socket()


def test_the_private_names_of_asyncua_that_are_used_are_there():
    for owner, names in {
        Client: [
            "_activate_with_credentials",
            "_create_and_activate_session",
            "_start_renew_loop",
            "_cancel_task",
            "_connect_sequence",
        ],
        UaClient: ["_send_request", "request_disconnect", "close_session"],
        UASocketProtocol: ["_send_request", "is_closed"],
    }.items():
        assert all(hasattr(owner, name) for name in names), owner
    assert "timeout" in inspect.signature(UASocketProtocol._send_request).parameters


async def test_a_tag_that_the_server_refuses_stays_in_trouble_over_a_lost_connection(
    plc, tmp_path, monkeypatch
):
    monkeypatch.setattr(source_module, "RETRY_TROUBLES_S", 0.1)
    create = Monitor.create
    refusing = True

    async def refuse_one(self, subscription, group, tags):
        kept = [item for item in tags if not (refusing and item[1].spec.name == "Shy")]
        made = await create(self, subscription, group, kept)
        shy = [found for _, found in tags if found.spec.name == "Shy"]
        if refusing and shy:
            status = ua.StatusCode(ua.StatusCodes.BadUserAccessDenied)
            made.troubles.append(refused(shy[0], status))
        return made

    monkeypatch.setattr(Monitor, "create", refuse_one)
    await plc.variable("Open", 0.0)
    await plc.variable("Shy", 9.0)
    port = Port()
    proxy = Proxy(plc.port)
    opc = source(tmp_path, proxy.endpoint, tags=[tag("Open"), tag("Shy")])
    async with proxy.serving(), driven(opc, port):
        await until(lambda: port.values("Open") == [0.0])
        await until(lambda: opc.status().troubles_count == 1)
        proxy.cut()
        await until(lambda: opc.status().sessions_count == 2 and opc.status().state == "up")
        assert [t.code for t in opc.status().troubles] == ["BadUserAccessDenied"]
        await plc.write("Open", 1.0)
        await until(lambda: port.values("Open") == [0.0, 1.0])
        refusing = False
        await until(lambda: port.values("Shy") == [9.0])
        await until(lambda: opc.status().troubles_count == 0)
    assert port.losses == []
