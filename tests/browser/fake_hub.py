"""A hub made of formulas: the real server shell and answer Structs of ``central.web``, other rules.

    python tests/browser/fake_hub.py --port 8081 --scene normal

Prints one JSON line when it listens: {"port": ..., "code": the one-time code}.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import anyio
from fake_fleet import FakeFleet
from litestar import Request, Response, delete, get, post
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.params import Parameter

from central.identity.people import Person
from central.web.gateways import CompletenessAnswer, LossesAnswer, OverviewAnswer, TagsAnswer
from central.web.session import Claim, SessionAnswer, SignIn
from central.web.status import StatusAnswer
from central.web.timeseries import BucketsAnswer
from contract.errors import ErrorBody
from runtime.clock import SystemClock
from runtime.http import PUBLIC, HttpSettings, Refused, create_app, permit, run_server

NAME, PASSWORD, CODE = "engineer", "correct horse battery", "K7QM-2F9D-XW3T-8HBN"
STATIC = Path(__file__).parents[2] / "central" / "web" / "static"
COOKIE = "fake_hub_session"
READ = "read"

Web = Request[Any, Any, Any]


class Door:
    """Who is signed in."""

    def __init__(self, *, claimed: bool) -> None:
        self.claimed = claimed
        self.person = (NAME, PASSWORD)
        self.tokens: set[str] = set()

    def holds(self, connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
        """Tell whether the connection carries an open session."""
        return connection.cookies.get(COOKIE, "") in self.tokens

    async def authorise(
        self, connection: ASGIConnection[Any, Any, Any, Any], permission: str
    ) -> None:
        """Let in who is signed in."""
        del permission
        if not self.holds(connection):
            raise Refused(401, ErrorBody(code="identity.session_over", message="sign in first"))

    def answer(self, *, signed_in: bool) -> SessionAnswer:
        """Say who is signed in."""
        person = Person(id=1, name=self.person[0], role="admin") if signed_in else None
        return SessionAnswer(is_claimed=self.claimed, person=person)

    def open(self) -> Response[SessionAnswer]:
        """Begin a session."""
        token = secrets.token_hex(16)
        self.tokens.add(token)
        response = Response(self.answer(signed_in=True), status_code=201)
        response.set_cookie(COOKIE, token, httponly=True, samesite="strict", path="/")
        return response


@get("/api/session", opt=permit(PUBLIC), sync_to_thread=False)
def read_session(request: Web, door: Door) -> SessionAnswer:
    return door.answer(signed_in=door.holds(request))


@post("/api/session", opt=permit(PUBLIC), sync_to_thread=False)
def sign_in(data: SignIn, door: Door) -> Response[SessionAnswer]:
    if (data.name, data.password) != door.person:
        body = ErrorBody(code="identity.sign_in_refused", message="name or password is wrong")
        raise Refused(401, body)
    return door.open()


@post("/api/session/claim", opt=permit(PUBLIC), sync_to_thread=False)
def claim(data: Claim, door: Door) -> Response[SessionAnswer]:
    if data.code != CODE:
        raise Refused(403, ErrorBody(code="identity.code_refused", message="the code is wrong"))
    door.claimed, door.person = True, (data.name, data.password)
    return door.open()


@delete("/api/session", opt=permit(PUBLIC), sync_to_thread=False)
def sign_out(request: Web, door: Door) -> Response[None]:
    door.tokens.discard(request.cookies.get(COOKIE, ""))
    return Response(None, status_code=204)


@get("/api/overview", opt=permit(READ), sync_to_thread=False)
def read_overview(fleet: FakeFleet) -> OverviewAnswer:
    return fleet.overview()


@get("/api/status", opt=permit(READ), sync_to_thread=False)
def read_status(fleet: FakeFleet) -> StatusAnswer:
    return fleet.status()


@get("/api/gateways/{gateway_id:str}/completeness", opt=permit(READ), sync_to_thread=False)
def read_completeness(fleet: FakeFleet, gateway_id: str) -> CompletenessAnswer:
    return fleet.completeness(gateway_id)


@get("/api/gateways/{gateway_id:str}/tags", opt=permit(READ), sync_to_thread=False)
def list_tags(
    fleet: FakeFleet,
    gateway_id: str,
    search: str = "",
    offset: int = 0,
    limit: Annotated[int, Parameter(ge=1, le=1000)] = 100,
) -> TagsAnswer:
    return fleet.tags(gateway_id, search, offset, limit)


@get("/api/gateways/{gateway_id:str}/losses", opt=permit(READ), sync_to_thread=False)
def list_losses(fleet: FakeFleet, gateway_id: str, limit: int = 100) -> LossesAnswer:
    return fleet.losses(gateway_id, limit)


@get("/api/timeseries/buckets", opt=permit(READ), sync_to_thread=False)
def read_buckets(
    fleet: FakeFleet, gateway: str, tag: int, start: str, end: str, buckets: int = 500
) -> BucketsAnswer:
    return fleet.buckets(gateway, tag, (float(start), float(end)), buckets)


ROUTES = [
    read_session,
    sign_in,
    claim,
    sign_out,
    read_overview,
    read_status,
    read_completeness,
    list_tags,
    list_losses,
    read_buckets,
]


async def serve(scene: str, port: int) -> None:
    """Serve until stopped."""
    door, fleet = Door(claimed=scene != "unclaimed"), FakeFleet(scene)
    settings = HttpSettings(
        name="fake hub",
        authorise=door.authorise,
        clock=SystemClock(),
        ui_dir=STATIC,
        dependencies={
            "door": Provide(lambda: door, sync_to_thread=False),
            "fleet": Provide(lambda: fleet, sync_to_thread=False),
        },
    )

    def ready(listening_port: int) -> None:
        sys.stdout.write(json.dumps({"port": listening_port, "code": CODE}) + "\n")
        sys.stdout.flush()

    await run_server(create_app(ROUTES, settings), "127.0.0.1", port, ready=ready)


def main(arguments: list[str]) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--scene", default="normal")
    options = parser.parse_args(arguments)
    anyio.run(partial(serve, options.scene, options.port))


if __name__ == "__main__":
    main(sys.argv[1:])
