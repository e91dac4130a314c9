"""``GET /api/commands``: what hosts wanted to write, and what came of it, newest first."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.params import QueryParameter

from contract.errors import ErrorBody
from gateway.errors import AuditError
from gateway.flow.command_audit import AuditedCommand
from gateway.web.access import COMMANDS_READ, View
from runtime.http import Refused, permit


@get("/api/commands", opt=permit(COMMANDS_READ))
async def read_commands(
    view: View, limit: Annotated[int, QueryParameter(ge=1, le=1_000)] = 100
) -> list[AuditedCommand]:
    """List the writes that were asked for, refused ones too, newest first."""
    try:
        return await view.commands(limit)
    except AuditError as error:
        body = ErrorBody(code=error.code, message=f"the audit cannot be read: {error}")
        raise Refused(503, body) from error


COMMAND_ROUTES = [read_commands]
