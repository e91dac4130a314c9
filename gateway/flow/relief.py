"""Keeps the journal within its size and retention, and eases it when the disk is full.

Runs in the journal's worker thread. What is dropped before every enabled consumer has it is entered
in the loss ledger in the same commit.

A full disk: SQLite needs room even to delete (its write-ahead log grows to about 4 MB before it is
moved into the file, and then the file grows). So a reserve file is given back, the log moved into
the file, and the oldest rows dropped. While the disk stays short the log is moved after every
commit, so that it stays small, and with the last ``SPARE_BYTES`` of the disk as much room is kept
*inside* the file: the journal needs no more of the disk then. The reserve is made again when there
is room.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from contract.config import JournalConfig
from gateway.errors import JournalError
from gateway.flow.ledger import LossNote, number
from gateway.journal.cursors import Cursor
from gateway.journal.log import Journal, RowHead
from gateway.journal.retention import (
    EASED_RATIO,
    FULL_RATIO,
    expired_to,
    unconfirmed_count,
)
from runtime.clock import Clock
from runtime.log import logger

RESERVE_NAME = "journal.reserve"
WORK_BYTES = 5_000_000
"""What the write-ahead log may take (1,000 pages of 4 KB, and one commit)."""
RESERVE_BYTES = WORK_BYTES
SPARE_BYTES = 1_000_000
TEND_INTERVAL_S = 10.0
ROWS_PER_TRIM = 500


class Relief:
    """Trims the journal. ``cursors`` gives the cursors of the enabled consumers."""

    def __init__(
        self,
        journal: Journal,
        config: JournalConfig,
        directory: Path,
        clock: Clock,
        cursors: Callable[[], Mapping[str, Cursor]],
    ) -> None:
        self._journal = journal
        self._config = config
        self._reserve = directory / RESERVE_NAME
        self._clock = clock
        self._cursors = cursors
        self._due_s = 0.0
        self.dropped_rows = 0

    def tend(self, now_us: int) -> None:
        """Let expired rows go and hold the size limit; cheap when there is nothing to do."""
        full = self._journal.payload_bytes > self._config.max_bytes * FULL_RATIO
        now_s = self._clock.monotonic_s()
        try:
            short = self._is_short()
            if not full and not short and now_s < self._due_s:
                return
            self._due_s = now_s + TEND_INTERVAL_S
            self._expire(now_us)
            if short:
                self._live_within(now_us)
            if self._journal.payload_bytes > self._config.max_bytes * FULL_RATIO:
                self._drop_to(int(self._config.max_bytes * EASED_RATIO), now_us, "size limit")
            self._keep_reserve()
        except JournalError as error:
            logger().error("journal.trim_failed", error=str(error))

    def _expire(self, now_us: int) -> None:
        window_us = int(self._config.retention_hours * 3_600_000_000)
        old = self._journal.expired_to(now_us - window_us, ROWS_PER_TRIM)
        last = expired_to(self._cursors(), old)
        if last >= self._journal.first_sequence:
            self._journal.trim(last)

    def _drop_to(self, bytes_wanted: int, now_us: int, why: str) -> None:
        """Drop the oldest rows until the payload fits; say what anybody misses by it."""
        doomed: list[RowHead] = []
        size = self._journal.payload_bytes
        for head in self._journal.oldest(ROWS_PER_TRIM):
            if size <= bytes_wanted:
                break
            doomed.append(head)
            size -= head.payload_bytes
        if not doomed:
            return
        notes = self._notes(doomed, why)
        losses = number(notes, self._journal.last_loss_id, now_us)
        self._journal.trim(doomed[-1].sequence, losses)
        self.dropped_rows += len(doomed)
        logger().error(
            "journal.rows_dropped",
            why=why,
            rows_count=len(doomed),
            to_sequence=doomed[-1].sequence,
            remedy="bring the hub or broker back, or raise journal.max_bytes",
        )

    def _notes(self, doomed: list[RowHead], why: str) -> list[LossNote]:
        first, last = doomed[0].sequence, doomed[-1].sequence
        lacking = unconfirmed_count(self._cursors(), first, last)
        if not lacking:
            return []
        return [
            LossNote(
                reason="journal_full",
                first_time_us=min(head.first_time_us for head in doomed),
                last_time_us=max(head.last_time_us for head in doomed),
                count=sum(head.samples_count for head in doomed),
                first_sequence=first,
                last_sequence=last,
                detail=f"{why}; not yet confirmed by {', '.join(sorted(lacking))}",
            )
        ]

    def ease(self) -> None:
        """After a failed write: on a full disk give the reserve back and drop a tenth of the rows.

        Any other failure (an I/O error, a locked file) gives no reason to drop anything.
        """
        if not self._journal.is_full and not self._is_short():
            return
        now_us = self._clock.wall_us()
        try:
            self._reserve.unlink(missing_ok=True)
            self._journal.checkpoint(shrink=True)
            self._expire(now_us)
            self._drop_tenth(now_us)
        except (OSError, JournalError) as error:
            logger().error("journal.ease_failed", error=str(error))

    def _live_within(self, now_us: int) -> None:
        """On a disk that is short: keep the log small, and room inside the file."""
        self._journal.checkpoint(shrink=False)
        if self._disk_bytes() < SPARE_BYTES and self._journal.free_bytes() < SPARE_BYTES:
            self._drop_tenth(now_us)

    def _drop_tenth(self, now_us: int) -> None:
        if self._journal.rows_count > 1:
            self._drop_to(int(self._journal.payload_bytes * 0.9), now_us, "the disk is full")

    def _is_short(self) -> bool:
        """Tell whether the disk has less room than the write-ahead log may need."""
        return not self._reserve.exists() and self._disk_bytes() < WORK_BYTES

    def _disk_bytes(self) -> int:
        try:
            disk = os.statvfs(self._reserve.parent)
        except OSError:
            return 0
        return disk.f_bavail * disk.f_frsize

    def _keep_reserve(self) -> None:
        # the log has to find room beside it
        if self._reserve.exists() or self._disk_bytes() < RESERVE_BYTES + WORK_BYTES:
            return
        try:
            with self._reserve.open("wb") as handle:
                os.posix_fallocate(handle.fileno(), 0, RESERVE_BYTES)
        except OSError:
            self._reserve.unlink(missing_ok=True)
