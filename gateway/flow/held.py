"""Which samples the journal holds in a range of source time, for filling a gap without doubling.

Looks at rows that were committed about then only: a sample waits at its server and on its way for
minutes at most (``MARGIN_US``), and history that was filled is known from the ledger. Runs in a
thread, over a connection of its own. Limit: ``SAMPLES_MAX`` samples a look.
"""

from __future__ import annotations

import anyio
import anyio.to_thread
import numpy as np
from numpy.typing import NDArray

from contract.upload import Loss
from gateway.errors import RowDamagedError
from gateway.journal.reader import JournalReader

SAMPLES_MAX = 1_000_000
MARGIN_US = 300_000_000
_BYTES_DECODED_MAX = 256_000_000

TagsAndTimes = tuple[NDArray[np.uint32], NDArray[np.int64]]


class HeldSamples:
    """Looks into the journal for (tag, source time); one look at a time."""

    def __init__(self, reader: JournalReader) -> None:
        self._reader = reader
        self._reading = anyio.CapacityLimiter(1)

    async def within(
        self, loss: Loss, tags: NDArray[np.uint32], first_us: int, last_us: int
    ) -> TagsAndTimes | None:
        """Return tag and time of samples of some tags within a part of a loss's range.

        None when there are more than ``SAMPLES_MAX``. Raises JournalError.
        """
        # the server's clock against ours: the entry was written when its range had ended
        ahead_us = loss.recorded_time_us - loss.last_time_us
        committed_us = (first_us + ahead_us - MARGIN_US, last_us + ahead_us + MARGIN_US)
        return await anyio.to_thread.run_sync(
            self._look, tags, (first_us, last_us), committed_us, limiter=self._reading
        )

    def _look(
        self,
        tags: NDArray[np.uint32],
        times_us: tuple[int, int],
        committed_us: tuple[int, int],
    ) -> TagsAndTimes | None:
        found: list[TagsAndTimes] = []
        count = size = 0
        for row in self._reader.overlapping(times_us, committed_us):
            size += len(row.payload)
            try:
                batch = row.batch()
            except RowDamagedError:
                continue  # its consumers enter it in the ledger
            for columns in batch.columns:
                inside = (columns.time_us >= times_us[0]) & (columns.time_us <= times_us[1])
                inside &= np.isin(columns.tag, tags)
                found.append((columns.tag[inside], columns.time_us[inside]))
                count += len(found[-1][0])
            if count > SAMPLES_MAX or size > _BYTES_DECODED_MAX:
                return None
        if not found:
            return np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.int64)
        return np.concatenate([t for t, _ in found]), np.concatenate([t for _, t in found])

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()
