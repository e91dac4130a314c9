"""What both programs' web servers share: one guarded Litestar app and one idle-cheap uvicorn.

Promises: every refusal is an ``ErrorBody`` without stack, path or version (R58); every route
declares a permission or is explicitly public, or ``create_app`` raises (R8); security headers,
Host and Origin checks on everything (R11, R12, R40); bodies over the limit are refused (R34); an
idle server wakes for nothing. Tasks: uvicorn's own, children of the loop until ``run_server``
ends; it takes no signals.
"""

from runtime.http.answers import PERMISSION, PUBLIC, Authorise, HttpSettings, Refused, permit
from runtime.http.app import RouteUnguardedError, create_app, routes_of
from runtime.http.checks import HttpApp
from runtime.http.server import ServerStartError, run_server

__all__ = [
    "PERMISSION",
    "PUBLIC",
    "Authorise",
    "HttpApp",
    "HttpSettings",
    "Refused",
    "RouteUnguardedError",
    "ServerStartError",
    "create_app",
    "permit",
    "routes_of",
    "run_server",
]
