"""The seam of the time series: what a store takes, promises and answers.

Promises of every implementation (tests/central/timeseries holds one suite over them):
``append`` makes rows visible to queries; ``flush`` makes all that was appended durable together
with the ranges it came from, in one transaction, so that ``received`` after a crash names exactly
the rows that are in it; samples of a tag come back in source order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from contract.sample import SampleBatch

LastRule = Literal["newest", "arrival", "history"]


@dataclass(frozen=True, slots=True, eq=False)
class JournalRow:
    """One journal row on its way into the store.

    Attributes:
        gateway: the gateway's number.
        epoch: the epoch's id inside the hub.
        sequence: the row's number in its epoch.
        previous_hash: hash of row ``sequence - 1``.
        hash: the row's own hash.
        first_time_us: earliest source time.
        last_time_us: latest source time.
        batch: its samples, with the gateway's tag indexes.
        tag_ids: int64, the hub's tag id of each tag index.
        last_rule: which samples become a tag's newest: those of the newest source time, those
            that arrived last, or none (they are history).
    """

    gateway: int
    epoch: int
    sequence: int
    previous_hash: bytes
    hash: bytes
    first_time_us: int
    last_time_us: int
    batch: SampleBatch
    tag_ids: NDArray[np.int64]
    last_rule: LastRule = "newest"


class ReceivedRange(msgspec.Struct, frozen=True, gc=False):
    """Rows ``first`` to ``last`` of an epoch that are in the store.

    Attributes:
        epoch: the epoch's id inside the hub.
        first: first row.
        last: last row.
        previous_hash: hash of row ``first - 1`` as its sender claimed it.
        last_hash: hash of row ``last``.
        last_time_us: latest source time of row ``last``.
        samples_count: samples of all these rows.
    """

    epoch: int
    first: int
    last: int
    previous_hash: bytes
    last_hash: bytes
    last_time_us: int
    samples_count: int


class FlushResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a flush moved."""

    samples_count: int
    ranges_count: int
    took_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class RawColumns:
    """Samples of one tag as parallel columns, in source order."""

    time_us: NDArray[np.int64]
    status: NDArray[np.uint32]
    value: list[Any]
    is_cut: bool


@dataclass(frozen=True, slots=True, eq=False)
class BucketColumns:
    """One tag summed up over equal buckets of time; only buckets that have samples.

    ``minimum``, ``maximum`` and ``mean`` are over finite numbers of good or uncertain quality;
    NaN where a bucket has none. ``count`` counts all samples, ``good_count`` those of good quality.
    """

    width_us: int
    time_us: NDArray[np.int64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    mean: NDArray[np.float64]
    count: NDArray[np.int64]
    good_count: NDArray[np.int64]


class TimeSeriesStore(Protocol):
    """Where samples end up."""

    async def open(self) -> None:
        """Open or create; raises LakeError."""
        ...

    async def close(self) -> None:
        """Close; what was not flushed is gone from here (the spool has it)."""
        ...

    async def received(self) -> list[ReceivedRange]:
        """List the ranges that are durable, in order of epoch and sequence."""
        ...

    async def append(self, rows: Sequence[JournalRow]) -> int:
        """Make rows visible to queries; return how many samples wait for a flush."""
        ...

    async def flush(self) -> FlushResult:
        """Make all that was appended durable, with its ranges, in one transaction."""
        ...

    async def maintain(self) -> None:
        """Merge small files and delete what nothing refers to any more."""
        ...

    async def raw(self, tag_id: int, start_us: int, end_us: int, limit: int) -> RawColumns:
        """Return samples with ``start_us <= time < end_us``, at most ``limit``."""
        ...

    async def buckets(
        self, tag_id: int, start_us: int, end_us: int, buckets_count: int
    ) -> BucketColumns:
        """Sum up ``start_us <= time < end_us`` in ``buckets_count`` equal buckets."""
        ...
