"""``/api/opcua``: what is at an address, and where does a connection to it end?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Annotated, TypeAlias

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody, SkipValidation
from msgspec import Meta

from contract.config_id import Id
from contract.config_names import fault_of_url
from contract.config_opcua import SecurityConfig
from contract.config_security import Login, security_faults
from contract.errors import ErrorBody, Fault
from gateway.errors import BusyError, SourceError
from gateway.sources.opcua.access import Target
from gateway.sources.opcua.connect_check import CheckReport
from gateway.sources.opcua.endpoints import DiscoveryReport
from gateway.sources.opcua.tools import OpcUaTools
from gateway.web.access import SOURCES_CHECK
from runtime.http import Refused, permit

OpcUa: TypeAlias = NamedDependency[SkipValidation[OpcUaTools]]
"""The gateway's OPC UA, given to a handler as ``opcua``."""

UrlText = Annotated[str, Meta(min_length=1, max_length=512)]


class ConnectionBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A connection that is no source yet.

    Attributes:
        name: the source that it will be; its trust list counts.
        endpoint: ``opc.tcp://HOST:PORT/PATH``.
        security: as in the configuration.
        username: of the login; anonymous without.
        password: used once, never kept or shown.
    """

    name: Id | None = None
    endpoint: UrlText
    security: SecurityConfig = SecurityConfig()
    username: Annotated[str, Meta(max_length=256)] | None = None
    password: Annotated[str, Meta(max_length=1024)] | None = None


class CheckBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to check: a configured source by its name, or a connection; one of the two."""

    source: Id | None = None
    connection: ConnectionBody | None = None


class EndpointsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An address to ask."""

    endpoint: UrlText


class EndpointsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What was found at an address; ``report`` is None when nobody answered.

    Attributes:
        ok: somebody answered.
        report: servers and endpoints.
        code: OPC UA's code of the failure.
        message: why nothing was found.
        remedy: what a person can do.
    """

    ok: bool
    report: DiscoveryReport | None = None
    code: str = ""
    message: str = ""
    remedy: str = ""


def tools_of(opcua: OpcUaTools | None) -> OpcUaTools:
    """Return the gateway's OPC UA; a web server that stands alone has none."""
    if opcua is None:
        raise Refused(503, ErrorBody(code="opcua.off", message="this server has no OPC UA"))
    return opcua


def _refuse(faults: Iterator[Fault | None]) -> None:
    found = [fault for fault in faults if fault is not None]
    if found:
        body = ErrorBody(code="config.invalid", message="the connection has faults", faults=found)
        raise Refused(400, body)


def _target(body: CheckBody, opcua: OpcUaTools) -> Target:
    if (body.source is None) == (body.connection is None):
        raise Refused(
            400, ErrorBody(code="http.invalid", message="give either source or connection")
        )
    if body.connection is None:
        target = opcua.target(body.source or "")
        if target is None:
            raise Refused(
                404, ErrorBody(code="opcua.no_source", message="there is no source of this name")
            )
        return target
    wanted = body.connection
    login = Login(username=wanted.username, password=wanted.password)
    url_fault = fault_of_url(wanted.endpoint, "connection.endpoint", ("opc.tcp",))
    _refuse(chain([url_fault], security_faults(wanted.security, login, "connection")))
    return Target(
        name=wanted.name or "", endpoint=wanted.endpoint, security=wanted.security, login=login
    )


@post("/api/opcua/check", opt=permit(SOURCES_CHECK), status_code=200)
async def check_connection(data: JSONBody[CheckBody], opcua: OpcUa) -> CheckReport:
    """Go through a connection step by step; each step says how it went and what to do.

    Running sources are not touched; the server sees one more session for a moment.
    """
    tools = tools_of(opcua)
    target = _target(data, tools)
    try:
        return await tools.check(target)
    except BusyError as error:
        raise _busy(error) from error


@post("/api/opcua/endpoints", opt=permit(SOURCES_CHECK), status_code=200)
async def find_endpoints(data: JSONBody[EndpointsBody], opcua: OpcUa) -> EndpointsAnswer:
    """Ask an address for its servers and endpoints (FindServers, GetEndpoints)."""
    tools = tools_of(opcua)
    _refuse(iter([fault_of_url(data.endpoint, "endpoint", ("opc.tcp",))]))
    try:
        return EndpointsAnswer(ok=True, report=await tools.discover(data.endpoint))
    except SourceError as error:
        return EndpointsAnswer(
            ok=False, code=error.reason_code, message=str(error), remedy=error.remedy
        )
    except BusyError as error:
        raise _busy(error) from error


def _busy(error: BusyError) -> Refused:
    return Refused(429, ErrorBody(code=error.code, message=str(error)))


SOURCE_ROUTES = [check_connection, find_endpoints]
