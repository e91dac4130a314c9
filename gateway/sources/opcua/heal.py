"""Filling ledger entries from the server's history: exactly what is missing, once, and provably.

An entry is filled for those of its tags whose history is known to cover it: it reaches back to the
start of the range, and it has something after its end where the tag has changed since. What the
journal holds already is left out (by tag and source time). The samples and the closing entry are
one commit; a range that is too large for one is filled in steps, with marks that say how far. An
entry whose tags cannot all be filled is closed for those that can, and stays open for the others.

It begins only when every subscription has answered since: what was on its way has arrived then.
Pace: history.py. Task: ``Healer.run``, a child of the session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from contract.sample import EMPTY_BATCH, SampleBatch
from contract.upload import Loss
from gateway.sources.base import Filling, Mark, SourcePort
from gateway.sources.opcua.convert import TagColumns
from gateway.sources.opcua.gaps import Gaps
from gateway.sources.opcua.history import (
    History,
    HistoryBusyError,
    Node,
    history_batch,
    source_time_us,
)
from runtime.clock import Clock
from runtime.log import logger

LOOK_S = 5.0
"""How often the ledger is looked at."""
RETRY_S = 30.0
RETRY_S_MAX = 600.0
SAMPLES_PER_STEP = 200_000
STEP_US_MIN = 100_000
STEP_US_MAX = 100 * 86_400_000_000
"""A step's times, in µs, and 19 bits of tags fit one key."""
TAGS_MAX = 1 << 19
CLOSINGS_MAX = 10_000
"""Closing entries for single tags of one entry; beyond, it stays open for the rest of them."""
_TIME_BITS = 44

Outcome = Literal["filled", "nothing", "later"]


class Progress(msgspec.Struct):
    """An entry being filled.

    Attributes:
        targets: its tags that can be filled.
        whole: that is all of its tags.
        until_us: filled up to there.
        counts: samples filled, by tag.
        joined: the newest sample before the hole that came live, by tag.
        is_marked: something is durable for it: it goes on behind that, never from its start.
    """

    loss: Loss
    targets: list[Node]
    whole: bool
    until_us: int
    counts: dict[int, int]
    joined: dict[int, int]
    is_marked: bool = False


class Healer:
    """Fills the entries of one source over one session."""

    def __init__(
        self,
        history: History,
        tags: TagColumns,
        gaps: Gaps,
        clock: Clock,
    ) -> None:
        self._history = history
        self._tags = tags
        self._gaps = gaps
        self._clock = clock
        self._due_s: dict[int, tuple[float, float]] = {}  # by entry: when again, and the pause
        self._historized: dict[int, bool] = {}
        self.filled_count = 0
        self.note = ""

    async def run(
        self,
        port: SourcePort,
        nodes: Callable[[], Sequence[Node]],
        responses: Callable[[], Mapping[int, int]],
    ) -> None:
        """Fill what can be filled, for as long as the session holds.

        ``nodes`` are those that are read now. ``responses`` counts the server's answers, by
        subscription: two more of each, and what waited at the server has arrived. Raises
        SourceError: the session is lost.
        """
        before: dict[int, Mapping[int, int]] = {}
        while True:
            await self._clock.sleep_s(LOOK_S)
            now, losses = responses(), _in_order(port)
            before = {loss.id: before.get(loss.id, now) for loss in losses}
            for loss in losses:
                if not _is_delivered(before[loss.id], now) or self._is_early(loss):
                    continue
                outcome = await self._attempt(port, loss, nodes())
                if outcome != "filled":
                    self._later(loss)
                    if outcome == "later" and _marks(port).get("heal/entry") == loss.id:
                        break  # it is half filled: no other one before it

    def _is_early(self, loss: Loss) -> bool:
        return self._clock.monotonic_s() < self._due_s.get(loss.id, (0.0, 0.0))[0]

    def _later(self, loss: Loss) -> None:
        pause_s = min(2 * self._due_s.get(loss.id, (0.0, RETRY_S / 2))[1], RETRY_S_MAX)
        self._due_s[loss.id] = (self._clock.monotonic_s() + pause_s, pause_s)

    async def _attempt(self, port: SourcePort, loss: Loss, nodes: Sequence[Node]) -> Outcome:
        try:
            progress = await self._begin(port, loss, nodes)
            if progress is None:
                return "nothing"
            await self._fill(port, progress)
        except HistoryBusyError as error:
            self.note = f"entry {loss.id}: the server's history cannot answer now: {error}"
            return "later"
        logger().info(
            "opcua.loss_filled",
            loss=loss.id,
            tags_count=len(progress.targets),
            samples_count=sum(progress.counts.values()),
            whole=progress.whole,
        )
        return "filled"

    async def _begin(self, port: SourcePort, loss: Loss, nodes: Sequence[Node]) -> Progress | None:
        """Find which tags of an entry can be filled; None when none can, or not any more."""
        closed = {f.tag for f in port.fillings() if f.closes == loss.id}
        wanted = [n for n in nodes if loss.tag in {None, n[0]} and n[0] not in closed][:TAGS_MAX]
        if not wanted or loss.last_time_us < loss.first_time_us:
            return None
        joined = await self._joined(port, loss, wanted)
        targets = await self._covered(loss, await self._with_history(wanted), joined)
        marks = _marks(port)
        resumed = marks.get("heal/entry") == loss.id
        if resumed and marks.get("heal/tags") != _fingerprint(targets):
            # other tags than those that were filled up to there: neither twice nor half, so never
            await port.put_history(EMPTY_BATCH, [Mark(f"heal/left/{loss.id}", 1)], [])
            self.note = f"entry {loss.id} was filled in part, then its tags changed: it stays open"
            return None
        if not targets:
            return None
        until_us = marks.get("heal/until", 0) if resumed else loss.first_time_us - 1
        if until_us >= loss.last_time_us:
            return None  # its last commit is on its way
        whole = len(targets) == len(wanted)
        if loss.tag is None:
            # a tag that was read before the gap, and is not found now, is not filled
            whole = whole and self._gaps.seen_tags() <= {tag for tag, _ in nodes}
        return Progress(
            loss=loss,
            targets=targets,
            whole=whole,
            until_us=until_us,
            counts={},
            joined=joined,
            is_marked=resumed,
        )

    async def _with_history(self, wanted: Sequence[Node]) -> list[Node]:
        unknown = [node for node in wanted if node[0] not in self._historized]
        have = {tag for tag, _ in await self._history.historized(unknown)} if unknown else set()
        self._historized.update((tag, tag in have) for tag, _ in unknown)
        if not any(self._historized.values()):
            self.note = "the server keeps no history of these tags: gaps stay in the ledger"
        return [node for node in wanted if self._historized[node[0]]]

    async def _joined(self, port: SourcePort, loss: Loss, nodes: Sequence[Node]) -> dict[int, int]:
        """Return the newest sample before the hole that came live, by tag, where there is one.

        Values of a tag come in order: none of it up to there is missing.
        """
        edge_us = self._edge_us(loss)
        tags = np.array(sorted(tag for tag, _ in nodes), dtype=np.uint32)
        held = await port.held(loss, tags, loss.first_time_us, edge_us)
        newest: dict[int, int] = {}
        if held is not None:
            for tag, time_us in zip(held[0].tolist(), held[1].tolist(), strict=True):
                newest[tag] = max(time_us, newest.get(tag, time_us))
        return newest

    def _edge_us(self, loss: Loss) -> int:
        """Return up to where samples in an entry's range came before its hole.

        A gap's range begins earlier than what was stored last: values wait at the server.
        """
        waits = loss.reason in {"session_gap", "missed_notification", "gateway_down"}
        edge_us = loss.first_time_us + (self._gaps.wait_us if waits else 0)
        return min(edge_us, loss.last_time_us)

    async def _begins_later(
        self, loss: Loss, nodes: Sequence[Node], joined: Mapping[int, int]
    ) -> set[int]:
        """Return the tags whose history begins within the range, but with what came live."""
        near = [node for node in nodes if node[0] in joined]
        if not near:
            return set()
        first_us, last_us = loss.first_time_us, self._edge_us(loss)
        found = await self._history.read(near, first_us, last_us, SAMPLES_PER_STEP)
        if found is None:
            return set()
        return {tag for tag, value in found[0] if joined[tag] == source_time_us(value)}

    async def _covered(
        self, loss: Loss, nodes: Sequence[Node], joined: Mapping[int, int]
    ) -> list[Node]:
        """Return the nodes whose history covers an entry's range.

        Raises HistoryBusyError while the history of one lags behind what was read live.
        """
        if not nodes:
            return []
        reach = set(await self._history.newest(nodes, loss.first_time_us))
        others = [node for node in nodes if node[0] not in reach]
        reach |= await self._begins_later(loss, others, joined)
        covered = [node for node in nodes if node[0] in reach]
        changed = [node for node in covered if self._gaps.seen_us(node[0]) > loss.last_time_us]
        if changed:
            now_us = max(self._clock.wall_us(), *(self._gaps.seen_us(tag) for tag, _ in changed))
            newest = await self._history.newest(changed, now_us)
            lagging = [tag for tag, _ in changed if newest.get(tag, 0) <= loss.last_time_us]
            if lagging:
                raise HistoryBusyError(f"it lags behind for {len(lagging)} tags")
        return covered

    # -- filling ----------------------------------------------------------------------------------

    async def _fill(self, port: SourcePort, progress: Progress) -> None:
        """Fill an entry's range step by step; the last commit closes it."""
        loss = progress.loss
        step_us = min(loss.last_time_us - progress.until_us, STEP_US_MAX)
        while True:
            first_us = progress.until_us + 1
            last_us = min(first_us + step_us - 1, loss.last_time_us)
            is_last = last_us == loss.last_time_us
            batch = await self._missing(port, progress, first_us, last_us)
            if batch is None:
                if step_us <= STEP_US_MIN:
                    raise HistoryBusyError("it holds too many values at once")
                step_us = max(step_us // 2, STEP_US_MIN)
                continue
            progress.until_us = last_us
            await self._store(port, progress, batch, is_last=is_last)
            if is_last:
                return
            step_us = min(2 * step_us, STEP_US_MAX)

    async def _missing(
        self, port: SourcePort, progress: Progress, first_us: int, last_us: int
    ) -> SampleBatch | None:
        """Return what history has of a range and the journal has not; None if it is too much."""
        targets = progress.targets
        found = await self._history.read(targets, first_us, last_us, SAMPLES_PER_STEP)
        if found is None:
            return None
        values, refused = found
        if refused:
            # it could a moment ago; what is left of this entry has to be the same tags
            raise HistoryBusyError(f"it refused {len(refused)} tags")
        batch, misfits = history_batch(values, self._tags, self._clock.wall_us())
        if misfits:
            port.drop("type_changed", misfits)
        tags = np.array(sorted(tag for tag, _ in targets), dtype=np.uint32)
        held = await port.held(progress.loss, tags, first_us, last_us)
        if held is None:
            return None
        known = _keys(tags, *held, first_us)
        joined = np.array([progress.joined.get(tag, 0) for tag in tags.tolist()], dtype=np.int64)
        fillings = [
            f
            for f in port.fillings()
            if f.closes != progress.loss.id
            and f.first_time_us <= last_us
            and f.last_time_us >= first_us
        ]
        parts = []
        for columns in batch.columns:
            new = ~np.isin(_keys(tags, columns.tag, columns.time_us, first_us), known)
            new &= columns.time_us > joined[np.searchsorted(tags, columns.tag)]
            for filling in fillings:
                inside = columns.time_us >= filling.first_time_us
                inside &= columns.time_us <= filling.last_time_us
                if filling.tag is not None:
                    inside &= columns.tag == filling.tag
                new &= ~inside
            parts.append(columns.take(new))
        return SampleBatch(tuple(c for c in parts if len(c)), is_historical=True)

    async def _store(
        self, port: SourcePort, progress: Progress, batch: SampleBatch, *, is_last: bool
    ) -> None:
        counts = progress.counts
        for columns in batch.columns:
            tags, numbers = np.unique(columns.tag, return_counts=True)
            for tag, number in zip(tags.tolist(), numbers.tolist(), strict=True):
                counts[tag] = counts.get(tag, 0) + number
        self.filled_count += len(batch)
        if is_last:
            marks = [Mark("heal/entry", 0)] if progress.is_marked else []
            await port.put_history(batch, marks, _fillings(progress))
        elif len(batch):
            progress.is_marked = True
            marks = [
                Mark("heal/entry", progress.loss.id),
                Mark("heal/until", progress.until_us),
                Mark("heal/tags", _fingerprint(progress.targets)),
            ]
            await port.put_history(batch, marks, [])


def _is_delivered(before: Mapping[int, int], now: Mapping[int, int]) -> bool:
    return all(count >= before.get(number, 0) + 2 for number, count in now.items())


def _in_order(port: SourcePort) -> list[Loss]:
    """Return open entries, one that is half filled first, without those left for good."""
    marks = _marks(port)
    current = marks.get("heal/entry")
    losses = [loss for loss in port.open_losses() if f"heal/left/{loss.id}" not in marks]
    return sorted(losses, key=lambda loss: (loss.id != current, loss.id))


def _marks(port: SourcePort) -> dict[str, int]:
    return {key: at for key, at in port.marks().items() if key.startswith("heal/")}


def _fillings(progress: Progress) -> list[Filling]:
    loss, counts = progress.loss, progress.counts
    if progress.whole:
        count = sum(counts.values())
        return [Filling(loss=loss, tag=loss.tag, count=count, detail="from the server's history")]
    detail = "from the server's history; the entry's other tags are not closed by this"
    return [
        Filling(loss=loss, tag=tag, count=counts.get(tag, 0), detail=detail)
        for tag, _ in progress.targets[:CLOSINGS_MAX]
    ]


def _fingerprint(nodes: Sequence[Node]) -> int:
    """Return a number that stands for tags, the same in every process."""
    number = 0
    for tag in sorted(tag for tag, _ in nodes):
        number = (number * 1_000_003 + tag + 1) % ((1 << 61) - 1)
    return number


def _keys(
    tags: NDArray[np.uint32], tag: NDArray[np.uint32], time_us: NDArray[np.int64], first_us: int
) -> NDArray[np.int64]:
    """Return one number for each (tag, source time) within a step."""
    place: NDArray[Any] = np.searchsorted(tags, tag).astype(np.int64)
    return (place << _TIME_BITS) | (time_us - first_us)
