"""Tags, losses, epochs and forks in the database: durable before an upload is acknowledged."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from central.database import Database
from central.errors import ForkDetectedError, UploadMalformedError
from central.ingest.state import EpochState
from central.ingest.tables import Epoch, Fork, LossRow, Tag, TagIndex
from central.timeseries.store import LastRule
from contract.upload import Loss, TagDefinition
from runtime.clock import Clock

_CHUNK = 500
"""Rows in one IN list; SQLite takes at most 32,766 parameters."""


class Definitions:
    """What uploads bring besides rows."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def load(self) -> list[EpochState]:
        """Return every epoch with its tag ids; rows are marked by the caller."""
        async with self._database.reading() as session:
            epochs = (await session.scalars(select(Epoch).order_by(Epoch.id))).all()
            states = [_state(e) for e in epochs]
            by_id = {s.id: s for s in states}
            pairs = await session.execute(
                select(TagIndex.epoch_id, TagIndex.tag_id).order_by(
                    TagIndex.epoch_id, TagIndex.index
                )
            )
            ids: dict[int, list[int]] = {}
            for epoch_id, tag_id in pairs:
                ids.setdefault(epoch_id, []).append(tag_id)
            for epoch_id, tag_ids in ids.items():
                by_id[epoch_id].tag_ids = np.array(tag_ids, dtype=np.int64)
            for epoch_id, losses_known in await session.execute(
                select(LossRow.epoch_id, func.max(LossRow.id)).group_by(LossRow.epoch_id)
            ):
                by_id[epoch_id].losses_known = losses_known
            for epoch_id, forks_count in await session.execute(
                select(Fork.epoch_id, func.count()).group_by(Fork.epoch_id)
            ):
                by_id[epoch_id].forks_count = forks_count
        return states

    async def new_epoch(
        self, gateway: int, epoch: str, last_rule: LastRule = "newest"
    ) -> EpochState:
        """Keep an epoch that was not seen before."""
        async with self._database.transaction() as session:
            row = Epoch(
                gateway_number=gateway,
                epoch=epoch,
                first_seen_us=self._clock.wall_us(),
                last_rule=last_rule,
            )
            session.add(row)
            await session.flush()
            return EpochState(gateway, row.id, epoch, last_rule)

    async def add_tags(self, state: EpochState, tags: Sequence[TagDefinition]) -> None:
        """Keep definitions the hub does not have yet; compare those it has.

        Raises:
            UploadMalformedError: a gap after the known ones.
            ForkDetectedError: a known index now means something else.
        """
        if not tags:
            return
        known = len(state.tag_ids)
        if tags[0].index > known:
            raise UploadMalformedError("tags[0]", f"definitions are known up to {known - 1} only")
        old = [t for t in tags if t.index < known]
        new = [t for t in tags if t.index >= known]
        async with self._database.transaction() as session:
            await _compare(session, state, old)
            ids = await _tag_ids(session, state.gateway, new)
            session.add_all(
                TagIndex(
                    epoch_id=state.id,
                    index=t.index,
                    tag_id=ids[t.device, t.name],
                    definition_hash=_hash(t),
                )
                for t in new
            )
        state.add_tags(ids[t.device, t.name] for t in new)

    async def add_losses(self, state: EpochState, losses: Sequence[Loss]) -> None:
        """Keep ledger entries the hub does not have yet.

        Raises:
            UploadMalformedError: a gap after the known ones.
        """
        new = [entry for entry in losses if entry.id > state.losses_known]
        if not new:
            return
        if new[0].id != state.losses_known + 1:
            raise UploadMalformedError(
                "losses[0]", f"losses are known up to {state.losses_known} only"
            )
        async with self._database.transaction() as session:
            session.add_all(_loss_row(state.id, entry) for entry in new)
        state.losses_known = new[-1].id

    async def record_fork(self, state: EpochState, fork: ForkDetectedError) -> None:
        """Keep that something else claimed a held identity; each sequence once."""
        async with self._database.transaction() as session:
            known = await session.scalar(
                select(Fork.id).where(Fork.epoch_id == state.id, Fork.sequence == fork.sequence)
            )
            if known is None:
                session.add(
                    Fork(
                        epoch_id=state.id,
                        sequence=fork.sequence,
                        recorded_us=self._clock.wall_us(),
                        detail=str(fork),
                    )
                )
                state.forks_count += 1

    async def note_heads(self, heads: Mapping[int, tuple[int, int]]) -> None:
        """Keep how far gateways were: epoch id to (head sequence, its time in µs)."""
        async with self._database.transaction() as session:
            for epoch_id, (sequence, time_us) in heads.items():
                await session.execute(
                    update(Epoch)
                    .where(Epoch.id == epoch_id)
                    .values(head_sequence=sequence, head_time_us=time_us)
                )


def _state(epoch: Epoch) -> EpochState:
    state = EpochState(epoch.gateway_number, epoch.id, epoch.epoch, _rule(epoch.last_rule))
    state.head_sequence, state.head_time_us = epoch.head_sequence, epoch.head_time_us
    return state


def _rule(text: str) -> LastRule:
    rule: LastRule = msgspec.convert(text, LastRule)
    return rule


def _hash(tag: TagDefinition) -> str:
    return hashlib.sha256(msgspec.msgpack.encode(tag)).hexdigest()


async def _compare(session: AsyncSession, state: EpochState, tags: Sequence[TagDefinition]) -> None:
    if not tags:
        return
    rows = await session.execute(
        select(TagIndex.index, TagIndex.definition_hash).where(
            TagIndex.epoch_id == state.id,
            TagIndex.index.between(tags[0].index, tags[-1].index),
        )
    )
    held: dict[int, str] = {index: definition for index, definition in rows}  # noqa: C416 - typed
    for tag in tags:
        if held.get(tag.index) != _hash(tag):
            raise ForkDetectedError(0, f"tag index {tag.index} is held with another definition")


async def _tag_ids(
    session: AsyncSession, gateway: int, tags: Sequence[TagDefinition]
) -> dict[tuple[str, str], int]:
    """Return the hub's tag ids by (device, name), making and updating tags as needed."""
    wanted = {(t.device, t.name): t for t in tags}
    names = sorted({name for _, name in wanted})
    found: dict[tuple[str, str], Tag] = {}
    for at in range(0, len(names), _CHUNK):
        rows = await session.scalars(
            select(Tag).where(Tag.gateway_number == gateway, Tag.name.in_(names[at : at + _CHUNK]))
        )
        found.update({(t.device, t.name): t for t in rows})
    fresh: dict[tuple[str, str], Tag] = {}
    for key, definition in wanted.items():
        row = found.get(key)
        if row is None:
            row = fresh[key] = Tag(gateway_number=gateway, device=key[0], name=key[1])
        _describe(row, definition)
    session.add_all(fresh.values())
    await session.flush()
    found.update(fresh)
    return {key: found[key].id for key in wanted}


def _describe(row: Tag, definition: TagDefinition) -> None:
    row.data_type = definition.data_type
    row.unit = definition.unit[:100]
    row.low = definition.low
    row.high = definition.high
    row.description = definition.description
    row.source = definition.source[:200]
    row.address = definition.address


def _loss_row(epoch_id: int, loss: Loss) -> LossRow:
    return LossRow(
        epoch_id=epoch_id,
        id=loss.id,
        reason=loss.reason,
        source=loss.source[:200],
        tag_index=loss.tag,
        first_time_us=loss.first_time_us,
        last_time_us=loss.last_time_us,
        count=loss.count,
        first_sequence=loss.first_sequence,
        last_sequence=loss.last_sequence,
        recorded_time_us=loss.recorded_time_us,
        detail=loss.detail,
        closes=loss.closes,
    )
