"""Worlds for fault tests.

Every directory lies below pytest's base temporary directory, which is kept for the last three runs:
logs, data and recordings of a failed test are there. The seed is in the figures at the end.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bench.rig import Load
from tests.faults.figures import TAKEN_DOWN, Figures
from tests.faults.hub import Hub, HubReader, signed_in
from tests.faults.line import Line, LineOptions, open_line

NO_NODE = "nsu=urn:example:plant;s=Nobody.Home"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The processes of a line outlive one test: one loop for all of them."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def quick_starts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let the processes keep compiled modules: some machines forbid it, and starts take 4 s then.

    The hub shows what it has soon, so that a test need not wait for it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("compiled")))
        patch.setenv("FACTORYPLUS_CENTRAL_LINGER_S", "0.1")
        patch.setenv("FACTORYPLUS_CENTRAL_FLUSH_INTERVAL_S", "2")
        yield


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Takes down what a test measured; shown at the end of the run, with FAULTS_SEED."""
    return Figures(request.node.name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TAKEN_DOWN:
        terminalreporter.section("faults: figures")
        for line in TAKEN_DOWN:
            terminalreporter.write_line(line)


@pytest.fixture
def seed(figures: Figures) -> int:
    """The seed of a test's random moments: FAULTS_SEED repeats a run."""
    chosen = int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randrange(10**6))
    figures(f"FAULTS_SEED={chosen}")
    return chosen


@pytest.fixture(scope="session")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    hub = Hub(tmp_path_factory.mktemp("hub"))
    await hub.start()
    yield hub
    await hub.stop()


@pytest.fixture(scope="session")
async def reader(hub: Hub) -> AsyncIterator[HubReader]:
    async with signed_in(hub) as reader:
        yield reader


@pytest.fixture(scope="session")
async def line(reader: HubReader, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Line]:
    """One line for all faults that leave it as it was; one of its tags has no node."""
    directory = tmp_path_factory.mktemp("line")
    options = LineOptions(
        load=Load(tags=120, queue_size=50),
        reader=reader,
        tags=[{"name": "Nobody", "node": NO_NODE, "group": "fast", "device": "Load"}],
        more={"sparkplug": {"group": "Faults", "node": "Shared"}},
    )
    async with open_line(directory, options) as line:
        yield line
