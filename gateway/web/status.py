"""``GET /api/status``: what works and what does not. Public: no values of tags, no secrets."""

from __future__ import annotations

from litestar import get

from gateway.web.access import View
from gateway.web.views import GatewayStatus
from runtime.http import PUBLIC, permit


@get("/api/status", opt=permit(PUBLIC), sync_to_thread=False)
def read_status(view: View) -> GatewayStatus:
    """Take all counters and states at one moment."""
    return view.status()


STATUS_ROUTES = [read_status]
