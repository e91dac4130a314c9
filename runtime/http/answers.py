"""The vocabulary of an application's routes: permissions, refusals and the program's choices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from litestar.connection import ASGIConnection

from contract.errors import ErrorBody
from runtime.clock import Clock

PERMISSION = "permission"
"""The route option that names the permission a caller needs: ``opt=permit("fleet.read")``."""
PUBLIC = "public"
"""The permission that everybody has."""


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault of ours
    """Raised by a handler or guard to answer with a status and an ``ErrorBody``."""

    def __init__(
        self, status: int, body: ErrorBody, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(body.code)
        self.status = status
        self.body = body
        self.headers = dict(headers or {})


Authorise = Callable[[ASGIConnection[Any, Any, Any, Any], str], Awaitable[None]]
"""Return when the caller has the permission, or raise ``Refused``; never called for PUBLIC."""


@dataclass(frozen=True, kw_only=True)
class HttpSettings:
    """What a program chooses for its web server.

    Attributes:
        name: the program's name, shown in the API description.
        authorise: decides on every route that is not public.
        allowed_hosts: names a ``Host`` header may carry besides IP addresses; None allows all.
        ui_dir: the built UI; a short page says how to build it when it is missing.
        body_bytes_max: largest request body; a route may set its own ``request_max_body_size``.
        metrics: renders ``/metrics`` in Prometheus text.
        metrics_permission: who may read it.
        dependencies: Litestar dependencies of the handlers.
        exception_handlers: answers for the program's own errors.
    """

    name: str
    authorise: Authorise
    clock: Clock
    allowed_hosts: frozenset[str] | None = None
    ui_dir: Path | None = None
    body_bytes_max: int = 1_000_000
    metrics: Callable[[], bytes] | None = None
    metrics_permission: str = PUBLIC
    dependencies: Mapping[str, Any] = field(default_factory=dict)
    exception_handlers: Mapping[Any, Any] = field(default_factory=dict)


def permit(permission: str) -> dict[str, str]:
    """Return the route option that declares who may call a route."""
    return {PERMISSION: permission}
