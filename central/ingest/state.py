"""What the hub knows of one epoch of one gateway, in memory; durable in lake and spool. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import anyio
import numpy as np
from numpy.typing import NDArray

from central.errors import ForkDetectedError
from central.ingest.intervals import IntervalSet
from central.ingest.verify import VerifiedRow
from central.timeseries.store import LastRule
from contract.batch import FIRST_HASH
from contract.upload import UploadReceipt

HASHES_KEPT = 20_000
"""Row hashes remembered per epoch; older duplicates are compared at range ends only."""
HOLES_LISTED = 100


class EpochState:
    """Watermarks, hashes and tag ids of one (gateway, epoch).

    ``lock`` covers everything from the check of an upload to the mark of its rows, so that two
    requests cannot both find a row missing.
    """

    def __init__(
        self, gateway: int, epoch_id: int, epoch: str, last_rule: LastRule = "newest"
    ) -> None:
        self.gateway = gateway
        self.id = epoch_id
        self.epoch = epoch
        self.last_rule: LastRule = last_rule
        self.lock = anyio.Lock()
        self.intervals = IntervalSet()
        self.tag_ids: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.losses_known = 0
        self.samples_count = 0
        self.head_sequence = 0
        self.head_time_us = 0
        self.last_time_us = 0
        self.forks_count = 0
        self._hashes: OrderedDict[int, bytes] = OrderedDict([(0, FIRST_HASH)])
        self._previous: dict[int, bytes] = {}
        self._times: OrderedDict[int, int] = OrderedDict()
        self._unverified_joins = 0

    @property
    def is_chain_verified(self) -> bool:
        """Say whether every join of two ranges was checked by hash."""
        return self._unverified_joins == 0

    def receipt(self, duplicates: int = 0) -> UploadReceipt:
        """Return where the hub stands durably."""
        return UploadReceipt(
            epoch=self.epoch,
            contiguous_to=self.intervals.contiguous_to(),
            received_to=self.intervals.received_to(),
            missing=self.intervals.holes()[:HOLES_LISTED],
            tags_known=len(self.tag_ids),
            losses_known=self.losses_known,
            duplicates=duplicates,
        )

    def time_of(self, sequence: int) -> int | None:
        """Return the latest source time of a row, where it is remembered."""
        return self._times.get(sequence)

    def check_fork(self, rows: Sequence[VerifiedRow]) -> None:
        """Compare an upload with what is held.

        Raises:
            ForkDetectedError: a row, or the row before or behind, is held with another hash.
        """
        if not rows:
            return
        self._compare(rows[0].sequence - 1, rows[0].previous_hash)
        for row in rows:
            self._compare(row.sequence, row.hash)
        following = self._previous.get(rows[-1].sequence + 1)
        if following is not None and following != rows[-1].hash:
            raise ForkDetectedError(
                rows[-1].sequence, f"row {rows[-1].sequence + 1} was chained to another row"
            )

    def _compare(self, sequence: int, row_hash: bytes) -> None:
        held = self._hashes.get(sequence)
        if held is not None and held != row_hash:
            raise ForkDetectedError(sequence, f"row {sequence} is held with another hash")

    def mark_row(self, row: VerifiedRow) -> None:
        """Note that a new row is durable."""
        self.mark_range(row.sequence, row.sequence, row.previous_hash, row.hash, row.last_time_us)
        self.samples_count += len(row.batch)

    def mark_range(
        self, first: int, last: int, previous_hash: bytes, last_hash: bytes, last_time_us: int
    ) -> None:
        """Note that rows are durable; for ranges from the lake and rows of the spool alike."""
        if first > 1 and (first - 1) in self.intervals and (first - 1) not in self._hashes:
            self._unverified_joins += 1
        self.intervals.add(first, last)
        self._previous[first] = previous_hash
        if (first - 1) in self._hashes:
            del self._previous[first]
        self._previous.pop(last + 1, None)
        self._hashes[last] = last_hash
        # a row that was filled from history is older than the rows before it
        self._times[last] = max(last_time_us, self._times.get(first - 1, last_time_us))
        self.last_time_us = max(self.last_time_us, last_time_us)
        for kept in (self._hashes, self._times):
            if len(kept) > HASHES_KEPT:
                self._forget_oldest(kept)

    def _forget_oldest(self, kept: OrderedDict[int, bytes] | OrderedDict[int, int]) -> None:
        """Forget the oldest that is no end of a range: ends are needed to check joins."""
        ends = {r.last for r in self.intervals.ranges()}
        for sequence in list(kept)[: len(kept) - HASHES_KEPT + 1_000]:
            if sequence not in ends:
                del kept[sequence]

    def last_hash(self) -> bytes:
        """Return the hash of the highest row that is here, which ends a range and is kept."""
        return self._hashes[self.intervals.received_to()]

    def is_held(self, sequence: int) -> bool:
        """Say whether a row is durable here."""
        return sequence in self.intervals

    def add_tags(self, tag_ids: Iterable[int]) -> None:
        """Append the hub's tag ids of the next tag indexes."""
        self.tag_ids = np.concatenate([self.tag_ids, np.array(list(tag_ids), dtype=np.int64)])
