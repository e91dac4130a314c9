"""Faults at the plant: a server that comes back with other namespaces, a node that is not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.frames import read_frames
from bench.rig import Load
from contract.upload import NO_LOSS, Loss
from tests.faults.conftest import NO_NODE
from tests.faults.figures import Figures
from tests.faults.hub import HubReader
from tests.faults.line import Document, Line, LineOptions, open_line, restart, restart_plant

AWAY_TO_S = 2.0
"""How far a ledger gap may reach beyond the time the server was away: a read and a publish."""


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "groups"), [("stop", 1), ("kill", 40)])
async def test_a_server_that_comes_back_with_other_namespaces_is_read_on(
    reader: HubReader, tmp_path: Path, ending: str, groups: int, figures: Figures
) -> None:
    # with 40 groups the first values come while the last tags are not yet subscribed
    load = Load(tags=120)
    at_once: dict[str, Document] = {"sparkplug": {"death_delay_s": 0}}
    options = LineOptions(load=load, reader=reader, groups=groups, more=at_once)
    async with open_line(tmp_path, options) as line:
        first = await line.settle() + 1
        went = line.scans_count()
        await (line.plant.stop() if ending == "stop" else line.plant.kill())
        await line.until("the source cell says so", lambda s: s.strip.source.state == "Fault")
        await restart_plant(line, "--namespace-shift")
        recovered_s = await line.until_healthy()
        back = line.scans_count()
        status = await line.status()
        assert status is not None
        assert (status.sources[0].tags_faulted, status.sources[0].tags_total) == (0, load.tags)
        last = await line.settle()
        for finding in await line.prove(first, last):
            figures(finding)
        _prove_gap_is_narrow(line.ledger(), line, (went, back))
        _prove_device_was_dead_meanwhile(line)
        figures(f"{ending}: healthy {recovered_s:.1f} s after the server was back")


def _prove_device_was_dead_meanwhile(line: Line) -> None:
    """Hosts are told of the death and of the return, and no data comes while it is dead."""
    is_born, deaths_count = False, 0
    for frame in read_frames(line.sink.path):
        kind = frame.topic.split("/")[2]
        if kind[0] == "D":
            assert is_born is (kind != "DBIRTH"), f"{kind} while born is {is_born}"
            is_born = kind != "DDEATH"
            deaths_count += kind == "DDEATH"
    # two where a last row was committed only after the source had gone
    assert is_born
    assert deaths_count in {1, 2}


@pytest.mark.slow
async def test_a_gateway_killed_before_its_first_commit_of_a_new_session_forgets_no_gap(
    tmp_path: Path, figures: Figures
) -> None:
    # the first values come a second after subscribing: the kill is before that
    options = LineOptions(load=Load(tags=120, publishing_ms=1000, queue_size=50))
    async with open_line(tmp_path, options) as line:
        first = await line.settle() + 1
        went = line.scans_count()
        await line.plant.kill()
        await line.until("the source cell says so", lambda s: s.strip.source.state == "Fault")
        await restart_plant(line, "--namespace-shift")
        await line.until("source up", lambda s: s.sources[0].state == "up")
        await line.gateway.kill()
        await restart(line)
        await line.until_healthy()
        back = line.scans_count()
        (finding,) = await line.prove(first, await line.settle())
        figures(finding)
        _prove_gap_is_narrow(line.ledger(), line, (went - 10, back))


def _prove_gap_is_narrow(ledger: Sequence[Loss], line: Line, away: tuple[int, int]) -> None:
    """The ledger names the time the server was away, not all of time."""
    times_us = line.scans(1, 1).times_us
    assert ledger, "the gap has to be in the ledger"
    for loss in ledger:
        if loss.reason in NO_LOSS:
            continue
        assert loss.reason in {"session_gap", "missed_notification"}, loss
        assert loss.first_time_us > times_us[away[0] - 1] - AWAY_TO_S * 1e6, loss
        assert loss.last_time_us < times_us[away[1] - 1] + AWAY_TO_S * 1e6, loss


async def test_a_wrong_node_faults_its_own_tag_only(line: Line) -> None:
    await line.until_healthy()
    status = await line.status()
    assert status is not None
    (source,) = status.sources
    assert (source.state, source.tags_total, source.tags_faulted) == ("up", 121, 1)
    (fault,) = source.faults
    assert (fault.tag, fault.address) == ("Nobody", NO_NODE)
    assert fault.code
    assert fault.message
