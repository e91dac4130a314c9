"""The disk of the journal is full: said loudly, bounded, ledgered, and over when there is room."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest

from bench.rig import Load
from contract.upload import NO_LOSS
from gateway.web.views import GatewayStatus
from tests.faults.figures import Figures
from tests.faults.line import POLL_S, Line, LineOptions, open_line

DISK_BYTES = 24_000_000
RSS_GROWTH_MB_MAX = 80
FULL_S = 6.0
ROWS_BEFORE = 20
BD_SEQ = "the bdSeq cannot be kept"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path)]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk needs the right to mount: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(disk: Path) -> Path:
    """Take all the room there is."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert os.statvfs(disk).f_bavail == 0
    return ballast


@contextlib.asynccontextmanager
async def line_on(disk: Path, directory: Path, *, is_broker_late: bool) -> AsyncIterator[Line]:
    options = LineOptions(
        load=Load(tags=1000, queue_size=20),
        data_dir=disk / "gateway",
        is_broker_late=is_broker_late,
    )
    async with open_line(directory, options) as line:
        yield line


def _cannot_write(status: GatewayStatus) -> bool:
    return (
        status.strip.buffer.state == "Fault" and "cannot be written" in status.strip.buffer.reason
    )


@pytest.mark.slow
async def test_a_full_disk_is_said_loudly_and_got_over(
    small_disk: Path, tmp_path: Path, figures: Figures
) -> None:
    async with line_on(small_disk, tmp_path, is_broker_late=False) as line:
        first = await line.settle() + 1
        rss_mb = line.gateway.rss_peak_bytes() / 2**20
        ballast = fill(small_disk)
        noticed_s = await line.until("the buffer cell says so", _cannot_write)
        # without a broker the sink tries again and again, and each time wants a durable bdSeq
        await line.broker.stop()
        await _keep_full(line, small_disk)
        status = await line.status()
        assert status is not None
        held = status.counters.in_flight
        figures(f"noticed after {noticed_s:.1f} s; {held} values held back in memory")
        assert line.gateway.rss_peak_bytes() / 2**20 - rss_mb < RSS_GROWTH_MB_MAX
        ballast.unlink()
        await line.broker.start()
        recovered_s = await line.until_healthy()
        last = await line.settle()
        (finding,) = await line.prove(first, last)
        status = await line.status()
        assert status is not None
        assert status.journal.write_errors > 0
        counters = status.counters
        assert counters.read == (
            counters.stored + counters.filtered + counters.dropped + counters.in_flight
        )
        figures(f"{finding}; healthy {recovered_s:.1f} s after there was room")


async def _keep_full(line: Line, disk: Path) -> None:
    """Keep the disk full for a while, and until the sink has said what it lacks.

    What the gateway frees is taken again. The pages have to answer all the time.
    """
    reasons: set[str] = set()
    began_s = time.monotonic()
    while time.monotonic() - began_s < FULL_S or not any(BD_SEQ in r for r in reasons):
        assert time.monotonic() - began_s < 4 * FULL_S, reasons
        fill(disk)
        status = await line.status()
        assert status is not None, "the pages have to answer"
        reasons.add(status.sinks["sparkplug"].reason)
        await anyio.sleep(POLL_S)


@pytest.mark.slow
async def test_with_nobody_to_take_it_the_oldest_goes_into_the_ledger(
    small_disk: Path, tmp_path: Path, figures: Figures
) -> None:
    async with line_on(small_disk, tmp_path, is_broker_late=True) as line:
        first = line.scans_count() + 1
        await line.until("rows wait", lambda s: s.sinks["sparkplug"].backlog_rows > ROWS_BEFORE)
        ballast = fill(small_disk)
        await line.until("the buffer cell says so", _cannot_write)
        # what the gateway itself gives up is its own again
        await line.until("it writes again", lambda s: s.journal.last_error == "")
        dropping = await line.status()
        assert dropping is not None
        await line.broker.start()
        ballast.unlink()
        recovered_s = await line.until_healthy()
        last = await line.settle()
        (finding,) = await line.prove(first, last)
        ledger = line.ledger()
        reasons = {loss.reason for loss in ledger} - NO_LOSS
        assert reasons <= {"journal_full", "server_overflow"}, ledger
        figures(f"{finding}; healthy {recovered_s:.1f} s after there was room")


async def test_a_gateway_that_starts_on_a_full_disk_runs_and_says_so(
    small_disk: Path, tmp_path: Path, figures: Figures
) -> None:
    async with line_on(small_disk, tmp_path, is_broker_late=False) as line:
        first = await line.settle() + 1
        await line.gateway.kill()
        ballast = fill(small_disk)
        await line.gateway.start()
        await line.until("the buffer cell says so", _cannot_write)
        ballast.unlink()
        recovered_s = await line.until_healthy()
        (finding,) = await line.prove(first, await line.settle())
        figures(f"{finding}; healthy {recovered_s:.1f} s after there was room")
