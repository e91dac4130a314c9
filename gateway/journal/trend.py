"""One tag's latest samples out of the journal, newest rows first, within limits of work."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contract.sample import NUMPY_TYPE, STATUS_SEVERITY_MASK, SampleBatch
from gateway.errors import RowDamagedError
from gateway.journal.reader import JournalReader, StoredRow

ROWS_MAX = 3_000
BYTES_MAX = 64_000_000
_CHUNK_ROWS = 50


def trend(
    reader: JournalReader, head: int, tag: int, since_us: int, points_max: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], bool]:
    """Read a tag's numbers since a source time: (time µs, value with NaN where bad, complete).

    Over ``points_max`` samples are thinned to the lowest and highest of each bucket. ``complete``
    is False when a limit ended the search before ``since_us``.
    """
    times: list[NDArray[np.int64]] = []
    values: list[NDArray[np.float64]] = []
    last, rows_count, size, complete = head, 0, 0, False
    while last > 0 and rows_count < ROWS_MAX and size < BYTES_MAX:
        first = max(1, last - _CHUNK_ROWS + 1)
        try:
            rows = reader.rows(first, last, bytes_max=BYTES_MAX, rows_max=_CHUNK_ROWS)
            parts = [_of_tag(row.batch(), tag, since_us) for row in reversed(rows)]
        except RowDamagedError:
            rows, parts = [], []
        if not rows:
            break
        times.extend(t for t, _ in parts)
        values.extend(v for _, v in parts)
        rows_count += len(rows)
        size += sum(len(row.payload) for row in rows)
        last = first - 1
        if _reaches(rows, since_us) or last == 0:
            complete = True
            break
    if not times:
        return np.zeros(0, dtype=np.int64), np.zeros(0), complete
    time_us = np.concatenate(times[::-1])
    value = np.concatenate(values[::-1])
    if (time_us[1:] < time_us[:-1]).any():
        # what was filled from the server's history stands in later rows
        order = np.argsort(time_us, kind="stable")
        time_us, value = time_us[order], value[order]
    return (*_thinned(time_us, value, points_max), complete)


def _reaches(rows: Sequence[StoredRow], since_us: int) -> bool:
    """Tell whether the rows before these are all older than a source time.

    A row that was filled from history says nothing of that: its times are older than its place.
    """
    older = (row for row in rows if row.last_time_us < since_us)
    return any(not row.batch().is_historical for row in older)


def _of_tag(
    batch: SampleBatch, tag: int, since_us: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    times: list[NDArray[np.int64]] = []
    values: list[NDArray[np.float64]] = []
    for columns in batch.columns:
        rows = np.flatnonzero((columns.tag == tag) & (columns.time_us >= since_us))
        if not len(rows):
            continue
        times.append(columns.time_us[rows])
        if columns.kind in NUMPY_TYPE and isinstance(columns.value, np.ndarray):
            numbers = columns.value[rows].astype(np.float64)
            bad = (columns.status[rows] & np.uint32(STATUS_SEVERITY_MASK)) != 0
            numbers[bad] = np.nan
            values.append(numbers)
        else:
            values.append(np.full(len(rows), np.nan))
    if not times:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    return np.concatenate(times), np.concatenate(values)


def _thinned(
    time_us: NDArray[np.int64], value: NDArray[np.float64], points_max: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    if len(time_us) <= points_max or points_max < 4:
        return time_us, value
    chosen: list[int] = []
    for part in np.array_split(np.arange(len(time_us)), points_max // 2):
        numbers = value[part]
        if np.isnan(numbers).any():
            chosen.append(int(part[np.isnan(numbers).argmax()]))
            continue
        chosen.extend(sorted({int(part[numbers.argmin()]), int(part[numbers.argmax()])}))
    return time_us[chosen], value[chosen]
