"""Faults of the broker: away, late, frozen. Nothing is lost, and no cell is green meanwhile."""

from __future__ import annotations

import time
from pathlib import Path

import anyio
import numpy as np
import pytest

from bench.rig import Load
from tests.faults.evidence import out_of_order
from tests.faults.figures import Figures
from tests.faults.line import POLL_S, Line, LineOptions, open_line

OUTAGE_S = 10.0
FOUND_OUT_S = 15.0
FROZEN_S = 17.0
MEMORY_OUTAGE_S = 30.0
RSS_MB_MAX = 250


@pytest.mark.slow
async def test_a_broker_that_was_away_gets_the_backlog_as_history_after_the_births(
    line: Line, figures: Figures
) -> None:
    first = await line.settle() + 1
    await line.broker.stop()
    went = line.scans_count()
    waited_s = await line.until("the broker cell says so", lambda s: s.strip.broker.state != "OK")
    await anyio.sleep(max(0.0, OUTAGE_S - waited_s))
    back = line.scans_count()
    before = len(line.recording.read().values)
    births = line.recording.read().births
    await line.broker.start()
    recovered_s = await line.until_healthy()
    last = await line.settle()
    for finding in await line.prove(first, last):
        assert finding.explained == 0, str(finding)
        figures(finding)
    recording = line.recording.read()
    since = recording.values.where(np.arange(len(recording.values)) >= before)
    data = since.where(~since.from_birth)
    history = data.where(data.is_historical)
    assert recording.births > births
    assert recording.unknown_alias == 0
    assert since.from_birth[0], "births come first"
    # the outage came as history, what was written after the return came live
    assert set(range(went + 2, back - 1)) <= set(history.counter.tolist())
    assert (data.where(~data.is_historical).counter > went).all()
    assert out_of_order(since, is_historical=False) == 0
    assert out_of_order(since, is_historical=True) == 0
    figures(f"{len(history)} values as history, healthy {recovered_s:.1f} s after the return")


@pytest.mark.slow
async def test_a_broker_that_freezes_is_found_out_and_nothing_is_lost(
    line: Line, figures: Figures
) -> None:
    first = await line.settle() + 1
    frozen = line.scans_count()
    line.broker.freeze()
    # sockets stay open and the kernel takes what is sent: only the missing answer tells
    found_out_s = await line.until(
        "the broker cell is not OK", lambda s: s.strip.broker.state != "OK", FOUND_OUT_S
    )
    seen = await _states(line, FROZEN_S - found_out_s)
    assert "OK" not in seen, f"false green: {seen}"
    await line.broker.kill()
    seen = await _states(line, 1.0)
    assert "OK" not in seen, f"false green: {seen}"
    back = line.scans_count()
    await line.broker.start()
    recovered_s = await line.until_healthy()
    last = await line.settle()
    for finding in await line.prove(first, last):
        assert finding.explained == 0, str(finding)
        figures(finding)
    figures(
        f"frozen for {back - frozen} scans, found out after {found_out_s:.1f} s,"
        f" healthy {recovered_s:.1f} s after the new broker"
    )


async def _states(line: Line, seconds: float) -> set[str]:
    """Watch the broker cell for a while; return the words it showed."""
    seen: set[str] = set()
    with anyio.move_on_after(seconds):
        while True:
            status = await line.status()
            assert status is not None, "the pages have to answer during the fault"
            seen.add(status.strip.broker.state)
            await anyio.sleep(POLL_S)
    return seen


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_broker_that_comes_late_finds_all_and_memory_stays_bounded(
    tmp_path: Path, figures: Figures
) -> None:
    options = LineOptions(load=Load(tags=2000, queue_size=50), is_broker_late=True)
    async with open_line(tmp_path, options) as line:
        status = await line.status()
        assert status is not None
        assert status.strip.broker.state != "OK"
        assert status.strip.broker.reason
        first = line.scans_count() + 1
        began_s = time.monotonic()
        while time.monotonic() - began_s < MEMORY_OUTAGE_S:
            seen = await _states(line, 1.0)
            assert "OK" not in seen
        waiting = await line.status()
        await line.broker.start()
        recovered_s = await line.until_healthy()
        last = await line.settle()
        (finding,) = await line.prove(first, last)
        rss_mb = line.gateway.rss_peak_bytes() / 2**20
        assert waiting is not None
        figures(f"{finding}; {waiting.sinks['sparkplug'].backlog_samples} waited")
        figures(f"rss peak {rss_mb:.0f} MB; healthy {recovered_s:.1f} s after the broker came")
        assert finding.explained == 0
        assert rss_mb < RSS_MB_MAX
