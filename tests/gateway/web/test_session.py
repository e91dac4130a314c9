import httpx
import pytest

from gateway.web.access import COOKIE_NAME
from tests.gateway.web.serving import PASSWORD, browser, claim, serving


@pytest.fixture
async def url(view, auth):
    async with serving(view, auth) as address:
        yield address


@pytest.fixture
async def client(url):
    async with browser(url) as opened:
        yield opened


async def test_an_unclaimed_box_says_so_and_a_claim_signs_in(client, auth):
    before = (await client.get("/api/session")).json()
    claimed = await claim(client, auth)
    after = (await client.get("/api/session")).json()
    assert before == {"claimed": False, "signed_in": False, "name": None}
    assert claimed.status_code == 201
    assert claimed.json() == after == {"claimed": True, "signed_in": True, "name": "Ada"}


async def test_the_cookie_is_kept_from_scripts_and_from_other_sites(client, auth):
    header = (await claim(client, auth)).headers["set-cookie"]
    assert header.startswith(f"{COOKIE_NAME}=")
    words = {part.strip().lower() for part in header.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= words
    assert not any(word.startswith(("secure", "domain")) for word in words)


async def test_sign_in_gives_a_new_id_and_never_takes_one_that_the_client_proposes(client, auth):
    await claim(client, auth)
    first = client.cookies[COOKIE_NAME]
    client.cookies.clear()
    client.cookies.set(COOKIE_NAME, "fixed-by-an-attacker")
    response = await client.post("/api/session", json={"name": "Ada", "password": PASSWORD})
    new = response.cookies[COOKIE_NAME]
    assert response.status_code == 201
    assert new not in {first, "fixed-by-an-attacker"}
    assert await auth.session("fixed-by-an-attacker") is None


async def test_signing_in_again_ends_the_session_that_this_browser_had(client, auth):
    await claim(client, auth)
    first = client.cookies[COOKIE_NAME]
    await client.post("/api/session", json={"name": "Ada", "password": PASSWORD})
    assert await auth.session(first) is None
    assert (await client.get("/api/tags")).status_code == 200


async def test_sign_out_ends_the_session_and_takes_the_cookie(client, auth):
    await claim(client, auth)
    token = client.cookies[COOKIE_NAME]
    response = await client.delete("/api/session")
    assert response.status_code == 204
    assert COOKIE_NAME not in client.cookies
    assert await auth.session(token) is None
    assert (await client.get("/api/tags")).status_code == 401


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        (
            "/api/session",
            {"name": "Ada", "password": "no no no no no"},
            401,
            "auth.wrong_credentials",
        ),
        (
            "/api/session/claim",
            {"code": "x", "name": "E", "password": PASSWORD},
            409,
            "auth.already_claimed",
        ),
        ("/api/session", {"name": "Ada"}, 400, "http.invalid"),
        ("/api/session", {"name": "Ada", "password": "x", "admin": True}, 400, "http.invalid"),
        ("/api/session", {"name": "Ada", "password": "x" * 5000}, 400, "http.invalid"),
        ("/api/session", {"name": "Ada", "password": "x" * 50_000}, 413, "http.body_too_large"),
        ("/api/session", [], 400, "http.invalid"),
    ],
)
async def test_a_refusal_has_its_code_and_nothing_of_our_inside(
    client, auth, path, body, status, code
):
    await claim(client, auth)
    response = await client.post(path, json=body)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert not any(word in response.text for word in ("Traceback", "/work", ".py", "sqlite"))


async def test_a_weak_password_is_told_to_the_person_who_claims(client, auth):
    response = await client.post(
        "/api/session/claim",
        json={"code": auth.ensure_setup_code(), "name": "Ada", "password": "Password2026!"},
    )
    assert response.status_code == 422
    assert response.json()["code"] == "auth.weak_password"
    assert response.json()["remedy"]


async def test_too_many_attempts_are_answered_with_the_wait(client, auth):
    await claim(client, auth)
    for _ in range(8):
        response = await client.post("/api/session", json={"name": "x", "password": "y" * 12})
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1


async def test_a_form_or_a_page_of_another_site_changes_nothing(client, auth, url):
    await claim(client, auth)
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        response = await client.delete("/api/session", headers=headers)
        assert response.status_code == 403
    assert (await client.delete("/api/session", headers={"origin": url})).status_code == 204


async def test_another_host_name_is_misdirected(url):
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        response = await client.get("/api/status", headers={"host": "evil.example"})
    assert response.status_code == 421
