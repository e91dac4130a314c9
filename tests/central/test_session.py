"""Claim, sign-in, sessions, back-off; every route asks for somebody."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest

from central.app import describe_api
from runtime.clock import SystemClock
from runtime.tls import client_context
from tests.central.support import PASSWORD, HubProcess, Zygote, sign_in, wait_until

COOKIE = "__Host-factoryplus-session"
PUBLIC_ROUTES = {
    ("/api/uplink/enrol", "post"),
    ("/api/uplink/crl", "get"),
    ("/api/session", "get"),
    ("/api/session", "post"),
    ("/api/session", "delete"),
    ("/api/session/claim", "post"),
}


def stranger(hub: HubProcess) -> httpx.Client:
    ca_pem = (hub.directory / "ca" / "ca.pem").read_text()
    return httpx.Client(base_url=hub.url, verify=client_context(ca_pem), timeout=20)


def test_every_route_but_the_listed_refuses_a_stranger(hub: HubProcess) -> None:
    """R2, R8."""
    paths = json.loads(describe_api(SystemClock()))["paths"]
    routes = {(path, method) for path, methods in paths.items() for method in methods}
    assert routes >= PUBLIC_ROUTES
    with stranger(hub) as client:
        for path, method in sorted(routes - PUBLIC_ROUTES):
            answer = client.request(method, re.sub(r"\{[^}]*\}", "1", path))
            assert answer.status_code == 401, (method, path, answer.text)


def test_the_cookie_is_for_this_hub_alone(hub: HubProcess, admin: httpx.Client) -> None:
    """R6."""
    body = {"name": "ada", "password": PASSWORD}
    with stranger(hub) as client:
        answer = client.post(
            "/api/session", json=body, headers={"cookie": f"{COOKIE}=chosen-by-somebody"}
        )
        cookie = answer.headers["set-cookie"]
        token = re.match(rf"{COOKIE}=([^;]+)", cookie)
        assert token is not None
        assert len(token[1]) >= 43, "256 bits, never what the client brought"
        for part in ("HttpOnly", "Secure", "SameSite=strict", "Path=/", "Max-Age="):
            assert part.lower() in cookie.lower()
        again = client.post("/api/session", json=body)
        assert token[1] not in again.headers["set-cookie"], "a new id at each sign-in"
        old = client.get("/api/overview", headers={"cookie": f"{COOKIE}={token[1]}"})
        assert old.status_code in {200, 401}
        assert client.delete("/api/session").status_code == 204
        assert client.get("/api/session").json() == {"is_claimed": True, "person": None}
        assert client.get("/api/overview").status_code == 401
    assert admin.get("/api/session").json()["person"]["name"] == "ada"


def test_a_claimed_hub_cannot_be_claimed_again(admin: httpx.Client) -> None:
    """R1."""
    body = {"code": "AAAA-BBBB-CCCC-DDDD", "name": "eve", "password": PASSWORD}
    answer = admin.post("/api/session/claim", json=body)
    assert (answer.status_code, answer.json()["code"]) == (403, "identity.code_refused")


def test_guessing_waits_longer_and_longer_and_the_right_password_works_after(
    zygote: Zygote, tmp_path: Path
) -> None:
    """R4; the code is single use, weak passwords are refused, sessions survive a restart."""
    hub = HubProcess(zygote, tmp_path / "hub").start(until_code=True)
    code = hub.admin_code
    with stranger(hub) as client:
        assert client.get("/api/session").json() == {"is_claimed": False, "person": None}
        for weak in ("short", "passwordpassword", "aaaaaaaaaaaaaaaa", "adaadaadaada"):
            claim = {"code": code, "name": "ada", "password": weak}
            answer = client.post("/api/session/claim", json=claim)
            assert (answer.status_code, answer.json()["code"]) == (422, "identity.password_refused")
        client.cookies.clear()
    admin = sign_in(hub)
    with stranger(hub) as client:
        answer = client.post(
            "/api/session/claim", json={"code": code, "name": "eve", "password": PASSWORD}
        )
        assert answer.status_code == 403
        statuses = [
            client.post("/api/session", json={"name": "ada", "password": "a wrong password"})
            for _ in range(5)
        ]
        assert [s.status_code for s in statuses] == [401, 401, 401, 429, 429]
        assert int(statuses[-1].headers["retry-after"]) >= 1
        right = {"name": "ada", "password": PASSWORD}
        wait_until(lambda: client.post("/api/session", json=right).status_code == 201)
    hub.kill()
    hub.start()
    admin.base_url = httpx.URL(hub.url)
    assert admin.get("/api/session").json()["person"]["name"] == "ada"
    stored = (hub.directory / "hub.db").read_bytes() + (hub.directory / "hub.db-wal").read_bytes()
    assert code.replace("-", "").encode() not in stored
    assert code.encode() not in stored
    assert admin.cookies[COOKIE].encode() not in stored
    admin.close()
    hub.kill()


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b'{"name":1}', b'{"name":"a","password":"b","more":1}', b"\xff" * 50,
     b'{"name":"' + b"x" * 500 + b'","password":"b"}'],
)  # fmt: skip
def test_a_malformed_sign_in_is_refused(hub: HubProcess, body: bytes) -> None:
    """R35."""
    with stranger(hub) as client:
        answer = client.post(
            "/api/session", content=body, headers={"content-type": "application/json"}
        )
    assert answer.status_code == 400
    assert answer.json()["code"] == "http.invalid"


def test_metrics_are_for_this_machine_or_the_signed_in(hub: HubProcess) -> None:
    with stranger(hub) as client:
        text = client.get("/metrics").text
    assert "factoryplus_hub_samples_received_total" in text
