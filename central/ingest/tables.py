"""Rows of what uploads bring besides samples: tags, epochs, losses, forks, last values."""

from __future__ import annotations

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from central.database import Base


class Epoch(Base):
    """A journal epoch of a gateway; ``id`` is its short identity inside the hub.

    ``last_rule`` is ``central.timeseries.store.LastRule``.
    """

    __tablename__ = "epochs"
    __table_args__ = (UniqueConstraint("gateway_number", "epoch"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    gateway_number: Mapped[int] = mapped_column(ForeignKey("gateways.number"))
    epoch: Mapped[str] = mapped_column(String(32))
    first_seen_us: Mapped[int] = mapped_column(BigInteger)
    head_sequence: Mapped[int] = mapped_column(BigInteger, default=0)
    head_time_us: Mapped[int] = mapped_column(BigInteger, default=0)
    last_rule: Mapped[str] = mapped_column(String(20), default="newest", server_default="newest")


class Tag(Base):
    """A tag of the hub: (gateway, device, name); several tag indexes may map to it."""

    __tablename__ = "tags"
    __table_args__ = (UniqueConstraint("gateway_number", "device", "name"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    gateway_number: Mapped[int] = mapped_column(ForeignKey("gateways.number"))
    device: Mapped[str] = mapped_column(String(200))
    name: Mapped[str] = mapped_column(String(500))
    data_type: Mapped[int] = mapped_column(Integer)
    unit: Mapped[str] = mapped_column(String(100))
    low: Mapped[float | None] = mapped_column(Float)
    high: Mapped[float | None] = mapped_column(Float)
    description: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(String(200))
    address: Mapped[str] = mapped_column(Text)


class TagIndex(Base):
    """What a tag index of an epoch means; ``definition_hash`` shows a changed definition."""

    __tablename__ = "tag_indexes"

    epoch_id: Mapped[int] = mapped_column(ForeignKey("epochs.id"), primary_key=True)
    index: Mapped[int] = mapped_column("tag_index", Integer, primary_key=True)
    tag_id: Mapped[int] = mapped_column(ForeignKey("tags.id"))
    definition_hash: Mapped[str] = mapped_column(String(64))


class LossRow(Base):
    """An entry of a gateway's loss ledger, as ``contract.upload.Loss``."""

    __tablename__ = "losses"
    __table_args__ = (Index("ix_losses_closes", "epoch_id", "closes"),)

    epoch_id: Mapped[int] = mapped_column(ForeignKey("epochs.id"), primary_key=True)
    id: Mapped[int] = mapped_column("loss_id", Integer, primary_key=True, autoincrement=False)
    reason: Mapped[str] = mapped_column(String(50))
    source: Mapped[str] = mapped_column(String(200))
    tag_index: Mapped[int | None] = mapped_column(Integer)
    first_time_us: Mapped[int] = mapped_column(BigInteger)
    last_time_us: Mapped[int] = mapped_column(BigInteger)
    count: Mapped[int | None] = mapped_column("samples_count", BigInteger)
    first_sequence: Mapped[int | None] = mapped_column(BigInteger)
    last_sequence: Mapped[int | None] = mapped_column(BigInteger)
    recorded_time_us: Mapped[int] = mapped_column(BigInteger)
    detail: Mapped[str] = mapped_column(Text)
    closes: Mapped[int | None] = mapped_column(Integer)


class Fork(Base):
    """A refused upload that claimed an identity which something else has."""

    __tablename__ = "forks"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    epoch_id: Mapped[int] = mapped_column(ForeignKey("epochs.id"), index=True)
    sequence: Mapped[int] = mapped_column(BigInteger)
    recorded_us: Mapped[int] = mapped_column(BigInteger)
    detail: Mapped[str] = mapped_column(Text)


class LastValueRow(Base):
    """The newest sample of a tag by source time; ``value`` is JSON, bytes as base64."""

    __tablename__ = "last_values"

    tag_id: Mapped[int] = mapped_column(ForeignKey("tags.id"), primary_key=True)
    time_us: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[int] = mapped_column(Integer)
    value: Mapped[str] = mapped_column(Text)
