"""Take uploads: verified, once, acknowledged after the spool's fsync.

Order, which is the promise: verify; under the epoch's lock compare with what is held, make tags
and losses durable, append new rows to the spool (fsync), mark them; hand them to the drain; answer.
A refusal leaves nothing of the rows behind. Tasks: none of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import anyio.to_thread

from central.errors import ForkDetectedError, UnknownTagsError
from central.ingest.definitions import Definitions
from central.ingest.drain import Drain, Drained
from central.ingest.segment import SpoolRecord
from central.ingest.spool import Spool
from central.ingest.state import EpochState
from central.ingest.verify import VerifiedRow, verify_rows
from central.ingest.watermarks import Watermarks
from central.timeseries.store import JournalRow
from contract.upload import Upload, UploadReceipt
from runtime.clock import Clock
from runtime.log import logger

VERIFIED_AT_ONCE = 2


class Receiver:
    """The uplink's rules; one a process."""

    def __init__(
        self,
        watermarks: Watermarks,
        definitions: Definitions,
        spool: Spool,
        drain: Drain,
        clock: Clock,
    ) -> None:
        self._watermarks = watermarks
        self._definitions = definitions
        self._spool = spool
        self._drain = drain
        self._clock = clock
        self._verifiers = anyio.CapacityLimiter(VERIFIED_AT_ONCE)
        self.rows_count = 0
        self.samples_count = 0
        self.duplicates_count = 0
        self.contacts: dict[int, int] = {}
        """When each gateway (by number) was last heard of, µs since 1970."""

    async def receive(self, gateway: int, upload: Upload) -> UploadReceipt:
        """Take an upload of a gateway.

        Raises:
            UploadMalformedError: a row is not what it says.
            UnknownTagsError: rows name tags that were never defined.
            ForkDetectedError: an identity is held with another content; recorded.
            SpoolFullError, SpoolWriteError: no room, or no disk; nothing is acknowledged.
        """
        self.note_contact(gateway)
        rows = await anyio.to_thread.run_sync(verify_rows, upload, limiter=self._verifiers)
        state = await self._watermarks.state(gateway, upload.epoch)
        async with state.lock:
            try:
                state.check_fork(rows)
                await self._definitions.add_tags(state, upload.tags)
            except ForkDetectedError as fork:
                await self._definitions.record_fork(state, fork)
                logger().error(
                    "ingest.fork_detected",
                    gateway=gateway,
                    epoch=upload.epoch,
                    sequence=fork.sequence,
                )
                raise
            await self._definitions.add_losses(state, upload.losses)
            _check_tags(state, rows)
            new = [r for r in rows if not state.is_held(r.sequence)]
            if new:
                await self._store(state, new)
            if upload.head_sequence >= state.head_sequence:
                state.head_sequence = upload.head_sequence
                state.head_time_us = upload.head_time_us
        self.duplicates_count += len(rows) - len(new)
        return state.receipt(duplicates=len(rows) - len(new))

    def note_contact(self, gateway: int) -> None:
        """Remember that a gateway was heard of."""
        self.contacts[gateway] = self._clock.wall_us()

    async def receipt(self, gateway: int, epoch: str) -> UploadReceipt:
        """Say where the hub stands, without taking anything."""
        self.note_contact(gateway)
        state = self._watermarks.known(gateway, epoch)
        if state is None:
            return UploadReceipt(epoch=epoch, contiguous_to=0, received_to=0)
        return state.receipt()

    async def _store(self, state: EpochState, rows: Sequence[VerifiedRow]) -> None:
        await self._drain.wait_for_room()
        # Shielded: a client that goes away must not leave durable rows unmarked and undrained.
        with anyio.CancelScope(shield=True):
            segment = await self._spool.append([spool_record(state, r) for r in rows])
            for row in rows:
                state.mark_row(row)
            self._drain.put([Drained(journal_row(state, r), segment) for r in rows])
        self.rows_count += len(rows)
        self.samples_count += sum(len(r.batch) for r in rows)


def _check_tags(state: EpochState, rows: Sequence[VerifiedRow]) -> None:
    known = len(state.tag_ids)
    for row in rows:
        if row.tag_index_max >= known:
            raise UnknownTagsError(
                f"row {row.sequence} has tag index {row.tag_index_max}, known are {known}"
            )


def spool_record(state: EpochState, row: VerifiedRow) -> SpoolRecord:
    """Return a row as the spool keeps it."""
    return SpoolRecord(
        gateway=state.gateway,
        epoch=state.id,
        sequence=row.sequence,
        samples_count=len(row.batch),
        first_time_us=row.first_time_us,
        last_time_us=row.last_time_us,
        previous_hash=row.previous_hash,
        hash=row.hash,
        payload=row.payload,
    )


def journal_row(state: EpochState, row: VerifiedRow) -> JournalRow:
    """Return a row as the drain takes it."""
    return JournalRow(
        gateway=state.gateway,
        epoch=state.id,
        sequence=row.sequence,
        previous_hash=row.previous_hash,
        hash=row.hash,
        first_time_us=row.first_time_us,
        last_time_us=row.last_time_us,
        batch=row.batch,
        tag_ids=state.tag_ids,
        last_rule=state.last_rule,
    )
