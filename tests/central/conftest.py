from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.central.support import (
    HubProcess,
    Journal,
    Member,
    Zygote,
    enrol,
    new_code,
    sign_in,
)


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture(scope="session")
def hub(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """One hub for all tests that do not need their own."""
    directory = tmp_path_factory.mktemp("shared") / "hub"
    hub = HubProcess(zygote, directory, linger_s=0.02, flush_interval_s=0.5)
    hub.start(until_code=True)
    yield hub
    hub.stop()


@pytest.fixture(scope="session")
def admin(hub: HubProcess) -> Iterator[httpx.Client]:
    client = sign_in(hub)
    yield client
    client.close()


@pytest.fixture
def member(hub: HubProcess, admin: httpx.Client, tmp_path: Path) -> Iterator[Member]:
    """A gateway of its own for each test."""
    member = enrol(hub, tmp_path / "gateway", new_code(admin))
    yield member
    member.client.close()


@pytest.fixture
def first_member(hub: HubProcess, admin: httpx.Client, tmp_path: Path) -> Iterator[Member]:
    member = enrol(hub, tmp_path / "first", new_code(admin))
    yield member
    member.client.close()


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """uvicorn and gmqtt run on asyncio."""
    return "asyncio"
