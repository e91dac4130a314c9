"""Find a gateway's tags."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import func, or_, select

from central.database import Database
from central.ingest.tables import Tag

_ESCAPE = "\\"


class TagInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A tag of the hub."""

    id: int
    device: str
    name: str
    data_type: int
    unit: str
    low: float | None
    high: float | None
    description: str
    source: str
    address: str


class Tags:
    """Queries over the tags table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self, gateway: int, search: str, offset: int, limit: int
    ) -> tuple[list[TagInfo], int]:
        """Return tags of a gateway, in order of device and name, and how many match in all.

        Args:
            gateway: the gateway's number.
            search: part of device or name, in any case; "" for all.
            offset: how many to skip.
            limit: how many to return at most.
        """
        condition = [Tag.gateway_number == gateway]
        for word in search.split():
            pattern = f"%{_escaped(word.lower())}%"
            condition.append(
                or_(
                    func.lower(Tag.name).like(pattern, escape=_ESCAPE),
                    func.lower(Tag.device).like(pattern, escape=_ESCAPE),
                )
            )
        async with self._database.reading() as session:
            total = await session.scalar(select(func.count()).select_from(Tag).where(*condition))
            rows = await session.scalars(
                select(Tag)
                .where(*condition)
                .order_by(Tag.device, Tag.name)
                .offset(offset)
                .limit(limit)
            )
            return [_info(t) for t in rows], total or 0

    async def ids_of(
        self, gateway: int, device: str, names: Sequence[str]
    ) -> list[tuple[str, int]]:
        """Return (name, id) of the tags of a device that have one of at most 1,000 names."""
        async with self._database.reading() as session:
            rows = await session.execute(
                select(Tag.name, Tag.id).where(
                    Tag.gateway_number == gateway, Tag.device == device, Tag.name.in_(names)
                )
            )
            return [(name, tag_id) for name, tag_id in rows]

    async def one(self, gateway: int, tag_id: int) -> TagInfo | None:
        """Return a tag of a gateway; None when it is not that gateway's (R10)."""
        async with self._database.reading() as session:
            row = await session.scalar(
                select(Tag).where(Tag.id == tag_id, Tag.gateway_number == gateway)
            )
        return _info(row) if row is not None else None


def _escaped(word: str) -> str:
    for special in (_ESCAPE, "%", "_"):
        word = word.replace(special, _ESCAPE + special)
    return word


def _info(tag: Tag) -> TagInfo:
    return TagInfo(
        id=tag.id,
        device=tag.device,
        name=tag.name,
        data_type=tag.data_type,
        unit=tag.unit,
        low=tag.low,
        high=tag.high,
        description=tag.description,
        source=tag.source,
        address=tag.address,
    )
