"""Bad configurations: every fault is named with its path, and nothing starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import msgspec

from bench.processes import FACTORYPLUS
from bench.rig import Load, gateway_document

BELOW = "nsu=urn:example:plant;s=Load"


def good_document() -> dict[str, Any]:
    return gateway_document(Load(), "opc.tcp://127.0.0.1:4840", "mqtt://127.0.0.1:1883")


def bad_document() -> dict[str, Any]:
    document = good_document()
    document["sparkplug"]["node"] = "Press+Shop"
    document["journal"] = {"comit_interval_ms": 200}
    tag = {"name": "Press/Temperature", "group": "fast", "device": "Press"}
    document["sources"][0]["tags"] = [
        tag | {"node": f"{BELOW}.A"},
        tag | {"node": f"{BELOW}.B"},
        {"name": "Wrong", "node": "Press.Temperature", "group": "fast"},
        {"name": "Lost", "node": f"{BELOW}.C", "group": "slow"},
    ]
    return document


EXPECTED = (
    "sparkplug.node",
    "journal.comit_interval_ms",
    "sources[0].tags[1]",
    "sources[0].tags[2].node",
    "sources[0].tags[3].group",
)


async def _run(*arguments: str) -> tuple[int, str, str]:
    done = await anyio.run_process([*FACTORYPLUS, "gateway", *arguments], check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def test_check_names_every_fault_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(msgspec.json.encode(bad_document()))
    code, _, told = await _run("check", "--config", str(path))
    assert code != 0
    for where in EXPECTED:
        assert any(line.startswith(where) for line in told.splitlines()), f"{where} not in:\n{told}"
    assert "Traceback" not in told


async def test_a_bad_config_starts_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(msgspec.json.encode(bad_document()))
    data_dir = tmp_path / "data"
    arguments = ("--data-dir", str(data_dir), "--config", str(path), "--http", "127.0.0.1:0")
    code, _, told = await _run("run", *arguments)
    assert code == 1
    assert all(where in told for where in EXPECTED), told
    assert "nothing was started" in told
    assert "Traceback" not in told
    assert not (data_dir / "config-kept").exists()
    assert not (data_dir / "journal").exists()


async def test_check_accepts_a_good_config(tmp_path: Path) -> None:
    path = tmp_path / "good.json"
    path.write_bytes(msgspec.json.encode(good_document()))
    assert (await _run("check", "--config", str(path)))[0] == 0
