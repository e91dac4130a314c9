"""The scan loop writes 1, 2, 3, ... and its records agree with what was written."""

from itertools import pairwise

import anyio
import msgspec
import pytest

from plant.scans import SPACING_RATIO_MIN, ScanPlan, ScanReport, run_scans, scan_values


class StepClock:
    """A wall clock that a test sets."""

    def __init__(self):
        self.now_us = 1_000_000

    def wall_us(self):
        self.now_us += 7
        return self.now_us

    def monotonic_s(self):
        return self.now_us / 1e6

    async def sleep_s(self, seconds):
        raise NotImplementedError


class Written:
    """Records the scans, and stops the counting after `count` of them."""

    def __init__(self, count):
        self.scans = []
        self.stop = anyio.Event()
        self._count = count

    async def write(self, value, source_time_us):
        self.scans.append((value, source_time_us))
        if len(self.scans) == self._count:
            self.stop.set()


async def scan(tmp_path, count=5, **plan):
    written = Written(count)
    report = ScanReport(tags=3, start_at=plan.get("start_at", 0))
    plan = ScanPlan(
        tags=3,
        period_ms=1,
        state_file=tmp_path / "state.json",
        scan_log=tmp_path / "scans",
        **plan,
    )
    await run_scans(plan, written.write, clock=StepClock(), report=report, stop=written.stop)
    return written.scans, report


async def test_values_count_up_without_holes(tmp_path):
    scans, report = await scan(tmp_path)
    assert [value for value, _ in scans] == [1, 2, 3, 4, 5]
    assert report.scans == 5


async def test_counting_resumes_after_the_last_value_of_an_earlier_run(tmp_path):
    await scan(tmp_path)
    scans, report = await scan(tmp_path, start_at=5)
    assert [value for value, _ in scans] == [6, 7, 8, 9, 10]
    assert (report.start_at, report.scans) == (5, 5)


async def test_the_report_the_state_file_and_the_scan_log_agree(tmp_path):
    scans, report = await scan(tmp_path)
    stored = msgspec.json.decode((tmp_path / "state.json").read_bytes(), type=ScanReport)
    assert stored == report
    log = (tmp_path / "scans").read_bytes()
    logged = [int.from_bytes(log[i : i + 8], "little") for i in range(0, len(log), 8)]
    assert logged == [source_time_us for _, source_time_us in scans]
    assert (report.first_scan_us, report.last_scan_us) == (logged[0], logged[-1])


async def test_the_counting_ends_after_the_given_time(tmp_path):
    scans, _ = await scan(tmp_path, count=10_000, seconds=0.05)
    assert 1 <= len(scans) <= 60


async def test_a_failed_write_leaves_the_log_ahead_not_behind(tmp_path):
    async def fail(_value, _source_time_us):
        raise OSError("no server")

    plan = ScanPlan(tags=1, period_ms=1, scan_log=tmp_path / "scans")
    with pytest.raises(OSError, match="no server"):
        await run_scans(
            plan,
            fail,
            clock=StepClock(),
            report=ScanReport(tags=1, start_at=0),
            stop=anyio.Event(),
        )
    assert (tmp_path / "scans").stat().st_size == 8


async def test_a_late_scan_moves_the_later_ones_instead_of_crowding_them():
    began_s, stop = [], anyio.Event()

    async def slow_once(_value, _source_time_us):
        began_s.append(anyio.current_time())
        if len(began_s) == 2:
            await anyio.sleep(0.11)
        if len(began_s) == 5:
            stop.set()

    report = ScanReport(tags=1, start_at=0)
    plan = ScanPlan(tags=1, period_ms=50)
    await run_scans(plan, slow_once, clock=StepClock(), report=report, stop=stop)
    gaps_s = [after - before for before, after in pairwise(began_s)]
    assert min(gaps_s[2:]) >= SPACING_RATIO_MIN * 0.05
    assert report.late_scans >= 1


def test_noisy_values_differ_between_tags_keep_the_count_and_repeat_exactly():
    values = scan_values(41.0, 100, noisy=True)
    assert len(set(values)) > 90
    assert {int(value) for value in values} == {41}
    assert values == scan_values(41.0, 100, noisy=True)
    assert scan_values(41.0, 3, noisy=False) == [41.0] * 3
