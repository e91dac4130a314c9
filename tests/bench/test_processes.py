"""Processes of the harness start, end and fail loudly; none is left behind."""

import signal
import subprocess
import sys

import anyio
import psutil
import pytest

from bench.processes import Broker, Child, ChildDiedError, HarnessError, NotReadyError, running

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
IGNORE_TERM = "import signal as s, time; s.signal(s.SIGTERM, s.SIG_IGN); "
STUBBORN = [sys.executable, "-c", IGNORE_TERM + "print('up', flush=True); time.sleep(60)"]


async def never():
    return False


async def test_a_child_that_dies_is_reported_with_the_end_of_its_log(tmp_path):
    child = Child("failing", [sys.executable, "-c", "raise SystemExit('no disk')"], tmp_path)
    async with running(child):
        with pytest.raises(ChildDiedError, match=r"before data .*exit code 1(.|\n)*no disk"):
            await child.wait_until(never, "data")


async def test_a_child_that_does_not_answer_is_reported_in_time(tmp_path):
    child = Child("silent", SLEEPER, tmp_path)
    async with running(child):
        with pytest.raises(NotReadyError, match=r"silent: no data within 0 s"):
            await child.wait_until(never, "data", 0.1)


async def test_a_child_is_ended_by_its_context_and_can_be_started_again(tmp_path):
    child = Child("sleeper", SLEEPER, tmp_path)
    for _ in range(2):
        async with running(child):
            assert await child.wait_for_line("line") == "up"
            pid = child.pid
            with pytest.raises(HarnessError, match="runs already"):
                await child.start()
        assert not psutil.pid_exists(pid)
    assert child.output_lines() == ["up"]


async def test_a_child_that_ignores_the_request_to_end_is_killed(tmp_path):
    child = Child("stubborn", STUBBORN, tmp_path)
    await child.start()
    await child.wait_for_line("line")
    assert await child.stop(deadline_s=0.2) == -signal.SIGKILL


async def test_a_frozen_child_can_be_ended(tmp_path):
    child = Child("frozen", SLEEPER, tmp_path)
    await child.start()
    await child.wait_for_line("line")
    child.freeze()
    assert await child.stop() == -signal.SIGTERM


async def test_cpu_and_memory_of_a_busy_child_are_measured(tmp_path):
    work = "import time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\n"
    child = Child("busy", [sys.executable, "-c", work + "time.sleep(60)"], tmp_path)
    async with running(child):
        await child.wait_for_line("line")
        assert 0.2 < child.cpu_s() < 2
        assert 2**20 < child.rss_peak_bytes() < 2**30


@pytest.mark.slow
async def test_children_die_with_a_harness_that_is_killed(tmp_path):
    program = (
        "import anyio, sys\n"
        "from pathlib import Path\n"
        "from bench.processes import Child\n"
        "async def main():\n"
        "    child = Child('orphan', [sys.executable, '-c', 'import time; time.sleep(60)'],"
        f" Path({str(tmp_path)!r}))\n"
        "    await child.start()\n"
        "    print(child.pid, flush=True)\n"
        "    await anyio.sleep(60)\n"
        "anyio.run(main)\n"
    )
    harness = await anyio.open_process([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert harness.stdout is not None
    orphan = psutil.Process(int(await harness.stdout.receive()))
    harness.kill()
    await harness.wait()
    await harness.aclose()
    await anyio.to_thread.run_sync(lambda: psutil.wait_procs([orphan], timeout=10))
    assert not orphan.is_running()


@pytest.mark.broker
async def test_a_broker_accepts_connections_when_its_start_returns(tmp_path):
    broker = Broker(tmp_path)
    async with running(broker):
        stream = await anyio.connect_tcp("127.0.0.1", broker.port)
        await stream.aclose()
        pid = broker.pid
    assert not psutil.pid_exists(pid)
