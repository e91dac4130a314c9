"""One sink's side of the journal: rows out, confirmations back; see ``sinks.base.Outlet``.

Rows of the live lane come from memory, as they were committed; the backlog is read from the file,
in portions small enough that a live row never waits long behind one. Runs on the event loop; file
reads go through the journal reader's own thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

from contract.upload import Loss
from gateway.errors import RowDamagedError
from gateway.flow.intake import Committed
from gateway.flow.lanes import Lanes, TokenBucket
from gateway.flow.ledger import LossNote
from gateway.journal.cursors import Cursor
from gateway.journal.reader import JournalReader, StoredRow
from gateway.sinks.base import Portion, Row
from runtime.clock import Clock

LIVE_SAMPLES_PER_PORTION = 200_000
BACKLOG_SAMPLES_PER_PORTION = 50_000
BACKLOG_BYTES_PER_PORTION = 1_000_000
BACKLOG_ROWS_PER_PORTION = 500

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True)
class JournalSide:
    """What all outlets share: the reader and its thread, and whom to tell."""

    reader: JournalReader
    reading: anyio.CapacityLimiter
    epoch: str
    clock: Clock
    confirmed: Callable[[str, Cursor], None]
    lose: Callable[[LossNote], None]


class JournalOutlet:
    """The outlet of one consumer. ``head`` is the newest row and when it was committed (µs).

    ``is_live_only``: the consumer wants no backlog. Rows from outside its sessions are passed over:
    they are not kept for it, nor counted as waiting.
    """

    def __init__(
        self,
        consumer: str,
        cursor: Cursor,
        head: tuple[int, int],
        side: JournalSide,
        backlog_rate: float,
    ) -> None:
        self.consumer = consumer
        self.lanes = Lanes(cursor, head[0])
        self._head = head
        self._side = side
        self._clock = side.clock
        self._bucket = TokenBucket(backlog_rate, side.clock.monotonic_s())
        self._memory: dict[int, Row] = {}
        self._handed: dict[int, int] = {}  # samples by last row, not confirmed yet
        self._changed = anyio.Event()
        self._woken = False
        self.confirmed_samples = 0
        self.retries_count = 0
        self.last_confirmed_s: float | None = None
        self.is_live_only = False

    @property
    def epoch(self) -> str:
        """The journal's epoch."""
        return self._side.epoch

    @property
    def head(self) -> tuple[int, int]:
        """The newest row's number and when it was committed, in µs."""
        return self._head

    @property
    def has_backlog(self) -> bool:
        """There are rows, older than the live lane's, that this session has not handed out."""
        return self.lanes.backlog() is not None

    def committed(self, row: Committed) -> None:
        """Take a new row from the intake."""
        head = row.head
        self._head = (head.sequence, head.committed_us)
        fallen = self.lanes.append(head.sequence, head.samples_count)
        if self.lanes.is_open:
            self._memory[head.sequence] = Row(
                head.sequence,
                head.hash,
                head.samples_count,
                head.first_time_us,
                head.last_time_us,
                head.committed_us,
                row.payload,
                row.batch,
            )
            for _ in range(fallen):
                self._memory.pop(min(self._memory))
        elif self.is_live_only:
            self._pass_over()
        self._changed.set()

    def begin(self) -> None:
        """Start a session; see ``sinks.base.Outlet``."""
        self._memory.clear()
        self._handed.clear()
        if self.is_live_only:
            self._pass_over()
        self.lanes.begin()

    def end(self) -> None:
        """End the session: rows that come now wait as backlog."""
        self._memory.clear()
        self._handed.clear()
        self.lanes.end()

    def _pass_over(self) -> None:
        if self.lanes.head > 0:
            self.lanes.confirm(1, self.lanes.head)
            self._side.confirmed(self.consumer, self.lanes.confirmed)

    def wake(self) -> None:
        """Make a waiting ``next`` return."""
        self._woken = True
        self._changed.set()

    async def next(self, timeout_s: float | None = None) -> Portion | None:
        """Wait for rows; see ``sinks.base.Outlet``."""
        deadline_s = None if timeout_s is None else self._clock.monotonic_s() + timeout_s
        while True:
            if self._woken:
                self._woken = False
                return None
            live = self.lanes.take_live(LIVE_SAMPLES_PER_PORTION)
            if live is not None:
                rows = [self._memory.pop(number) for number in range(live[0], live[1] + 1)]
                return self._hand_out(Portion("live", rows))
            now_s = self._clock.monotonic_s()
            wait_s: float | None = None if deadline_s is None else deadline_s - now_s
            if wait_s is not None and wait_s <= 0:
                return None
            if self.lanes.backlog() is not None:
                pause_s = self._bucket.wait_s(now_s)
                if pause_s <= 0:
                    portion = await self._backlog()
                    if portion is not None:
                        return portion
                    continue
                wait_s = pause_s if wait_s is None else min(wait_s, pause_s)
            await self._wait(wait_s)

    async def _wait(self, seconds: float | None) -> None:
        with anyio.move_on_after(seconds):
            await self._changed.wait()
        if self._changed.is_set():
            self._changed = anyio.Event()

    async def _backlog(self) -> Portion | None:
        """Read the oldest rows that are not sent; None when they are gone or damaged."""
        gap = self.lanes.backlog()
        if gap is None:
            return None
        first, last = gap
        try:
            rows = await self._in_thread(self._read, first, last)
        except RowDamagedError as error:
            self.give_up(error.sequence, error.times_us, str(error))
            return None
        if not rows:
            # dropped by the size limit (the ledger has it) or trimmed after all had it
            self.confirm(first, last)
            return None
        if rows[0].sequence > first:
            self.confirm(first, rows[0].sequence - 1)
        rows = _consecutive(rows)
        self.lanes.mark_sent(rows[0].sequence, rows[-1].sequence)
        portion = Portion("backlog", rows)
        self._bucket.spend(portion.samples_count, self._clock.monotonic_s())
        return self._hand_out(portion)

    def _hand_out(self, portion: Portion) -> Portion:
        self._handed[portion.rows[-1].sequence] = portion.samples_count
        return portion

    def _read(self, first: int, last: int) -> list[Row]:
        """Read and decode, in the reader's thread; at least one row where there is any."""
        found = self._side.reader.rows(
            first, last, bytes_max=BACKLOG_BYTES_PER_PORTION, rows_max=BACKLOG_ROWS_PER_PORTION
        )
        samples = 0
        for count, row in enumerate(found):
            samples += row.samples_count
            if samples > BACKLOG_SAMPLES_PER_PORTION and count:
                found = found[:count]
                break
        return [_row(row) for row in found]

    def give_up(self, sequence: int, times_us: tuple[int, int], reason: str) -> None:
        """Enter a row in the ledger that cannot be sent, ever, and go on behind it."""
        self._side.lose(
            LossNote(
                reason="row_damaged",
                first_time_us=times_us[0],
                last_time_us=times_us[1],
                first_sequence=sequence,
                last_sequence=sequence,
                detail=f"{self.consumer}: {reason}",
            )
        )
        self.confirm(sequence, sequence)

    def confirm(self, first: int, last: int) -> None:
        """Tell that rows are safe on the other side; their cursor is kept with a next commit."""
        self.lanes.confirm(first, last)
        self.lanes.mark_sent(first, last)
        for number in [n for n in self._handed if first <= n <= last]:
            self.confirmed_samples += self._handed.pop(number)
        self.last_confirmed_s = self._clock.monotonic_s()
        self._side.confirmed(self.consumer, self.lanes.confirmed)

    async def losses_after(self, loss_id: int, limit: int) -> list[Loss]:
        """Return ledger entries with ids above ``loss_id``."""
        return await self._in_thread(self._side.reader.losses, loss_id, limit)

    async def hash_before(self, sequence: int) -> bytes:
        """Return the hash of the row before one."""
        return await self._in_thread(self._side.reader.hash_before, sequence)

    async def _in_thread(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self._side.reading)


def _row(stored: StoredRow) -> Row:
    return Row(
        stored.sequence,
        stored.hash,
        stored.samples_count,
        stored.first_time_us,
        stored.last_time_us,
        stored.committed_us,
        stored.payload,
        stored.batch(),
    )


def _consecutive(rows: Sequence[Row]) -> list[Row]:
    count = 1
    while count < len(rows) and rows[count].sequence == rows[count - 1].sequence + 1:
        count += 1
    return list(rows[:count])
