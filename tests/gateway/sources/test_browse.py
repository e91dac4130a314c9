"""Looking into a real server: pages, search, values; and a server that plays tricks."""

import contextlib
from pathlib import Path

import anyio
import pytest
from asyncua import ua
from asyncua.common.structures104 import new_enum

from contract.config import RuleConfig, TagConfig
from gateway.sources.explore import ExploreError
from gateway.sources.opcua import browse as browse_module
from gateway.sources.opcua import explorer as explorer_module
from gateway.sources.opcua.requests import Requests
from gateway.sources.opcua.source import OpcUaSource
from gateway.sources.opcua.walk import Walk, walk
from plant.ports import free_port
from runtime.clock import SystemClock
from tests.gateway.sources.paging import Pager
from tests.gateway.sources.plc import URI, VT, Plc, Port, config, driven, opened, until

pytestmark = pytest.mark.slow  # asyncua builds its address space anew for each server


def at(name):
    return f"nsu={URI};s={name}"


@pytest.fixture(scope="module")
async def plc():
    plc = Plc()
    await plc.start(fill=_plant)
    yield plc
    await plc.stop()


async def _plant(plc):
    many = await plc.folder("Many")
    for n in range(35):
        await plc.variable(f"Many.{n}", float(n), parent=many, browse_name=f"Tag{n}")
    # a cycle: Many holds Ring, and Ring holds Many
    ring = await plc.folder("Ring", many)
    space = plc.server.iserver.aspace
    (down,) = [
        r for r in space[plc.server.nodes.objects.nodeid].references if r.NodeId == many.nodeid
    ]
    space[ring.nodeid].references.append(down)  # asyncua itself would refuse a cycle
    all_kinds = await plc.folder("Kinds")
    level = await plc.variable("Kinds.Level", 1.5, parent=all_kinds, browse_name="Level")
    await level.set_writable()
    await level.add_property(0, "EURange", ua.Range(Low=-5.0, High=5.0))
    unit = ua.EUInformation(DisplayName=ua.LocalizedText("bar"))
    await level.add_property(0, "EngineeringUnits", unit)
    await plc.variable("Kinds.Row", [1, 2, 3], VT.Int16, parent=all_kinds, browse_name="Row")
    mode = await new_enum(plc.server, plc.index, "BrowseMode", ["Off", "Auto"])
    name = ua.QualifiedName("Mode", plc.index)
    await all_kinds.add_variable(
        plc.node_id("Kinds.Mode"), name, 1, varianttype=VT.Int32, datatype=mode.nodeid
    )
    name = ua.QualifiedName("Range", plc.index)
    await all_kinds.add_variable(
        plc.node_id("Kinds.Range"), name, ua.Range(1.0, 2.0), datatype=ua.NodeId(884)
    )


@contextlib.asynccontextmanager
async def exploring(endpoint, tmp_path, *, live=False, **changed):
    """A source's explorer at work; ``live``: while the source reads."""
    source = OpcUaSource(config(endpoint, **changed), SystemClock(), Path(tmp_path) / "sessions")
    async with contextlib.AsyncExitStack() as stack:
        if live:
            await stack.enter_async_context(driven(source, Port()))
            await until(lambda: source.status().state == "up")
        tasks = await stack.enter_async_context(anyio.create_task_group())
        tasks.start_soon(source.explorer.run)
        stack.callback(tasks.cancel_scope.cancel)
        yield source.explorer


async def all_pages(explorer, node, limit):
    pages = [await explorer.browse(node, "", limit)]
    while pages[-1].continuation:
        pages.append(await explorer.browse(node, pages[-1].continuation, limit))
    return pages


@pytest.mark.parametrize("live", [False, True])
async def test_a_node_opens_page_by_page_on_the_datas_session_or_a_short_one(
    plc, tmp_path, monkeypatch, live
):
    pager = Pager(plc, monkeypatch)
    tags = [TagConfig(node=at("Many.1"), group="g")]
    async with exploring(plc.endpoint, tmp_path, live=live, tags=tags) as explorer:
        pages = await all_pages(explorer, at("Many"), 8)
        names = [n.name for page in pages for n in page.nodes]
        assert sorted(names) == sorted([f"Tag{n}" for n in range(35)] + ["Ring"])
        assert all(len(page.nodes) <= 8 and page.live is live for page in pages)
        assert not pager.held
        root = await explorer.browse("", "", 100)
        assert {"Server", "Many", "Kinds"} <= {n.name for n in root.nodes}
        assert "ns=0;i=2253" in {n.node for n in root.nodes}  # as a configuration names it


async def test_a_variable_is_described_with_type_unit_access_and_how_it_splits(plc, tmp_path):
    async with exploring(plc.endpoint, tmp_path) as explorer:
        page = await explorer.browse(at("Kinds"), "", 100)
    level, row, mode, limits = (
        next(n for n in page.nodes if n.name == name) for name in ("Level", "Row", "Mode", "Range")
    )
    assert (level.unit, level.low, level.high) == ("bar", -5.0, 5.0)
    assert (level.data_type, level.tag_type, level.kind) == ("Double", "DOUBLE", "variable")
    assert (level.readable, level.writable, row.writable) == (True, True, False)
    assert (row.dimensions, row.members, row.tag_type) == ([3], ["0", "1", "2"], "INT16_ARRAY")
    assert mode.labels == {0: "Off", 1: "Auto"}
    assert (limits.members, limits.tag_type) == (["Low", "High"], "")
    assert "split: true" in limits.trouble


async def test_a_search_finds_by_name_in_slices_and_says_when_it_is_over(
    plc, tmp_path, monkeypatch
):
    async with exploring(plc.endpoint, tmp_path) as explorer:
        first = await explorer.search("", "tag3", "", 4)
        assert (len(first.nodes), first.complete) == (4, False)
        rest = await explorer.search("", "tag3", first.continuation, 100)
        assert (rest.complete, rest.continuation) == (True, "")
        found = {n.path for n in first.nodes + rest.nodes}
        assert found == {f"Many/Tag{n}" for n in (3, *range(30, 35))}
        monkeypatch.setattr(browse_module, "SEARCH_NODES_MAX", 10)
        cut = await explorer.search(at("Many"), "tag", "", 100)
        assert not cut.complete
        assert "10 nodes" in cut.reason


async def test_values_are_read_once_and_a_bad_node_has_its_status(plc, tmp_path):
    await plc.write("Kinds.Level", float("inf"))
    nodes = [at(n) for n in ("Kinds.Level", "Kinds.Row", "Kinds.Range", "nowhere")]
    async with exploring(plc.endpoint, tmp_path) as explorer:
        level, row, limits, nowhere = await explorer.peek(nodes)
        assert (level.value, level.type, level.source_time_us) == ("inf", "Double", 1_000_000)
        assert row.value == "[1, 2, 3]"
        assert limits.value == '{"Low": 1.0, "High": 2.0}'
        assert (nowhere.value, nowhere.status_name) == (None, "BadNodeIdUnknown")
        assert await explorer.unknown([at("Kinds.Level"), at("Kinds"), "nsu=urn:no;s=x"]) == {
            at("Kinds"): "it is no variable",
            "nsu=urn:no;s=x": "the server has no namespace urn:no",
        }


async def test_pages_nobody_asks_for_are_given_back(plc, tmp_path, monkeypatch):
    pager = Pager(plc, monkeypatch)
    async with exploring(plc.endpoint, tmp_path) as explorer:
        for _ in range(explorer_module.HELD_MAX + 3):
            await explorer.browse(at("Many"), "", 5)
        assert len(pager.held) <= explorer_module.HELD_MAX + 1
        monkeypatch.setattr(explorer_module, "HOLD_S", 0.0)
        page = await explorer.browse(at("Many"), "", 5)
        with pytest.raises(ExploreError) as refused:
            await explorer.browse(at("Many"), page.continuation, 5)
        assert refused.value.code == "browse.continuation_expired"
        for held in explorer._held.values():
            held.expires_s = 0.0
        await explorer.peek([])
        assert not pager.held


async def test_where_nothing_listens_the_answer_says_so(tmp_path):
    async with exploring(f"opc.tcp://127.0.0.1:{free_port()}", tmp_path) as explorer:
        for _ in range(2):  # it goes on after a failure
            with pytest.raises(ExploreError, match="nothing listens") as refused:
                await explorer.browse("", "", 10)
            assert refused.value.code == "source.unreachable"


async def test_more_questions_than_may_wait_are_refused_at_once(plc, tmp_path):
    source = OpcUaSource(config(plc.endpoint), SystemClock(), Path(tmp_path))
    async with anyio.create_task_group() as tasks:
        for _ in range(explorer_module.WAITING_MAX):
            tasks.start_soon(source.explorer.browse, "", "", 10)
        await until(lambda: len(source.explorer._waiting) == explorer_module.WAITING_MAX)
        with pytest.raises(ExploreError) as refused:
            await source.explorer.browse("", "", 10)
        assert refused.value.code == "source.busy"
        tasks.cancel_scope.cancel()


# -- tricks ---


async def walked(plc, start, **plan):
    made = Walk(**plan)
    async with opened(config(plc.endpoint)) as session:
        return [n.path async for n in walk(Requests(session), plc.node_id(start), made)], made


@pytest.mark.parametrize("points_max", [100, 1])
async def test_a_walk_pages_and_gives_back_what_it_holds(plc, monkeypatch, points_max):
    pager = Pager(plc, monkeypatch, points_max=points_max)
    paths, plan = await walked(plc, "Many")
    assert len(paths) == 36  # the cycle is cut: Ring, and not Many again below it
    assert (plan.ended, pager.held) == ("", {})


@pytest.mark.parametrize(
    ("endless", "code"), [("stale", "browse_endless"), ("fresh", "too_many_nodes")]
)
async def test_continuation_points_without_end_are_left_with_a_reason(
    plc, monkeypatch, endless, code
):
    pager = Pager(plc, monkeypatch, endless=endless)
    paths, plan = await walked(plc, "Many", nodes_max=300)
    assert plan.code == code
    assert "Tag34" in paths
    assert len(paths) <= 310
    assert pager.requests_count < 800
    assert not pager.held


async def test_a_rule_over_an_endless_server_reads_what_it_found_and_says_so(
    plc, tmp_path, monkeypatch
):
    Pager(plc, monkeypatch, endless="stale")
    rules = [RuleConfig(below=at("Many"), group="g")]
    source = OpcUaSource(
        config(plc.endpoint, rules=rules), SystemClock(), Path(tmp_path) / "sessions"
    )
    port = Port()
    async with driven(source, port):
        await until(lambda: port.count() == 35)
        assert [t.code for t in source.status().troubles] == ["browse_endless"]


async def test_an_answer_that_cannot_be_read_is_a_clear_refusal(plc, tmp_path, monkeypatch):
    def read(_parameters):
        # an array of nothing, whose length costs no bytes
        return [ua.DataValue(ua.Variant([None] * 5, VT.Null, is_array=True))]

    async with exploring(plc.endpoint, tmp_path) as explorer:
        await explorer.peek([at("Kinds.Level")])
        monkeypatch.setattr(plc.server.iserver.attribute_service, "read", read)
        with pytest.raises(ExploreError, match="cannot be read"):
            await explorer.peek([at("Kinds.Level")])
        monkeypatch.undo()
        assert (await explorer.peek([at("Kinds.Level")]))[0].status_name == "Good"
