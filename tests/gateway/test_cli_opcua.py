"""The command line's OPC UA: the same way as the web's, on the data directory alone."""

import json
import re
import sys

import anyio
import pytest
import yaml
from cryptography import x509

from gateway import cli_opcua
from tests.contract.documents import GOOD
from tests.gateway.sources.certificates import authority, make
from tests.gateway.sources.secure_plc import SecurePlc


async def command(*words):
    """Run ``factoryplus gateway ...``; return its exit code and what it printed."""
    words = [sys.executable, "-m", "factoryplus", "gateway", *map(str, words)]
    with anyio.fail_after(30):
        done = await anyio.run_process(words, check=False)
    return done.returncode, done.stdout.decode() + done.stderr.decode()


@pytest.mark.slow
async def test_a_source_of_a_document_is_checked_trusted_and_checked_again(tmp_path):
    plc = SecurePlc(make())
    await plc.start()
    try:
        source = GOOD["sources"][0] | {"endpoint": plc.endpoint, "security": {}}
        document = tmp_path / "config.yaml"
        document.write_text(yaml.safe_dump(GOOD | {"sources": [source]}))
        where = ("--data-dir", tmp_path)
        check = ("opcua-check", "--config", document, "--source", "line1", *where)
        code, said = await command(*check)
        assert code == 1
        assert "certificate  failed" in said
        words = re.search(r"gateway (certificates trust \w{64} --source line1)", said)
        code, said = await command(*words[1].split(), *where)
        assert (code, "trusted for line1" in said) == (0, True)
        code, said = await command(*check, "--json")
        assert code == 0, said
        assert [s["result"] for s in json.loads(said)["steps"]] == ["ok"] * 9
    finally:
        await plc.stop()


def test_the_list_and_the_export_show_ours_and_what_was_imported(tmp_path, capsys):
    (tmp_path / "ca.pem").write_bytes(authority().pem)
    cli_opcua.import_(tmp_path / "ca.pem", data_dir=tmp_path)
    cli_opcua.export(tmp_path / "own.der", data_dir=tmp_path)
    cli_opcua.renew(data_dir=tmp_path)
    cli_opcua.renew(data_dir=tmp_path, activate=True)
    capsys.readouterr()
    cli_opcua.list_(data_dir=tmp_path, json=True)
    page = json.loads(capsys.readouterr().out)
    assert [c["certificate"]["subject"] for c in page["certificates"]] == ["CN=plant CA"]
    exported = x509.load_der_x509_certificate((tmp_path / "own.der").read_bytes())
    assert page["own"]["current"]["subject"] == exported.subject.rfc4514_string()
    cli_opcua.list_(data_dir=tmp_path)
    assert "issuers (all sources): CN=plant CA" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (lambda d: cli_opcua.trust("12", data_dir=d), "64 hex digits"),
        (lambda d: cli_opcua.reject("0" * 64, data_dir=d), "no trusted certificate"),
        (lambda d: cli_opcua.list_(data_dir=d / "missing"), "no data directory"),
        (lambda d: cli_opcua.import_(d / "missing", data_dir=d), "No such file"),
        (lambda _: cli_opcua.opcua_check(), "give --endpoint"),
    ],
)
def test_what_cannot_be_done_is_said_and_the_exit_code_is_not_zero(tmp_path, capsys, words, says):
    with pytest.raises(SystemExit) as left:
        words(tmp_path)
    assert left.value.code
    assert says in capsys.readouterr().err
