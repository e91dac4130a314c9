"""Who is a member: codes, enrolment, the gateway behind a certificate, revocation.

A code is single use and consumed atomically in the transaction that makes the gateway (R16). The
gateway behind a certificate is looked up per request, because keep-alive connections outlive a
revocation.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Literal

import msgspec
from cryptography import x509
from sqlalchemy import bindparam, func, select, update

from central.database import Database
from central.errors import EnrolmentRefusedError, UnknownGatewayError
from central.fleet.ca import CertificateAuthority, check_csr, open_ca
from central.fleet.tables import Certificate, EnrolmentToken, Gateway, HubFact
from central.settings import Settings
from contract.fleet import EnrolAnswer, EnrolmentCode, EnrolRequest, write_code
from runtime.clock import Clock
from runtime.log import logger

CODE_VALID_S = 24 * 3600
NAME_LENGTH_MAX = 100
PUBLIC_URL = "public_url"


# Runs for each request of a gateway: built once, no ORM. Index: primary key of certificates.
_MEMBER_OF = (
    select(
        Gateway.number,
        Gateway.id,
        Gateway.kind,
        Gateway.name,
        Gateway.site,
        Gateway.version,
        Gateway.enrolled_us,
        Gateway.revoked_us,
        Gateway.last_contact_us,
    )
    .join(Certificate, Certificate.gateway_number == Gateway.number)
    .where(
        Certificate.serial == bindparam("serial"),
        Certificate.fingerprint == bindparam("fingerprint"),
        Certificate.revoked_us.is_(None),
        Certificate.expires_us > bindparam("now_us"),
        Gateway.revoked_us.is_(None),
    )
)


MemberKind = Literal["gateway", "sparkplug"]


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway as the rest of the hub sees it."""

    number: int
    id: str
    kind: MemberKind
    name: str
    site: str
    version: str
    enrolled_us: int
    revoked_us: int | None
    last_contact_us: int | None
    certificate_expires_us: int | None = None


class Registry:
    """Rules of membership over the tables of this package."""

    def __init__(self, database: Database, ca: CertificateAuthority, clock: Clock) -> None:
        self._database = database
        self._ca = ca
        self._clock = clock

    async def set_public_url(self, url: str) -> None:
        """Keep the address that codes carry, for processes that do not serve."""
        async with self._database.transaction() as session:
            await session.merge(HubFact(key=PUBLIC_URL, value=url))

    async def new_code(self, name: str, fallback_url: str) -> str:
        """Make a one-time code, valid for ``CODE_VALID_S``.

        Args:
            name: what the gateway will be called; "" leaves it to the gateway.
            fallback_url: the hub's address, where none was kept by a running hub.
        """
        token = secrets.token_urlsafe(24)
        now_us = self._clock.wall_us()
        async with self._database.transaction() as session:
            fact = await session.get(HubFact, PUBLIC_URL)
            session.add(
                EnrolmentToken(
                    token_hash=_hash(token),
                    name=name[:NAME_LENGTH_MAX],
                    created_us=now_us,
                    expires_us=now_us + CODE_VALID_S * 1_000_000,
                )
            )
            url = fact.value if fact is not None else fallback_url
        return write_code(EnrolmentCode(url=url, fingerprint=self._ca.fingerprint, token=token))

    async def enrol(self, request: EnrolRequest, uplink_url: str) -> EnrolAnswer:
        """Make a gateway of whoever holds a good token and proves a key.

        Raises:
            CsrRefusedError: the CSR is bad; the code stays good.
            EnrolmentRefusedError: the token is wrong, used or over.
        """
        check_csr(request.csr_pem)
        now_us = self._clock.wall_us()
        gateway_id = f"gw-{uuid.uuid4().hex}"
        async with self._database.transaction() as session:
            row = (
                await session.execute(
                    update(EnrolmentToken)
                    .where(
                        EnrolmentToken.token_hash == _hash(request.token),
                        EnrolmentToken.used_us.is_(None),
                        EnrolmentToken.expires_us > now_us,
                    )
                    .values(used_us=now_us)
                    .returning(EnrolmentToken.name)
                )
            ).one_or_none()
            if row is None:
                raise EnrolmentRefusedError("this enrolment code does not work")
            issued = self._ca.issue_gateway(request.csr_pem, gateway_id)
            gateway = Gateway(
                id=gateway_id,
                name=(row.name or request.name or gateway_id)[:NAME_LENGTH_MAX],
                site=request.site[:NAME_LENGTH_MAX],
                version=request.version[:50],
                enrolled_us=now_us,
            )
            session.add(gateway)
            await session.flush()
            session.add(
                Certificate(
                    serial=issued.serial,
                    gateway_number=gateway.number,
                    fingerprint=issued.fingerprint,
                    issued_us=issued.issued_us,
                    expires_us=issued.expires_us,
                )
            )
        logger().info("fleet.enrolled", gateway=gateway_id, name=gateway.name)
        return EnrolAnswer(
            gateway_id=gateway_id,
            certificate_pem=issued.pem,
            ca_pem=self._ca.pem,
            uplink_url=uplink_url,
        )

    async def member_of(self, certificate_der: bytes) -> Member | None:
        """Return the gateway a verified certificate belongs to; None when it may not come in."""
        serial = f"{x509.load_der_x509_certificate(certificate_der).serial_number:x}"
        fingerprint = hashlib.sha256(certificate_der).hexdigest()
        parameters = {
            "serial": serial,
            "fingerprint": fingerprint,
            "now_us": self._clock.wall_us(),
        }
        async with self._database.engine.connect() as connection:
            row = (await connection.execute(_MEMBER_OF, parameters)).one_or_none()
        return Member(**row._mapping) if row is not None else None  # noqa: SLF001 - public API

    async def revoke(self, gateway_id: str) -> None:
        """Shut a gateway out, at once and for good.

        Raises:
            UnknownGatewayError: there is none of this id.
        """
        now_us = self._clock.wall_us()
        async with self._database.transaction() as session:
            gateway = await session.scalar(
                select(Gateway).where(Gateway.id == gateway_id, Gateway.kind == "gateway")
            )
            if gateway is None:
                raise UnknownGatewayError("there is no such gateway")
            gateway.revoked_us = gateway.revoked_us or now_us
            await session.execute(
                update(Certificate)
                .where(
                    Certificate.gateway_number == gateway.number, Certificate.revoked_us.is_(None)
                )
                .values(revoked_us=now_us)
            )
        logger().info("fleet.revoked", gateway=gateway_id)

    async def crl_pem(self) -> str:
        """Return the list of revoked certificates."""
        async with self._database.reading() as session:
            rows = (
                await session.execute(
                    select(Certificate.serial, Certificate.revoked_us).where(
                        Certificate.revoked_us.is_not(None)
                    )
                )
            ).all()
        pairs = [(serial, revoked_us) for serial, revoked_us in rows if revoked_us is not None]
        return self._ca.crl_pem(pairs, number=self._clock.wall_us() // 1_000_000)

    async def members(self, kind: MemberKind = "gateway") -> list[Member]:
        """List the members of a kind, in order of enrolment."""
        async with self._database.reading() as session:
            gateways = (
                await session.scalars(
                    select(Gateway).where(Gateway.kind == kind).order_by(Gateway.number)
                )
            ).all()
            expiries = (
                await session.execute(
                    select(Certificate.gateway_number, Certificate.expires_us).order_by(
                        Certificate.expires_us
                    )
                )
            ).all()
        expires_us = {row.gateway_number: row.expires_us for row in expiries}
        return [_member(g, expires_us.get(g.number)) for g in gateways]

    async def member(self, gateway_id: str) -> Member:
        """Return one member, of any kind.

        Raises:
            UnknownGatewayError: there is none of this id.
        """
        async with self._database.reading() as session:
            gateway = await session.scalar(select(Gateway).where(Gateway.id == gateway_id))
            if gateway is None:
                raise UnknownGatewayError("there is no such gateway")
            expires_us = await session.scalar(
                select(func.max(Certificate.expires_us)).where(
                    Certificate.gateway_number == gateway.number
                )
            )
        return _member(gateway, expires_us)

    async def edge_node(self, group_id: str, node_id: str) -> int:
        """Return the number of the member that an edge node's samples belong to; made when new."""
        wanted = member_id_of(group_id, node_id)
        async with self._database.transaction() as session:
            number = await session.scalar(select(Gateway.number).where(Gateway.id == wanted))
            if number is not None:
                return number
            gateway = Gateway(
                id=wanted,
                kind="sparkplug",
                name=f"{group_id}/{node_id}"[:NAME_LENGTH_MAX],
                site=group_id[:NAME_LENGTH_MAX],
                version="",
                enrolled_us=self._clock.wall_us(),
            )
            session.add(gateway)
            await session.flush()
            logger().info("fleet.edge_node_added", member=wanted)
            return gateway.number

    async def is_gateway(self, gateway_id: str) -> bool:
        """Say whether an id is that of an enrolled gateway, shut out ones included."""
        async with self._database.reading() as session:
            found = await session.scalar(
                select(Gateway.number).where(Gateway.id == gateway_id, Gateway.kind == "gateway")
            )
        return found is not None

    async def note_contacts(self, contacts: Mapping[int, int]) -> None:
        """Keep when gateways (by number) were last heard of, µs since 1970."""
        async with self._database.transaction() as session:
            for number, contact_us in contacts.items():
                await session.execute(
                    update(Gateway)
                    .where(Gateway.number == number)
                    .values(last_contact_us=contact_us)
                )


@asynccontextmanager
async def open_registry(settings: Settings, clock: Clock) -> AsyncIterator[Registry]:
    """Open what a code needs (CA and database), beside a running hub or without one."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca = open_ca(settings.data_dir / "ca", clock)
    database = Database(settings.resolved_database_url())
    try:
        await database.migrate()
        yield Registry(database, ca, clock)
    finally:
        await database.close()


def _member(gateway: Gateway, certificate_expires_us: int | None = None) -> Member:
    return Member(
        number=gateway.number,
        id=gateway.id,
        kind=msgspec.convert(gateway.kind, MemberKind),
        name=gateway.name,
        site=gateway.site,
        version=gateway.version,
        enrolled_us=gateway.enrolled_us,
        revoked_us=gateway.revoked_us,
        last_contact_us=gateway.last_contact_us,
        certificate_expires_us=certificate_expires_us,
    )


def member_id_of(group_id: str, node_id: str) -> str:
    """Return the member id of an edge node, ``sp:GROUP:NODE``; ``:`` and ``%`` are escaped."""
    group, node = (x.replace("%", "%25").replace(":", "%3A") for x in (group_id, node_id))
    return f"sp:{group}:{node}"


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
