import contextlib
import json

import anyio
import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.web import live
from gateway.web.access import COOKIE_NAME
from tests.gateway.web.serving import be_signed_in, browser, serving


@pytest.fixture
async def url(view, auth):
    async with serving(view, auth) as address:
        yield address


@pytest.fixture
async def token(url, auth):
    async with browser(url) as client:
        return await be_signed_in(client, auth)


def live_connection(url, token, **more):
    headers = {"cookie": f"{COOKIE_NAME}={token}"} if token else {}
    address = url.replace("http", "ws", 1)
    return connect(f"{address}/api/live", additional_headers=headers, proxy=None, **more)


async def next_values(socket):
    with anyio.fail_after(5):
        message = json.loads(await socket.recv())
    assert message["time_us"] > 0
    return {v["index"]: v["value"] for v in message["values"]}


async def close_code(socket):
    with anyio.fail_after(8), contextlib.suppress(ConnectionClosed):
        while True:
            await socket.recv()
    return socket.close_code


async def test_a_page_gets_all_values_first_and_then_what_changed(url, token, view):
    async with live_connection(url, token) as socket:
        await socket.send('{"tags": [1, 2, 999]}')
        assert await next_values(socket) == {1: 1.0, 2: 2.0}
        view.set_value(2, 7.5, time_us=2)
        assert await next_values(socket) == {2: 7.5}


async def test_nothing_is_sent_while_nothing_changes_not_even_for_nan(url, token, view):
    view.set_value(1, float("nan"), time_us=1)
    async with live_connection(url, token) as socket:
        await socket.send('{"tags": [1]}')
        assert await next_values(socket) == {1: None}
        await view.asked_again(5)
        view.set_value(1, 3.0, time_us=2)
        assert await next_values(socket) == {1: 3.0}


async def test_another_choice_of_tags_starts_anew_and_an_empty_one_stops(url, token, view):
    async with live_connection(url, token) as socket:
        await socket.send('{"tags": [1]}')
        assert await next_values(socket) == {1: 1.0}
        await socket.send('{"tags": [1, 3]}')
        assert await next_values(socket) == {1: 1.0, 3: 3.0}
        await socket.send('{"tags": []}')
        await socket.send('{"tags": [4]}')
        assert await next_values(socket) == {4: 4.0}
        assert view.asked[-1] == [4]


async def test_without_tags_and_without_clients_the_view_is_never_asked(url, token, view):
    async with live_connection(url, token) as socket:
        await socket.send('{"tags": []}')
        await socket.ping()
    assert view.asked == []


@pytest.mark.parametrize("cookie", ["", "unknown"])
async def test_without_a_session_the_handshake_is_refused(url, cookie):
    with pytest.raises(InvalidStatus) as caught:
        async with live_connection(url, cookie):
            pass
    assert caught.value.response.status_code == 403


async def test_a_page_of_another_site_gets_nothing(url, token):
    with pytest.raises(InvalidStatus) as caught:
        async with live_connection(url, token, origin="http://evil.example"):
            pass
    assert caught.value.response.status_code == 403
    async with live_connection(url, token, origin=url) as socket:
        await socket.send('{"tags": [1]}')
        assert await next_values(socket) == {1: 1.0}


NOT_OURS = [
    "",
    "[]",
    "{}",
    '{"tags": [1.5]}',
    '{"tags": [-1]}',
    '{"tags": ["1"]}',
    '{"tags": [1], "more": 1}',
    json.dumps({"tags": list(range(live.TAGS_MAX + 1))}),
    '{"tags": [' + " " * 20_000 + "1]}",
    "[" * 10_000,
]


async def test_a_message_that_is_none_of_ours_closes_the_connection(url, token):
    codes = []
    for message in NOT_OURS:
        async with live_connection(url, token) as socket:
            await socket.send(message)
            codes.append(await close_code(socket))
    assert codes == [live.BAD_MESSAGE] * len(NOT_OURS)


async def test_bytes_in_place_of_text_close_the_connection(url, token):
    async with live_connection(url, token) as socket:
        await socket.send(b"\x00\xff")
        assert await close_code(socket) in {live.BAD_MESSAGE, 1003, 1007, 1011}


async def test_a_flood_of_messages_closes_the_connection(url, token):
    async with live_connection(url, token) as socket:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(live.MESSAGES_MAX + 1):
                await socket.send('{"tags": []}')
        assert await close_code(socket) == live.TOO_MANY


async def test_signing_out_closes_the_live_connection_with_4401(url, token, auth):
    async with live_connection(url, token) as socket:
        await socket.send('{"tags": [1]}')
        await next_values(socket)
        await auth.sign_out(token)
        assert await close_code(socket) == live.SESSION_OVER


def test_a_session_that_ended_is_seen_within_five_seconds():
    assert live.SESSION_CHECK_S <= 4.0
    assert live.TICK_S >= 0.25


async def test_more_connections_than_allowed_are_closed(url, token, monkeypatch):
    monkeypatch.setattr(live, "CLIENTS_MAX", 2)
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(live_connection(url, token)) for _ in range(2)]
        for socket in sockets:
            await socket.send('{"tags": [1]}')
            await next_values(socket)
        async with live_connection(url, token) as third:
            assert await close_code(third) == live.TOO_MANY


async def test_a_client_that_left_frees_its_place_and_costs_nothing(url, token, view, monkeypatch):
    monkeypatch.setattr(live, "CLIENTS_MAX", 1)
    for _ in range(3):
        async with live_connection(url, token) as socket:
            await socket.send('{"tags": [1]}')
            assert await next_values(socket) == {1: 1.0}
    asked = len(view.asked)
    async with httpx.AsyncClient(trust_env=False) as client:
        for _ in range(20):
            await client.get(f"{url}/api/status")
    assert len(view.asked) <= asked + 1


async def test_a_client_that_takes_nothing_is_dropped(url, token, view, monkeypatch):
    monkeypatch.setattr(live, "SEND_TIMEOUT_S", 0.3)
    view.big = "x" * 100_000
    ended = anyio.Event()
    serve = live.LiveFeed.serve

    async def observed(self, socket):
        await serve(self, socket)
        ended.set()

    monkeypatch.setattr(live.LiveFeed, "serve", observed)
    host, port = url.removeprefix("http://").split(":")
    async with await anyio.connect_tcp(host, int(port)) as raw:
        await raw.send(
            f"GET /api/live HTTP/1.1\r\nhost: {host}:{port}\r\nupgrade: websocket\r\n"
            "connection: upgrade\r\nsec-websocket-version: 13\r\n"
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"cookie: {COOKIE_NAME}={token}\r\n\r\n".encode()
        )
        assert (await raw.receive()).startswith(b"HTTP/1.1 101")
        body = json.dumps({"tags": list(range(100))}).encode()
        masked = bytes([0x81, 0xFE]) + len(body).to_bytes(2, "big") + bytes(4) + body
        await raw.send(masked)
        with anyio.fail_after(10):
            await ended.wait()


async def test_stopping_the_server_closes_live_connections(view, auth):
    async with contextlib.AsyncExitStack() as stack:
        async with serving(view, auth) as url:
            async with browser(url) as client:
                token = await be_signed_in(client, auth)
            socket = await stack.enter_async_context(live_connection(url, token))
            await socket.send('{"tags": [1]}')
            await next_values(socket)
        assert await close_code(socket) in {1001, 1006, 1012}
