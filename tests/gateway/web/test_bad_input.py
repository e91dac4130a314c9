import httpx
import pytest

from tests.gateway.web.serving import be_signed_in, browser, serving

JUNK_QUERIES = [
    "limit=1&limit=2",
    "search=%ED%A0%80",
    "search=%00",
    "search=%FF%FE",
    "offset=1e3",
    "limit=" + "9" * 5000,
    "search[]=x",
    "=&&;=",
    "search=%27%20OR%201=1--",
]
JUNK_BODIES = [
    b"",
    b"{",
    b"\xff\xfe",
    b"[" * 9000,
    b'{"name":' * 1000,
    b'{"name": 1e400, "password": "x"}',
    b'{"name": "\\ud800", "password": "\\ud800\\ud800 long enough"}',
    b'{"name": "a", "name": "b", "password": "c"}',
    b'{"name": "a\\u0000b", "password": "correct horse battery"}',
    b"name=a&password=b",
]
JUNK_DOCUMENTS = [
    b"\xff",
    b"[" * 9000,
    b"a: &x [*x]",
    b"{" * 9000,
    b"- " * 900,
    b"\x00",
    b"%YAML 9",
]
JUNK_PATHS = ["/api/tags/-1/trend", "/api/tags/x/trend", "/api/%2e%2e/", "/api//tags", "/;/..%2f.."]
JUNK_COOKIES = ["", "a" * 5000, "=;=", "\xe9\xff", "x=y; " * 50 + "z"]


@pytest.fixture
async def client(view, auth):
    async with serving(view, auth) as url, browser(url) as opened:
        await be_signed_in(opened, auth)
        yield opened


async def test_no_junk_makes_the_server_fail_or_tell_of_its_inside(client):
    answers = [await client.get(f"/api/tags?{query}") for query in JUNK_QUERIES]
    answers += [await client.get(path) for path in JUNK_PATHS]
    for path in ("/api/session", "/api/session/claim"):
        answers += [await client.post(path, content=body) for body in JUNK_BODIES]
    answers += [await client.post("/api/config/check", content=body) for body in JUNK_DOCUMENTS]
    failed = [(a.request.url, a.request.content[:40]) for a in answers if a.status_code >= 500]
    assert failed == []
    assert not any("Traceback" in a.text or "site-packages" in a.text for a in answers)


async def test_no_junk_cookie_makes_the_server_fail_or_lets_anybody_in(client):
    address = str(client.base_url)
    async with httpx.AsyncClient(base_url=address, trust_env=False) as stranger:
        for cookie in JUNK_COOKIES:
            headers = {"cookie": cookie.encode("latin-1")}
            assert (await stranger.get("/api/tags", headers=headers)).status_code in {400, 401}
            name = f"fpe_gateway_session={cookie}".encode("latin-1")
            answer = await stranger.get("/api/tags", headers={"cookie": name})
            assert answer.status_code in {400, 401}
