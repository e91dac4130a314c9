"""The source wizard's way over HTTP, against a real OPC UA server: find, check, approve, check."""

import pytest
from cryptography import x509

from contract.config import GatewayConfig
from gateway.config.store import redacted
from gateway.sources.opcua import tools as tools_module
from gateway.sources.opcua.access import Pki
from gateway.sources.opcua.tools import OpcUaTools
from runtime.clock import SystemClock
from tests.gateway.sources.certificates import authority, make, revocations
from tests.gateway.sources.plc import config
from tests.gateway.sources.secure_plc import PASSWORD, SecurePlc
from tests.gateway.web.serving import be_signed_in, browser, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
async def plc():
    plc = SecurePlc(make())
    await plc.start()
    yield plc
    await plc.stop()


@pytest.fixture
async def client(view, auth, plc, tmp_path):
    pki = Pki(tmp_path / "pki", SystemClock())
    opcua = OpcUaTools(pki, [config(plc.endpoint)])
    async with serving(view, auth, opcua=opcua) as url, browser(url) as opened:
        await be_signed_in(opened, auth)
        yield opened


async def check(client, plc, **connection):
    body = {"connection": {"name": "line9", "endpoint": plc.endpoint} | connection}
    return (await client.post("/api/opcua/check", json=body)).json()


async def test_a_connection_is_found_checked_approved_and_taken_back(client, plc):
    found = (await client.post("/api/opcua/endpoints", json={"endpoint": plc.endpoint})).json()
    assert found["ok"]
    assert found["report"]["offers"][0]["policy"] == "Aes256_Sha256_RsaPss"

    login = {"username": "op", "password": PASSWORD}
    first = await check(client, plc, **login)
    assert not first["ok"]
    fingerprint = first["certificate"]["fingerprint"]

    page = (await client.get("/api/certificates")).json()
    (waiting,) = page["certificates"]
    assert (waiting["list"], waiting["source"]) == ("rejected", "line9")
    assert waiting["certificate"]["fingerprint"] == fingerprint

    body = {"fingerprint": fingerprint, "source": "line9"}
    assert (await client.post("/api/certificates/trust", json=body)).status_code == 200
    second = await check(client, plc, **login)
    assert second["ok"], second["steps"]
    assert PASSWORD not in str(second)

    body = {"fingerprint": fingerprint}
    assert (await client.post("/api/certificates/reject", json=body)).status_code == 200
    assert not (await check(client, plc, **login))["ok"]
    removed = await client.post("/api/certificates/remove", json=body)
    assert removed.json() == {"count": 1}


async def test_a_configured_source_is_checked_by_its_name(client):
    report = (await client.post("/api/opcua/check", json={"source": "line1"})).json()
    assert report["ok"]
    assert {s["step"] for s in report["steps"] if s["result"] == "skipped"} == {"certificate"}
    missing = await client.post("/api/opcua/check", json={"source": "nobody"})
    assert (missing.status_code, missing.json()["code"]) == (404, "opcua.no_source")


async def test_our_certificate_is_downloaded_renewed_and_activated_and_never_the_key(client):
    der = await client.get("/api/certificates/own/file")
    pem = await client.get("/api/certificates/own/file", params={"form": "pem"})
    assert x509.load_der_x509_certificate(der.content) == x509.load_pem_x509_certificate(
        pem.content
    )
    assert "attachment" in der.headers["content-disposition"]
    report = (await client.post("/api/certificates/own/renew")).json()
    assert report["notice"]
    following = await client.get("/api/certificates/own/file", params={"which": "next"})
    assert following.content != der.content
    assert (await client.post("/api/certificates/own/activate")).json()["next"] is None
    assert (await client.get("/api/certificates/own/file")).content == following.content
    again = await client.post("/api/certificates/own/activate")
    assert (again.status_code, again.json()["code"]) == (400, "opcua.trust")
    page = await client.get("/api/certificates")
    assert b"PRIVATE" not in pem.content + page.content


async def test_issuers_and_revocation_lists_are_imported(client):
    ca = authority()
    answer = await client.post("/api/certificates/import", content=ca.pem)
    assert answer.json() == {"found": "issuer: CN=plant CA"}
    await client.post(
        "/api/certificates/import", content=revocations(ca), params={"source": "line1"}
    )
    page = (await client.get("/api/certificates")).json()
    assert [(c["list"], c["source"]) for c in page["certificates"]] == [("issuers", "")]
    assert [r["source"] for r in page["revocations"]] == ["line1"]
    body = {"fingerprint": ca.fingerprint, "kind": "issuer"}
    assert (await client.post("/api/certificates/trust", json=body)).status_code == 200


JUNK = [
    ("/api/opcua/check", {}),
    ("/api/opcua/check", {"source": "line1", "connection": {"endpoint": "opc.tcp://h"}}),
    ("/api/opcua/check", {"connection": {"endpoint": "http://h"}}),
    ("/api/opcua/check", {"connection": {"endpoint": "opc.tcp://u:p@h"}}),
    ("/api/opcua/check", {"connection": {"endpoint": "opc.tcp://h", "security": {"policy": "x"}}}),
    ("/api/opcua/check", {"connection": {"endpoint": "opc.tcp://h", "name": "../x"}}),
    ("/api/opcua/check", {"connection": {"endpoint": "opc.tcp://h", "user_key_file": "/etc/x"}}),
    (
        "/api/opcua/check",
        {
            "connection": {
                "endpoint": "opc.tcp://h",
                "password": "p",
                "username": "u",
                "security": {"policy": "None", "mode": "None", "allow_insecure": True},
            }
        },
    ),
    ("/api/opcua/endpoints", {"endpoint": ""}),
    ("/api/opcua/endpoints", {"endpoint": "opc.tcp://h:99999"}),
    ("/api/certificates/trust", {"fingerprint": "0" * 63 + "x"}),
    ("/api/certificates/trust", {"fingerprint": "0" * 64}),
    ("/api/certificates/trust", {"fingerprint": "0" * 64, "source": "../../etc"}),
    ("/api/certificates/reject", {"fingerprint": "0" * 64}),
    ("/api/certificates/remove", {"fingerprint": "0" * 64}),
    ("/api/certificates/import", {"not": "a certificate"}),
    ("/api/certificates/import?source=../x", {}),
]


@pytest.mark.parametrize(("path", "body"), JUNK)
async def test_junk_is_refused_with_a_reason(client, path, body):
    answer = await client.post(path, json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["message"]


async def test_only_so_many_checks_run_at_once(client, monkeypatch):
    monkeypatch.setattr(tools_module, "CHECKS_MAX", 0)
    answer = await client.post("/api/opcua/check", json={"source": "line1"})
    assert (answer.status_code, answer.json()["code"]) == (429, "gateway.busy")


def test_new_keys_of_a_source_hide_no_secret(plc):
    document = redacted(GatewayConfig(sources=[config(plc.endpoint, username="u", password="p")]))
    assert document["sources"][0]["password"] == "***"
