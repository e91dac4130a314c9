"""WebSocket ``/api/live``: last values of the tags a page shows, as they change.

The client says ``{"tags": [0, 7]}`` (at most ``TAGS_MAX``; each message replaces the one before);
the server sends ``{"time_us": ..., "values": [LiveValue]}``, the first time all of them, then what
changed, at most once in ``TICK_S``, and nothing when nothing changed. Both are JSON text.

Limits: ``CLIENTS_MAX`` connections; ``MESSAGES_MAX`` messages in ``MESSAGES_WINDOW_S``; a client
that takes nothing for ``SEND_TIMEOUT_S`` is dropped, one that answers no ping by uvicorn. The
session is looked up every ``SESSION_CHECK_S`` and does not count as used by this.
Close codes: 4400 bad message, 4401 session over, 4429 too many connections or messages.

Each connection is one request's task with two children (listen, feed); without connections there
is no task, no timer and no cost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

import anyio
import msgspec
from litestar import WebSocket, websocket
from litestar.di import NamedDependency
from litestar.exceptions import WebSocketDisconnect
from msgspec import Meta

from gateway.auth.service import Auth
from gateway.web.access import TAGS_READ, session_of
from gateway.web.views import GatewayView, LiveValue
from runtime.clock import Clock
from runtime.http import permit

TAGS_MAX = 500
CLIENTS_MAX = 32
TICK_S = 0.25
SESSION_CHECK_S = 2.0
SEND_TIMEOUT_S = 10.0
MESSAGE_CHARS_MAX = 16_000
MESSAGES_MAX = 100
MESSAGES_WINDOW_S = 5.0

BAD_MESSAGE = 4400
SESSION_OVER = 4401
TOO_MANY = 4429

Socket = WebSocket[Any, Any, Any]


class LiveRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client wants to see from now on."""

    tags: Annotated[list[Annotated[int, Meta(ge=0, le=2**32 - 1)]], Meta(max_length=TAGS_MAX)]


class LiveMessage(msgspec.Struct, frozen=True):
    """What changed since the message before."""

    time_us: int
    values: list[LiveValue]


class _ClosedError(Exception):
    """Raised in a connection's task to close it with a code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class LiveFeed:
    """Serves the live connections of one web server."""

    def __init__(self, view: GatewayView, auth: Auth, clock: Clock) -> None:
        self._view = view
        self._auth = auth
        self._clock = clock
        self._clients_count = 0

    @property
    def clients_count(self) -> int:
        """Connections that are open now."""
        return self._clients_count

    async def serve(self, socket: Socket) -> None:
        """Serve one connection whose session was good a moment ago, until it ends."""
        await socket.accept()
        async with self._counted() as counted:
            if not counted:
                await socket.close(TOO_MANY, "live.too_many_clients")
                return
            try:
                await self._run(socket)
            except _ClosedError as closed:
                with anyio.move_on_after(SEND_TIMEOUT_S):
                    await socket.close(closed.code, closed.reason)
            except (WebSocketDisconnect, TimeoutError, anyio.ClosedResourceError, OSError):
                pass  # the client left, or takes nothing: the transport is closed by the server

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[bool]:
        if self._clients_count >= CLIENTS_MAX:
            yield False
            return
        self._clients_count += 1
        try:
            yield True
        finally:
            self._clients_count -= 1

    async def _run(self, socket: Socket) -> None:
        wanted = _Wanted()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._listen, socket, wanted)
                tasks.start_soon(self._feed, socket, wanted)
                tasks.start_soon(self._watch_session, socket)
        except BaseExceptionGroup as group:
            raise _first_of(group) from None

    async def _listen(self, socket: Socket, wanted: _Wanted) -> None:
        came_s: deque[float] = deque(maxlen=MESSAGES_MAX)
        while True:
            text = await socket.receive_text()
            now_s = self._clock.monotonic_s()
            if len(came_s) == MESSAGES_MAX and now_s - came_s[0] < MESSAGES_WINDOW_S:
                raise _ClosedError(TOO_MANY, "live.too_many_messages")
            came_s.append(now_s)
            if len(text) > MESSAGE_CHARS_MAX:
                raise _ClosedError(BAD_MESSAGE, "live.message_too_long")
            try:
                request = msgspec.json.decode(text, type=LiveRequest)
            except msgspec.MsgspecError:
                raise _ClosedError(BAD_MESSAGE, "live.bad_message") from None
            wanted.replace(request.tags)

    async def _feed(self, socket: Socket, wanted: _Wanted) -> None:
        encoder = msgspec.json.Encoder()
        sent: dict[int, LiveValue] = {}
        version = 0
        while True:
            await wanted.some()
            if version != wanted.version:
                version = wanted.version
                sent = {}
            now = self._view.last_values(wanted.tags)
            changed = [value for value in now if _differs(value, sent.get(value.index))]
            if changed:
                sent.update((value.index, value) for value in changed)
                message = LiveMessage(self._clock.wall_us(), changed)
                with anyio.fail_after(SEND_TIMEOUT_S):
                    await socket.send_text(encoder.encode(message).decode("utf-8"))
            await self._clock.sleep_s(TICK_S)

    async def _watch_session(self, socket: Socket) -> None:
        while True:
            await self._clock.sleep_s(SESSION_CHECK_S)
            if await session_of(socket, self._auth, touch=False) is None:
                raise _ClosedError(SESSION_OVER, "auth.session_over")


class _Wanted:
    """The tags one client wants; ``some`` waits while there are none."""

    def __init__(self) -> None:
        self.tags: Sequence[int] = ()
        self.version = 0
        self._event = anyio.Event()

    def replace(self, tags: Sequence[int]) -> None:
        self.tags = tuple(dict.fromkeys(tags))
        self.version += 1
        if self.tags:
            self._event.set()
        elif self._event.is_set():
            self._event = anyio.Event()

    async def some(self) -> None:
        while not self.tags:
            await self._event.wait()


def _differs(value: LiveValue, before: LiveValue | None) -> bool:
    if before is None or value.time_us != before.time_us or value.status != before.status:
        return True
    if value.value == before.value:
        return False
    both_nan = value.value != value.value and before.value != before.value
    return not both_nan


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the reason of a connection's end; the children end together, so any will do."""
    reasons = [e for e in group.exceptions if isinstance(e, _ClosedError)]
    error = reasons[0] if reasons else group.exceptions[0]
    return _first_of(error) if isinstance(error, BaseExceptionGroup) else error


@websocket("/api/live", opt=permit(TAGS_READ))
async def live(socket: Socket, live_feed: NamedDependency[LiveFeed]) -> None:
    """Stream the last values of the tags a page shows."""
    await live_feed.serve(socket)


LIVE_ROUTES = [live]
