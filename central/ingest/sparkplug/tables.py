"""Rows of the Sparkplug host: edge nodes, their devices, STATE times, the lease, commands."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Integer, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from central.database import Base

ID_LENGTH_MAX = 200
"""Characters of a group, node or device id; longer ones are neither kept nor stored."""


class EdgeNode(Base):
    """An edge node that was heard of; its samples are those of the member ``sp:GROUP:NODE``."""

    __tablename__ = "edge_nodes"
    __table_args__ = (UniqueConstraint("group_id", "node_id"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    group_id: Mapped[str] = mapped_column(String(ID_LENGTH_MAX))
    node_id: Mapped[str] = mapped_column(String(ID_LENGTH_MAX))
    server: Mapped[str] = mapped_column(String(300))
    state: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(String(50))
    since_us: Mapped[int] = mapped_column(BigInteger)
    bd_seq: Mapped[int | None] = mapped_column(BigInteger)
    last_seen_us: Mapped[int] = mapped_column(BigInteger)
    births_count: Mapped[int] = mapped_column(BigInteger)
    rebirths_requested_count: Mapped[int] = mapped_column(BigInteger)
    not_stored: Mapped[str] = mapped_column(String(100))
    drops: Mapped[str] = mapped_column(Text)


class EdgeScope(Base):
    """The last birth of a node (``device`` "") or device; ``metrics`` is msgpack."""

    __tablename__ = "edge_scopes"

    edge_node_id: Mapped[int] = mapped_column(ForeignKey("edge_nodes.id"), primary_key=True)
    device: Mapped[str] = mapped_column(String(ID_LENGTH_MAX), primary_key=True)
    state: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(String(50))
    since_us: Mapped[int] = mapped_column(BigInteger)
    births_count: Mapped[int] = mapped_column(BigInteger)
    metrics_count: Mapped[int] = mapped_column(Integer)
    metrics: Mapped[bytes] = mapped_column(LargeBinary)


class HostState(Base):
    """The timestamp of our STATE at an MQTT server: durable before CONNECT, never going back."""

    __tablename__ = "sparkplug_states"

    host_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    server: Mapped[str] = mapped_column(String(300), primary_key=True)
    state_time_ms: Mapped[int] = mapped_column(BigInteger)


class LeaseRow(Base):
    """What one hub of several does; ``version`` grows with every renewal."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    holder: Mapped[str] = mapped_column(String(300))
    url: Mapped[str] = mapped_column(String(500))
    version: Mapped[int] = mapped_column(BigInteger)
    expires_us: Mapped[int] = mapped_column(BigInteger)


class CommandRow(Base):
    """A command that somebody gave: who, when, what, and what came of it."""

    __tablename__ = "sparkplug_commands"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    created_us: Mapped[int] = mapped_column(BigInteger, index=True)
    person: Mapped[str] = mapped_column(String(100))
    group_id: Mapped[str] = mapped_column(String(ID_LENGTH_MAX))
    node_id: Mapped[str] = mapped_column(String(ID_LENGTH_MAX))
    device: Mapped[str] = mapped_column(String(ID_LENGTH_MAX))
    kind: Mapped[str] = mapped_column(String(20))
    metrics: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(String(20))
    detail: Mapped[str] = mapped_column(Text)
