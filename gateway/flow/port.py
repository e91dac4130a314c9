"""What the engine gives to one source: its tags, the intake, the ledger, its durable marks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from contract.sample import SampleBatch
from contract.upload import Loss, LossReason
from gateway.flow.held import HeldSamples, TagsAndTimes
from gateway.flow.intake import Arrival, Intake
from gateway.flow.ledger import LossNote
from gateway.flow.liveness import SourceLiveness
from gateway.flow.tags import TagTable
from gateway.sources.base import Filling, Mark, TagSpec


class IntakePort:
    """See ``sources.base.SourcePort``."""

    def __init__(
        self,
        source: str,
        intake: Intake,
        tags: TagTable,
        sources: SourceLiveness | None = None,
        *,
        held: HeldSamples,
    ) -> None:
        self._source = source
        self._intake = intake
        self._tags = tags
        self._sources = sources
        self._held = held

    def register(self, specs: Sequence[TagSpec]) -> list[int]:
        """Return the tag index of each spec: these are the source's tags now."""
        return self._with_deadbands(self._tags.register(self._source, specs), specs)

    def add(self, specs: Sequence[TagSpec]) -> list[int]:
        """Return the tag indexes of specs found later."""
        return self._with_deadbands(self._tags.add(self._source, specs), specs)

    def _with_deadbands(self, indexes: list[int], specs: Sequence[TagSpec]) -> list[int]:
        widths = [spec.deadband for spec in specs]
        self._intake.set_deadbands(list(zip(indexes, widths, strict=True)))
        return indexes

    def up(self) -> None:
        """Note that the source's session delivers."""
        if self._sources is not None:
            self._sources.up(self._source)

    def ended(self) -> None:
        """Note that its session is over; called by the engine."""
        if self._sources is not None:
            self._sources.ended(self._source)

    async def put(
        self, batch: SampleBatch, marks: Sequence[Mark], stored: Callable[[], None]
    ) -> None:
        """Hand over a batch; wait while the intake is full."""
        self.up()
        await self._intake.put(Arrival(self._source, batch, marks, stored))

    def drop(self, reason: LossReason, count: int) -> None:
        """Count values that were read and cannot be stored."""
        self._intake.drop(reason, count)

    def lose(
        self,
        reason: LossReason,
        first_time_us: int,
        last_time_us: int,
        *,
        tag: int | None = None,
        count: int | None = None,
        detail: str = "",
    ) -> None:
        """Enter a loss in the ledger."""
        self._intake.lose(
            LossNote(
                reason=reason,
                source=self._source,
                tag=tag,
                first_time_us=first_time_us,
                last_time_us=last_time_us,
                count=count,
                detail=detail,
            )
        )

    def marks(self) -> dict[str, int]:
        """Return the durable marks of this source."""
        return {
            key: at for (source, key), at in self._intake.marks.items() if source == self._source
        }

    def last_value(self, tag: int) -> object:
        """Return a tag's last reported value."""
        return self._intake.last_value(tag)

    def open_losses(self) -> list[Loss]:
        """Return this source's ledger entries that history could fill."""
        return self._intake.open_losses.open(self._source)

    def fillings(self) -> Sequence[Loss]:
        """Return the entries that close others of this source."""
        return self._intake.open_losses.filled(self._source)

    async def held(
        self, loss: Loss, tags: NDArray[np.uint32], first_us: int, last_us: int
    ) -> TagsAndTimes | None:
        """Return (tag, source time) of what the journal holds in a part of a loss's range."""
        return await self._held.within(loss, tags, first_us, last_us)

    async def put_history(
        self, batch: SampleBatch, marks: Sequence[Mark], fillings: Sequence[Filling]
    ) -> None:
        """Store historical samples, marks and closing entries in one commit; wait for it."""
        notes = [_closing(self._source, filling) for filling in fillings]
        arrival = Arrival(self._source, batch, marks, _nobody, notes=notes)
        await self._intake.put_history(arrival)

    def last_stored_time_us(self) -> int | None:
        """Return the newest durable source time of this source."""
        return self._intake.last_time_us.get(self._source)


def _closing(source: str, filling: Filling) -> LossNote:
    loss = filling.loss
    return LossNote(
        reason="filled_from_history",
        source=source,
        tag=filling.tag,
        first_time_us=loss.first_time_us,
        last_time_us=loss.last_time_us,
        count=filling.count,
        detail=filling.detail,
        closes=loss.id,
    )


def _nobody() -> None:
    """Put in place of ``stored``: ``put_history`` waits itself."""
