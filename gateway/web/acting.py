"""``/api/sources/NAME``: write a set-point, call a method, acknowledge an alarm.

Each has a permission of its own; all is audited (``GET /api/commands``). Only what the
configuration lists is done. An action is answered when its outcome is known.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, Any, TypeAlias

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, SkipValidation
from msgspec import Meta

from contract.errors import ErrorBody
from gateway.auth.service import Auth
from gateway.errors import SourceError, WriteRefusedError
from gateway.flow.actions import Action, Actions, UnknownError
from gateway.flow.command_audit import AuditedCommand
from gateway.sources.acting import MethodDescription
from gateway.web.access import (
    COMMANDS_READ,
    CONDITIONS_ACKNOWLEDGE,
    SOURCES_CALL,
    SOURCES_WRITE,
    session_of,
)
from runtime.http import Refused, permit

Web = Request[Any, Any, Any]
Acting: TypeAlias = NamedDependency[SkipValidation[Actions]]
"""What acts, given to a handler as ``acting``."""

ARGUMENTS_MAX = 100
_NOT_NOW = frozenset({"queue_full", "waited_too_long", "audit_failed", "no_source"})
"""Refusals that say nothing about the wish itself: later it may be carried out."""
BODY_BYTES_MAX = 1_000_000


class WriteBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value to write.

    Attributes:
        tag: its name.
        device: needed where several devices of the source have a tag of this name.
        value: in the tag's unit; a list for an array, base64 for bytes, ISO 8601 for a time.
    """

    tag: Annotated[str, Meta(min_length=1, max_length=1024)]
    device: Annotated[str, Meta(max_length=128)] | None = None
    value: Any


class CallBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments by name."""

    arguments: Annotated[dict[str, Any], Meta(max_length=ARGUMENTS_MAX)] = {}


class AcknowledgeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which state of which condition, as an event told it.

    Attributes:
        condition: ``condition_id`` of the event.
        event_id: its ``event_id``, hex.
        comment: kept by the server with the condition.
    """

    condition: Annotated[str, Meta(min_length=3, max_length=4096)]
    event_id: Annotated[str, Meta(min_length=2, max_length=2048, pattern="^([0-9a-fA-F]{2})+$")]
    comment: Annotated[str, Meta(max_length=1000)] = ""


class ActionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an action that the device took.

    Attributes:
        id: of its entry in the audit.
        reason: a stable word where something is remarkable, such as ``reads_back_other``.
        message: for people, such as what a value reads back as.
        results: of a method, by name.
    """

    id: int
    reason: str = ""
    message: str = ""
    results: dict[str, Any] = {}


@post(
    "/api/sources/{name:str}/write",
    opt=permit(SOURCES_WRITE),
    status_code=200,
    request_max_body_size=BODY_BYTES_MAX,
)
async def write_tag(
    name: FromPath[str],
    data: JSONBody[WriteBody],
    request: Web,
    acting: Acting,
    auth: NamedDependency[Auth],
) -> ActionAnswer:
    """Write a tag of the write allow-list, once, and say what it reads back as."""
    origin = await _origin(request, auth)
    return await _answer(actions_of(acting).write(name, data.tag, data.device, data.value, origin))


@get("/api/sources/{name:str}/methods/{method:str}", opt=permit(COMMANDS_READ))
async def read_method(
    name: FromPath[str], method: FromPath[str], acting: Acting
) -> MethodDescription:
    """Say what a method of the allow-list takes and returns, as the server describes it."""
    try:
        return await actions_of(acting).describe(name, method)
    except UnknownError as error:
        raise _unknown(error) from error
    except WriteRefusedError as error:
        raise Refused(409, ErrorBody(code=f"action.{error.reason}", message=str(error))) from error
    except SourceError as error:
        raise Refused(503, ErrorBody(code="action.no_session", message=str(error))) from error


@post(
    "/api/sources/{name:str}/methods/{method:str}",
    opt=permit(SOURCES_CALL),
    status_code=200,
    request_max_body_size=BODY_BYTES_MAX,
)
async def call_method(
    name: FromPath[str],
    method: FromPath[str],
    data: JSONBody[CallBody],
    request: Web,
    acting: Acting,
    auth: NamedDependency[Auth],
) -> ActionAnswer:
    """Call a method of the allow-list, once."""
    origin = await _origin(request, auth)
    return await _answer(actions_of(acting).call(name, method, data.arguments, origin))


@post(
    "/api/sources/{name:str}/conditions/acknowledge",
    opt=permit(CONDITIONS_ACKNOWLEDGE),
    status_code=200,
)
async def acknowledge_condition(
    name: FromPath[str],
    data: JSONBody[AcknowledgeBody],
    request: Web,
    acting: Acting,
    auth: NamedDependency[Auth],
) -> ActionAnswer:
    """Acknowledge a condition's state, where the configuration allows it."""
    origin = await _origin(request, auth)
    return await _answer(
        actions_of(acting).acknowledge(
            name, data.condition, bytes.fromhex(data.event_id), data.comment, origin
        )
    )


def actions_of(acting: Actions | None) -> Actions:
    """Return what acts; a web server that stands alone has nothing."""
    if acting is None:
        raise Refused(503, ErrorBody(code="action.off", message="this server has no sources"))
    return acting


async def _origin(request: Web, auth: Auth) -> str:
    session = await session_of(request, auth)
    host = request.client.host if request.client else ""
    return f"web {session.name if session is not None else '?'} {host}".rstrip()


async def _answer(acting: Awaitable[Action]) -> ActionAnswer:
    """Wait for the outcome; refuse what was not carried out."""
    try:
        action = await acting
    except UnknownError as error:
        raise _unknown(error) from error
    command = action.command
    if command.outcome == "written":
        return ActionAnswer(
            id=command.id, reason=command.reason, message=command.message, results=action.results
        )
    body = ErrorBody(code=f"action.{command.reason}", message=command.message)
    raise Refused(_status(command), body)


def _status(command: AuditedCommand) -> int:
    if command.outcome == "refused":
        return 503 if command.reason in _NOT_NOW else 409
    return 504 if command.reason == "timeout" else 503


def _unknown(error: UnknownError) -> Refused:
    return Refused(404, ErrorBody(code="action.unknown", message=str(error)))


ACTING_ROUTES = [write_tag, read_method, call_method, acknowledge_condition]
