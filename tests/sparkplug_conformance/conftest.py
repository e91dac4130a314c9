"""The recorded stream that the rules are judged over, and the matrix of what was judged."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from runtime.clock import SystemClock
from tests.central.support import Zygote
from tests.sparkplug_conformance import matrix
from tests.sparkplug_conformance.hub_scene import HubScene, open_hub_scene
from tests.sparkplug_conformance.hub_scene import play as play_hub
from tests.sparkplug_conformance.scenario import Scene, open_scene, play
from tests.sparkplug_conformance.stream import save


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The scene outlives one test: one loop for all of them."""
    return "asyncio"


@pytest.fixture(scope="session")
def quick_starts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let the processes keep compiled modules: where they may not, starts take 4 s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("compiled")))
        yield


@pytest.fixture(scope="session")
async def scene(
    anyio_backend: str,  # noqa: ARG001 - asked for by name: tests that are not async can use it
    quick_starts: None,  # noqa: ARG001 - it has to be there first
    tmp_path_factory: pytest.TempPathFactory,
) -> Scene:
    """The gateway's way through the scenario; the stream is kept beside the logs."""
    directory = tmp_path_factory.mktemp("scenario")
    async with open_scene(directory) as (scene, url):
        try:
            await play(scene, url)
        finally:
            save(scene.events, directory / "stream.jsonl")
    return scene


@pytest.fixture(scope="session")
async def hub_scene(
    anyio_backend: str,  # noqa: ARG001 - as above
    quick_starts: None,  # noqa: ARG001 - as above
    zygote: Zygote,
    tmp_path_factory: pytest.TempPathFactory,
) -> HubScene:
    """The hub as host application, after its way through the scene."""
    directory = tmp_path_factory.mktemp("hub-scene")
    async with open_hub_scene(zygote, directory) as scene:
        try:
            await play_hub(scene)
        finally:
            save(scene.events, directory / "stream.jsonl")
    return scene


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


# --- `make conformance`: the page, from the outcomes of this very run -----------------------------


class Outcomes:
    """A plugin of its own: a conftest is told only of the tests below its folder."""

    def __init__(self) -> None:
        self._outcomes: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take down what became of each test: of its set-up too, when that fails."""
        if report.when == "call" or report.outcome != "passed":
            self._outcomes[report.nodeid] = report.outcome

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if exitstatus not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
            return  # it was broken off
        tests = matrix.marked_tests()
        commit = ["git", "describe", "--always", "--dirty", "--exclude=*"]
        done = subprocess.run(commit, capture_output=True, text=True, check=True, cwd=matrix.HERE)
        day = datetime.fromtimestamp(SystemClock().wall_us() / 1e6, UTC).date()
        run = f"Run of {day}, commit {done.stdout.strip()}."
        text = matrix.page(tests, matrix.results_of(self._outcomes, tests), run)
        matrix.PAGE.write_text(text, encoding="utf-8")


def pytest_collection_modifyitems(config: pytest.Config) -> None:
    if os.environ.get("CONFORMANCE_PAGE") and not config.option.collectonly:
        config.pluginmanager.register(Outcomes(), "sparkplug-outcomes")
