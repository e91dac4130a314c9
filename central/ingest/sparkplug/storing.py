"""One edge node on its way into the spool: its queue, its epochs, its losses; rows as bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from central.ingest.sparkplug.pieces import Piece
from central.ingest.sparkplug.samples import NodeTags
from central.ingest.state import EpochState
from central.ingest.verify import VerifiedRow
from contract.batch import chain_hash, encode_batch
from contract.sample import SampleBatch
from contract.upload import Loss, LossReason
from runtime.clock import Clock


@dataclass(kw_only=True)
class Storing:
    """One edge node on its way into the spool.

    Attributes:
        claim: gateway id in its birth; a known one means its values come by uplink already.
        not_stored: why its values are dropped; "" when they are stored.
        losses: what was lost and is not in the ledger yet, by reason; ids are given when written.
    """

    tags: NodeTags
    pieces: deque[Piece] = field(default_factory=deque)
    claim: str = ""
    checked_claim: str | None = None
    not_stored: str = ""
    member: int | None = None
    live: EpochState | None = None
    history: EpochState | None = None
    seeded_count: int = 0
    losses: dict[LossReason, Loss] = field(default_factory=dict)

    def lose(self, loss: Loss) -> None:
        """Enter a loss, or widen the one of its reason that is not in the ledger yet."""
        known = self.losses.get(loss.reason)
        if known is not None:
            is_counted = loss.count is not None and known.count is not None
            loss = msgspec.structs.replace(
                loss,
                first_time_us=min(known.first_time_us, loss.first_time_us),
                last_time_us=max(known.last_time_us, loss.last_time_us),
                count=(known.count or 0) + (loss.count or 0) if is_counted else None,
            )
        self.losses[loss.reason] = loss


def new_loss(
    reason: LossReason, times_us: tuple[int, int], count: int | None, detail: str, clock: Clock
) -> Loss:
    """Return a ledger entry without its number; ``count`` None: it cannot be known."""
    return Loss(
        id=0,
        reason=reason,
        first_time_us=times_us[0],
        last_time_us=times_us[1],
        count=count,
        recorded_time_us=clock.wall_us(),
        detail=detail,
    )


def epoch_of(run_id: str, rule: Literal["arrival", "history"]) -> str:
    """Return an epoch of this run: 32 hex digits, the last one saying which of the two."""
    return run_id[:31] + ("a" if rule == "arrival" else "b")


def encode_rows(
    todo: Sequence[tuple[EpochState, int, bytes, SampleBatch]],
) -> list[tuple[EpochState, VerifiedRow]]:
    """Encode, hash and chain rows (state, sequence, hash before, samples); for a worker thread."""
    rows: list[tuple[EpochState, VerifiedRow]] = []
    hashes: dict[int, bytes] = {}
    for state, sequence, previous, batch in todo:
        before = hashes.get(state.id, previous)
        payload = encode_batch(batch)
        own = hashes[state.id] = chain_hash(before, state.epoch, sequence, payload)
        first_us, last_us = batch.time_range_us()
        rows.append(
            (
                state,
                VerifiedRow(
                    sequence=sequence,
                    previous_hash=before,
                    hash=own,
                    first_time_us=first_us,
                    last_time_us=last_us,
                    tag_index_max=len(state.tag_ids) - 1,
                    payload=payload,
                    batch=batch,
                ),
            )
        )
    return rows
