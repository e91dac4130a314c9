"""Filling gaps from a server's history, against node-opcua: exactly what is missing, once."""

import pytest

from contract.config import GroupConfig, TagConfig
from gateway.errors import SourceError
from gateway.sources.opcua import heal, history, subscribe
from gateway.sources.opcua.source import OpcUaSource
from runtime.clock import SystemClock
from tests.gateway.sources.node_plant import node_plant
from tests.gateway.sources.plc import URI, Plc, Port, config, driven, until

pytestmark = pytest.mark.slow  # the servers are processes of their own

GROUP = GroupConfig(name="g", sampling_interval_ms=50, publishing_interval_ms=50, queue_size=1000)


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(heal, "LOOK_S", 0.05)
    monkeypatch.setattr(heal, "RETRY_S", 0.2)
    monkeypatch.setattr(history, "PAUSE_S", 0.001)
    # a keep-alive is an answer, too: two of them tell that all has arrived
    monkeypatch.setattr(subscribe, "KEEP_ALIVE_S", 0.1)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """One directory for the keys of all servers: making them takes as long as starting."""
    return tmp_path_factory.mktemp("plant")


@pytest.fixture(scope="module")
async def plant(keys):
    async with node_plant(keys, variables=3, history=True) as plant:
        yield plant


def source(plant, directory, *, tags=3, **changed):
    chosen = [
        TagConfig(node=f"nsu={plant.namespace};s=V{n}", group="g", name=f"V{n}")
        for n in range(tags)
    ]
    fields = {"tags": chosen, "groups": [GROUP]} | changed
    return OpcUaSource(config(plant.endpoint, **fields), SystemClock(), directory)


def has(port, value, tags=3):
    return all(port.values(f"V{n}")[-1:] == [value] for n in range(tags))


def all_values(port, name):
    """Every value of a tag, live or filled, in order of source time; what is filled comes once.

    A live sample may come twice over a resumed session: report by exception leaves that out.
    """
    live, filled = set(port.rows(name)), port.rows(name, port.history)
    assert len(set(filled)) == len(filled)
    assert not live & set(filled)
    return [value for value, *_ in sorted(live | set(filled), key=lambda row: row[1])]


async def miss(plant, directory, port, ticks):
    """Read a value of each tag, go away so that nothing remembers, and let the plant tick.

    Returns a new source, the value that was read, and the last one.
    """
    first = (await plant.ask(tick=1))["value"]
    async with driven(source(plant, directory / "one"), port):
        await until(lambda: has(port, first))
    last = (await plant.ask(tick=ticks))["value"]
    port.durable_marks.clear()
    return source(plant, directory / "two"), first, last


def closed(port):
    return [(loss.closes, loss.tag, loss.count) for loss in port.ledger if loss.closes]


def looked(opc):
    """Say whether the ledger was looked at, and its entries are tried again later."""
    return opc._healer is not None and bool(opc._healer._due_s)


async def test_a_gap_is_filled_from_history_and_its_entry_closed(plant, tmp_path):
    port = Port()
    opc, first, last = await miss(plant, tmp_path, port, 50)
    async with driven(opc, port):
        await until(lambda: not port.open_losses() and closed(port))
    assert opc.status().filled_count == 3 * 49
    for n in range(3):
        # the newest came live; nothing is missing, nothing doubled
        assert all_values(port, f"V{n}") == list(range(first, last + 1))
    assert sum(count for *_, count in closed(port)) == 3 * 49
    assert {tag for _, tag, _ in closed(port)} == {None}


class DyingPort(Port):
    """Takes so many historical commits, then the session is lost, once."""

    def __init__(self, commits):
        super().__init__()
        self.commits_left = commits

    async def put_history(self, batch, marks, fillings):
        self.commits_left -= 1
        if self.commits_left == -1:
            raise SourceError("the session is lost")
        await super().put_history(batch, marks, fillings)


async def test_a_gap_too_large_for_one_commit_goes_on_after_a_death_where_it_was(
    plant, tmp_path, monkeypatch
):
    monkeypatch.setattr(heal, "SAMPLES_PER_STEP", 60)
    monkeypatch.setattr(heal, "STEP_US_MIN", 1000)
    port = DyingPort(2)
    opc, first, last = await miss(plant, tmp_path, port, 120)
    async with driven(opc, port):
        await until(lambda: not port.open_losses() and closed(port))
        assert opc.status().sessions_count >= 2
    assert len(port.history) > 3
    for n in range(3):
        assert all_values(port, f"V{n}") == list(range(first, last + 1))
    assert port.durable_marks["heal/entry"] == 0


async def test_an_entry_whose_tags_changed_half_way_is_left_open_rather_than_doubled(
    plant, tmp_path, monkeypatch
):
    monkeypatch.setattr(heal, "SAMPLES_PER_STEP", 60)
    monkeypatch.setattr(heal, "STEP_US_MIN", 1000)
    port = DyingPort(1)
    opc, *_ = await miss(plant, tmp_path, port, 120)
    with pytest.raises(SourceError):
        await opc.run_session(port)
    fewer = source(plant, tmp_path / "two", tags=2)
    async with driven(fewer, port):
        await until(lambda: any(key.startswith("heal/left/") for key in port.durable_marks))
        await until(lambda: "stays open" in " ".join(fewer.status().notices))
    left = {int(k.rpartition("/")[2]) for k in port.durable_marks if k.startswith("heal/left/")}
    assert left <= {loss.id for loss in port.open_losses()}
    filled = port.rows("V0", port.history)
    assert len(set(filled)) == len(filled)


async def test_a_history_that_lags_behind_is_asked_again_before_anything_is_closed(
    plant, tmp_path, monkeypatch
):
    newest = history.History.newest
    lagging = []

    async def late(self, nodes, at_us):
        if len(lagging) < 2 and at_us > port.open_losses()[0].last_time_us:
            lagging.append(at_us)
            return {}
        return await newest(self, nodes, at_us)

    monkeypatch.setattr(history.History, "newest", late)
    monkeypatch.setattr(heal, "LOOK_S", 0.3)
    port = Port()
    opc, first, last = await miss(plant, tmp_path, port, 20)
    async with driven(opc, port):
        await until(lambda: has(port, last) and opc.status().state == "up")
        await plant.ask(tick=1)  # a change after the gap: its history has to have it, too
        await until(lambda: has(port, last + 1))
        await until(lambda: not port.open_losses() and closed(port))
        assert looked(opc)  # it was put off, and closed after that
    assert len(lagging) == 2
    assert all_values(port, "V0") == list(range(first, last + 2))


async def test_a_server_that_was_killed_and_lost_its_history_is_not_taken_for_complete(
    keys, tmp_path
):
    port = Port()
    async with node_plant(keys, variables=3, history=True) as plant:
        opc = source(plant, tmp_path)
        async with driven(opc, port):
            await until(lambda: has(port, 0.0))
            await plant.ask(tick=1)
            await until(lambda: has(port, 1.0))
        await plant.ask(tick=5)  # nobody reads that
        number = plant.port
    async with node_plant(keys, port=number, variables=3, history=True) as plant:
        opc = source(plant, tmp_path)
        async with driven(opc, port):
            await until(lambda: opc.status().state == "up" and has(port, 0.0))
            await plant.ask(tick=2)
            await until(lambda: has(port, 2.0) and looked(opc))
    assert (closed(port), port.history) == ([], [])
    assert {loss.reason for loss in port.open_losses()} == {"session_gap"}


async def test_without_history_the_entry_stays_open_and_the_source_says_so(tmp_path):
    plc = Plc()
    await plc.start()
    await plc.variable("A", 1.0)
    port = Port()
    changed = {"tags": [TagConfig(node=f"nsu={URI};s=A", group="g", name="A")], "groups": [GROUP]}
    async with driven(
        OpcUaSource(config(plc.endpoint, **changed), SystemClock(), tmp_path / "one"), port
    ):
        await until(lambda: port.values("A") == [1.0])
    port.durable_marks.clear()
    await plc.write("A", 2.0, time_us=5_000_000)
    opc = OpcUaSource(config(plc.endpoint, **changed), SystemClock(), tmp_path / "two")
    async with driven(opc, port):
        await until(lambda: opc.status().notices)
        report = opc.status()
    await plc.stop()
    assert report.open_losses_count == len(port.open_losses()) == len(port.ledger) > 0
    assert "no history" in report.notices[0]
    assert port.history == []
