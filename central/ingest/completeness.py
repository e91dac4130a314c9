"""What is complete, and what is missing and why: from watermarks and the gateways' ledgers.

A hole is *explained* when a ledger entry names the whole of it (``first_sequence`` to
``last_sequence``); else it is *unexplained*. ``complete_to`` passes explained holes, because
nothing more will come for them; it stops before the first unexplained one.

A ledger entry is *filled* once another one closes it: its samples came after all, from the
history of the machine's own server. What was closed for one tag is still lost for the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from central.database import Database
from central.ingest.state import EpochState
from central.ingest.tables import Epoch, LossRow, TagIndex
from central.ingest.watermarks import Watermarks
from contract.upload import NO_LOSS, SequenceRange

_IDS_AT_ONCE = 500
RangeWord = Literal["complete", "pending", "incomplete"]


class Hole(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that are not here; ``reason`` is null while nothing explains it."""

    first: int
    last: int
    reason: str | None = None


class EpochCompleteness(msgspec.Struct, frozen=True, kw_only=True):
    """How complete one journal epoch is.

    Attributes:
        epoch: the journal's epoch.
        complete_to: every row up to this one is here or explained.
        complete_to_time_us: source time of the newest row up to there; null for none.
        contiguous_to: every row up to this one is here.
        received_to: the highest row that is here.
        head: the newest row that the gateway has, as far as it told.
        holes: what is missing below ``received_to``, at most 100.
        unexplained_count: how many of all holes nothing explains.
        losses_count: entries of the gateway's ledger.
        forks_count: refused claims on identities that are taken.
        is_chain_verified: every join of rows was checked by hash.
        samples_count: samples that are here.
    """

    epoch: str
    complete_to: int
    complete_to_time_us: int | None
    contiguous_to: int
    received_to: int
    head: int
    holes: list[Hole]
    unexplained_count: int
    losses_count: int
    forks_count: int
    is_chain_verified: bool
    samples_count: int


class LossInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A ledger entry of a gateway.

    Attributes:
        tag_id: the hub's; None when it concerns all tags of the source.
        closes: the entry that this one closes, for its tag, or whole where that is None.
        is_filled: closed whole: nothing is missing any more.
        filled_count: samples that were filled from the server's history, for one tag or all.
    """

    epoch: str
    id: int
    reason: str
    source: str
    tag_id: int | None
    first_time_us: int
    last_time_us: int
    count: int | None
    first_sequence: int | None
    last_sequence: int | None
    recorded_time_us: int
    detail: str
    closes: int | None = None
    is_filled: bool = False
    filled_count: int = 0


class Completeness:
    """Reports over watermarks and losses."""

    def __init__(self, database: Database, watermarks: Watermarks) -> None:
        self._database = database
        self._watermarks = watermarks

    async def report(self, gateway: int) -> list[EpochCompleteness]:
        """Return the state of each epoch of a gateway, oldest first."""
        return [
            assess(state, await self._row_losses(state.id))
            for state in self._watermarks.of_gateway(gateway)
        ]

    async def losses(self, gateway: int, limit: int) -> list[LossInfo]:
        """Return a gateway's ledger entries, newest first."""
        async with self._database.reading() as session:
            rows = await session.execute(
                select(LossRow, Epoch.epoch, TagIndex.tag_id)
                .join(Epoch, Epoch.id == LossRow.epoch_id)
                .outerjoin(
                    TagIndex,
                    (TagIndex.epoch_id == LossRow.epoch_id) & (TagIndex.index == LossRow.tag_index),
                )
                .where(Epoch.gateway_number == gateway)
                .order_by(LossRow.recorded_time_us.desc(), LossRow.id.desc())
                .limit(limit)
            )
            found = [(loss, epoch, tag_id) for loss, epoch, tag_id in rows]
            closings = await _closings(session, [loss for loss, *_ in found])
        return [
            _loss_info(loss, epoch, tag_id, closings.get((loss.epoch_id, loss.id), ()))
            for loss, epoch, tag_id in found
        ]

    async def of_range(
        self, gateway: int, tag_id: int, start_us: int, end_us: int
    ) -> tuple[RangeWord, int]:
        """Say in a word whether a tag's range of time is complete, and count what is lost in it.

        ``pending``: the gateway's data does not reach the end of the range yet.
        """
        lost = await self._lost_in(gateway, tag_id, start_us, end_us)
        reports = await self.report(gateway)
        unexplained = sum(r.unexplained_count for r in reports)
        if lost or unexplained:
            return "incomplete", lost + unexplained
        reached_us = max((r.complete_to_time_us or 0 for r in reports), default=0)
        return ("complete" if reached_us >= end_us else "pending"), 0

    async def _lost_in(self, gateway: int, tag_id: int, start_us: int, end_us: int) -> int:
        closing, of_tag = aliased(LossRow), aliased(TagIndex)
        is_closed = (
            select(closing.id)
            .outerjoin(
                of_tag,
                (of_tag.epoch_id == closing.epoch_id) & (of_tag.index == closing.tag_index),
            )
            .where(
                closing.epoch_id == LossRow.epoch_id,
                closing.closes == LossRow.id,
                closing.tag_index.is_(None) | (of_tag.tag_id == tag_id),
            )
            .exists()
        )
        async with self._database.reading() as session:
            rows = await session.execute(
                select(LossRow.epoch_id, LossRow.id)
                .join(Epoch, Epoch.id == LossRow.epoch_id)
                .outerjoin(
                    TagIndex,
                    (TagIndex.epoch_id == LossRow.epoch_id) & (TagIndex.index == LossRow.tag_index),
                )
                .where(
                    Epoch.gateway_number == gateway,
                    LossRow.first_time_us < end_us,
                    LossRow.last_time_us >= start_us,
                    LossRow.tag_index.is_(None) | (TagIndex.tag_id == tag_id),
                    LossRow.reason.not_in(NO_LOSS),
                    ~is_closed,
                )
            )
            return len(rows.all())

    async def _row_losses(self, epoch_id: int) -> list[tuple[SequenceRange, str]]:
        async with self._database.reading() as session:
            rows = await session.execute(
                select(LossRow.first_sequence, LossRow.last_sequence, LossRow.reason).where(
                    LossRow.epoch_id == epoch_id, LossRow.first_sequence.is_not(None)
                )
            )
            return [
                (SequenceRange(first, last), reason)
                for first, last, reason in rows
                if first is not None and last is not None
            ]


def assess(state: EpochState, row_losses: Sequence[tuple[SequenceRange, str]]) -> EpochCompleteness:
    """Join an epoch's holes with the ledger's reasons. Pure."""
    holes = [
        Hole(first=h.first, last=h.last, reason=_reason(h, row_losses))
        for h in state.intervals.holes()
    ]
    unexplained = [h for h in holes if h.reason is None]
    complete_to = unexplained[0].first - 1 if unexplained else state.intervals.received_to()
    held_to = _newest_held(state, complete_to)
    return EpochCompleteness(
        epoch=state.epoch,
        complete_to=complete_to,
        complete_to_time_us=state.time_of(held_to) if held_to else None,
        contiguous_to=state.intervals.contiguous_to(),
        received_to=state.intervals.received_to(),
        head=max(state.head_sequence, state.intervals.received_to()),
        holes=holes[:100],
        unexplained_count=len(unexplained),
        losses_count=state.losses_known,
        forks_count=state.forks_count,
        is_chain_verified=state.is_chain_verified,
        samples_count=state.samples_count,
    )


def _newest_held(state: EpochState, up_to: int) -> int:
    return max(
        (min(r.last, up_to) for r in state.intervals.ranges() if r.first <= up_to), default=0
    )


def _reason(hole: SequenceRange, losses: Sequence[tuple[SequenceRange, str]]) -> str | None:
    """Return the reason of the entries that together cover a hole; None when they do not."""
    covered_to, reason = hole.first - 1, None
    for lost, why in sorted(losses, key=lambda pair: pair[0].first):
        if lost.first <= covered_to + 1 and lost.last > covered_to:
            covered_to, reason = lost.last, reason or why
    return reason if covered_to >= hole.last else None


async def _closings(
    session: AsyncSession, losses: Sequence[LossRow]
) -> dict[tuple[int, int], list[LossRow]]:
    """Return the entries that close some of these, by the (epoch, id) that they close."""
    ids: dict[int, list[int]] = {}
    for loss in losses:
        ids.setdefault(loss.epoch_id, []).append(loss.id)
    found: dict[tuple[int, int], list[LossRow]] = {}
    for epoch_id, numbers in ids.items():
        for start in range(0, len(numbers), _IDS_AT_ONCE):
            rows = await session.scalars(
                select(LossRow).where(
                    LossRow.epoch_id == epoch_id,
                    LossRow.closes.in_(numbers[start : start + _IDS_AT_ONCE]),
                )
            )
            for row in rows:
                if row.closes is not None:
                    found.setdefault((epoch_id, row.closes), []).append(row)
    return found


def _loss_info(
    loss: LossRow, epoch: str, tag_id: int | None, closings: Sequence[LossRow]
) -> LossInfo:
    return LossInfo(
        epoch=epoch,
        id=loss.id,
        reason=loss.reason,
        source=loss.source,
        tag_id=tag_id,
        first_time_us=loss.first_time_us,
        last_time_us=loss.last_time_us,
        count=loss.count,
        first_sequence=loss.first_sequence,
        last_sequence=loss.last_sequence,
        recorded_time_us=loss.recorded_time_us,
        detail=loss.detail,
        closes=loss.closes,
        is_filled=any(c.tag_index is None or c.tag_index == loss.tag_index for c in closings),
        filled_count=sum(c.count or 0 for c in closings),
    )
