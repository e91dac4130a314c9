"""The shared web server: guards, refusals, headers, pages, and what it costs when idle."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import anyio
import httpx
import msgspec
import pytest
from litestar import get, post
from litestar.connection import ASGIConnection
from litestar.params import JSONBody, QueryParameter

from contract.errors import ErrorBody
from runtime.clock import SystemClock
from runtime.http import (
    PUBLIC,
    HttpApp,
    HttpSettings,
    Refused,
    RouteUnguardedError,
    ServerStartError,
    create_app,
    permit,
    run_server,
)


class Thing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(max_length=5)]
    size: int = 0


@post("/api/things", opt=permit(PUBLIC))
async def make_thing(data: JSONBody[Thing]) -> Thing:
    return data


@get("/api/secret", opt=permit("secret.read"))
async def read_secret() -> str:
    return "secret"


@get("/api/broken", opt=permit(PUBLIC))
async def broken(number: Annotated[int, QueryParameter(ge=1)] = 1) -> str:
    raise ValueError(f"/etc/passwd SELECT {number}")


async def refuse(_connection: ASGIConnection[Any, Any, Any, Any], permission: str) -> None:
    raise Refused(401, ErrorBody(code="auth.needed", message=permission))


def build(**settings: Any) -> HttpApp:
    return create_app(
        [make_thing, read_secret, broken],
        HttpSettings(name="test", authorise=refuse, clock=SystemClock(), **settings),
    )


@asynccontextmanager
async def serving(app: HttpApp) -> AsyncIterator[httpx.AsyncClient]:
    ports: list[int] = []
    is_up = anyio.Event()

    def ready(port: int) -> None:
        ports.append(port)
        is_up.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: run_server(app, "127.0.0.1", 0, ready=ready))
        await is_up.wait()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports[0]}") as client:
            yield client
        tasks.cancel_scope.cancel()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_every_refusal_is_an_error_body_that_tells_nothing_inside() -> None:
    """R58."""
    async with serving(build(body_bytes_max=1000)) as client:
        answers = [
            await client.get("/api/nothing"),
            await client.delete("/api/things"),
            await client.post("/api/things", content=b"{"),
            await client.post("/api/things", json={"name": "toolong"}),
            await client.post("/api/things", json={"name": "a", "colour": 1}),
            await client.post("/api/things", content=b'{"name":' + b"[" * 100_000),
            await client.post("/api/things", json={"name": "x" * 2000}),
            await client.get("/api/secret"),
            await client.get("/api/broken"),
            await client.get("/api/broken", params={"number": 0}),
        ]
    bodies = [msgspec.json.decode(a.content, type=ErrorBody) for a in answers]
    assert [a.status_code for a in answers] == [404, 405, 400, 400, 400, 413, 413, 401, 500, 400]
    assert bodies[3].faults[0].path == "name"
    assert "colour" in bodies[4].faults[0].message
    assert bodies[-1].faults[0].path == "number"
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        for inside in ("Traceback", "/etc/passwd", "SELECT", "litestar", "uvicorn", "/work"):
            assert inside not in answer.text


async def test_headers_are_on_every_answer() -> None:
    """R40."""
    async with serving(build()) as client:
        for path in ("/", "/api/things", "/schema/openapi.json", "/nothing"):
            headers = (await client.get(path)).headers
            assert headers["content-security-policy"].startswith("default-src 'self'")
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert "server" not in headers
            assert headers["date"].endswith("GMT")


async def test_other_web_sites_cannot_change_anything() -> None:
    """R11."""
    async with serving(build()) as client:
        thing = {"name": "a"}
        own = f"http://{client.base_url.host}:{client.base_url.port}"
        for headers, status in (
            ({}, 201),
            ({"origin": own, "sec-fetch-site": "same-origin"}, 201),
            ({"origin": "https://evil.example"}, 403),
            ({"origin": "null"}, 403),
            ({"sec-fetch-site": "cross-site"}, 403),
            ({"sec-fetch-site": "same-site"}, 403),
        ):
            answer = await client.post("/api/things", json=thing, headers=headers)
            assert answer.status_code == status, headers


async def test_a_foreign_host_name_is_refused() -> None:
    """R12."""
    async with serving(build(allowed_hosts=frozenset({"localhost"}))) as client:
        for host, status in (
            ("localhost:80", 200), ("127.0.0.1", 200), ("[::1]:443", 200), ("evil.example", 421),
            ("localhost.evil.example", 421), ("127.0.0.1.evil.example", 421), ("a@localhost", 421),
        ):  # fmt: skip
            answer = await client.get("/", headers={"host": host})
            assert answer.status_code == status, host


def test_a_route_without_a_permission_stops_the_start() -> None:
    """R8."""

    @get("/api/forgotten")
    async def forgotten() -> str:
        return ""

    with pytest.raises(RouteUnguardedError, match="/api/forgotten"):
        create_app([forgotten], HttpSettings(name="test", authorise=refuse, clock=SystemClock()))


async def test_the_ui_is_served_with_its_pages_and_nothing_beside_it(tmp_path: Path) -> None:
    ui = tmp_path / "ui"
    (ui / "assets").mkdir(parents=True)
    (ui / "index.html").write_text("<p>the pages")
    (ui / "assets" / "app-1.js").write_text("1")
    (tmp_path / "secret").write_text("secret")
    browser = {"accept": "text/html"}
    async with serving(build(ui_dir=ui)) as client:
        assert (await client.get("/")).text == "<p>the pages"
        assert (await client.get("/gateways/7", headers=browser)).text == "<p>the pages"
        asset = await client.get("/assets/app-1.js")
        assert "immutable" in asset.headers["cache-control"]
        assert (await client.get("/assets/app-2.js", headers=browser)).status_code == 404
        assert (await client.get("/api/nothing", headers=browser)).status_code == 404
        for path in ("/../secret", "/%2e%2e/secret", "/assets/..%2f..%2fsecret"):
            assert "secret" not in (await client.get(path)).text
    async with serving(build(ui_dir=tmp_path / "missing")) as client:
        assert "not built" in (await client.get("/")).text


async def test_metrics_and_description_are_served() -> None:
    async with serving(build(metrics=lambda: b"a_total 1\n")) as client:
        metrics = await client.get("/metrics")
        assert (metrics.text, metrics.headers["content-type"][:10]) == ("a_total 1\n", "text/plain")
        described = (await client.get("/schema/openapi.json")).json()
        assert set(described["paths"]) == {"/api/things", "/api/secret", "/api/broken"}
        assert "html" not in (await client.get("/schema")).headers["content-type"], "no CDN page"


async def test_a_taken_port_is_told() -> None:
    async with serving(build()) as client:
        with pytest.raises(ServerStartError, match="cannot listen"):
            await run_server(build(), "127.0.0.1", client.base_url.port or 0, ready=print)


@pytest.mark.slow
async def test_an_idle_server_costs_next_to_nothing() -> None:
    """Stock uvicorn wakes ten times a second; ours does not wake."""
    async with serving(build()):
        before = os.times()
        await anyio.sleep(1.0)
        after = os.times()
    used_s = after.user + after.system - before.user - before.system
    assert used_s <= 0.02
