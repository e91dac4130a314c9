"""Build the guarded Litestar application."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar, MediaType, Request, Response, Router, get
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException, ValidationException
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.static_files import create_static_files_router

from contract.errors import ErrorBody, Fault
from runtime.http.answers import PERMISSION, PUBLIC, HttpSettings, Refused, permit
from runtime.http.checks import HttpApp
from runtime.log import logger

_UI_MISSING = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>
<h1>{name}</h1><p>The web pages are not built. In the repository run <code>make ui</code>, then
start this program again. The API works: <a href="/schema/openapi.json">its description</a>.</p>
</html>"""


class RouteUnguardedError(Exception):
    """Raised at start when a route declares no permission."""


def create_app(route_handlers: Sequence[Any], settings: HttpSettings) -> HttpApp:
    """Build the application and make sure that every route declares a permission.

    Raises:
        RouteUnguardedError: a route declares none; its path is in the text.
    """

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: Any) -> None:  # noqa: ANN401
        permission = handler.opt.get(PERMISSION)
        assert permission is not None, "checked at start"
        if permission != PUBLIC:
            await settings.authorise(connection, permission)

    pages = _ui_handlers(settings)
    own = [_metrics_handler(settings.metrics, settings.metrics_permission)]
    litestar = Litestar(
        route_handlers=[*route_handlers, *(own if settings.metrics else []), *pages],
        guards=[guard],
        dependencies=dict(settings.dependencies),
        request_max_body_size=settings.body_bytes_max,
        exception_handlers={
            Refused: _refused,
            HTTPException: _http_exception(settings.ui_dir),
            Exception: _unexpected,
            **settings.exception_handlers,
        },
        openapi_config=OpenAPIConfig(
            title=settings.name,
            version="1",
            path="/schema",
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
            openapi_router=Router(
                path="/schema", route_handlers=[], opt=permit(PUBLIC), include_in_schema=False
            ),
        ),
        logging_config=None,
    )
    for path, handler in routes_of(litestar):
        if PERMISSION not in handler.opt:
            raise RouteUnguardedError(f"{path} ({handler.handler_name}) declares no permission")
    return HttpApp(litestar, settings)


def routes_of(litestar: Litestar) -> list[tuple[str, BaseRouteHandler]]:
    """List every path with its handlers, but for the OPTIONS answers that Litestar adds."""
    found: list[tuple[str, BaseRouteHandler]] = []
    for route in litestar.routes:
        handlers = getattr(route, "route_handlers", None) or [getattr(route, "route_handler")]  # noqa: B009
        found.extend(
            (route.path, handler)
            for handler in handlers
            if getattr(handler, "http_methods", None) != {"OPTIONS"}
        )
    return found


def _metrics_handler(metrics: Callable[[], bytes] | None, permission: str) -> Any:  # noqa: ANN401
    @get(
        "/metrics",
        opt=permit(permission),
        media_type="text/plain; version=0.0.4; charset=utf-8",
        sync_to_thread=False,
        include_in_schema=False,
    )
    def read_metrics() -> bytes:
        assert metrics is not None
        return metrics()

    return read_metrics


def _ui_handlers(settings: HttpSettings) -> list[Any]:
    directory = settings.ui_dir
    if directory is not None and (directory / "index.html").is_file():
        return [
            create_static_files_router(
                path="/", directories=[directory], html_mode=True, opt=permit(PUBLIC)
            )
        ]

    @get(
        "/",
        opt=permit(PUBLIC),
        media_type=MediaType.HTML,
        sync_to_thread=False,
        include_in_schema=False,
    )
    def ui_is_missing() -> str:
        return _UI_MISSING.format(name=settings.name)

    return [ui_is_missing]


def _json(status: int, body: ErrorBody, headers: Mapping[str, str] | None = None) -> Response[Any]:
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        media_type=MediaType.JSON,
        headers=dict(headers or {}),
    )


def _refused(_request: Request[Any, Any, Any], error: Refused) -> Response[Any]:
    return _json(error.status, error.body, error.headers)


def _http_exception(
    ui_dir: Path | None,
) -> Callable[[Request[Any, Any, Any], HTTPException], Response[Any]]:
    index = ui_dir / "index.html" if ui_dir is not None else None

    def answer(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
        status = error.status_code
        is_page = (
            request.scope.get("method") == "GET"
            and "text/html" in request.headers.get("accept", "")
            and not request.scope["path"].startswith(("/api", "/schema", "/metrics", "/assets"))
        )
        if status == 404 and is_page and index is not None and index.is_file():
            return Response(index.read_bytes(), media_type=MediaType.HTML)
        faults = _faults(error) if isinstance(error, ValidationException) else []
        phrase = HTTPStatus(status).phrase
        message = "the request does not fit its description" if status == 400 else phrase.lower()
        return _json(
            status,
            ErrorBody(code=_code(status), message=message, faults=faults),
            {k: v for k, v in (error.headers or {}).items() if k.lower() == "allow"},
        )

    return answer


def _code(status: int) -> str:
    names = {400: "http.invalid", 413: "http.body_too_large", 415: "http.wrong_media_type"}
    return names.get(status, f"http.{HTTPStatus(status).phrase.lower().replace(' ', '_')}")


def _faults(error: ValidationException) -> list[Fault]:
    extra = error.extra if isinstance(error.extra, list) else []
    return [
        Fault(
            code="http.invalid_field",
            path=str(item.get("key", "")),
            message=str(item.get("message", "invalid")),
        )
        for item in extra
        if isinstance(item, dict)
    ]


def _unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    logger().error("http.handler_failed", path=request.scope["path"], exc_info=error)
    body = ErrorBody(
        code="http.internal",
        message="the server failed at this request",
        remedy="the program's log says why",
    )
    return _json(500, body)
