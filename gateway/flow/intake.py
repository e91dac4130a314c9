"""From sources into the journal: bounded intake, group commit, and who is told.

``put`` waits while ``SAMPLES_MAX`` samples are waiting: that is the back-pressure. What was read
from a device's history has a way of its own beside it (``put_history``, one batch at a time): rows
of their own, which neither report by exception nor the last values see. Texts and byte
strings weigh more than one (``BYTES_PER_SAMPLE``), so memory and rows are bounded in bytes too. One
task takes all that arrived, at most once per commit interval, and hands it to one worker thread:
pipeline, encoding, fsync. Only then are sources told (they acknowledge to their servers) and sinks.
A commit that the disk refuses is tried again with the same content, for ever; nothing that was read
is let go. One that fails for a reason nobody foresaw is given up after ``ATTEMPTS_MAX`` times, into
the ledger.

Counters: read = stored + filtered + dropped + in flight, always.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from contract.sample import SampleBatch, concatenate
from contract.upload import LossReason, TagDefinition
from gateway.errors import JournalError
from gateway.flow.ledger import LossNote, OpenLosses, PendingLosses, number
from gateway.flow.relief import Relief
from gateway.journal.cursors import Cursor
from gateway.journal.log import Journal, RowHead, Transaction
from gateway.pipeline.exception import ReportByException
from gateway.pipeline.last import LastValues
from gateway.sources.base import Mark
from runtime.backoff import Backoff
from runtime.clock import Clock
from runtime.log import logger

SAMPLES_MAX = 500_000
BYTES_PER_SAMPLE = 32
"""So many bytes of text weigh as much as one sample: a row holds about 16 MB at most."""
IDLE_FLUSH_S = 5.0
SNAPSHOT_S = 60.0
ATTEMPTS_MAX = 3
"""A commit that ends the task so often is given up: one bad value must not stop all others."""
FUTURE_US = 86_400_000_000
"""A source time this far ahead of our clock is wrong: no gap begins or ends there."""
SAY_AGAIN_S = 60.0
"""A loss of the same kind is logged this often; the ledger has them all."""


@dataclass(slots=True)
class Arrival:
    """A batch on its way, and what to do once it is durable."""

    source: str
    batch: SampleBatch
    marks: Sequence[Mark]
    stored: Callable[[], None]
    weight: int = 0
    notes: Sequence[LossNote] = ()  # entered in the ledger in the same commit


@dataclass(slots=True)
class Committed:
    """A new row, told to sinks: ``batch`` is what it holds, after the pipeline."""

    head: RowHead
    batch: SampleBatch
    payload: bytes


@dataclass(slots=True)
class IntakeCounters:
    """Monotone since the process started, but for ``in_flight``."""

    read: int = 0
    stored: int = 0
    filtered: int = 0
    in_flight: int = 0
    commits: int = 0
    payload_bytes: int = 0
    write_errors: int = 0
    last_error: str = ""
    last_commit_s: float | None = None
    dropped: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Prepared:
    """One commit's content, kept until it succeeds, over a restart of the task too."""

    arrivals: list[Arrival]
    transaction: Transaction
    deadbands: list[tuple[int, float]]
    notes: list[LossNote]
    read: int | None = None  # samples that went into the pipeline; None: it has not run
    attempts_count: int = 0  # starts over after an error that nobody foresaw count, a full disk not
    is_durable: bool = False
    head: RowHead | None = None


class Intake:
    """The one way into the journal. ``run`` is its task; everything else is called on the loop."""

    def __init__(
        self,
        journal: Journal,
        last: LastValues,
        relief: Relief,
        clock: Clock,
        commit_interval_s: float,
    ) -> None:
        self._journal = journal
        self._last = last
        self._filter = ReportByException(last)
        self._relief = relief
        self._clock = clock
        self._interval_s = commit_interval_s
        self._waiting: deque[Arrival] = deque()
        self._waiting_weight = 0
        self._arrived = anyio.Event()
        self._space = anyio.Event()
        self._history: deque[Arrival] = deque()
        self._deadbands: list[tuple[int, float]] = []
        self._losses = PendingLosses()
        self._said_s: dict[tuple[str, str], float] = {}
        self._cursors: dict[str, Cursor] = {}
        self._worker = anyio.CapacityLimiter(1)
        self._snapshot_due_s = clock.monotonic_s() + SNAPSHOT_S
        self._stopping = False
        self._held: _Prepared | None = None
        self.take_definitions: Callable[[], list[TagDefinition]] = list
        self.listeners: list[Callable[[Committed], None]] = []
        self.counters = IntakeCounters()
        self.marks: dict[tuple[str, str], int] = journal.marks()
        self.last_time_us: dict[str, int] = {}
        self.open_losses = OpenLosses()

    # -- what sources and sinks call ------------------------------------------------------------

    async def put(self, arrival: Arrival) -> None:
        """Take a batch; wait while the intake is full."""
        count = len(arrival.batch)
        arrival.weight = _weight(arrival.batch)
        while self._waiting and self._waiting_weight + arrival.weight > SAMPLES_MAX:
            await self._space.wait()
        self._waiting.append(arrival)
        self._waiting_weight += arrival.weight
        self.counters.read += count
        self.counters.in_flight += count
        self._arrived.set()

    async def put_history(self, arrival: Arrival) -> None:
        """Store a batch of historical samples, and its notes, in one commit; return when durable.

        It may be empty: then the marks and notes are what is stored.
        """
        assert arrival.batch.is_historical or not len(arrival.batch)
        durable = anyio.Event()
        arrival.stored = durable.set
        self.counters.read += len(arrival.batch)
        self.counters.in_flight += len(arrival.batch)
        self._history.append(arrival)
        self._arrived.set()
        try:
            await durable.wait()
        finally:
            if arrival in self._history:
                # the source's session ended first: nothing of it is stored, nor noted in marks
                self._history.remove(arrival)
                self.counters.read -= len(arrival.batch)
                self.counters.in_flight -= len(arrival.batch)

    def set_deadbands(self, deadbands: list[tuple[int, float]]) -> None:
        """Set deadbands of tags; they hold from the next batch on."""
        self._deadbands.extend(deadbands)

    def last_value(self, tag: int) -> object:
        """Return a tag's last reported value as its kind holds it; None where there is none."""
        return self._last.value(tag) if tag < len(self._last.kind) else None

    def drop(self, reason: LossReason, count: int) -> None:
        """Count values that were read and cannot be stored."""
        self.counters.read += count
        self.counters.dropped[reason] = self.counters.dropped.get(reason, 0) + count

    def lose(self, note: LossNote) -> None:
        """Enter a loss in the ledger with the next commit."""
        self._losses.add(note)
        self._arrived.set()
        now_s = self._clock.monotonic_s()
        key = (note.reason, note.source)
        if now_s - self._said_s.get(key, -SAY_AGAIN_S) >= SAY_AGAIN_S:
            self._said_s[key] = now_s
            logger().warning(
                "ledger.loss_noted", reason=note.reason, source=note.source, detail=note.detail
            )

    def confirm(self, consumer: str, cursor: Cursor) -> None:
        """Keep a consumer's cursor with the next commit (or soon, when nothing arrives)."""
        self._cursors[consumer] = cursor.copy()

    # -- the task -------------------------------------------------------------------------------

    async def run(self, backoff: Backoff) -> None:
        """Commit what arrives until ``stop``; at the end everything taken is durable."""
        next_s = self._clock.monotonic_s()
        while True:
            if self._held is None:
                with anyio.move_on_after(IDLE_FLUSH_S):
                    await self._arrived.wait()
            pause_s = next_s - self._clock.monotonic_s()
            if pause_s > 0 and not self._stopping:
                await self._clock.sleep_s(pause_s)
            next_s = self._clock.monotonic_s() + self._interval_s
            self._arrived = anyio.Event()
            self._held = self._held or self._prepare()
            if self._held is not None:
                await self._commit(self._held, backoff)
            if self._history:
                self._held = self._prepare_history()
                await self._commit(self._held, backoff)
            if self._stopping and not self._waiting:
                return

    def stop(self) -> None:
        """Let ``run`` return after a last commit."""
        self._stopping = True
        self._arrived.set()

    def _prepare(self) -> _Prepared | None:
        """Take what waits, up to the limit of one row; None when there is nothing to commit."""
        arrivals: list[Arrival] = []
        taken = 0
        while self._waiting and taken < SAMPLES_MAX:
            arrivals.append(self._waiting.popleft())
            taken += arrivals[-1].weight
        self._waiting_weight -= taken
        if arrivals:
            self._space.set()
            self._space = anyio.Event()
        if self._waiting:
            self._arrived.set()
        tags = self.take_definitions()
        if not (arrivals or tags or self._cursors or len(self._losses)):
            return None
        transaction = Transaction(tags=tags, cursors=self._cursors, marks=self._new_marks(arrivals))
        self._cursors = {}
        deadbands, self._deadbands = self._deadbands, []
        return _Prepared(arrivals, transaction, deadbands, self._losses.take())

    def _prepare_history(self) -> _Prepared:
        """Take one batch of historical samples: a row of its own, past the pipeline."""
        arrival = self._history.popleft()
        if self._history:
            self._arrived.set()
        batch = arrival.batch if len(arrival.batch) else None
        transaction = Transaction(batch=batch, marks=self._new_marks([arrival]))
        return _Prepared([arrival], transaction, [], list(arrival.notes), read=len(arrival.batch))

    def _new_marks(self, arrivals: list[Arrival]) -> dict[tuple[str, str], int]:
        changed: dict[tuple[str, str], int] = {}
        for arrival in arrivals:
            for mark in arrival.marks:
                key = (arrival.source, mark.key)
                if self.marks.get(key) != mark.position:
                    changed[key] = self.marks[key] = mark.position
        return changed

    async def _commit(self, prepared: _Prepared, backoff: Backoff) -> None:
        if prepared.attempts_count >= ATTEMPTS_MAX:
            self._give_up(prepared)
        prepared.attempts_count += 1
        if prepared.read is None:
            prepared.read = await anyio.to_thread.run_sync(self._filter_in_thread, prepared)
        while not prepared.is_durable:
            try:
                await anyio.to_thread.run_sync(
                    self._write_in_thread, prepared, limiter=self._worker
                )
            except JournalError as error:
                await self._wait_after(error, backoff)
        backoff.succeed()
        self._held = None
        self._tell(prepared, prepared.read)

    def _give_up(self, prepared: _Prepared) -> None:
        """Leave out samples that cannot be committed for a reason nobody foresaw; say which."""
        ranges = [a.batch.time_range_us() for a in prepared.arrivals if len(a.batch)]
        count = sum(len(a.batch) for a in prepared.arrivals)
        if not count:
            return
        prepared.notes.append(
            LossNote(
                reason="journal_write_failed",
                first_time_us=min(first for first, _ in ranges),
                last_time_us=max(last for _, last in ranges),
                count=count,
                detail="an error in the gateway kept these samples from being stored: see its log",
            )
        )
        self.counters.dropped["journal_write_failed"] = (
            self.counters.dropped.get("journal_write_failed", 0) + count
        )
        self.counters.in_flight -= count
        prepared.notes = [note for note in prepared.notes if note.closes is None]
        prepared.transaction.batch, prepared.transaction.payload = None, b""
        prepared.read = 0

    async def _wait_after(self, error: JournalError, backoff: Backoff) -> None:
        self.counters.write_errors += 1
        if self.counters.last_error != str(error):
            logger().error("journal.write_failed", error=str(error), remedy="free disk space")
        self.counters.last_error = str(error)
        await anyio.to_thread.run_sync(self._relief.ease, limiter=self._worker)
        await self._clock.sleep_s(backoff.next_delay_s())

    def _filter_in_thread(self, prepared: _Prepared) -> int:
        """Run the pipeline; return the samples that went in."""
        if prepared.deadbands:
            self._filter.set_deadbands(prepared.deadbands)
        batch = concatenate(arrival.batch for arrival in prepared.arrivals)
        prepared.transaction.batch = self._filter.filter(batch)
        if self._clock.monotonic_s() >= self._snapshot_due_s or self._stopping:
            self._snapshot_due_s = self._clock.monotonic_s() + SNAPSHOT_S
            prepared.transaction.snapshot = self._last.snapshot()
        return len(batch)

    def _write_in_thread(self, prepared: _Prepared) -> None:
        transaction = prepared.transaction
        now_us = self._clock.wall_us()
        transaction.losses = number(prepared.notes, self._journal.last_loss_id, now_us)
        prepared.head = self._journal.commit(transaction, now_us)
        prepared.is_durable = True
        self._relief.tend(now_us)

    def _tell(self, prepared: _Prepared, read: int) -> None:
        counters, head = self.counters, prepared.head
        counters.last_error = ""
        transaction = prepared.transaction
        self.open_losses.take(transaction.losses)
        batch = transaction.batch
        stored = len(batch) if batch is not None else 0
        counters.in_flight -= read
        counters.stored += stored
        counters.filtered += read - stored
        if head is not None and batch is not None:
            counters.commits += 1
            counters.payload_bytes += head.payload_bytes
            counters.last_commit_s = self._clock.monotonic_s()
            for listener in self.listeners:
                listener(Committed(head, batch, transaction.payload))
        for arrival in prepared.arrivals:
            if len(arrival.batch) and not arrival.batch.is_historical:
                self._note_time(arrival)
            arrival.stored()

    def _note_time(self, arrival: Arrival) -> None:
        """Remember how far a source is: by its times up to about now, a wrong clock's left out."""
        latest_us = arrival.batch.time_range_us()[1]
        limit_us = self._clock.wall_us() + FUTURE_US
        if latest_us > limit_us:
            times_us = (c.time_us[c.time_us <= limit_us] for c in arrival.batch.columns)
            latest_us = max((int(t.max()) for t in times_us if len(t)), default=0)
        held_us = self.last_time_us.get(arrival.source, 0)
        self.last_time_us[arrival.source] = max(held_us, latest_us)

    @property
    def filtered_by_reason(self) -> dict[str, int]:
        """What report by exception left out, by reason."""
        return {
            "unchanged": self._filter.unchanged_count,
            "deadband": self._filter.deadband_count,
        }


def _weight(batch: SampleBatch) -> int:
    """Return the samples, and what their texts and byte strings weigh beside."""
    text_bytes = sum(
        len(value)
        for columns in batch.columns
        if isinstance(columns.value, list)
        for value in columns.value
    )
    return len(batch) + text_bytes // BYTES_PER_SAMPLE
