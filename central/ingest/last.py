"""The newest sample of each tag, in numpy arrays indexed by hub tag id.

A row's ``last_rule`` says what newest means: by source time (journals of gateways), by arrival
(what an edge node says now is current, whatever its clock), or never (history of an edge node).
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import delete, select

from central.database import Database
from central.ingest.tables import LastValueRow
from central.timeseries.store import JournalRow
from contract.sample import SampleColumns, ValueKind

_NEVER = np.iinfo(np.int64).min
Value = float | int | str | None


class LastValue(msgspec.Struct, frozen=True):
    """A tag's newest sample; bytes are shown as base64."""

    time_us: int
    status: int
    value: Value


class LastValues:
    """Updated as rows are drained; changed ones are saved with each flush."""

    def __init__(self) -> None:
        self._time_us = np.full(1024, _NEVER, dtype=np.int64)
        self._status = np.zeros(1024, dtype=np.uint32)
        self._kind = np.full(1024, ValueKind.NULL, dtype=np.uint8)
        self._bits = np.zeros(1024, dtype=np.uint64)
        self._is_dirty = np.zeros(1024, dtype=np.bool_)
        self._objects: dict[int, str | bytes] = {}

    def update(self, row: JournalRow) -> None:
        """Take the newest sample per tag of a row."""
        if row.last_rule == "history":
            return
        for columns in row.batch.columns:
            if len(columns):
                self._update(row, columns)

    def _update(self, row: JournalRow, columns: SampleColumns) -> None:
        tags = row.tag_ids[columns.tag]
        by_arrival = row.last_rule == "arrival"
        rank = np.arange(len(tags)) if by_arrival else columns.time_us
        order = np.lexsort((rank, tags))
        sorted_tags = tags[order]
        is_last = np.append(sorted_tags[1:] != sorted_tags[:-1], True)
        at = order[is_last]
        tags = tags[at]
        self._reserve(int(tags.max()))
        newer = by_arrival | (columns.time_us[at] >= self._time_us[tags])
        at, tags = at[newer], tags[newer]
        self._time_us[tags] = columns.time_us[at]
        self._status[tags] = columns.status[at]
        self._kind[tags] = columns.kind
        self._is_dirty[tags] = True
        if isinstance(columns.value, np.ndarray):
            self._bits[tags] = columns.value[at].view(np.uint64)
        elif columns.value is not None:
            for tag, position in zip(tags.tolist(), at.tolist(), strict=True):
                self._objects[tag] = columns.value[position]

    def get(self, tag_id: int) -> LastValue | None:
        """Return a tag's newest sample, or None when there is none."""
        if tag_id >= len(self._time_us) or self._time_us[tag_id] == _NEVER:
            return None
        return LastValue(
            int(self._time_us[tag_id]), int(self._status[tag_id]), _shown(self._value(tag_id))
        )

    async def load(self, database: Database) -> None:
        """Read what was saved."""
        async with database.reading() as session:
            rows = (await session.scalars(select(LastValueRow))).all()
        for row in rows:
            self._reserve(row.tag_id)
            self._time_us[row.tag_id] = row.time_us
            self._status[row.tag_id] = row.status
            self._kind[row.tag_id] = row.kind
            self._set(row.tag_id, ValueKind(row.kind), row.value)

    async def save(self, database: Database) -> int:
        """Save what changed since the last time; return how many."""
        tags = np.flatnonzero(self._is_dirty).tolist()
        if not tags:
            return 0
        self._is_dirty[tags] = False
        rows = [
            LastValueRow(
                tag_id=tag,
                time_us=int(self._time_us[tag]),
                status=int(self._status[tag]),
                kind=int(self._kind[tag]),
                value=self._saved(tag),
            )
            for tag in tags
        ]
        try:
            async with database.transaction() as session:
                for at in range(0, len(tags), 500):
                    await session.execute(
                        delete(LastValueRow).where(LastValueRow.tag_id.in_(tags[at : at + 500]))
                    )
                session.add_all(rows)
        except BaseException:
            self._is_dirty[tags] = True
            raise
        return len(rows)

    def _value(self, tag: int) -> Any:  # noqa: ANN401 - a value of any kind
        kind = ValueKind(int(self._kind[tag]))
        if kind is ValueKind.NULL:
            return None
        if kind in {ValueKind.TEXT, ValueKind.BYTES}:
            return self._objects.get(tag)
        bits = self._bits[tag : tag + 1]
        types = {ValueKind.DOUBLE: np.float64, ValueKind.INT: np.int64, ValueKind.UINT: np.uint64}
        return bits.view(types[kind])[0].item()

    def _saved(self, tag: int) -> str:
        if self._kind[tag] in {ValueKind.TEXT, ValueKind.BYTES}:
            return str(_shown(self._objects.get(tag)) or "")
        return str(int(self._bits[tag]))

    def _set(self, tag: int, kind: ValueKind, saved: str) -> None:
        if kind is ValueKind.TEXT:
            self._objects[tag] = saved
        elif kind is ValueKind.BYTES:
            self._objects[tag] = base64.b64decode(saved)
        else:
            self._bits[tag] = int(saved)

    def _reserve(self, tag: int) -> None:
        if tag < len(self._time_us):
            return
        size = max(tag + 1, 2 * len(self._time_us))
        more = size - len(self._time_us)
        self._time_us = np.append(self._time_us, np.full(more, _NEVER, dtype=np.int64))
        self._status = np.append(self._status, np.zeros(more, dtype=np.uint32))
        self._kind = np.append(self._kind, np.full(more, ValueKind.NULL, dtype=np.uint8))
        self._bits = np.append(self._bits, np.zeros(more, dtype=np.uint64))
        self._is_dirty = np.append(self._is_dirty, np.zeros(more, dtype=np.bool_))


def _shown(value: Any) -> Value:  # noqa: ANN401 - a value of any kind
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode("ascii")
    shown: Value = value
    return shown
