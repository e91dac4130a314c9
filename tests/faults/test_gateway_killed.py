"""kill -9 of the gateway at random moments: nothing it read is lost or doubled."""

from __future__ import annotations

import random
from pathlib import Path

import anyio
import msgspec
import pytest

from bench.processes import FACTORYPLUS, Child
from bench.rig import Load
from contract.upload import NO_LOSS, Loss
from tests.faults.figures import Figures
from tests.faults.hub import HubReader
from tests.faults.line import Line, LineOptions, open_line, restart

KILLS = 20
QUEUE_SIZE = 8


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_twenty_kills_lose_nothing_and_double_nothing(
    reader: HubReader, seed: int, tmp_path: Path, figures: Figures
) -> None:
    random_moments = random.Random(seed)  # noqa: S311 - repeatable moments
    # the server holds 10 s for each tag: longer than a restart, so a takeover need lose nothing
    options = LineOptions(load=Load(tags=120, queue_size=100), reader=reader)
    async with open_line(tmp_path, options) as line:
        first = await line.settle() + 1
        status = await line.status()
        assert status is not None
        epoch = status.journal.epoch
        away: list[tuple[int, int]] = []
        for number in range(KILLS):
            await anyio.sleep(random_moments.uniform(0.2, 1.5))
            killed = line.scans_count()
            await line.gateway.kill()
            if number % 5 == 4:
                # one in five dies again while it starts
                await Child.start(line.gateway)
                await anyio.sleep(random_moments.uniform(0.2, 1.5))
                await line.gateway.kill()
            await restart(line)
            away.append((killed, line.scans_count()))
        await line.until_healthy()
        last = await line.settle()
        status = await line.status()
        assert status is not None
        assert status.journal.epoch == epoch
        for finding in await line.prove(first, last):
            figures(finding)
        scans = [back - killed for killed, back in away]
        figures(f"away for {min(scans)} to {max(scans)} scans; {len(line.ledger())} ledger entries")


async def _start_second(line: Line, *more: str) -> tuple[int | None, str]:
    """Run a gateway on the line's data directory; return its exit code and what it said."""
    command = [*FACTORYPLUS, "gateway", "run", "--http", "127.0.0.1:0"]
    with anyio.fail_after(30):
        done = await anyio.run_process(
            [*command, "--data-dir", str(line.gateway.data_dir), *more], check=False
        )
    return done.returncode, done.stderr.decode()


async def test_a_second_gateway_on_the_same_data_is_refused(line: Line) -> None:
    first = await line.settle() + 1
    code, told = await _start_second(line)
    assert code == 1, told
    assert f"another process (pid {line.gateway.pid}) uses this data directory" in told
    assert "Traceback" not in told
    # the first one never noticed
    await line.until_healthy()
    for finding in await line.prove(first, await line.settle()):
        assert finding.explained == 0


async def test_a_refused_gateway_leaves_the_kept_configuration(line: Line, tmp_path: Path) -> None:
    kept = line.gateway.data_dir / "config-kept"
    before = kept.read_bytes()
    other = tmp_path / "other.json"
    other.write_bytes(msgspec.json.encode({"gateway": {"id": "intruder"}}))
    code, told = await _start_second(line, "--config", str(other))
    try:
        assert code == 1, told
        assert kept.read_bytes() == before
    finally:
        kept.write_bytes(before)


async def test_a_killed_gateway_leaves_no_lock_behind(line: Line, figures: Figures) -> None:
    await line.gateway.kill()
    # at once: the lock goes with the process, run.json of the dead one does not matter
    took_s = await restart(line)
    await line.until_healthy()
    figures(f"reads again {took_s:.1f} s after the kill")


@pytest.mark.slow
async def test_what_the_server_discarded_meanwhile_is_in_the_ledger(
    tmp_path: Path, figures: Figures
) -> None:
    options = LineOptions(load=Load(tags=120, queue_size=QUEUE_SIZE))
    async with open_line(tmp_path, options) as line:
        first = await line.settle() + 1
        killed = line.scans_count()
        await line.gateway.kill()
        # the server holds QUEUE_SIZE values of each tag, and writes over the oldest
        await line.until_written(killed + 4 * QUEUE_SIZE)
        await restart(line)
        back = line.scans_count()
        await line.until_healthy()
        (finding,) = await line.prove(first, await line.settle())
        ledger = line.ledger()
        figures(f"{finding}; {len(ledger)} entries")
        assert finding.explained >= line.load.tags * 2 * QUEUE_SIZE
        assert await _listed(line) == ledger
        times_us = line.scans(1, 1).times_us
        for loss in (entry for entry in ledger if entry.reason not in NO_LOSS):
            assert loss.reason in {"server_overflow", "session_gap"}
            assert loss.first_time_us >= times_us[killed - 5]
            assert loss.last_time_us <= times_us[back - 1]


async def _listed(line: Line) -> list[Loss]:
    """Return the ledger as the command line gives it while the gateway runs."""
    command = [*FACTORYPLUS, "gateway", "losses", "--json", "--limit", "100000"]
    done = await anyio.run_process([*command, "--data-dir", str(line.gateway.data_dir)])
    return msgspec.json.decode(done.stdout, type=list[Loss])
