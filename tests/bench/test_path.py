"""`bench path` and `bench outage` with a stand-in gateway whose faults are known."""

import sys
from pathlib import Path

import pytest

from bench.outage import Outage, run_outage
from bench.path import run_path
from bench.rig import Load

STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in_gateway.py")))
TAGS = 5


@pytest.mark.slow
@pytest.mark.broker
async def test_the_bench_finds_exactly_what_a_gateway_loses_repeats_and_swaps(tmp_path):
    load = Load(tags=TAGS, period_ms=100, publishing_ms=50)
    figures = await run_path(load, tmp_path, seconds=2, warmup_s=0.5, program=STAND_IN)
    assert (figures["lost"], figures["duplicated"], figures["reordered"]) == (1, 1, 1)
    assert figures["offered"] >= 18 * TAGS
    assert figures["tags_unseen"] == 0
    assert figures["drained"] is True
    assert 0 < figures["latency_p50_ms"] < 1000
    assert figures["journal_bytes_per_value"] == 5


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.parametrize("kill_gateway", [False, True])
async def test_losses_of_an_outage_are_explained_only_by_a_ledger_that_has_them(
    tmp_path, kill_gateway
):
    outage = Outage(before_s=1.5, outage_s=4, after_s=1, kill_gateway=kill_gateway)
    load = Load(tags=TAGS, period_ms=100, publishing_ms=50)
    figures = await run_outage(load, outage, tmp_path, program=STAND_IN)
    # 4 s of 10 values a second, but for the first and last ones
    assert figures["lost"] > 30 * TAGS
    assert figures["lost"] == figures["lost_in_ledger"] + figures["lost_unexplained"]
    assert (figures["lost_unexplained"] > TAGS) == kill_gateway
    assert figures["drained"] is True
