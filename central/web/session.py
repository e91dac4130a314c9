"""``/api/session``: claim the hub, sign in and out."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import JSONBody

from central.identity.people import ABSOLUTE_END_S, Person
from central.web.guard import SESSION_COOKIE, address_of
from central.web.parts import Parts
from runtime.http import PUBLIC, permit

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Password = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class Claim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The one-time code, and who the first admin will be."""

    code: Annotated[str, msgspec.Meta(max_length=100)]
    name: Name
    password: Password


class SignIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A name and its password."""

    name: Name
    password: Password


class SessionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Who is signed in; ``person`` is null when nobody is.

    ``is_claimed`` is false as long as the hub waits for its first admin.
    """

    is_claimed: bool
    person: Person | None = None


@post("/api/session/claim", opt=permit(PUBLIC), tags=["session"], operation_id="claimHub")
async def claim_hub(
    request: Request[Any, Any, Any], data: JSONBody[Claim], parts: NamedDependency[Parts]
) -> Response[SessionAnswer]:
    """Make the first admin with the one-time code, and sign in."""
    token = await parts.people.claim(data.code, data.name, data.password, address_of(request))
    return await _signed_in(parts, token)


@post("/api/session", opt=permit(PUBLIC), tags=["session"], operation_id="signIn")
async def sign_in(
    request: Request[Any, Any, Any], data: JSONBody[SignIn], parts: NamedDependency[Parts]
) -> Response[SessionAnswer]:
    """Check a password and open a session in a cookie; a session before it is ended."""
    token = await parts.people.sign_in(data.name, data.password, address_of(request))
    if (old := request.cookies.get(SESSION_COOKIE)) is not None:
        await parts.people.sign_out(old)
    return await _signed_in(parts, token)


@get("/api/session", opt=permit(PUBLIC), tags=["session"], operation_id="readSession")
async def read_session(
    request: Request[Any, Any, Any], parts: NamedDependency[Parts]
) -> SessionAnswer:
    """Say who is signed in, and whether the hub has an admin."""
    token = request.cookies.get(SESSION_COOKIE)
    person = await parts.people.person_of(token) if token else None
    return SessionAnswer(is_claimed=await parts.people.is_claimed(), person=person)


@delete("/api/session", opt=permit(PUBLIC), tags=["session"], operation_id="signOut")
async def sign_out(
    request: Request[Any, Any, Any], parts: NamedDependency[Parts]
) -> Response[None]:
    """End the session."""
    if (token := request.cookies.get(SESSION_COOKIE)) is not None:
        await parts.people.sign_out(token)
    return Response(None, status_code=204, cookies=[_cookie("", 0)])


async def _signed_in(parts: Parts, token: str) -> Response[SessionAnswer]:
    person = await parts.people.person_of(token)
    return Response(
        SessionAnswer(is_claimed=True, person=person),
        status_code=201,
        cookies=[_cookie(token, ABSOLUTE_END_S)],
    )


def _cookie(value: str, max_age_s: int) -> Cookie:
    return Cookie(
        key=SESSION_COOKIE,
        value=value,
        max_age=max_age_s,
        path="/",
        secure=True,
        httponly=True,
        samesite="strict",
    )


HANDLERS = [claim_hub, sign_in, read_session, sign_out]
