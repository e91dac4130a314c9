"""Commands to edge nodes and devices, and their audit, under ``/api/sparkplug``."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from central.errors import CommandValueError
from central.identity.people import Person
from central.ingest.sparkplug.commands import REASON_LENGTH_MAX, CommandInfo, Given, Order
from central.web.guard import FLEET_READ, SPARKPLUG_COMMAND
from central.web.parts import Parts
from runtime.http import permit

METRICS_PER_COMMAND_MAX = 1_000
Limit = Annotated[int, QueryParameter(ge=1, le=1000)]
Offset = Annotated[int, QueryParameter(ge=0, le=10_000_000)]


class CommandRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Metrics to write, or a rebirth; ``reason`` goes into the audit.

    Values: numbers, booleans, texts, lists for arrays, base64 for Bytes, ms since 1970 for
    DateTime, null. They have to be of the metric's data type.
    """

    metrics: Annotated[dict[str, Given], msgspec.Meta(max_length=METRICS_PER_COMMAND_MAX)] = {}
    rebirth: bool = False
    reason: Annotated[str, msgspec.Meta(max_length=REASON_LENGTH_MAX)] = ""


class CommandsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The audit of commands, newest first."""

    total: int
    commands: list[CommandInfo]


@post(
    "/api/sparkplug/{group:str}/{node:str}/command",
    opt=permit(SPARKPLUG_COMMAND),
    tags=["sparkplug"],
    status_code=200,
    operation_id="commandSparkplugNode",
)
async def command_node(
    request: Request[Any, Any, Any],
    parts: NamedDependency[Parts],
    group: FromPath[str],
    node: FromPath[str],
    data: JSONBody[CommandRequest],
) -> CommandInfo:
    """Write metrics of an edge node (NCMD), or ask it for a rebirth."""
    return await _command(request, parts, (group, node, ""), data)


@post(
    "/api/sparkplug/{group:str}/{node:str}/{device:str}/command",
    opt=permit(SPARKPLUG_COMMAND),
    tags=["sparkplug"],
    status_code=200,
    operation_id="commandSparkplugDevice",
)
async def command_device(
    request: Request[Any, Any, Any],
    parts: NamedDependency[Parts],
    group: FromPath[str],
    node: FromPath[str],
    device: FromPath[str],
    data: JSONBody[CommandRequest],
) -> CommandInfo:
    """Write metrics of a device (DCMD), or ask it for a rebirth."""
    return await _command(request, parts, (group, node, device), data)


@get(
    "/api/sparkplug/commands",
    opt=permit(FLEET_READ),
    tags=["sparkplug"],
    operation_id="listSparkplugCommands",
)
async def list_commands(
    parts: NamedDependency[Parts], offset: Offset = 0, limit: Limit = 100
) -> CommandsAnswer:
    """Return who commanded what, when, and what came of it; newest first."""
    commands, total = await parts.sparkplug.book.newest(offset, limit)
    return CommandsAnswer(total=total, commands=commands)


async def _command(
    request: Request[Any, Any, Any],
    parts: Parts,
    place: tuple[str, str, str],
    data: CommandRequest,
) -> CommandInfo:
    if bool(data.metrics) == data.rebirth:
        raise CommandValueError(
            "metrics", "give either metrics or rebirth: true", "sparkplug.command_empty"
        )
    person: Person = request.scope["user"]
    return await parts.sparkplug.command(
        Order(
            person=person.name,
            group_id=place[0],
            node_id=place[1],
            device=place[2],
            metrics=data.metrics,
            reason=data.reason,
        )
    )


HANDLERS: list[Any] = [command_node, command_device, list_commands]
