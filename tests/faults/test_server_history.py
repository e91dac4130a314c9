"""An OPC UA server that is killed under load: what is missing, what its history fills, who says so.

A node-opcua server counts, each scan into a file before it tells anybody; of half of its variables
it keeps that as history over its death. The gateway and the hub are real processes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from bench.processes import Gateway
from contract.upload import NO_LOSS, Loss
from gateway.journal.ledger_file import read_ledger
from tests.faults.hub import HubReader
from tests.gateway.sources.node_plant import NodePlant, node_plant

pytestmark = pytest.mark.slow

TAGS, HISTORIZED = 8, 4
PERIOD_MS = 50
DEADLINE_S = 60
Sample = tuple[int, float]


class Counted:
    """What the server counted: all that could have been read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def scans(self) -> list[list[Any]]:
        """Every scan: [ms since 1970, [name, value], ...]; a line cut by a kill told nobody."""
        return [json.loads(line) for line in self.path.read_text().split("\n")[:-1]]

    def samples(self, name: str, from_ms: int, to_ms: int) -> set[Sample]:
        scans = [scan for scan in self.scans() if from_ms <= scan[0] <= to_ms]
        return {(scan[0], dict(scan[1:])[name]) for scan in scans}


def document(plant: NodePlant) -> dict[str, object]:
    source = {
        "name": "killed",
        "kind": "opcua",
        "endpoint": plant.endpoint,
        "security": {"policy": "None", "mode": "None", "allow_insecure": True},
        "groups": [
            {
                "name": "g",
                # each change: with sampling, two scans within one interval are one to the server
                "sampling_interval_ms": 0,
                "publishing_interval_ms": 200,
                "queue_size": 100,
            }
        ],
        "rules": [{"below": f"nsu={plant.namespace};s=Plant", "group": "g"}],
    }
    return {"gateway": {"id": "history"}, "hub": {"enabled": True}, "sources": [source]}


async def until(what: str, holds: Callable[[], bool]) -> None:
    with anyio.move_on_after(DEADLINE_S):
        while not holds():  # noqa: ASYNC110 - files of other processes
            await anyio.sleep(0.1)
        return
    raise AssertionError(f"not within {DEADLINE_S} s: {what}")


def is_named(ledger: list[Loss], tag: int, time_us: int) -> bool:
    """Say whether an entry that is not closed for a tag names a moment."""
    closed = {loss.closes for loss in ledger if loss.closes and loss.tag in {None, tag}}
    return any(
        loss.first_time_us <= time_us <= loss.last_time_us
        for loss in ledger
        if loss.tag in {None, tag} and loss.id not in closed and loss.reason not in NO_LOSS
    )


async def hub_samples(
    reader: HubReader, gateway: str, range_ms: tuple[int, int]
) -> tuple[dict[str, list[Sample]], dict[str, str]]:
    """Return what the hub holds of each tag, and its word on how complete that is."""
    answer = await reader.get(f"/api/gateways/{gateway}/tags", limit=100)
    found, words = {}, {}
    for listed in answer["tags"]:
        name = listed["tag"]["name"]
        raw = await reader.get(
            "/api/timeseries/raw",
            gateway=gateway,
            tag=listed["tag"]["id"],
            start=range_ms[0],
            end=range_ms[1] + 1,
            limit=100_000,
        )
        found[name] = list(zip(map(int, raw["time_ms"]), raw["value"], strict=True))
        words[name] = raw["completeness"]["word"]
    return found, words


async def test_killed_under_load_history_fills_its_tags_and_ledger_and_hub_agree_on_the_others(
    reader: HubReader, tmp_path: Path
) -> None:
    counted = Counted(tmp_path / "counted")
    options: dict[str, Any] = {"variables": TAGS, "period_ms": PERIOD_MS, "history": HISTORIZED}
    options["history_file"] = str(counted.path)

    def ledger() -> list[Loss]:
        return read_ledger(gateway.data_dir / "journal", 1000)

    async with node_plant(tmp_path / "plant", **options) as plant:
        gateway = Gateway(tmp_path, document(plant))
        identity = await reader.enrol(gateway.data_dir, "history")
        await gateway.start()
        with anyio.fail_after(DEADLINE_S):
            while not (await gateway.status()).journal.samples:  # noqa: ASYNC110 - another process
                await anyio.sleep(0.1)
        begun = len(counted.scans())  # it reads: from here on everything is due
        await until("a second of counting", lambda: len(counted.scans()) > begun + 20)
        await plant.kill()
    killed_ms = counted.scans()[-1][0]
    try:
        async with node_plant(tmp_path / "plant", port=plant.port, **options):
            gaps: set[int] = set()

            def is_filled() -> bool:
                entries = ledger()
                gaps.update(loss.id for loss in entries if loss.reason == "session_gap")
                closed = {(loss.closes, loss.tag) for loss in entries if loss.closes}
                return bool(gaps) and len(closed) == HISTORIZED * len(gaps)

            await until("every gap filled for every tag with history", is_filled)
            last_ms = counted.scans()[-1][0]
            await until("counting on", lambda: counted.scans()[-1][0] > last_ms + 20 * PERIOD_MS)
        entries = ledger()
        range_ms = (counted.scans()[begun][0], last_ms)
        await _agree(reader, identity, entries)
        found, words = await hub_samples(reader, identity, range_ms)
    finally:
        await gateway.kill()
    missing_count = 0
    for tag in range(TAGS):
        name = f"V{tag}"
        due = counted.samples(name, *range_ms)
        held = [sample for sample in found[name] if sample in due]
        assert len(held) == len(set(held)), f"{name}: twice"
        missing = due - set(held)
        if tag < HISTORIZED:
            assert (missing, words[name]) == (set(), "complete"), name
        else:
            unnamed = [m for m in missing if not is_named(entries, tag, m[0] * 1000)]
            assert (unnamed, words[name]) == ([], "incomplete"), name
            missing_count += len(missing)
    assert killed_ms < last_ms
    # a kill takes what waits in the server's queues: of some tag, some value
    assert missing_count > 0


async def _agree(reader: HubReader, identity: str, entries: list[Loss]) -> None:
    """The hub's ledger is the gateway's, and it holds every row."""
    ours = sorted((e.id, e.reason, e.closes, e.count, e.first_time_us) for e in entries)
    with anyio.fail_after(DEADLINE_S):
        while True:
            answer = await reader.get(f"/api/gateways/{identity}/losses", limit=1000)
            theirs = sorted(
                (e["id"], e["reason"], e["closes"], e["count"], e["first_time_us"])
                for e in answer["losses"]
            )
            report = (await reader.completeness(identity))["epochs"][0]
            if theirs == ours and report["contiguous_to"] == report["head"]:
                break
            await anyio.sleep(0.2)
    assert report["holes"] == []
    assert report["is_chain_verified"] is True
