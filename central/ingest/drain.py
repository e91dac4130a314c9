"""Drain acknowledged rows into the time series: visible within a second, flushed in groups.

Order, which is the promise: append to the store; flush it (one lake transaction with the ranges);
save last values; release the spool. A crash anywhere repeats from the spool, and the lake's own
ranges say what it has. Bound: ``SAMPLES_WAITING_MAX`` acknowledged samples in memory, plus one
upload for each request under way; ``wait_for_room`` is the back-pressure. Task: ``run``, its
owner's child.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import anyio

from central.database import Database
from central.errors import SpoolFullError
from central.ingest.last import LastValues
from central.ingest.spool import Spool
from central.timeseries.store import JournalRow, TimeSeriesStore
from runtime.clock import Clock
from runtime.log import logger

SAMPLES_WAITING_MAX = 1_000_000
SAMPLES_PER_APPEND = 200_000
ROOM_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Drained:
    """A row and the spool segment it is in."""

    row: JournalRow
    segment: int


@dataclass(frozen=True, kw_only=True)
class DrainSettings:
    """When to append and when to flush."""

    linger_s: float
    flush_interval_s: float
    flush_samples: int


class Drain:
    """Moves rows from memory (and, after a crash, from the spool) into the store."""

    def __init__(
        self,
        store: TimeSeriesStore,
        spool: Spool,
        last_values: LastValues,
        database: Database,
        clock: Clock,
        settings: DrainSettings,
    ) -> None:
        self._store = store
        self._spool = spool
        self._last_values = last_values
        self._database = database
        self._clock = clock
        self._settings = settings
        self._waiting: list[Drained] = []
        self._waiting_samples = 0
        self._appended: dict[int, int] = {}
        self._unflushed_samples = 0
        self._oldest_s: float | None = None
        self._wake = anyio.Event()
        self._room = anyio.Event()
        self._room.set()
        self.flushes_count = 0
        self.flushed_samples_count = 0
        self.last_flush_ms = 0.0
        self.after_flush: list[Callable[[], Awaitable[None]]] = []

    @property
    def waiting_samples(self) -> int:
        """Samples acknowledged, but not in the lake."""
        return self._waiting_samples + self._unflushed_samples

    async def wait_for_room(self) -> None:
        """Wait until the drain has caught up enough to take more.

        Raises:
            SpoolFullError: it does not catch up within ``ROOM_TIMEOUT_S``.
        """
        with anyio.move_on_after(ROOM_TIMEOUT_S):
            await self._room.wait()
            return
        raise SpoolFullError("the hub's lake does not keep up")

    def put(self, items: Sequence[Drained]) -> None:
        """Take acknowledged rows; never blocks and never fails."""
        self._waiting.extend(items)
        self._waiting_samples += sum(len(i.row.batch) for i in items)
        if self._waiting_samples >= SAMPLES_WAITING_MAX:
            self._room = anyio.Event()
        self._wake.set()

    async def run(self) -> None:
        """Drain until cancelled."""
        while True:
            await self._wait()
            await self._append()
            if self._is_flush_due():
                await self._flush()

    async def flush(self) -> None:
        """Append all that waits, flush the store, release the spool."""
        while self._waiting:
            await self._append()
            await self._flush()
        await self._flush()

    async def _flush(self) -> None:
        if not self._appended:
            return
        result = await self._store.flush()
        released, self._appended = self._appended, {}
        self._unflushed_samples = 0
        self._oldest_s = None
        try:
            await self._last_values.save(self._database)
            for callback in self.after_flush:
                await callback()
        finally:
            self._spool.rotate()
            for segment, count in released.items():
                self._spool.release(segment, count)
        self.flushes_count += 1
        self.flushed_samples_count += result.samples_count
        self.last_flush_ms = result.took_ms
        logger().debug(
            "ingest.flushed",
            samples_count=result.samples_count,
            ranges_count=result.ranges_count,
            took_ms=round(result.took_ms, 1),
        )

    async def _wait(self) -> None:
        if not self._waiting:
            until_flush_s = self._until_flush_s()
            with anyio.move_on_after(until_flush_s):
                await self._wake.wait()
        self._wake = anyio.Event()
        if self._waiting and self._waiting_samples < SAMPLES_PER_APPEND:
            with anyio.move_on_after(self._settings.linger_s):
                await anyio.sleep_forever()

    def _until_flush_s(self) -> float | None:
        if self._oldest_s is None:
            return None
        return max(
            0.0, self._oldest_s + self._settings.flush_interval_s - self._clock.monotonic_s()
        )

    def _is_flush_due(self) -> bool:
        if self._unflushed_samples >= self._settings.flush_samples:
            return True
        return self._until_flush_s() == 0.0

    async def _append(self) -> None:
        while self._waiting:
            group: list[Drained] = []
            samples = 0
            for item in self._waiting:
                group.append(item)
                samples += len(item.row.batch)
                if samples >= SAMPLES_PER_APPEND:
                    break
            await self._store.append([i.row for i in group])
            del self._waiting[: len(group)]
            self._waiting_samples -= samples
            self._unflushed_samples += samples
            if self._oldest_s is None:
                self._oldest_s = self._clock.monotonic_s()
            for item in group:
                self._last_values.update(item.row)
                self._appended[item.segment] = self._appended.get(item.segment, 0) + 1
            if self._waiting_samples < SAMPLES_WAITING_MAX:
                self._room.set()
            if self._unflushed_samples >= self._settings.flush_samples:
                return
