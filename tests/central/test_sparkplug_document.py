"""The Sparkplug document: what is taken, and what each mistake is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from central.ingest.sparkplug.document import (
    SparkplugDocumentError,
    broker_of,
    load_document,
)

SERVER = {"url": "mqtt://broker"}


def load(tmp_path: Path, **fields: Any):
    path = tmp_path / "sparkplug.yaml"
    path.write_bytes(msgspec.yaml.encode({"host_id": "Hub", "servers": [SERVER]} | fields))
    return load_document(path)


def test_the_example_of_the_page_is_a_document_that_loads(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "sparkplug-host.md").read_text()
    example = page.partition("```yaml\n")[2].partition("```")[0]
    for name in ("ca.pem", "password"):
        (tmp_path / name).write_text("secret\n")
    path = tmp_path / "sparkplug.yaml"
    path.write_text(example.replace("/etc/factoryplus", str(tmp_path)))
    document = load_document(path)
    assert [s.address for s in document.servers] == ["broker.plant:8883", "10.0.0.7:1883"]
    assert broker_of(document.servers[0]).password == "secret"
    assert document.is_excluded("Test", "Anything")
    assert document.may_write(("Plant", "Line1", "Press"), "Setpoint/Speed")
    assert not document.may_write(("Plant", "Line1", "Press"), "Speed")
    assert not document.may_write(("Plant", "Line1", ""), "Setpoint/Speed")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"host_id": "a/b"}, r"host_id: id must not contain '/'"),
        ({"servers": []}, r"length >= 1 - at `\$.servers`"),
        ({"servers": [{"url": "http://broker"}]}, r"servers\[0\].url: 'http://broker' is not mqtt"),
        ({"servers": [{"url": "mqtt://u:p@broker"}]}, r"servers\[0\].url: has credentials in it"),
        ({"servers": [SERVER, SERVER]}, r"two servers have the address broker:1883"),
        ({"servers": [SERVER | {"ca_file": "/x"}]}, r"servers\[0\].ca_file: is for TLS"),
        ({"servers": [SERVER | {"key_file": "/x"}]}, r"certificate_file and key_file go together"),
        (
            {"servers": [{"url": "mqtts://broker", "ca_file": "/nowhere"}]},
            r"servers\[0\].ca_file: there is no file /nowhere",
        ),
        ({"servers": [SERVER | {"password_env": "X"}]}, r"servers\[0\].username: is missing"),
        (
            {"servers": [SERVER | {"username": "hub", "password_env": "X"}]},
            r"servers\[0\].url: a password would go over the network in the clear",
        ),
        ({"groups": ["a", "#"]}, r"groups\[1\]: id must not contain '#'"),
        ({"exclude": ["Plant"]}, r"exclude\[0\]: 'Plant' is not GROUP/NODE"),
        ({"lease_s": 0}, r"at `\$.lease_s`"),
        ({"hostid": "x"}, r"unknown field `hostid`"),
    ],
)
def test_a_mistake_is_told_with_its_field_and_cause(
    tmp_path: Path, fields: dict[str, Any], told: str
) -> None:
    with pytest.raises(SparkplugDocumentError, match=told):
        load(tmp_path, **fields)


def test_a_secret_that_is_missing_is_told_without_the_secret(tmp_path: Path) -> None:
    server = {"url": "mqtt://127.0.0.1", "username": "hub", "password_env": "NOT_SET"}
    document = load(tmp_path, servers=[server])
    with pytest.raises(SparkplugDocumentError, match="NOT_SET is not set"):
        broker_of(document.servers[0], {})
    assert broker_of(document.servers[0], {"NOT_SET": "x"}).password == "x"


def test_a_file_that_is_not_there_or_no_yaml_is_told(tmp_path: Path) -> None:
    with pytest.raises(SparkplugDocumentError, match="No such file"):
        load_document(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("host_id: [")
    with pytest.raises(SparkplugDocumentError, match=r"bad.yaml"):
        load_document(tmp_path / "bad.yaml")
