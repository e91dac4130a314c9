"""The hub's host application and edge nodes that none of us wrote: npm's, and pysparkplug's."""

import pytest

from tests.sparkplug_b.pysparkplug_peer import VALUES
from tests.sparkplug_conformance.hub_scene import GROUP, MODE, NPM_NODE, PY_NODE, commands
from tests.sparkplug_conformance.stream import Connect

pytestmark = [pytest.mark.broker, pytest.mark.slow]


def test_the_scene_shows_values_and_states_of_both_nodes(hub_scene):
    """The scene itself waited for values by name and alias, deaths and returns."""
    assert hub_scene.npm.events("born") >= 3
    assert hub_scene.seen[NPM_NODE].keys() >= {"Force", "Count", "On"}
    assert hub_scene.seen[NPM_NODE]["Count"] == -5


def test_the_hub_reads_a_value_of_every_type_of_pysparkplug(hub_scene):
    found = hub_scene.seen[PY_NODE]
    changed = {"DOUBLE": 2.5, "INT16": -7}
    wanted = {t.name: changed.get(t.name, v) for t, v in VALUES.items()}
    scalars = {n: v for n, v in wanted.items() if "ARRAY" not in n}
    assert {name: found[name] for name in scalars} == scalars
    assert set(found) == set(wanted)


def test_the_npm_node_reads_what_the_hub_commands(hub_scene):
    told = commands(hub_scene.npm)
    metrics = [m for c in told if c["device"] is None for m in c["command"]["metrics"]]
    nodes = [(m["name"], m["value"]) for m in metrics]
    assert ("Node Control/Rebirth", True) in nodes
    assert nodes.count(("Mode", MODE)) == 1
    [device] = [c for c in told if c["device"] == "D"]
    values = {m["alias"]["$long"]: m["value"] for m in device["command"]["metrics"]}
    assert values == {"7": 3.5, "9": False}


def test_pysparkplug_reads_what_the_hub_commands(hub_scene):
    written = [m for c in hub_scene.py.commands for m in c.payload.metrics if m.name == "INT16"]
    assert len(written) == 1
    topics = {str(c.topic) for c in hub_scene.py.commands}
    assert f"spBv1.0/{GROUP}/DCMD/{PY_NODE}/D" in topics


@pytest.mark.sparkplug("tck-id-operational-behavior-host-application-multi-server-timestamp")
def test_each_server_has_a_state_timestamp_of_its_own(hub_scene):
    """The server that came back got a new one, and the other one kept its own."""
    sessions = hub_scene.born_on()
    levels = {
        e.connection: e.packet.level
        for e in hub_scene.events
        if isinstance(e.packet, Connect) and e.connection in sessions
    }
    online = {c: {time for is_on, time in said if is_on} for c, said in sessions.items()}
    [steady] = [times for c, times in online.items() if levels[c] == 5]
    first, second = (online[c] for c in sorted(online) if levels[c] == 4)
    assert [len(times) for times in (steady, first, second)] == [1, 1, 1]
    assert max(second) > max(first)
    assert max(second) > max(steady), "it said online again after that, with its own time"
