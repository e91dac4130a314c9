"""``GET /api/losses``: the loss ledger, newest first."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.params import QueryParameter

from contract.upload import Loss
from gateway.web.access import LOSSES_READ, View
from runtime.http import permit


@get("/api/losses", opt=permit(LOSSES_READ), sync_to_thread=False)
def read_losses(
    view: View, limit: Annotated[int, QueryParameter(ge=1, le=1_000)] = 100
) -> list[Loss]:
    """List what was lost, when and why, newest first."""
    return view.losses(limit)


LOSS_ROUTES = [read_losses]
