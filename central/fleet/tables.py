"""Rows of gateways, their certificates and the codes that make them members."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from central.database import Base

MEMBER_ID_LENGTH_MAX = 1300
"""``sp:GROUP:NODE`` with both at their longest and every character escaped."""
# SQLite enforces no length and could change it only by copying the table: v0002 leaves it there
_MEMBER_ID = String(MEMBER_ID_LENGTH_MAX).with_variant(String(40), "sqlite")


class Gateway(Base):
    """A member; ``number`` is its short identity inside the hub, ``id`` the one outside.

    ``kind`` is ``gateway``, with a certificate and a journal of its own, or ``sparkplug``: an edge
    node of somebody else, whose values the hub takes from MQTT. Both own tags and samples alike.
    """

    __tablename__ = "gateways"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(_MEMBER_ID, unique=True)
    kind: Mapped[str] = mapped_column(String(20), default="gateway", server_default="gateway")
    name: Mapped[str] = mapped_column(String(100))
    site: Mapped[str] = mapped_column(String(100))
    version: Mapped[str] = mapped_column(String(50))
    enrolled_us: Mapped[int] = mapped_column(BigInteger)
    revoked_us: Mapped[int | None] = mapped_column(BigInteger, default=None)
    last_contact_us: Mapped[int | None] = mapped_column(BigInteger, default=None)


class Certificate(Base):
    """A certificate we issued; ``serial`` is lower-case hex."""

    __tablename__ = "certificates"

    serial: Mapped[str] = mapped_column(String(40), primary_key=True)
    gateway_number: Mapped[int] = mapped_column(ForeignKey("gateways.number"), index=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    issued_us: Mapped[int] = mapped_column(BigInteger)
    expires_us: Mapped[int] = mapped_column(BigInteger)
    revoked_us: Mapped[int | None] = mapped_column(BigInteger, default=None)


class EnrolmentToken(Base):
    """The secret of a one-time code, kept as its SHA-256."""

    __tablename__ = "enrolment_tokens"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    created_us: Mapped[int] = mapped_column(BigInteger)
    expires_us: Mapped[int] = mapped_column(BigInteger)
    used_us: Mapped[int | None] = mapped_column(BigInteger, default=None)


class HubFact(Base):
    """What one hub process tells the others through the database, as ``public_url``."""

    __tablename__ = "hub_facts"

    key: Mapped[str] = mapped_column(String(50), primary_key=True)
    value: Mapped[str] = mapped_column(String(500))
