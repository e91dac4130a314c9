"""The checks that concern every request, before any route: Host, Origin, headers of the answer."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, MutableMapping
from email.utils import formatdate
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
from litestar import Litestar
from litestar.types import Message, Receive, Send

from contract.errors import ErrorBody
from runtime.http.answers import HttpSettings

AnyScope = MutableMapping[str, Any]
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_CONTENT_SECURITY_POLICY = (
    b"default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    b"form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _CONTENT_SECURITY_POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
_CHECKED_HEADERS = frozenset({b"host", b"origin", b"sec-fetch-site"})


class HttpApp:
    """The ASGI application: a Litestar app behind the checks that concern every request."""

    def __init__(self, litestar: Litestar, settings: HttpSettings) -> None:
        self.litestar = litestar
        self._settings = settings
        self._date = b""
        self._date_at_s = -1.0

    def openapi_json(self) -> bytes:
        """Return the API's description, from which the UI generates its client."""
        return msgspec.json.format(
            msgspec.json.encode(self.litestar.openapi_schema.to_schema()), indent=2
        )

    async def __call__(self, scope: AnyScope, receive: Receive, send: Send) -> None:
        """Check Host and Origin, then pass on, adding headers to the answer."""
        if scope["type"] == "lifespan":
            await self.litestar(cast("Any", scope), receive, send)
            return
        send = self._with_headers(scope["path"], send) if scope["type"] == "http" else send
        refusal = self._refusal(scope)
        app: Any = self.litestar if refusal is None else _answer(*refusal)
        await app(scope, receive, send)

    def _refusal(self, scope: AnyScope) -> tuple[int, ErrorBody] | None:
        headers = {k: v.decode("latin-1") for k, v in scope["headers"] if k in _CHECKED_HEADERS}
        host = headers.get(b"host", "")
        if not _host_is_allowed(host, self._settings.allowed_hosts):
            return 421, ErrorBody(
                code="http.wrong_host",
                message="this server does not answer to that host name",
                remedy="use the address that the program printed",
            )
        changing = scope["type"] == "websocket" or scope.get("method") not in _SAFE_METHODS
        if changing and _is_cross_site(headers, host):
            return 403, ErrorBody(
                code="http.cross_origin", message="requests from other web sites are refused"
            )
        return None

    def _with_headers(self, path: str, send: Send) -> Send:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                cache = _cache_control(path)
                extra = [*_HEADERS, (b"cache-control", cache), (b"date", self._date_header())]
                message["headers"] = [
                    *message["headers"],
                    *(pair for pair in extra if pair[0] not in present),
                ]
            await send(message)

        return send_with_headers

    def _date_header(self) -> bytes:
        now_s = self._settings.clock.monotonic_s()
        if now_s - self._date_at_s >= 1:
            self._date_at_s = now_s
            wall_s = self._settings.clock.wall_us() / 1e6
            self._date = formatdate(wall_s, usegmt=True).encode("ascii")
        return self._date


def _cache_control(path: str) -> bytes:
    if path.startswith("/assets/"):
        return b"public, max-age=31536000, immutable"
    return b"no-store" if path.startswith(("/api", "/schema", "/metrics")) else b"no-cache"


def _host_is_allowed(host: str, allowed: frozenset[str] | None) -> bool:
    """Allow listed names and every IP address: DNS rebinding needs a name (R12)."""
    if allowed is None:
        return True
    name = urlsplit(f"//{host}").hostname or "" if _is_plain(host) else ""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in allowed
    return True


def _is_plain(host: str) -> bool:
    return all(c.isalnum() or c in "-._:[]" for c in host) and host.count("[") == host.count("]")


def _is_cross_site(headers: Mapping[bytes, str], host: str) -> bool:
    """Say whether a browser sends this for another site; other clients send neither header."""
    if headers.get(b"sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return True
    origin = headers.get(b"origin")
    return origin is not None and origin.partition("://")[2] != host


def _answer(status: int, body: ErrorBody) -> Any:  # noqa: ANN401 - an ASGI application
    async def answer(scope: AnyScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4000 + status, "reason": body.code})
            return
        content = msgspec.json.encode(body)
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        headers.append((b"content-length", str(len(content)).encode("ascii")))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content, "more_body": False})

    return answer
