"""Build the gateway's web application: routes, sign-in, metrics, the built UI.

``runtime.http`` checks Host, Origin, body size and that each route declares a permission; here
stands only what the gateway serves. Nothing runs by itself: without requests and live connections
the application costs nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from litestar import Request, Response
from litestar.di import Provide

from contract.errors import ErrorBody
from gateway.auth.refusals import AuthRefusedError
from gateway.auth.service import Auth
from gateway.flow.actions import Actions
from gateway.sources.opcua.tools import OpcUaTools
from gateway.web.access import make_authorise
from gateway.web.acting import ACTING_ROUTES
from gateway.web.browse import BROWSE_ROUTES
from gateway.web.certificates import CERTIFICATE_ROUTES
from gateway.web.commands import COMMAND_ROUTES
from gateway.web.config import CONFIG_ROUTES
from gateway.web.live import LIVE_ROUTES, LiveFeed
from gateway.web.losses import LOSS_ROUTES
from gateway.web.selection import SELECTION_ROUTES
from gateway.web.session import SESSION_ROUTES, auth_refused
from gateway.web.sources import SOURCE_ROUTES
from gateway.web.status import STATUS_ROUTES
from gateway.web.tags import TAG_ROUTES
from gateway.web.views import GatewayView
from runtime.clock import Clock, SystemClock
from runtime.http import HttpApp, HttpSettings, create_app

NAME = "Factory+ Edge gateway"
ROUTES = [
    *SESSION_ROUTES,
    *STATUS_ROUTES,
    *TAG_ROUTES,
    *LOSS_ROUTES,
    *COMMAND_ROUTES,
    *ACTING_ROUTES,
    *CONFIG_ROUTES,
    *BROWSE_ROUTES,
    *SELECTION_ROUTES,
    *LIVE_ROUTES,
    *SOURCE_ROUTES,
    *CERTIFICATE_ROUTES,
]


def create_web(
    view: GatewayView,
    auth: Auth,
    static_dir: Path | None,
    clock: Clock | None = None,
    *,
    opcua: OpcUaTools | None = None,
    acting: Actions | None = None,
) -> HttpApp:
    """Build the application for ``runtime.http.run_server``.

    Args:
        view: the running gateway.
        auth: opened.
        static_dir: the built UI (``gateway/web/static``); None or missing serves a hint.
        clock: the machine's own when left out.
        opcua: the gateway's OPC UA beside its sources; without it those routes answer 503.
        acting: the gateway's hands; without them those routes answer 503.
    """
    ticking = clock or SystemClock()
    parts: Mapping[str, Any] = {
        "view": view,
        "auth": auth,
        "opcua": opcua,
        "acting": acting,
        "live_feed": LiveFeed(view, auth, ticking),
    }
    settings = HttpSettings(
        name=NAME,
        authorise=make_authorise(auth),
        clock=ticking,
        allowed_hosts=own_host_names(),
        ui_dir=static_dir,
        body_bytes_max=100_000,
        metrics=lambda: view.metrics_text().encode("utf-8"),
        dependencies={name: _provide(part) for name, part in parts.items()},
        exception_handlers={AuthRefusedError: auth_refused, RecursionError: _too_deep},
    )
    return create_app(ROUTES, settings)


def _too_deep(_request: Request[Any, Any, Any], _error: RecursionError) -> Response[ErrorBody]:
    """Answer a body whose brackets go deeper than any of ours (R34)."""
    body = ErrorBody(code="http.invalid", message="the request is nested too deep")
    return Response(body, status_code=400)


def own_host_names() -> frozenset[str]:
    """Return the names a browser may call this box by, besides its addresses (R12)."""
    name = socket.gethostname().casefold()
    short = name.partition(".")[0]
    return frozenset({"localhost", name, short, f"{short}.local"} - {""})


def openapi_json() -> bytes:
    """Return the API's description without starting anything: ``python -m gateway openapi``."""
    unused: Any = None
    return create_web(unused, unused, None).openapi_json()


def _provide(part: object) -> Provide:
    def give() -> Any:  # noqa: ANN401 - a part of any type
        return part

    found: Callable[[], Any] = give
    return Provide(found, sync_to_thread=False, use_cache=True)
