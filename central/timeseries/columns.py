"""Journal rows to sorted columns, one set per value kind. Pure numpy.

``ordinal`` numbers samples of one row that share tag and time, so that source order survives
sorting; it is 0 nearly always and costs nothing in Parquet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from central.timeseries.store import JournalRow, ReceivedRange
from contract.sample import SampleColumns, ValueKind


@dataclass(frozen=True, slots=True, eq=False)
class KindColumns:
    """Samples of one kind, sorted by (tag, time), then source order."""

    kind: ValueKind
    gateway: NDArray[np.int32]
    tag: NDArray[np.int64]
    time_us: NDArray[np.int64]
    status: NDArray[np.uint32]
    value: NDArray[Any] | list[Any] | None
    epoch: NDArray[np.int32]
    sequence: NDArray[np.int64]
    ordinal: NDArray[np.uint16]


def columns_by_kind(rows: Sequence[JournalRow]) -> list[KindColumns]:
    """Join rows into one sorted set of columns per kind; tag indexes become hub tag ids."""
    parts: dict[ValueKind, list[tuple[JournalRow, SampleColumns]]] = {}
    for row in rows:
        for columns in row.batch.columns:
            if len(columns):
                parts.setdefault(columns.kind, []).append((row, columns))
    return [_sorted(kind, parts[kind]) for kind in sorted(parts)]


def _sorted(kind: ValueKind, parts: list[tuple[JournalRow, SampleColumns]]) -> KindColumns:
    counts = [len(c) for _, c in parts]
    tag = np.concatenate([row.tag_ids[c.tag] for row, c in parts])
    time_us = np.concatenate([c.time_us for _, c in parts])
    sequence = np.repeat(np.array([row.sequence for row, _ in parts], dtype=np.int64), counts)
    order = np.lexsort((time_us, tag))
    tag, time_us, sequence = tag[order], time_us[order], sequence[order]
    return KindColumns(
        kind=kind,
        gateway=np.repeat(np.array([r.gateway for r, _ in parts], dtype=np.int32), counts)[order],
        tag=tag,
        time_us=time_us,
        status=np.concatenate([c.status for _, c in parts])[order],
        value=_values([c for _, c in parts], order),
        epoch=np.repeat(np.array([r.epoch for r, _ in parts], dtype=np.int32), counts)[order],
        sequence=sequence,
        ordinal=_ordinals(tag, time_us, sequence),
    )


def _values(parts: list[SampleColumns], order: NDArray[np.intp]) -> NDArray[Any] | list[Any] | None:
    if parts[0].value is None:
        return None
    arrays = [p.value for p in parts if isinstance(p.value, np.ndarray)]
    if arrays:
        values: NDArray[Any] = np.concatenate(arrays)[order]
        return values
    flat = [v for p in parts if isinstance(p.value, list) for v in p.value]
    return [flat[i] for i in order.tolist()]


def _ordinals(
    tag: NDArray[np.int64], time_us: NDArray[np.int64], sequence: NDArray[np.int64]
) -> NDArray[np.uint16]:
    """Number runs of equal (tag, time, sequence): 0, 1, 2 ..., at most 65,535."""
    ordinal = np.zeros(len(tag), dtype=np.uint16)
    is_same = (
        (tag[1:] == tag[:-1]) & (time_us[1:] == time_us[:-1]) & (sequence[1:] == sequence[:-1])
    )
    if is_same.any():
        at = np.arange(len(tag))
        run_start = np.concatenate(([True], ~is_same))
        start_of = np.maximum.accumulate(np.where(run_start, at, 0))
        ordinal[:] = np.minimum(at - start_of, np.iinfo(np.uint16).max)
    return ordinal


def range_of(row: JournalRow) -> ReceivedRange:
    """Return the range of one row."""
    return ReceivedRange(
        epoch=row.epoch,
        first=row.sequence,
        last=row.sequence,
        previous_hash=row.previous_hash,
        last_hash=row.hash,
        last_time_us=row.last_time_us,
        samples_count=len(row.batch),
    )


def join_ranges(ranges: Iterable[ReceivedRange]) -> list[ReceivedRange]:
    """Join ranges that follow one another in sequence and hash, per epoch."""
    joined: list[ReceivedRange] = []
    for new in sorted(ranges, key=lambda r: (r.epoch, r.first)):
        old = joined[-1] if joined else None
        if (
            old is None
            or (old.epoch, old.last + 1) != (new.epoch, new.first)
            or old.last_hash != new.previous_hash
        ):
            joined.append(new)
            continue
        joined[-1] = msgspec.structs.replace(
            new,
            first=old.first,
            previous_hash=old.previous_hash,
            samples_count=old.samples_count + new.samples_count,
        )
    return joined
