"""Writing, calling and acknowledging over HTTP: who may, what is answered, what is audited."""

import contextlib

import anyio
import pytest

from gateway.errors import SourceError, WriteRefusedError
from gateway.flow import commands
from gateway.flow.actions import Actions
from gateway.flow.command_audit import CommandAudit
from gateway.flow.commands import CommandDesk
from gateway.flow.tags import TagTable
from gateway.sources.acting import Argument, MethodDescription
from gateway.sources.base import Done, TagSpec
from gateway.web.factory import create_web
from runtime.clock import SystemClock
from runtime.http import run_server
from sparkplug_b import DataType
from tests.gateway.web.serving import be_signed_in, browser


class Hands:
    """Has one method, and takes any acknowledgement but that of event 00."""

    def __init__(self, done):
        self.done = done

    def address_of(self, method):
        return "ns=0;i=1 ns=0;i=2" if method == "mix" else None

    async def describe(self, method):
        argument = Argument(name="litres", type="Double")
        return MethodDescription(name=method, address=self.address_of(method), arguments=[argument])

    async def call_method(self, method, arguments):
        if "litres" not in arguments:
            raise WriteRefusedError("wrong_arguments", "missing: litres")
        self.done.append((method, dict(arguments)))
        return Done(results={"doubled": arguments["litres"] * 2})

    async def acknowledge(self, condition, event_id, comment):
        if event_id == b"\0":
            raise WriteRefusedError("BadEventIdUnknown", "the condition has changed since")
        self.done.append((condition, event_id, comment))
        return Done(message="acknowledged")


class Machine:
    """A source that does what it is told, or what ``trouble`` says."""

    name = "line1"

    def __init__(self):
        self.done = []
        self.hands = Hands(self.done)
        self.trouble = None

    async def write(self, address, value):
        if self.trouble is not None:
            raise self.trouble
        self.done.append((address, value))
        return Done(note="reads_back_other", message="written, reads back 3.0")


class Mute:
    """A source without hands."""

    name = "mute"

    async def write(self, address, value):
        raise WriteRefusedError("not_supported", f"{address} is never written, not {value}")


def spec(name, data_type=DataType.DOUBLE, device="Press", **more):
    return TagSpec(name=name, device=device, data_type=data_type, address=f"a/{name}", **more)


@pytest.fixture
async def rig(view, auth, tmp_path):
    table = TagTable([])
    table.register(
        "line1",
        [
            spec("Speed", writable=True),
            spec("List", DataType.INT32_ARRAY, writable=True),
            spec("Fixed"),
            spec("Twice", device="A", writable=True),
            spec("Twice", device="B", writable=True),
        ],
    )
    machine, clock = Machine(), SystemClock()
    sources = [machine, Mute()]
    desk = CommandDesk(table, sources, CommandAudit(tmp_path), clock)
    acting = Actions(desk, table, sources)
    async with _serving(view, auth, acting) as url, anyio.create_task_group() as tasks:
        tasks.start_soon(desk.run)
        async with browser(url) as client:
            await be_signed_in(client, auth)
            yield client, machine, desk
        tasks.cancel_scope.cancel()
    desk.close()


@contextlib.asynccontextmanager
async def _serving(view, auth, acting):
    ports, ready = [], anyio.Event()

    def listening(port):
        ports.append(port)
        ready.set()

    async def serve():
        web = create_web(view, auth, None, SystemClock(), acting=acting)
        await run_server(web, "127.0.0.1", 0, ready=listening)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        await ready.wait()
        yield f"http://127.0.0.1:{ports[0]}"
        tasks.cancel_scope.cancel()


async def test_a_set_point_is_written_and_the_answer_says_what_it_reads_back_as(rig):
    client, machine, desk = rig
    answer = await client.post("/api/sources/line1/write", json={"tag": "Speed", "value": 2.5})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["reason"], body["message"]) == ("reads_back_other", "written, reads back 3.0")
    (entry,) = await desk.newest(5)
    assert entry.id == body["id"]
    assert entry.origin == "web Ada 127.0.0.1"
    assert (entry.name, entry.value, entry.outcome) == ("Speed", "2.5", "written")
    await client.post("/api/sources/line1/write", json={"tag": "List", "value": [1, 2]})
    assert machine.done == [("a/Speed", 2.5), ("a/List", (1, 2))]


@pytest.mark.parametrize(
    ("source", "body", "status", "code"),
    [
        ("line1", {"tag": "Fixed", "value": 1.0}, 409, "action.not_writable"),
        ("line1", {"tag": "Fixed", "value": "no number"}, 409, "action.not_writable"),
        ("line1", {"tag": "Speed", "value": "fast"}, 409, "action.wrong_type"),
        ("line1", {"tag": "List", "value": 1}, 409, "action.wrong_type"),
        ("line1", {"tag": "List", "value": [2**40]}, 409, "action.wrong_type"),
        ("line1", {"tag": "Nowhere", "value": 1.0}, 404, "action.unknown"),
        ("line1", {"tag": "Twice", "value": 1.0}, 404, "action.unknown"),
        ("line2", {"tag": "Speed", "value": 1.0}, 404, "action.unknown"),
        ("line1", {"tag": "Speed"}, 400, "http.invalid"),
        ("line1", {"tag": "Speed", "value": 1, "force": True}, 400, "http.invalid"),
    ],
)
async def test_what_is_not_written_is_answered_with_its_reason(rig, source, body, status, code):
    client, machine, _ = rig
    answer = await client.post(f"/api/sources/{source}/write", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert machine.done == []


async def test_a_lost_session_and_a_missing_answer_are_told_apart(rig):
    client, machine, desk = rig
    for trouble, status, code in (
        (SourceError("no session"), 503, "action.no_session"),
        (TimeoutError(), 504, "action.timeout"),
    ):
        machine.trouble = trouble
        answer = await client.post("/api/sources/line1/write", json={"tag": "Speed", "value": 1})
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert [e.outcome for e in await desk.newest(5)] == ["failed", "failed"]


async def test_a_queue_that_is_full_is_no_fault_of_the_wish(rig, monkeypatch):
    client, machine, _ = rig
    monkeypatch.setattr(commands, "WAITING_MAX", 0)
    answer = await client.post("/api/sources/line1/write", json={"tag": "Speed", "value": 1})
    assert (answer.status_code, answer.json()["code"]) == (503, "action.queue_full")
    assert machine.done == []


async def test_a_method_is_described_called_and_audited_with_its_arguments(rig):
    client, machine, desk = rig
    described = await client.get("/api/sources/line1/methods/mix")
    assert described.json()["arguments"][0]["name"] == "litres"
    url = "/api/sources/line1/methods/mix"
    answer = await client.post(url, json={"arguments": {"litres": 4.0}})
    assert answer.json()["results"] == {"doubled": 8.0}
    refused = await client.post(url, json={"arguments": {}})
    assert (refused.status_code, refused.json()["code"]) == (409, "action.wrong_arguments")
    for source, method in (("line1", "other"), ("mute", "mix"), ("none", "mix")):
        answer = await client.post(f"/api/sources/{source}/methods/{method}", json={})
        assert answer.status_code == 404
    entries = await desk.newest(5)
    assert [e.value for e in entries] == ["{}", "{'litres': 4.0}"]
    assert machine.done == [("mix", {"litres": 4.0})]


async def test_a_condition_is_acknowledged_by_its_event(rig):
    client, machine, desk = rig
    url = "/api/sources/line1/conditions/acknowledge"
    body = {"condition": "ns=0;i=9", "event_id": "c0ffee", "comment": "seen"}
    answer = await client.post(url, json=body)
    assert answer.json()["message"] == "acknowledged"
    assert machine.done == [("ns=0;i=9", bytes.fromhex("c0ffee"), "seen")]
    stale = await client.post(url, json=body | {"event_id": "00"})
    assert (stale.status_code, stale.json()["code"]) == (409, "action.BadEventIdUnknown")
    assert (await client.post(url, json=body | {"event_id": "xyz"})).status_code == 400
    assert (await desk.newest(5))[-1].value == "event c0ffee: seen"


async def test_another_web_site_cannot_write_with_a_persons_session(rig):
    client, machine, _ = rig
    for path, body in (
        ("write", {"tag": "Speed", "value": 1.0}),
        ("methods/mix", {"arguments": {"litres": 1.0}}),
        ("conditions/acknowledge", {"condition": "ns=0;i=9", "event_id": "00"}),
    ):
        answer = await client.post(
            f"/api/sources/line1/{path}", json=body, headers={"origin": "http://evil.example"}
        )
        assert answer.status_code == 403
    client.cookies.clear()
    answer = await client.post("/api/sources/line1/write", json={"tag": "Speed", "value": 1.0})
    assert answer.status_code == 401
    assert machine.done == []
