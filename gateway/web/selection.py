"""``/api/sources/NAME/selection.csv``: a source's single tags out to a spreadsheet and back in.

An import changes nothing by itself: it is checked whole, and what it would be is answered as the
document's ``tags:`` part, to be put into the configuration.
"""

from __future__ import annotations

from typing import Annotated, Any

import anyio
import anyio.to_thread
import msgspec
from litestar import Request, Response, get, post
from litestar.params import QueryParameter

from contract.config import OpcUaSourceConfig
from contract.errors import ErrorBody
from gateway.config.selection_csv import (
    ImportReport,
    export_csv,
    plan_import,
    read_csv,
    tags_as_yaml,
)
from gateway.sources.explore import ExploreError
from gateway.web.access import CONFIG_READ, SOURCES_SELECT, View
from gateway.web.browse import SourceName, explorer_of
from gateway.web.views import GatewayView
from runtime.http import Refused, permit

CSV_BYTES_MAX = 20_000_000
NODES_ASKED_MAX = 50_000
"""More nodes are not asked for at the server during an import; the report says so."""

_one_import = anyio.CapacityLimiter(1)


def _source_of(view: GatewayView, source: str) -> tuple[int, OpcUaSourceConfig]:
    for index, found in enumerate(view.config().sources):
        if found.name == source and isinstance(found, OpcUaSourceConfig):
            return index, found
    body = ErrorBody(code="source.unknown", message=f"no OPC UA source has the name {source!r}")
    raise Refused(404, body)


@get("/api/sources/{source:str}/selection.csv", opt=permit(CONFIG_READ))
async def export_selection(
    view: View,
    source: SourceName,
    found: Annotated[bool, QueryParameter()] = False,
) -> Response[bytes]:
    """Export the source's single tags as CSV; with ``found``, also what its rules selected.

    Those, imported, become single tags: they are read so whatever the rules find later.
    """
    _, config = _source_of(view, source)
    tags = list(config.tags)
    if found:
        single = {tag.node for tag in tags}
        by_rule = await explorer_of(view, source).selected()
        tags += list({t.node: t for t in reversed(by_rule) if t.node not in single}.values())[::-1]
    return Response(
        export_csv(tags).encode("utf-8"),
        media_type="text/csv",
        headers={"Content-Disposition": f'attachment; filename="{config.name}-tags.csv"'},
    )


@post(
    "/api/sources/{source:str}/selection.csv",
    opt=permit(SOURCES_SELECT),
    status_code=200,
    request_max_body_size=CSV_BYTES_MAX,
)
async def import_selection(
    request: Request[Any, Any, Any],
    view: View,
    source: SourceName,
    dry_run: Annotated[bool, QueryParameter()] = True,
) -> ImportReport:
    """Check a CSV (the body) against the document and the server; nothing is applied here.

    With ``dry_run=false`` and no fault the answer holds the new ``tags:`` part of the source.
    """
    data = await request.body()
    config, (index, chosen) = view.config(), _source_of(view, source)
    tags, _, _ = await anyio.to_thread.run_sync(read_csv, data, chosen, limiter=_one_import)
    nodes = list(dict.fromkeys(tag.node for tag in tags))
    unknown = await _unknown(view, source, nodes)
    report, tags = await anyio.to_thread.run_sync(
        lambda: plan_import(config, index, data, unknown_nodes=unknown), limiter=_one_import
    )
    if report.ok and not dry_run:
        return msgspec.structs.replace(report, document=tags_as_yaml(tags))
    return report


async def _unknown(view: GatewayView, source: str, nodes: list[str]) -> dict[str, str] | None:
    """Ask the server for the nodes; None when it cannot be asked."""
    explorer = view.explorer(source)
    if explorer is None or len(nodes) > NODES_ASKED_MAX:
        return None
    try:
        return await explorer.unknown(nodes)
    except ExploreError:
        return None


SELECTION_ROUTES = [export_selection, import_selection]
