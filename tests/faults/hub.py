"""The hub as a real process, and what a signed-in person reads from it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np

from bench.counting import Ints
from bench.processes import FACTORYPLUS, Child
from gateway.fleet.enrol import enrol
from plant.ports import free_port
from runtime.tls import client_context

PASSWORD = "a good long password"
_TAG = re.compile(r"(?:^|/)T(\d{5,})$")
_READS_AT_ONCE = 4


class Hub(Child):
    """`factoryplus central run` on a port that it keeps over restarts."""

    def __init__(self, directory: Path) -> None:
        self.data_dir = directory / "hub-data"
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        options = ["--data-dir", str(self.data_dir), "--http", f"127.0.0.1:{self.port}"]
        super().__init__("hub", [*FACTORYPLUS, "central", "run", *options], directory)

    async def start(self) -> None:
        await super().start()

        async def listens() -> bool:
            return any(line.startswith("hub listening on") for line in self.output_lines())

        await self.wait_until(listens, "listening hub")

    async def admin_code(self) -> str:
        async def is_printed() -> bool:
            return bool(self._admin_codes())

        await self.wait_until(is_printed, "one-time code", 10)
        return self._admin_codes()[0]

    def _admin_codes(self) -> list[str]:
        mark = "admin one-time code: "
        return [line.removeprefix(mark) for line in self.output_lines() if line.startswith(mark)]


class HubReader:
    """A signed-in person's view of one hub."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._tags: dict[str, dict[int, int]] = {}

    async def get(self, path: str, **query: object) -> Any:
        params = {name: str(value) for name, value in query.items()}
        answer = await self._client.get(path, params=params)
        assert answer.status_code == 200, f"GET {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    async def enrol(self, data_dir: Path, name: str) -> str:
        """Make a gateway's data directory, which exists, a member; return its id at the hub."""
        answer = await self._client.post("/api/enrolment-codes", json={"name": name})
        assert answer.status_code == 201, answer.text
        return (await enrol(answer.json()["code"], data_dir, name)).gateway_id

    async def completeness(self, gateway: str) -> dict[str, Any]:
        report: dict[str, Any] = await self.get(f"/api/gateways/{gateway}/completeness")
        return report

    async def holds(self, gateway: str, epoch: str, sequence: int) -> bool:
        """Say whether the hub has every row of a journal up to one, or knows why not."""
        report = await self.completeness(gateway)
        return any(e["epoch"] == epoch and e["complete_to"] >= sequence for e in report["epochs"])

    async def counters(self, gateway: str, from_us: int, to_us: int) -> dict[int, Ints]:
        """Return what each load tag counted between two moments (both included), as stored."""
        found: dict[int, Ints] = {}
        limiter = anyio.CapacityLimiter(_READS_AT_ONCE)

        async def read(number: int, tag: int) -> None:
            async with limiter:
                answer = await self.get(
                    "/api/timeseries/raw",
                    gateway=gateway,
                    tag=tag,
                    start=from_us / 1000,
                    end=(to_us + 1) / 1000,
                    limit=100_000,
                )
            assert not answer["is_cut"]
            found[number] = np.array([int(v) for v in answer["value"]], np.int64)

        async with anyio.create_task_group() as tasks:
            for number, tag in (await self._load_tags(gateway)).items():
                tasks.start_soon(read, number, tag)
        return found

    async def _load_tags(self, gateway: str) -> dict[int, int]:
        """Return the hub's tag ids by load tag number."""
        if not self._tags.get(gateway):
            answer = await self.get(f"/api/gateways/{gateway}/tags", limit=1000)
            assert answer["total"] <= 1000, "page, or take fewer tags"
            named = [(_TAG.search(t["tag"]["name"]), t["tag"]["id"]) for t in answer["tags"]]
            self._tags[gateway] = {int(m[1]): tag for m, tag in named if m is not None}
        return self._tags[gateway]


@contextlib.asynccontextmanager
async def signed_in(hub: Hub) -> AsyncIterator[HubReader]:
    """Claim a fresh hub with its one-time code."""
    code = await hub.admin_code()
    context = client_context((hub.data_dir / "ca" / "ca.pem").read_text())
    async with httpx.AsyncClient(
        base_url=hub.url, verify=context, timeout=30, trust_env=False
    ) as client:
        claim = {"code": code, "name": "ada", "password": PASSWORD}
        answer = await client.post("/api/session/claim", json=claim)
        assert answer.status_code == 201, answer.text
        yield HubReader(client)
