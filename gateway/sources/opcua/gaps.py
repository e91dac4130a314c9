"""What was not read, and what looks wrong about time: the beginnings of ledger entries.

Knows the last source time of every tag, over all sessions of this process. Pure but for the port
and clock it is given.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contract.config import GroupConfig
from contract.sample import SampleBatch, SampleColumns
from gateway.sources.base import SourcePort
from runtime.clock import Clock

JUMP_BACK_US = 1_000_000
"""Less is a clock that is being set right, in small steps."""
JUMP_AHEAD_US = 3_600_000_000
"""So far ahead of our clock a source time is entered as wrong: once, until it is right again."""
_OVERFLOW_MASK = np.uint32(0x0480)
"""Info type DataValue with the overflow bit: OPC 10000-4, 7.39.1."""


class Gaps:
    """Notes gaps, overflows and jumps of one source.

    Attributes:
        wait_us: a value waits at its server for so long at most, while all is well.
    """

    def __init__(self, groups: Sequence[GroupConfig], clock: Clock) -> None:
        self.wait_us = 1000 * max(group.publishing_interval_ms for group in groups)
        self._clock = clock
        self._from_us: int | None = None
        self._to_us = 0  # server's time when all was subscribed; 0 before
        self._is_noted = False
        self._seen_us: NDArray[np.int64] = np.zeros(0, dtype=np.int64)  # by tag
        self._seen_before_us = 0  # the same for tags that this process has not seen yet
        self._is_ahead: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._any_ahead = False

    def begin(self, port: SourcePort) -> None:
        """Begin a session: tags that no process has read may lack values since then."""
        self._seen_before_us = self.stored_before_us(port) or 0

    def stored_before_us(self, port: SourcePort) -> int | None:
        """Return from when on a value may be missing; None when nothing was ever stored.

        A value waits at the server for its group to publish: it may be older than what is stored.
        """
        stored_us = port.last_stored_time_us()
        return None if stored_us is None else max(0, stored_us - self.wait_us)

    def grow(self, size: int) -> None:
        """Make room for tags 0 to ``size - 1``."""
        more = size - len(self._seen_us)
        if more > 0:
            fresh = np.full(more, self._seen_before_us, dtype=np.int64)
            self._seen_us = np.append(self._seen_us, fresh)
            self._is_ahead = np.append(self._is_ahead, np.zeros(more, dtype=np.bool_))

    def seen_us(self, tag: int) -> int:
        """Return the newest source time read of a tag; 0 for none."""
        return int(self._seen_us[tag]) if tag < len(self._seen_us) else 0

    def seen_tags(self) -> set[int]:
        """Return the tags that this process has read."""
        return set(np.flatnonzero(self._seen_us > self._seen_before_us).tolist())

    # -- gaps -------------------------------------------------------------------------------------

    def open(self, port: SourcePort) -> None:
        """Note from when on changes are unseen; a gap that was never closed stays open."""
        if self._from_us is None:
            self._from_us = self.stored_before_us(port)
        self._to_us, self._is_noted = 0, False

    def all_subscribed(self, server_us: int) -> None:
        """Note the server's time at which the last tag was subscribed."""
        self._to_us = server_us

    def arrived(self, port: SourcePort, batch: SampleBatch) -> None:
        """Look at samples as they come: gaps that end, overflows, jumps of time."""
        for columns in batch.columns:
            self._look(port, columns)
        self._close(port, batch)

    def heard(self, port: SourcePort, events: SampleBatch) -> None:
        """Look at events as they come: gaps that end; their times go back and forth."""
        self._close(port, events)

    def _close(self, port: SourcePort, batch: SampleBatch) -> None:
        """After subscribing anew, enter what changed unseen since the last durable sample.

        With the first values, lest a crash forget it; and where those come before the last tag is
        subscribed, once more then.
        """
        if self._from_us is None or not len(batch):
            return
        if self._is_noted and not self._to_us:
            return
        now_us = self._clock.wall_us()
        latest_us = min(batch.time_range_us()[1], now_us + JUMP_AHEAD_US)
        port.lose(
            "session_gap",
            self._from_us,
            max(latest_us, self._from_us, self._to_us),
            detail="changes between the last stored sample and the new subscription were not read",
        )
        self._is_noted = True
        if self._to_us:
            self._from_us = None

    def missed(self, port: SourcePort, group: str, sequence: int, why: str) -> None:
        """Enter a notification that the server sent and can no longer repeat."""
        now_us = self._clock.wall_us()
        since_us = self.stored_before_us(port)
        port.lose(
            "missed_notification",
            now_us if since_us is None else min(since_us, now_us),
            now_us,
            detail=f"group {group}: notification {sequence}: {why}",
        )

    # -- single samples ---------------------------------------------------------------------------

    def _look(self, port: SourcePort, columns: SampleColumns) -> None:
        before_us = self._seen_us[columns.tag]
        overflowed = (columns.status & _OVERFLOW_MASK) == _OVERFLOW_MASK
        if overflowed.any():
            self._note_overflow(port, columns.take(overflowed), before_us[overflowed])
        back = columns.time_us < before_us - JUMP_BACK_US
        if back.any():
            self._note_back(port, columns.take(back), before_us[back])
        self._note_ahead(port, columns)
        self._seen_us[columns.tag] = columns.time_us

    def _note_overflow(
        self, port: SourcePort, columns: SampleColumns, before_us: NDArray[np.int64]
    ) -> None:
        """Enter what the server says it discarded.

        The overflow bit stands on the first value kept: what is missing lies between it and the
        value of its tag that came before.
        """
        times_us = columns.time_us
        tags = np.unique(columns.tag)
        port.lose(
            "server_overflow",
            int(np.where(before_us > 0, before_us, times_us).min()),
            int(times_us.max()),
            tag=int(tags[0]) if len(tags) == 1 else None,
            detail=f"the server's queue overflowed for {len(tags)} tags: raise queue_size",
        )

    def _note_back(
        self, port: SourcePort, columns: SampleColumns, before_us: NDArray[np.int64]
    ) -> None:
        """Enter that source times went backwards: the range is told twice, or out of order."""
        known = before_us > self._seen_before_us
        if not known.any():
            return  # the first values since the start of the process: nothing to hold them against
        tags = np.unique(columns.tag[known])
        port.lose(
            "source_time_jump",
            int(columns.time_us[known].min()),
            int(before_us[known].max()),
            tag=int(tags[0]) if len(tags) == 1 else None,
            detail=f"source time went backwards for {len(tags)} tags: look at the device's clock",
        )

    def _note_ahead(self, port: SourcePort, columns: SampleColumns) -> None:
        """Enter that source times are far ahead of our clock, once for each time it begins."""
        if not len(columns):
            return
        now_us = self._clock.wall_us()
        limit_us = now_us + JUMP_AHEAD_US
        if int(columns.time_us.max()) <= limit_us and not self._any_ahead:
            return
        ahead = columns.time_us > limit_us
        new = ahead & ~self._is_ahead[columns.tag]
        self._is_ahead[columns.tag] = ahead
        self._any_ahead = bool(self._is_ahead.any())
        if new.any():
            tags = np.unique(columns.tag[new])
            port.lose(
                "source_time_jump",
                now_us,
                int(columns.time_us[new].max()),
                tag=int(tags[0]) if len(tags) == 1 else None,
                detail=f"source time is far in the future for {len(tags)} tags: look at the clocks",
            )
