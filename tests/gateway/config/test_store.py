import json
import stat

import pytest

from contract.config import GatewayConfig
from contract.errors import ConfigError
from gateway.config.store import ConfigStore, open_config, redacted
from tests.contract.documents import GOOD, changed

FIRST = b"# ours\n" + json.dumps(GOOD).encode()
SECOND = json.dumps(changed(("gateway", "id"), "other")).encode()


def test_without_a_file_and_nothing_kept_the_configuration_is_empty(tmp_path):
    loaded = open_config(None, tmp_path)
    assert (loaded.origin, loaded.config, loaded.sha256) == ("empty", GatewayConfig(), "")
    assert list(tmp_path.iterdir()) == []


def test_a_good_file_is_kept_and_used_when_no_file_is_given(tmp_path):
    file = tmp_path / "gateway.yaml"
    file.write_bytes(FIRST)
    given = open_config(file, tmp_path)
    file.unlink()
    kept = open_config(None, tmp_path)
    assert (given.origin, kept.origin) == ("file", "kept")
    assert (kept.config, kept.sha256) == (given.config, given.sha256)


def test_a_file_with_faults_is_not_kept(tmp_path):
    ConfigStore(tmp_path).keep(FIRST)
    file = tmp_path / "gateway.yaml"
    file.write_bytes(b"sources: 5")
    with pytest.raises(ConfigError):
        open_config(file, tmp_path)
    assert ConfigStore(tmp_path).kept() == FIRST


def test_the_kept_copy_is_readable_by_its_owner_only(tmp_path):
    store = ConfigStore(tmp_path)
    store.keep(FIRST)
    store.keep(SECOND)
    files = list(tmp_path.iterdir())
    assert len(files) == 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "remove"])
def test_a_damaged_copy_gives_way_to_the_one_before(tmp_path, harm):
    store = ConfigStore(tmp_path)
    store.keep(FIRST)
    store.keep(SECOND)
    path = tmp_path / "config-kept"
    content = path.read_bytes()
    path.write_bytes(
        {
            "flip": content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
            "cut": content[:-9],
            "empty": b"",
            "remove": b"",
        }[harm]
    )
    if harm == "remove":
        path.unlink()
    assert store.kept() == FIRST
    assert store.keep(SECOND)
    assert store.kept() == SECOND


def test_when_every_copy_is_damaged_a_clear_fault_says_so(tmp_path):
    store = ConfigStore(tmp_path)
    store.keep(FIRST)
    (tmp_path / "config-kept").write_bytes(b"junk")
    with pytest.raises(ConfigError) as caught:
        store.kept()
    assert caught.value.faults[0].code == "config.kept_damaged"
    assert "--config" in caught.value.faults[0].remedy


def test_keeping_the_same_document_twice_keeps_the_one_before_too(tmp_path):
    store = ConfigStore(tmp_path)
    store.keep(FIRST)
    store.keep(SECOND)
    store.keep(SECOND)
    (tmp_path / "config-kept").unlink()
    assert store.kept() == FIRST


def test_secrets_are_taken_out_and_the_rest_stays(tmp_path):
    document = changed(
        ("sparkplug", "broker"), {"url": "mqtts://h", "username": "u", "password": "pw-marker"}
    )
    file = tmp_path / "c.json"
    file.write_bytes(json.dumps(document).encode())
    plain = redacted(open_config(file, tmp_path).config)
    assert "pw-marker" not in json.dumps(plain)
    assert plain["sparkplug"]["broker"]["password"] == "***"
    assert plain["sparkplug"]["broker"]["username"] == "u"
    assert plain["sources"][0]["password"] is None
