import json
import os
import stat

import pytest

from gateway.errors import SettingsError
from gateway.settings import (
    fetch_status,
    make_settings,
    parse_address,
    prepare_data_dir,
    read_runtime_file,
    remove_runtime_file,
    write_runtime_file,
)
from runtime.clock import SystemClock


def test_the_data_directory_is_made_for_its_owner_only(tmp_path):
    made = make_settings(tmp_path / "a" / "b")
    assert stat.S_IMODE(made.data_dir.stat().st_mode) == 0o700
    assert list(made.data_dir.iterdir()) == []
    assert (made.http_host, made.http_port, made.log_level) == ("127.0.0.1", 8080, "info")


def test_an_open_data_directory_is_closed_to_others(tmp_path):
    tmp_path.chmod(0o755)
    prepare_data_dir(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1:80", ("192.0.2.1", 80)),
        (":0", ("127.0.0.1", 0)),
        ("box.local:65535", ("box.local", 65535)),
        ("[::1]:8080", ("::1", 8080)),
    ],
)
def test_an_address_is_read(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "8080", "host", "host:", "host:65536", "::1:80", "[x]:80", "h:-1", "h:٣"]
)
def test_a_bad_address_is_refused_with_an_example(text):
    with pytest.raises(SettingsError):
        parse_address(text)


def test_a_file_in_place_of_the_data_directory_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(SettingsError, match="name a directory"):
        prepare_data_dir(file)
    with pytest.raises(SettingsError, match="cannot be used"):
        prepare_data_dir(file / "below")


def test_a_missing_configuration_file_and_a_bad_log_level_are_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"none\.yaml"):
        make_settings(tmp_path, config_file=tmp_path / "none.yaml")
    with pytest.raises(SettingsError, match="loud"):
        make_settings(tmp_path, log_level="loud")


def test_the_runtime_file_names_this_process_until_it_is_removed(tmp_path):
    assert read_runtime_file(tmp_path) is None
    written = write_runtime_file(tmp_path, "::", 8123, SystemClock())
    assert written.url == "http://[::1]:8123"
    assert read_runtime_file(tmp_path) == written
    assert written.pid == os.getpid()
    remove_runtime_file(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"pid": 2**22 + 1}, {"process_start": "1"}])
def test_a_runtime_file_of_a_dead_process_is_stale(tmp_path, change):
    write_runtime_file(tmp_path, "127.0.0.1", 1, SystemClock())
    path = tmp_path / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert read_runtime_file(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"pid": "x"}'])
def test_a_damaged_runtime_file_is_no_running_gateway(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    assert read_runtime_file(tmp_path) is None


async def test_status_without_a_running_gateway_says_how_to_start_one(tmp_path):
    with pytest.raises(SettingsError, match="factoryplus gateway run"):
        await fetch_status(tmp_path)


async def test_status_of_a_gateway_that_does_not_answer_says_so(tmp_path, free_tcp_port):
    write_runtime_file(tmp_path, "127.0.0.1", free_tcp_port, SystemClock())
    with pytest.raises(SettingsError, match="does not answer"):
        await fetch_status(tmp_path)
