"""``/api/tags``: the tag table by pages, and one tag's trend."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.params import PathParameter, QueryParameter

from contract.errors import ErrorBody
from gateway.web.access import TAGS_READ, View
from gateway.web.views import TagPage, TrendColumns
from runtime.http import Refused, permit

TAGS_PER_PAGE_MAX = 1_000
TREND_SECONDS_MAX = 7 * 24 * 3600
TREND_POINTS_MAX = 10_000


@get("/api/tags", opt=permit(TAGS_READ), sync_to_thread=False)
def read_tags(
    view: View,
    search: Annotated[str, QueryParameter(max_length=200)] = "",
    offset: Annotated[int, QueryParameter(ge=0, le=1_000_000)] = 0,
    limit: Annotated[int, QueryParameter(ge=1, le=TAGS_PER_PAGE_MAX)] = 100,
) -> TagPage:
    """List the tags whose name, device or address holds the search text, with last values."""
    return view.tags(search, offset, limit)


@get("/api/tags/{index:int}/trend", opt=permit(TAGS_READ))
async def read_trend(
    view: View,
    index: Annotated[int, PathParameter(ge=0, le=2**32 - 1)],
    seconds: Annotated[float, QueryParameter(gt=0, le=TREND_SECONDS_MAX)] = 300,
    points: Annotated[int, QueryParameter(ge=2, le=TREND_POINTS_MAX)] = 1_000,
) -> TrendColumns:
    """Read one tag's samples of the last seconds."""
    found = await view.trend(index, seconds, points)
    if found is None:
        body = ErrorBody(code="tags.unknown", message=f"there is no tag {index}")
        raise Refused(404, body)
    return found


TAG_ROUTES = [read_tags, read_trend]
