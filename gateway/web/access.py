"""Which caller may use which route: permissions, the session cookie, and its checks."""

from __future__ import annotations

from typing import Any, TypeAlias

from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from contract.errors import ErrorBody
from gateway.auth.service import Auth, Session
from gateway.web.views import GatewayView
from runtime.http import Authorise, Refused

COOKIE_NAME = "fpe_gateway_session"
"""Cookies know no ports: the hub on the same host has a name of its own."""

TAGS_READ = "tags.read"
LOSSES_READ = "losses.read"
COMMANDS_READ = "commands.read"
SOURCES_WRITE = "sources.write"
SOURCES_CALL = "sources.call"
CONDITIONS_ACKNOWLEDGE = "conditions.acknowledge"
CONFIG_READ = "config.read"
CONFIG_CHECK = "config.check"
SOURCES_CHECK = "sources.check"
CERTIFICATES_READ = "certificates.read"
CERTIFICATES_CHANGE = "certificates.change"
SOURCES_BROWSE = "sources.browse"
SOURCES_SELECT = "sources.select"
PERMISSIONS = frozenset(
    {
        TAGS_READ,
        LOSSES_READ,
        COMMANDS_READ,
        CONFIG_READ,
        CONFIG_CHECK,
        SOURCES_CHECK,
        CERTIFICATES_READ,
        CERTIFICATES_CHANGE,
        SOURCES_BROWSE,
        SOURCES_SELECT,
        SOURCES_WRITE,
        SOURCES_CALL,
        CONDITIONS_ACKNOWLEDGE,
    }
)
"""What there is to permit besides public routes; today every signed-in user has all of it."""

Connection = ASGIConnection[Any, Any, Any, Any]
View: TypeAlias = NamedDependency[SkipValidation[GatewayView]]
"""The running gateway, given to a handler as ``view``; a Protocol cannot be checked per request."""


def session_token(connection: Connection) -> str | None:
    """Return what the cookie holds; untrusted."""
    return connection.cookies.get(COOKIE_NAME)


async def session_of(connection: Connection, auth: Auth, *, touch: bool = True) -> Session | None:
    """Return the caller's session when it is good now."""
    token = session_token(connection)
    return await auth.session(token, touch=touch) if token else None


def make_authorise(auth: Auth) -> Authorise:
    """Build the decision on every route that is not public."""

    async def authorise(connection: Connection, permission: str) -> None:
        assert permission in PERMISSIONS, f"unknown permission {permission}"
        if await session_of(connection, auth) is None:
            raise Refused(
                401, ErrorBody(code="auth.sign_in_needed", message="sign in to see this page")
            )

    return authorise


def address_of(connection: Connection) -> str:
    """Return the caller's address, for back-off; an IPv6 caller counts by its /64."""
    host = connection.client.host if connection.client else ""
    return ":".join(host.split(":")[:4]) if host.count(":") > 3 else host


def session_cookie(connection: Connection, token: str) -> Cookie:
    """Build the cookie of a fresh session: gone with the browser, and at its end in the table."""
    return Cookie(
        key=COOKIE_NAME,
        value=token,
        path="/",
        httponly=True,
        samesite="strict",
        secure=connection.scope["scheme"] == "https",
    )


def no_cookie(connection: Connection) -> Cookie:
    """Build the cookie that removes the session's."""
    return Cookie(
        key=COOKIE_NAME,
        value="",
        path="/",
        httponly=True,
        samesite="strict",
        secure=connection.scope["scheme"] == "https",
        max_age=0,
    )
