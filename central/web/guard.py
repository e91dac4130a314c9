"""Who may call what: people by session cookie, gateways by client certificate.

Permissions are names; today a signed-in admin has all of a person's and a gateway has
``UPLINK`` alone. Roles and per-object grants (issue 6) change ``_person_may`` only.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from litestar.connection import ASGIConnection

from central.fleet.registry import Member
from central.identity.people import ADMIN_ROLE, Person
from central.web.parts import Parts
from contract.errors import ErrorBody
from runtime.http import Refused
from runtime.tls import peer_certificate

UPLINK = "uplink"
FLEET_READ = "fleet.read"
FLEET_MANAGE = "fleet.manage"
DATA_READ = "data.read"
METRICS_READ = "metrics.read"
SPARKPLUG_COMMAND = "sparkplug.command"
SESSION_COOKIE = "__Host-factoryplus-session"

Connection = ASGIConnection[Any, Any, Any, Any]


class Guard:
    """The hub's ``Authorise``."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def __call__(self, connection: Connection, permission: str) -> None:
        """Let pass or raise ``Refused``; the caller is then ``scope["user"]``."""
        if permission == UPLINK:
            connection.scope["user"] = await self._gateway(connection)
            return
        if permission == METRICS_READ and _is_loopback(connection):
            return
        person = await self._person(connection)
        if not _person_may(person, permission):
            raise Refused(403, ErrorBody(code="auth.forbidden", message="you may not do that"))
        connection.scope["user"] = person

    async def _person(self, connection: Connection) -> Person:
        token = connection.cookies.get(SESSION_COOKIE)
        person = await self._parts.people.person_of(token) if token else None
        if person is None:
            raise Refused(
                401,
                ErrorBody(
                    code="auth.sign_in_needed",
                    message="this needs a signed-in person",
                    remedy="sign in with POST /api/session",
                ),
            )
        return person

    async def _gateway(self, connection: Connection) -> Member:
        der = peer_certificate(connection.scope)  # type: ignore[arg-type]
        if der is None:
            raise Refused(
                401,
                ErrorBody(
                    code="auth.certificate_needed",
                    message="this needs a gateway's certificate",
                    remedy="enrol the gateway with a one-time code",
                ),
            )
        member = await self._parts.registry.member_of(der)
        if member is None:
            raise Refused(
                403,
                ErrorBody(
                    code="auth.certificate_refused",
                    message="this certificate is revoked, over, or not known here",
                    remedy="enrol the gateway again",
                ),
            )
        return member


def _person_may(person: Person, permission: str) -> bool:
    known = {FLEET_READ, FLEET_MANAGE, DATA_READ, METRICS_READ, SPARKPLUG_COMMAND}
    return person.role == ADMIN_ROLE and permission in known


def address_of(connection: Connection) -> str:
    """Return the address a request comes from."""
    return connection.client.host if connection.client else ""


def _is_loopback(connection: Connection) -> bool:
    try:
        return ipaddress.ip_address(address_of(connection)).is_loopback
    except ValueError:
        return False
