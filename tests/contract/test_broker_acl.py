"""The access list says what is meant, or is refused; the shipped one is current."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from contract.broker_acl import host_entry, mosquitto_acl, node_entry
from contract.errors import AclError
from plant.ports import free_port

SHIPPED = Path(__file__).parents[2] / "firmware-configs" / "mosquitto"
COMMAND = [sys.executable, "-m", "factoryplus", "gateway", "broker-acl"]


def run(*words):
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, check=False)


def test_the_shipped_list_is_what_the_command_makes_of_the_shipped_documents():
    gateways = [SHIPPED / "press-shop.yaml", SHIPPED / "oven-hall.yaml"]
    done = run(*gateways, "--host", "scada", "--host", "factoryplus-hub=hub")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (SHIPPED / "acl").read_text(encoding="utf-8")


def test_the_shipped_configuration_starts_a_broker_that_lets_nobody_in_unknown(tmp_path):
    text = (SHIPPED / "mosquitto.conf").read_text(encoding="utf-8")
    assert re.search(r"^allow_anonymous false$", text, re.MULTILINE)
    (tmp_path / "passwords").touch()
    (tmp_path / "acl").write_bytes((SHIPPED / "acl").read_bytes())
    text = text.replace("/etc/mosquitto/", f"{tmp_path}/").replace(
        "/var/lib/mosquitto", f"{tmp_path}"
    )
    text = text.replace("listener 1883", f"listener {free_port()} 127.0.0.1")
    (tmp_path / "mosquitto.conf").write_text(f"{text}\nuser root\n")
    with subprocess.Popen(
        ["/usr/sbin/mosquitto", "-c", str(tmp_path / "mosquitto.conf")],
        stderr=subprocess.PIPE,
        text=True,
    ) as broker:
        try:
            said = ""
            for line in broker.stderr:  # to its end, when the broker does not start
                said += line
                if " running" in line:
                    break
        finally:
            broker.kill()
    assert " running" in said, said


@pytest.mark.sparkplug(
    "tck-id-intro-edge-node-id-uniqueness",
    "tck-id-topic-structure-namespace-unique-edge-node-descriptor",
    "tck-id-payloads-nbirth-edge-node-descriptor",
)
def test_two_gateways_of_one_broker_cannot_have_one_descriptor():
    entries = [node_entry("a", "G", "N"), node_entry("b", "G", "N")]
    with pytest.raises(AclError, match="node G/N stands in the list twice"):
        mosquitto_acl(entries)
    mosquitto_acl([node_entry("a", "G", "N"), node_entry("b", "H", "N")])


@pytest.mark.sparkplug("tck-id-case-sensitivity-sparkplug-ids")
def test_descriptors_that_differ_only_in_case_are_refused():
    with pytest.raises(AclError, match="node g/n stands in the list twice, also as node G/N"):
        mosquitto_acl([node_entry("a", "G", "N"), node_entry("b", "g", "n")])


@pytest.mark.sparkplug("tck-id-operational-behavior-host-application-host-id")
def test_two_hosts_of_one_broker_cannot_have_one_id():
    with pytest.raises(AclError, match="host H stands in the list twice"):
        mosquitto_acl([host_entry("a", "H"), host_entry("b", "H")])


def test_two_nodes_cannot_share_a_user_but_a_host_may_be_a_node_too():
    host = host_entry("a", "X")
    with pytest.raises(AclError, match="one user"):
        mosquitto_acl([host, node_entry("a", "G", "N"), node_entry("a", "G", "M")])
    mosquitto_acl([node_entry("a", "G", "N"), host_entry("a", "H")])


@pytest.mark.parametrize("bad", ["", " a", "a ", "a\nuser b", "a\0", "+", "#", "G/#"])
def test_a_name_that_would_widen_a_rule_or_begin_another_is_refused(bad):
    for make in (
        lambda: node_entry(bad, "G", "N"),
        lambda: node_entry("u", bad, "N"),
        lambda: node_entry("u", "G", bad),
        lambda: node_entry("u", "G", "N", primary_host=bad),
        lambda: host_entry(bad, "H"),
        lambda: host_entry("u", bad),
    ):
        with pytest.raises(AclError):
            make()


def test_a_gateway_without_user_name_is_refused_with_its_file_and_the_remedy(tmp_path):
    document = tmp_path / "g.yaml"
    document.write_text("sparkplug: {group: G, node: N, broker: {url: 'mqtt://127.0.0.1:1883'}}")
    done = run(document)
    assert done.returncode == 1
    assert f"{document}: sparkplug.broker.username is missing" in done.stderr
    assert "common name" in done.stderr
