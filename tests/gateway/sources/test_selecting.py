"""Rules select by path, pattern and type; what changes later is offered, not applied."""

import tempfile
from pathlib import Path

import anyio
import pytest
from asyncua import ua

from contract.config import RuleConfig, TagConfig
from gateway.sources.opcua import selection as selection_module
from gateway.sources.opcua.discover import discover
from gateway.sources.opcua.selection import ChangedMeanwhileError, Selection
from gateway.sources.opcua.source import OpcUaSource
from runtime.clock import SystemClock
from tests.gateway.sources.plc import URI, VT, Plc, Port, config, driven, opened, until

pytestmark = pytest.mark.slow  # asyncua builds its address space anew for each server


@pytest.fixture(scope="module")
async def plc():
    """A plant: two lines of two presses each; a press is an instance of a type."""
    plc = Plc()
    await plc.start(fill=_plant)
    yield plc
    await plc.stop()


async def _plant(plc):
    server = plc.server
    machine = await server.nodes.base_object_type.add_object_type(
        plc.node_id("Machine"), ua.QualifiedName("Machine", plc.index)
    )
    press = await machine.add_object_type(
        plc.node_id("PressType"), ua.QualifiedName("PressType", plc.index)
    )
    for line in ("L1", "L2"):
        folder = await plc.folder(line)
        for number in (1, 2):
            name = f"{line}.P{number}"
            kind = press.nodeid if number == 1 else None
            own = await folder.add_object(
                plc.node_id(name), ua.QualifiedName(f"P{number}", plc.index), objecttype=kind
            )
            for leaf in ("Temperature", "Count"):
                await plc.variable(f"{name}.{leaf}", 1.0, parent=own, browse_name=leaf)


async def names(plc, *rules, selection=None, **changed):
    wanted = config(plc.endpoint, rules=[RuleConfig(group="g", **r) for r in rules], **changed)
    if selection is None:
        found = await found_by(wanted)
    else:
        async with opened(wanted) as session:
            found = await discover(session, wanted, selection)
    return sorted(t.spec.name for t in found.found), [t.code for t in found.troubles]


async def found_by(wanted):
    """What a source without a memory finds."""
    with tempfile.TemporaryDirectory() as directory:
        selection = Selection(wanted, Path(directory) / "s", SystemClock())
        async with opened(wanted) as session:
            return await discover(session, wanted, selection)


@pytest.mark.parametrize(
    ("rule", "count", "one"),
    [
        ({"match": "L*/P1/Temperature"}, 2, "L1/P1/Temperature"),
        ({"match": "**/Temperature"}, 4, "L2/P2/Temperature"),
        ({"match": "**", "exclude": ["L2", "**/Count"]}, 2, "L1/P1/Temperature"),
        ({"regex": "L[12]/P2/(Count|Temp.*)"}, 4, "L1/P2/Count"),
        ({"type": f"nsu={URI};s=PressType"}, 4, "L1/P1/Count"),
        ({"type": f"nsu={URI};s=Machine", "match": "**/Count"}, 2, "L1/P1/Count"),
        ({"below": f"nsu={URI};s=L1", "prefix": "Hall/L1"}, 4, "Hall/L1/P1/Count"),
        ({"below": f"nsu={URI};s=L1.P1"}, 2, "Count"),
    ],
)
async def test_a_rule_takes_what_its_pattern_and_type_say(plc, rule, count, one):
    found, troubles = await names(plc, rule)
    assert (len(found), troubles) == (count, [])
    assert one in found


async def test_rules_that_share_a_start_do_not_share_their_limits(plc):
    found, troubles = await names(
        plc,
        {"match": "L1/**", "exclude": ["**/P2"], "prefix": "a"},
        {"depth_max": 2, "prefix": "b"},
    )
    assert found == ["a/L1/P1/Count", "a/L1/P1/Temperature"]
    assert troubles == ["rule_empty"]  # variables lie on the third level


async def test_more_variables_than_tags_max_change_nothing_and_say_what_to_do(plc):
    found, troubles = await names(plc, {"match": "**"}, tags_max=7)
    assert (found, troubles) == ([], ["too_many_tags"])
    found, _ = await names(plc, {"match": "**"}, tags_max=8)
    assert len(found) == 8


@pytest.fixture
def chosen(tmp_path):
    def make(*rules, **changed):
        wanted = config("opc.tcp://x", rules=[RuleConfig(group="g", **r) for r in rules], **changed)
        return Selection(wanted, Path(tmp_path) / "sessions" / "s", SystemClock())

    return make


async def test_after_the_first_evaluation_changes_are_offered_and_survive_a_restart(plc, chosen):
    rule = {"below": f"nsu={URI};s=Later"}
    later = await plc.folder("Later")
    await plc.variable("Later.a", 1.0, parent=later, browse_name="a")
    await plc.variable("Later.b", 1.0, parent=later, browse_name="b")
    selection = chosen(rule)
    assert (await names(plc, rule, selection=selection))[0] == ["a", "b"]
    assert selection.pending is None
    await plc.variable("Later.c", 1.0, parent=later, browse_name="c")
    await plc.remove("Later.a")
    again = chosen(rule)  # as a new process
    found, troubles = await names(plc, rule, selection=again)
    assert (found, troubles) == (["b"], ["node_unknown"])
    pending = again.pending
    assert (pending.new, pending.gone, pending.renamed_count) == (["c"], ["a"], 0)
    with pytest.raises(ChangedMeanwhileError):
        await again.apply("another")
    await again.apply(pending.id)
    assert await names(plc, rule, selection=again) == (["b", "c"], [])
    assert again.pending is None


async def test_an_automatic_rule_applies_changes_and_an_unfinished_look_changes_nothing(
    plc, chosen
):
    rule = {"below": f"nsu={URI};s=Auto", "auto": True}
    folder = await plc.folder("Auto")
    await plc.variable("Auto.a", 1.0, parent=folder, browse_name="a")
    selection = chosen(rule)
    assert (await names(plc, rule, selection=selection))[0] == ["a"]
    await plc.variable("Auto.b", 1.0, parent=folder, browse_name="b")
    assert (await names(plc, rule, selection=selection))[0] == ["a", "b"]
    # more than allowed: what was selected stays, nothing is half-applied
    found, troubles = await names(plc, rule, selection=selection, tags_max=1)
    assert (found, troubles) == (["a", "b"], ["too_many_tags"])
    await plc.remove("Auto")  # the program is loaded anew: its folder is away for a moment
    found, troubles = await names(plc, rule, selection=selection)
    assert troubles[0] == "node_unknown"
    assert found == ["a", "b"]


async def test_a_damaged_memory_is_said_and_starts_afresh(plc, chosen, tmp_path):
    rule = {"match": "L1/P1/*"}
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "s").write_bytes(b"{")
    assert len((await names(plc, rule, selection=chosen(rule)))[0]) == 2


async def test_applied_changes_and_model_changes_are_picked_up_without_a_new_session(
    plc, tmp_path, monkeypatch
):
    monkeypatch.setattr(selection_module, "LOOK_AGAIN_S_MIN", 0.02)
    folder = await plc.folder("Live")
    await plc.variable("Live.a", 1.0, parent=folder, browse_name="a")
    rules = [RuleConfig(below=f"nsu={URI};s=Live", group="g")]
    source = OpcUaSource(
        config(plc.endpoint, rules=rules), SystemClock(), Path(tmp_path) / "sessions"
    )
    port = Port()
    events = await plc.server.get_event_generator(ua.ObjectIds.GeneralModelChangeEventType)
    async with driven(source, port):
        await until(lambda: port.count() == 1)
        assert [t.node for t in await source.explorer.selected()] == [f"nsu={URI};s=Live.a"]
        await plc.variable("Live.b", 2.0, parent=folder, browse_name="b")
        await events.trigger(message="new node")
        await until(lambda: source.status().pending is not None)
        assert source.status().pending.new == ["b"]
        assert "b" not in [s.name for s in port.specs]
        await source.explorer.apply(source.status().pending.id)
        await until(lambda: port.values("b") == [2.0] if "b" in _named(port) else False)
        assert source.status().sessions_count == 1
        await folder.delete_reference(plc.node_id("Live.b"), ua.ObjectIds.HasComponent)
        await events.trigger(message="node gone")
        await until(lambda: source.status().pending is not None)
        await source.explorer.apply(source.status().pending.id)
        await until(lambda: source.status().pending is None and not source.status().troubles_count)
        assert source.status().sessions_count == 1


def _named(port):
    return [spec.name for spec in port.specs]


async def test_a_new_node_version_has_the_rules_evaluated(plc, chosen, monkeypatch):
    monkeypatch.setattr(selection_module, "NODE_VERSION_INTERVAL_S", 0.01)
    monkeypatch.setattr(selection_module, "LOOK_AGAIN_S_MIN", 0.02)
    folder = await plc.folder("Versioned")
    version = await folder.add_property(ua.NodeId("V", plc.index), "NodeVersion", "1")
    await plc.variable("Versioned.a", 1.0, parent=folder, browse_name="a")
    rule = {"below": f"nsu={URI};s=Versioned"}
    selection = chosen(rule)
    wanted = config(plc.endpoint)
    async with opened(wanted) as session, anyio.create_task_group() as tasks:
        selection.begin()
        outcomes = []

        async def wait():
            outcomes.append(await selection.pause(session, 20))

        assert not await selection.pause(session, 0.05)
        tasks.start_soon(wait)
        await version.write_value("2")
        await until(lambda: outcomes == [True])


async def test_model_changes_without_end_are_looked_at_in_turns(plc):
    clock = CountingClock()
    selection = Selection(
        config(plc.endpoint, rules=[RuleConfig(group="g")]), Path("unused"), clock
    )
    kind = ua.NodeId(ua.ObjectIds.GeneralModelChangeEventType)
    for _ in range(3):
        selection.begin()
        selection.note_events([(selection_module.MODEL_HANDLE, [kind])])
        assert await selection.pause(None, 30)
    assert clock.slept_s == [selection_module.LOOK_AGAIN_S_MIN] * 3
    selection.begin()
    selection.note_events([(7, [kind]), (selection_module.MODEL_HANDLE, [])])
    assert not selection._again.is_set()


class CountingClock(SystemClock):
    """A clock that stands still and counts how long somebody meant to sleep."""

    def __init__(self):
        self.slept_s = []

    def monotonic_s(self):
        return 100.0

    async def sleep_s(self, seconds):
        self.slept_s.append(seconds)


# -- splitting ---


async def test_arrays_and_structures_become_a_tag_per_part(plc, tmp_path):
    await plc.variable("Arr", [1, 2, 3], VT.Int16)
    matrix = await plc.variable("Mat", [[1.0, 2.0], [3.0, 4.0]], VT.Double)
    assert matrix
    limits = ua.Range(Low=1.5, High=2.5)
    await plc.server.nodes.objects.add_variable(
        plc.node_id("Rng"), ua.QualifiedName("Rng", plc.index), limits, datatype=ua.NodeId(884)
    )
    tags = [
        TagConfig(node=f"nsu={URI};s={n}", group="g", split=True) for n in ("Arr", "Mat", "Rng")
    ]
    source = OpcUaSource(
        config(plc.endpoint, tags=tags), SystemClock(), Path(tmp_path) / "sessions"
    )
    port = Port()
    async with driven(source, port):
        await until(lambda: port.count() == 3 + 4 + 2)
        assert source.status().troubles == []
        assert [port.values(f"Arr/{n}") for n in range(3)] == [[1], [2], [3]]
        assert port.values("Mat/1/0") == [3.0]
        assert (port.values("Rng/Low"), port.values("Rng/High")) == ([1.5], [2.5])
        # the array gets shorter, and longer: what is not there has no value, and says so
        await plc.write("Arr", [7, 8], vtype=VT.Int16)
        await until(lambda: port.count() == 9 + 3)
        assert [port.values(f"Arr/{n}")[-1] for n in range(3)] == [7, 8, None]
        assert port.rows("Arr/2")[-1][2] == 0x80370000
        await plc.write("Arr", 5, vtype=VT.Int16)  # cannot be taken apart
        await until(lambda: port.dropped.get("type_changed") == 3)
        await plc.write("Mat", None, vtype=VT.Null, status=0x80000000)
        await until(lambda: port.count() == 12 + 4)
        assert port.rows("Mat/0/0")[-1] == (None, 1_000_000, 0x80000000)


async def test_a_structure_that_is_not_split_is_refused_with_the_remedy(plc):
    await plc.server.nodes.objects.add_variable(
        plc.node_id("Rng2"), ua.QualifiedName("Rng2", plc.index), ua.Range(1.0, 2.0)
    )
    tags = [TagConfig(node=f"nsu={URI};s=Rng2", group="g")]
    wanted = config(plc.endpoint, tags=tags)
    found = await found_by(wanted)
    (trouble,) = found.troubles
    assert trouble.code == "structure_unsplit"
    assert "split: true" in trouble.message
