"""Read one tag from memory and lake together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import duckdb
import numpy as np
from numpy.typing import NDArray

from central.timeseries import statements as sql
from central.timeseries.store import BucketColumns, RawColumns

_T = TypeVar("_T")
_VALUE_NAMES = ("double", "int", "uint", "text", "bytes")


def in_transaction(
    cursor: duckdb.DuckDBPyConnection, work: Callable[[duckdb.DuckDBPyConnection], _T]
) -> _T:
    """Run ``work`` on one snapshot of memory, taken before the snapshot of the lake.

    The order matters: rows that a flush removes from memory after our snapshot are still in it,
    and rows it removed before are in the lake, whose snapshot is younger.
    """
    try:
        cursor.execute("BEGIN")
        cursor.execute(sql.TOUCH_RECENT).fetchall()
        return work(cursor)
    finally:
        cursor.close()


def read_raw(
    cursor: duckdb.DuckDBPyConnection, tag_id: int, start_us: int, end_us: int, limit: int
) -> RawColumns:
    """Read samples in source order; ``is_cut`` says that there are more than ``limit``."""
    columns = cursor.execute(sql.RAW, [tag_id, start_us, end_us, limit + 1]).fetchnumpy()
    count = len(columns["time_us"])
    kept = min(count, limit)
    return RawColumns(
        time_us=_plain(columns["time_us"], np.int64)[:kept],
        status=_plain(columns["status"], np.uint32)[:kept],
        value=_values(columns, kept),
        is_cut=count > limit,
    )


def read_buckets(
    cursor: duckdb.DuckDBPyConnection, tag_id: int, start_us: int, end_us: int, buckets_count: int
) -> BucketColumns:
    """Sum up in equal buckets; the last one may reach beyond ``end_us`` by rounding."""
    width_us = max(1, -(-(end_us - start_us) // buckets_count))
    rows = cursor.execute(sql.BUCKETS, [tag_id, start_us, end_us, width_us]).fetchall()
    nan = float("nan")
    numbers = [[nan if v is None else v for v in row] for row in rows]
    bucket, low, high, mean, count, good = zip(*numbers, strict=True) if numbers else [()] * 6
    return BucketColumns(
        width_us=width_us,
        time_us=start_us + np.array(bucket, dtype=np.int64) * width_us,
        minimum=np.array(low, dtype=np.float64),
        maximum=np.array(high, dtype=np.float64),
        mean=np.array(mean, dtype=np.float64),
        count=np.array(count, dtype=np.int64),
        good_count=np.array(good, dtype=np.int64),
    )


def _plain(column: Any, kind: type[np.generic]) -> NDArray[Any]:  # noqa: ANN401 - masked or not
    return np.asarray(column).astype(kind)


def _values(columns: dict[str, Any], kept: int) -> list[Any]:
    """Join the value columns: at most one of them is not null in a row."""
    values: list[Any] = [None] * kept
    for name in _VALUE_NAMES:
        column = columns[name]
        mask = np.ma.getmaskarray(column)[:kept]
        if mask.all():
            continue
        present = np.flatnonzero(~mask)
        for at, value in zip(present.tolist(), np.asarray(column)[present].tolist(), strict=True):
            values[at] = value
    return values
