"""``/api/sources/NAME/browse``, ``search``, ``peek`` and ``changes``: look into a source.

Answers come from the source's one explorer, a page at a time; what costs the device too much is
refused or cut, and the answer says so.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import JSONBody, PathParameter, QueryParameter
from msgspec import Meta

from contract.errors import ErrorBody
from gateway.sources.base import PendingChanges
from gateway.sources.explore import (
    NODES_PER_PAGE_MAX,
    PEEK_NODES_MAX,
    ExploreError,
    NodePage,
    PeekValue,
    SourceExplorer,
)
from gateway.web.access import SOURCES_BROWSE, SOURCES_SELECT, View
from gateway.web.views import GatewayView
from runtime.http import Refused, permit

_STATUS = {
    "source.busy": 503,
    "source.unreachable": 503,
    "browse.node_unknown": 404,
    "browse.continuation_expired": 410,
    "changes.other": 409,
}
SourceName = Annotated[str, PathParameter(max_length=64)]
Address = Annotated[str, QueryParameter(max_length=4096)]
Continuation = Annotated[str, QueryParameter(max_length=100)]
Limit = Annotated[int, QueryParameter(ge=1, le=NODES_PER_PAGE_MAX)]


class Peek(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which nodes to read once."""

    nodes: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=4096)]], Meta(max_length=PEEK_NODES_MAX)
    ]


class PeekAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The values, in the order asked."""

    values: list[PeekValue]


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules find that is not read; None for nothing."""

    pending: PendingChanges | None


class ApplyChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which changes to apply: those that were looked at, and no others."""

    id: Annotated[str, Meta(min_length=1, max_length=64)]


def explorer_of(view: GatewayView, source: str) -> SourceExplorer:
    """Return a source's explorer; answers 404 where there is none."""
    found = view.explorer(source)
    if found is None:
        raise Refused(
            404,
            ErrorBody(
                code="source.unknown",
                message=f"no source {source!r} is running that can be browsed",
                remedy="check the name; a source with enabled: false does not run",
            ),
        )
    return found


def refusal(error: ExploreError) -> Refused:
    """Turn a refusal of the explorer into an answer."""
    body = ErrorBody(code=error.code, message=str(error), remedy=error.remedy)
    return Refused(_STATUS.get(error.code, 503), body)


@get("/api/sources/{source:str}/browse", opt=permit(SOURCES_BROWSE))
async def browse(
    view: View,
    source: SourceName,
    node: Address = "",
    continuation: Continuation = "",
    limit: Limit = 100,
) -> NodePage:
    """List the nodes right below a node, page by page; "" is the Objects folder."""
    try:
        return await explorer_of(view, source).browse(node, continuation, limit)
    except ExploreError as error:
        raise refusal(error) from error


@get("/api/sources/{source:str}/search", opt=permit(SOURCES_BROWSE))
async def search(
    view: View,
    source: SourceName,
    text: Annotated[str, QueryParameter(min_length=1, max_length=200)],
    node: Address = "",
    continuation: Continuation = "",
    limit: Limit = 50,
) -> NodePage:
    """Look for nodes below a node whose name holds the text.

    An answer that is not complete has a continuation: ask again with it to go on.
    """
    try:
        return await explorer_of(view, source).search(node, text, continuation, limit)
    except ExploreError as error:
        raise refusal(error) from error


@post("/api/sources/{source:str}/peek", opt=permit(SOURCES_BROWSE), status_code=200)
async def peek(view: View, source: SourceName, data: JSONBody[Peek]) -> PeekAnswer:
    """Read the values of nodes once, whether they are tags or not."""
    try:
        return PeekAnswer(values=await explorer_of(view, source).peek(data.nodes))
    except ExploreError as error:
        raise refusal(error) from error


@get("/api/sources/{source:str}/changes", opt=permit(SOURCES_BROWSE), sync_to_thread=False)
def read_changes(view: View, source: SourceName) -> Changes:
    """Say what the source's rules find that is not read."""
    return Changes(pending=explorer_of(view, source).pending())


@post("/api/sources/{source:str}/changes/apply", opt=permit(SOURCES_SELECT), status_code=200)
async def apply_changes(view: View, source: SourceName, data: JSONBody[ApplyChanges]) -> Changes:
    """Apply the pending changes that were looked at; return what was applied."""
    try:
        return Changes(pending=await explorer_of(view, source).apply(data.id))
    except ExploreError as error:
        raise refusal(error) from error


BROWSE_ROUTES = [browse, search, peek, read_changes, apply_changes]
