import json
import re

import msgspec
import pytest

from gateway.settings import fetch_status, write_runtime_file
from gateway.web.access import PERMISSIONS
from gateway.web.factory import NAME, create_web, openapi_json
from gateway.web.views import GatewayStatus
from runtime.clock import SystemClock
from runtime.http import PERMISSION, PUBLIC, routes_of
from tests.gateway.web.made_up_view import SECRET
from tests.gateway.web.serving import be_signed_in, browser, serving

OPEN_ROUTES = {
    ("GET", "/api/session"),
    ("POST", "/api/session"),
    ("DELETE", "/api/session"),
    ("POST", "/api/session/claim"),
    ("GET", "/api/status"),
    ("GET", "/metrics"),
}


@pytest.fixture
async def url(view, auth):
    async with serving(view, auth) as address:
        yield address


def api_routes(web):
    """List (method, path, permission) of all routes of the API."""
    for path, handler in routes_of(web.litestar):
        if path.startswith(("/api", "/metrics")):
            for method in getattr(handler, "http_methods", ["WEBSOCKET"]):
                if method not in {"OPTIONS", "HEAD"}:
                    yield str(method), path, handler.opt[PERMISSION]


def test_only_the_allow_list_is_public_and_every_other_permission_is_known(view, auth):
    routes = list(api_routes(create_web(view, auth, None)))
    assert {(m, p) for m, p, permission in routes if permission == PUBLIC} == OPEN_ROUTES
    assert {permission for *_, permission in routes} - {PUBLIC} == PERMISSIONS


async def test_without_a_session_every_other_route_is_refused(view, auth, url):
    async with browser(url) as client:
        for method, path, permission in api_routes(create_web(view, auth, None)):
            if permission == PUBLIC or method == "WEBSOCKET":
                continue
            response = await client.request(method, re.sub(r"{.*?}", "1", path))
            assert response.status_code == 401, path
            assert response.json()["code"] == "auth.sign_in_needed"


async def test_status_and_metrics_are_open_and_hold_no_values_and_no_secrets(url):
    async with browser(url) as client:
        status = await client.get("/api/status")
        metrics = await client.get("/metrics")
    assert status.json()["strip"]["hub"]["state"] == "Off"
    assert status.json()["counters"]["read"] == 3
    assert metrics.text == "factoryplus_read_total 3\n"
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert SECRET not in status.text + metrics.text
    assert "set-cookie" not in status.headers


async def test_the_tag_table_is_searched_and_paged(auth, url):
    async with browser(url) as client:
        await be_signed_in(client, auth)
        page = (await client.get("/api/tags", params={"offset": 8, "limit": 5})).json()
        found = (await client.get("/api/tags", params={"search": "T7"})).json()
    assert page["total"] == 10
    assert [tag["index"] for tag in page["tags"]] == [8, 9]
    assert [tag["name"] for tag in found["tags"]] == ["Press/T7"]


async def test_a_trend_is_read_and_an_unknown_tag_is_not_found(auth, url):
    async with browser(url) as client:
        await be_signed_in(client, auth)
        trend = await client.get("/api/tags/3/trend", params={"seconds": 60, "points": 2})
        missing = await client.get("/api/tags/77/trend")
    assert trend.json()["value"] == [60.0, None]
    assert trend.json()["complete"] is False
    assert (missing.status_code, missing.json()["code"]) == (404, "tags.unknown")


OUT_OF_RANGE = [
    "/api/tags?limit=0",
    "/api/tags?limit=100000",
    "/api/tags?offset=-1",
    "/api/tags?limit=x",
    "/api/tags?search=" + "x" * 500,
    "/api/tags/1/trend?seconds=0",
    "/api/tags/1/trend?seconds=nan",
    "/api/tags/1/trend?seconds=inf",
    "/api/tags/1/trend?points=1e9",
    "/api/tags/99999999999999999999/trend",
    "/api/losses?limit=-1",
    "/api/commands?limit=0",
]


async def test_figures_out_of_range_are_refused_and_never_a_server_fault(auth, url):
    async with browser(url) as client:
        await be_signed_in(client, auth)
        answers = {path: await client.get(path) for path in OUT_OF_RANGE}
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(
        OUT_OF_RANGE, 400
    )
    assert {answer.json()["code"] for answer in answers.values()} == {"http.invalid"}


async def test_losses_come_newest_first(auth, url):
    async with browser(url) as client:
        await be_signed_in(client, auth)
        losses = (await client.get("/api/losses", params={"limit": 2})).json()
    assert [loss["id"] for loss in losses] == [5, 4]


async def test_commands_and_what_came_of_them_come_newest_first(auth, url):
    async with browser(url) as client:
        await be_signed_in(client, auth)
        commands = (await client.get("/api/commands", params={"limit": 2})).json()
    assert [(c["id"], c["outcome"], c["reason"]) for c in commands] == [
        (5, "refused", "not_writable"), (4, "refused", "not_writable")
    ]  # fmt: skip


async def test_the_configuration_is_shown_without_its_secrets(auth, url):
    async with browser(url) as client:
        await be_signed_in(client, auth)
        response = await client.get("/api/config")
    assert response.json()["config"]["sparkplug"]["broker"]["password"] == "***"
    assert SECRET not in response.text


async def test_a_document_is_checked_and_every_fault_is_named(auth, url):
    async with browser(url) as client:
        await be_signed_in(client, auth)
        good = await client.post("/api/config/check", content=b"hub: {enabled: false}")
        bad = await client.post("/api/config/check", content=b"hubb: 1\ngateway: {id: 5}")
        broken = await client.post("/api/config/check", content=b"a: [")
        large = await client.post("/api/config/check", content=b"#" * 2_000_001)
    assert good.json() == {"ok": True, "faults": []}
    assert [f["path"] for f in bad.json()["faults"]] == ["gateway.id", "hubb"]
    assert broken.json()["faults"][0]["code"] == "config.syntax"
    assert (good.status_code, bad.status_code, large.status_code) == (200, 200, 413)


def test_the_api_describes_itself_without_a_running_gateway():
    described = json.loads(openapi_json())
    assert described["info"]["title"] == NAME
    assert {"/api/session", "/api/status", "/api/tags", "/api/losses"} <= set(described["paths"])
    assert {"SessionState", "SignIn", "Claim", "TagPage"} <= set(described["components"]["schemas"])


async def test_the_built_ui_is_served_beside_the_api(view, auth, tmp_path):
    (tmp_path / "ui").mkdir()
    (tmp_path / "ui" / "index.html").write_text("<!doctype html><title>ours</title>")
    async with serving(view, auth, tmp_path / "ui") as address, browser(address) as client:
        page = await client.get("/", headers={"accept": "text/html"})
        deep = await client.get("/tags", headers={"accept": "text/html"})
        api = await client.get("/api/nothing")
    assert "ours" in page.text
    assert "ours" in deep.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert api.status_code == 404


async def test_the_command_line_finds_the_running_gateway_and_reads_its_status(url, tmp_path):
    host, port = url.removeprefix("http://").split(":")
    write_runtime_file(tmp_path, host, int(port), SystemClock())
    status = msgspec.json.decode(await fetch_status(tmp_path), type=GatewayStatus)
    assert status.id == "press-shop-1"
