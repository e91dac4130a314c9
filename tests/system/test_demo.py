"""The demo as a user runs it: one command, real programs, an exit code that means something."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_a_timed_demo_accounts_for_every_value_at_both_ends(tmp_path):
    command = [sys.executable, "-m", "factoryplus", "demo", "--seconds", "5", "--json"]
    done = subprocess.run(
        [*command, "--dir", str(tmp_path)], capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["complete"] is True
    assert summary["lost"] == 0
    assert summary["stored"] > 100
    assert summary["read"] == summary["stored"] + summary["filtered"]
    assert summary["acknowledged"] == summary["at_hub"] == summary["stored"]
    assert summary["sent"] >= summary["stored"]


def test_the_one_command_names_its_programs():
    done = subprocess.run(
        [sys.executable, "-m", "factoryplus"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert all(name in done.stdout for name in ("gateway", "central", "plant", "demo"))


def test_a_bad_configuration_is_refused_whole_with_every_path(tmp_path):
    document = tmp_path / "bad.yaml"
    document.write_text(
        "gatewy: {id: a}\n"
        "sparkplug: {group: 'Plant/1', node: N, broker: {url: 'mqtt://127.0.0.1:1883'}}\n"
        "sources:\n"
        "  - {name: s, kind: opcua, endpoint: 'opc.tcp://127.0.0.1:1',\n"
        "     security: {policy: 'None', mode: 'None', allow_insecure: true},\n"
        "     groups: [{name: fast}],\n"
        "     tags: [{node: 'ns=2;s=X', group: fast}, {node: 'nsu=u;s=Y', group: slow}]}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "factoryplus", "gateway", "check", "--config", str(document)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    for path in (
        "gatewy",
        "sparkplug.group",
        "sources[0].tags[0].node",
        "sources[0].tags[1].group",
    ):
        assert path in done.stderr
