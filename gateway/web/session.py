"""``/api/session``: who am I, sign in, sign out, claim the box."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta

from contract.errors import ErrorBody
from gateway.auth.refusals import (
    AlreadyClaimedError,
    AuthRefusedError,
    TooManyAttemptsError,
    WrongCredentialsError,
)
from gateway.auth.service import Auth, SignedIn
from gateway.web.access import address_of, no_cookie, session_cookie, session_of, session_token
from runtime.http import PUBLIC, permit

Web = Request[Any, Any, Any]

NameText = Annotated[str, Meta(max_length=256)]
PasswordText = Annotated[str, Meta(max_length=1024)]


class SessionState(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the box has an owner, and who is signed in with this browser."""

    claimed: bool
    signed_in: bool
    name: str | None


class SignIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Name and password."""

    name: NameText
    password: PasswordText


class Claim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The setup code that was printed, and the name and password of the first user."""

    code: Annotated[str, Meta(max_length=100)]
    name: NameText
    password: PasswordText


@get("/api/session", opt=permit(PUBLIC))
async def read_session(request: Web, auth: NamedDependency[Auth]) -> SessionState:
    """Say whether the box is claimed and who is signed in."""
    session = await session_of(request, auth)
    return SessionState(
        claimed=await auth.claimed(),
        signed_in=session is not None,
        name=session.name if session is not None else None,
    )


@post("/api/session", opt=permit(PUBLIC), request_max_body_size=10_000)
async def sign_in(
    request: Web, data: JSONBody[SignIn], auth: NamedDependency[Auth]
) -> Response[SessionState]:
    """Check name and password and begin a session under a new id."""
    signed_in = await auth.sign_in(data.name, data.password, address_of(request))
    return await _begun(request, auth, signed_in)


@post("/api/session/claim", opt=permit(PUBLIC), request_max_body_size=10_000)
async def claim(
    request: Web, data: JSONBody[Claim], auth: NamedDependency[Auth]
) -> Response[SessionState]:
    """Use the one-time setup code: make the first user and sign in."""
    signed_in = await auth.claim(data.code, data.name, data.password, address_of(request))
    return await _begun(request, auth, signed_in)


@delete("/api/session", opt=permit(PUBLIC))
async def sign_out(request: Web, auth: NamedDependency[Auth]) -> Response[None]:
    """End the session; its live connections close within seconds."""
    token = session_token(request)
    if token is not None:
        await auth.sign_out(token)
    return Response(None, cookies=[no_cookie(request)])


async def _begun(request: Web, auth: Auth, signed_in: SignedIn) -> Response[SessionState]:
    before = session_token(request)
    if before is not None:
        await auth.sign_out(before)
    state = SessionState(claimed=True, signed_in=True, name=signed_in.name)
    return Response(state, cookies=[session_cookie(request, signed_in.token)])


def auth_refused(_request: Web, error: AuthRefusedError) -> Response[ErrorBody]:
    """Answer a refused claim or sign-in."""
    body = ErrorBody(code=error.code, message=str(error), remedy=error.remedy)
    headers: dict[str, str] = {}
    match error:
        case AlreadyClaimedError():
            status = 409
        case WrongCredentialsError():
            status = 401
        case TooManyAttemptsError():
            status = 429
            headers["retry-after"] = str(max(1, round(error.wait_s + 0.5)))
        case _:
            status = 422
    return Response(body, status_code=status, headers=headers)


SESSION_ROUTES = [read_session, sign_in, claim, sign_out]
