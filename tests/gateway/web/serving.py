"""A real server on a free port for the web's tests, and a person who is signed in."""

import contextlib

import anyio
import httpx

from gateway.web.access import COOKIE_NAME
from gateway.web.factory import create_web
from runtime.clock import SystemClock
from runtime.http import run_server

PASSWORD = "copper lathe under rain"


class FastClock(SystemClock):
    """The machine's clock, but for waits: those take a fortieth."""

    async def sleep_s(self, seconds):
        await anyio.sleep(seconds / 40)


@contextlib.asynccontextmanager
async def serving(view, auth, static_dir=None, clock=None, opcua=None):
    """Run the web application; give its URL."""
    web = create_web(view, auth, static_dir, clock or FastClock(), opcua=opcua)
    ports = []
    ready = anyio.Event()

    def listening(port):
        ports.append(port)
        ready.set()

    async def run():
        await run_server(web, "127.0.0.1", 0, ready=listening)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        with anyio.fail_after(10):
            await ready.wait()
        try:
            yield f"http://127.0.0.1:{ports[0]}"
        finally:
            tasks.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def browser(url, **headers):
    """A client that keeps cookies, as a browser does."""
    async with httpx.AsyncClient(
        base_url=url, headers=headers, trust_env=False, timeout=10
    ) as client:
        yield client


async def claim(client, auth):
    """Claim the box and be signed in; return the answer."""
    return await client.post(
        "/api/session/claim",
        json={"code": auth.renew_setup_code(), "name": "Ada", "password": PASSWORD},
    )


async def be_signed_in(client, auth):
    """Give the client a session without the slow hash of a password; return its token."""
    auth.renew_setup_code()
    code_hash = auth._tables.setup_code_hash()
    assert auth._tables.claim(code_hash, "Ada", "no hash", 1)
    token = (await auth._begin_session("Ada", "127.0.0.1")).token
    client.cookies.set(COOKIE_NAME, token)
    return token
