"""Every epoch's state, rebuilt at start from the lake's ranges and the spool's records."""

from __future__ import annotations

import anyio

from central.ingest.definitions import Definitions
from central.ingest.drain import Drained
from central.ingest.segment import SpoolRecord
from central.ingest.spool import Spool
from central.ingest.state import EpochState
from central.timeseries.store import JournalRow, LastRule, TimeSeriesStore
from contract.batch import decode_batch
from runtime.log import logger


class Watermarks:
    """The states by (gateway, epoch)."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._states: dict[tuple[int, str], EpochState] = {}
        self._lock = anyio.Lock()

    def known(self, gateway: int, epoch: str) -> EpochState | None:
        """Return the state of an epoch, or None when it was never seen."""
        return self._states.get((gateway, epoch))

    def of_gateway(self, gateway: int) -> list[EpochState]:
        """Return the states of a gateway's epochs, oldest first."""
        return [s for s in self._states.values() if s.gateway == gateway]

    def all(self) -> list[EpochState]:
        """Return every state, oldest first."""
        return list(self._states.values())

    async def state(self, gateway: int, epoch: str, last_rule: LastRule = "newest") -> EpochState:
        """Return the state of an epoch, keeping it when it is new."""
        found = self._states.get((gateway, epoch))
        if found is not None:
            return found
        async with self._lock:
            if (gateway, epoch) not in self._states:
                self._states[gateway, epoch] = await self._definitions.new_epoch(
                    gateway, epoch, last_rule
                )
            return self._states[gateway, epoch]

    async def rebuild(self, store: TimeSeriesStore, spool: Spool) -> list[Drained]:
        """Read everything back; return spooled rows that the lake does not have.

        Records that the lake has already (killed between its commit and the deletion of the
        segment) are released at once: exactly once rests on this.
        """
        states = await self._definitions.load()
        self._states = {(s.gateway, s.epoch): s for s in states}
        by_id = {s.id: s for s in states}
        for held in await store.received():
            state = by_id[held.epoch]
            state.mark_range(
                held.first, held.last, held.previous_hash, held.last_hash, held.last_time_us
            )
            state.samples_count += held.samples_count
        again: list[Drained] = []
        released: dict[int, int] = {}
        for segment, record in spool.recover():
            state = by_id[record.epoch]
            if state.is_held(record.sequence):
                released[segment] = released.get(segment, 0) + 1
                continue
            state.mark_range(
                record.sequence,
                record.sequence,
                record.previous_hash,
                record.hash,
                record.last_time_us,
            )
            state.samples_count += record.samples_count
            again.append(Drained(_row(state, record), segment))
        for segment, count in released.items():
            spool.release(segment, count)
        if again or released:
            logger().info(
                "ingest.spool_recovered",
                rows_count=len(again),
                drained_before_count=sum(released.values()),
            )
        return again


def _row(state: EpochState, record: SpoolRecord) -> JournalRow:
    return JournalRow(
        gateway=record.gateway,
        epoch=record.epoch,
        sequence=record.sequence,
        previous_hash=record.previous_hash,
        hash=record.hash,
        first_time_us=record.first_time_us,
        last_time_us=record.last_time_us,
        batch=decode_batch(record.payload),
        tag_ids=state.tag_ids,
        last_rule=state.last_rule,
    )
