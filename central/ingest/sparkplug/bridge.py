"""Values of edge nodes into the same journal rows, spool and lake as a gateway's uploads.

A node is a member of kind ``sparkplug``. Each run of the host gives it two epochs: ``arrival`` for
what is current, ``history`` for what is flagged historical (it never becomes a last value). Values
gather for ``linger_s`` and become one row of their node, numbered and chained like any other; all
rows of one round share one spool commit. From then on a crash loses nothing; what waits here is
lost with the process, as MQTT QoS 0 promises no more.

Bound: ``pending_samples_max`` over all nodes. MQTT gives no back-pressure, so beyond it the oldest
of the node that has most waiting are dropped, counted, and entered in that node's loss ledger
(``intake_full``). A disk or lake that refuses keeps everything here and is tried again.
Task: ``run``.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import anyio
import anyio.to_thread
import msgspec
from sqlalchemy.exc import SQLAlchemyError

from central.errors import IngestError
from central.fleet.registry import Registry
from central.ingest.definitions import Definitions
from central.ingest.drain import Drain, Drained
from central.ingest.last import LastValues
from central.ingest.receiver import journal_row, spool_record
from central.ingest.sparkplug.pieces import Piece, runs
from central.ingest.sparkplug.samples import NodeTags, Unstorable
from central.ingest.sparkplug.storing import Storing, encode_rows, epoch_of, new_loss
from central.ingest.spool import Spool
from central.ingest.state import EpochState
from central.ingest.watermarks import Watermarks
from contract.mapping import STATUS_NO_COMMUNICATION
from contract.sample import SampleBatch, concatenate
from contract.upload import LossReason
from runtime.clock import Clock
from runtime.log import logger

ROW_SAMPLES_MAX = 100_000
ROW_BYTES_MAX = 16 * 1024 * 1024
ROUND_SAMPLES_MAX = 500_000
PENDING_BYTES_MAX = 256 * 1024 * 1024
TAGS_AT_ONCE = 2_000
RETRY_S = 1.0
NodeKey = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Stores:
    """What the bridge writes to."""

    registry: Registry
    watermarks: Watermarks
    definitions: Definitions
    spool: Spool
    drain: Drain
    last_values: LastValues


@dataclass(frozen=True, slots=True, eq=False)
class _Planned:
    state: EpochState
    batch: SampleBatch


@dataclass(slots=True, eq=False)
class _Round:
    """What is taken out of the queues until it is in the spool."""

    planned: list[_Planned] = field(default_factory=list)
    taken: list[tuple[Storing, list[Piece]]] = field(default_factory=list)
    samples_count: int = 0


class Bridge:
    """From values in memory to acknowledged rows. One a host."""

    def __init__(
        self, stores: Stores, clock: Clock, *, linger_s: float, pending_samples_max: int
    ) -> None:
        self._stores = stores
        self._clock = clock
        self._linger_s = linger_s
        self._pending_samples_max = pending_samples_max
        self._run_id = uuid.uuid4().hex
        self._nodes: dict[NodeKey, Storing] = {}
        self._dirty: dict[NodeKey, None] = {}
        self._news: dict[NodeKey, None] = {}
        self._wake = anyio.Event()
        self._lock = anyio.Lock()
        self._pending_bytes = 0
        self.pending_count = 0
        self.stored_count = 0
        self.rows_count = 0
        self.dropped_count = 0
        self.failures_count = 0
        self.not_stored_count = 0
        self.unstorable: Counter[Unstorable] = Counter()

    def node(self, key: NodeKey) -> Storing:
        """Return a node's way, made when it is new."""
        found = self._nodes.get(key)
        if found is None:
            tags = NodeTags("/".join(key), self.unstorable)
            found = self._nodes[key] = Storing(tags=tags)
        return found

    def storings(self) -> Iterable[tuple[NodeKey, Storing]]:
        """Return every node's way whose member or exclusion is news, once."""
        news, self._news = self._news, {}
        return [(key, self._nodes[key]) for key in news]

    def claim(self, key: NodeKey, gateway_id: str, excluded: str) -> None:
        """Note what a birth says of who the node is; checked before anything is stored of it."""
        node = self.node(key)
        self._news[key] = None
        node.not_stored = excluded
        node.claim = gateway_id
        node.checked_claim = None

    @property
    def transient_count(self) -> int:
        """Values left out because their metric is transient."""
        return sum(node.tags.transient_count for node in self._nodes.values())

    def put(self, key: NodeKey, pieces: Sequence[Piece]) -> None:
        """Take values; never blocks."""
        node = self.node(key)
        if node.not_stored:
            self.not_stored_count += sum(len(p.batch) for p in pieces)
            return
        for piece in pieces:
            node.pieces.append(piece)
            self._count(piece, 1)
        self._dirty[key] = None
        while self._is_over_bound() and self._drop_oldest():
            pass
        self._wake.set()

    def lose(self, key: NodeKey, reason: LossReason, time_us: int, detail: str) -> None:
        """Enter a loss of unknown size into the node's ledger, if its values are stored."""
        node = self._nodes.get(key)
        if node is None or node.live is None or node.not_stored:
            return
        node.lose(new_loss(reason, (time_us, time_us), None, detail, self._clock))
        self._dirty[key] = None
        self._wake.set()

    async def run(self) -> None:
        """Store what gathers until cancelled."""
        while True:
            await self._wake.wait()
            await self._clock.sleep_s(self._linger_s)
            self._wake = anyio.Event()
            if not await self.flush():
                self._wake.set()
                await self._clock.sleep_s(RETRY_S)

    async def flush(self) -> bool:
        """Store all that waits; False: something refused, all is kept, try again."""
        async with self._lock:
            try:
                while self._dirty:
                    await self._round()
            except (IngestError, SQLAlchemyError) as error:
                self.failures_count += 1
                logger().warning(
                    "sparkplug.store_waiting",
                    pending_samples=self.pending_count,
                    reason=str(error).partition("\n")[0],
                )
                return False
            return True

    # -- one round --------------------------------------------------------------------------------

    async def _round(self) -> None:
        """Store up to ``ROUND_SAMPLES_MAX`` samples in one spool commit."""
        taken = _Round()
        try:
            await self._take_round(taken)
            if taken.planned:
                await self._stores.drain.wait_for_room()
                await self._write(taken.planned)
        except BaseException:  # cancelled, too: what is not in the spool goes back into its queue
            for node, pieces in taken.taken:
                node.pieces.extendleft(reversed(pieces))
            raise
        for _, pieces in taken.taken:
            for piece in pieces:
                self._count(piece, -1)
        for key in list(self._dirty):
            if not self._nodes[key].pieces and not self._nodes[key].losses:
                del self._dirty[key]

    async def _take_round(self, taken: _Round) -> None:
        for key in list(self._dirty):
            node = self._nodes[key]
            if await self._prepare(key, node):
                self._plan(node, taken)
            if taken.samples_count >= ROUND_SAMPLES_MAX:
                return

    async def _prepare(self, key: NodeKey, node: Storing) -> bool:
        """Make member, epochs, tags and losses durable; False: this node is not stored."""
        stores = self._stores
        if node.claim != node.checked_claim and not node.not_stored:
            claim = node.claim
            is_ours = bool(claim) and await stores.registry.is_gateway(claim)
            node.not_stored = f"own gateway {claim}" if is_ours else ""
            node.checked_claim = claim
            self._news[key] = None
        if node.not_stored:
            while node.pieces:
                piece = node.pieces.popleft()
                self._count(piece, -1)
                self.not_stored_count += len(piece.batch)
            node.losses.clear()
            return False
        if node.member is None:
            node.member = await stores.registry.edge_node(*key)
            self._news[key] = None
        if node.live is None:
            epoch = epoch_of(self._run_id, "arrival")
            node.live = await stores.watermarks.state(node.member, epoch, "arrival")
        await self._define(node, node.live)
        if any(piece.origin == "historical" for piece in node.pieces):
            if node.history is None:
                epoch = epoch_of(self._run_id, "history")
                node.history = await stores.watermarks.state(node.member, epoch, "history")
            await self._define(node, node.history)
        if node.losses:
            await self._write_losses(node, node.live)
        return True

    async def _write_losses(self, node: Storing, state: EpochState) -> None:
        losses, node.losses = node.losses, {}
        numbered = [
            msgspec.structs.replace(loss, id=state.losses_known + 1 + at)
            for at, loss in enumerate(losses.values())
        ]
        try:
            await self._stores.definitions.add_losses(state, numbered)
        except BaseException:
            for loss in losses.values():
                node.lose(loss)
            raise

    async def _define(self, node: Storing, state: EpochState) -> None:
        definitions = node.tags.definitions
        while len(state.tag_ids) < len(definitions):
            known = len(state.tag_ids)
            await self._stores.definitions.add_tags(
                state, definitions[known : known + TAGS_AT_ONCE]
            )
        if state is node.live:
            for index in range(node.seeded_count, len(definitions)):
                last = self._stores.last_values.get(int(state.tag_ids[index]))
                if last is not None:
                    is_stale = last.status == STATUS_NO_COMMUNICATION
                    node.tags.seed(index, last.time_us, is_stale=is_stale)
            node.seeded_count = len(definitions)

    def _plan(self, node: Storing, taken: _Round) -> None:
        """Take a node's pieces out of its queue and join them into rows."""
        pieces = [node.tags.settle(piece) for piece in node.pieces]
        node.pieces.clear()
        taken.taken.append((node, pieces))
        for run in runs(pieces, ROW_SAMPLES_MAX, ROW_BYTES_MAX):
            state = node.history if run[0].origin == "historical" else node.live
            assert state is not None
            batch = concatenate([piece.batch for piece in run])
            if len(batch):
                taken.planned.append(_Planned(state, batch))
                taken.samples_count += len(batch)

    async def _write(self, planned: Sequence[_Planned]) -> None:
        """Encode, spool and hand to the drain; the order is that of the uplink (receiver.py)."""
        heads: dict[int, tuple[int, bytes]] = {}
        todo: list[tuple[EpochState, int, bytes, SampleBatch]] = []
        for row in planned:
            state = row.state
            sequence, previous = heads.get(
                state.id, (state.intervals.received_to(), state.last_hash())
            )
            heads[state.id] = (sequence + 1, previous)
            todo.append((state, sequence + 1, previous, row.batch))
        rows = await anyio.to_thread.run_sync(encode_rows, todo)
        with anyio.CancelScope(shield=True):
            segment = await self._stores.spool.append(
                [spool_record(state, row) for state, row in rows]
            )
            for state, verified in rows:
                state.mark_row(verified)
                state.head_sequence = verified.sequence
                state.head_time_us = verified.last_time_us
            self._stores.drain.put(
                [Drained(journal_row(state, row), segment) for state, row in rows]
            )
        self.rows_count += len(rows)
        self.stored_count += sum(len(row.batch) for _, row in rows)

    # -- losses and memory ------------------------------------------------------------------------

    def _count(self, piece: Piece, sign: int) -> None:
        self.pending_count += sign * len(piece.batch)
        self._pending_bytes += sign * piece.size_bytes

    def _is_over_bound(self) -> bool:
        return (
            self.pending_count > self._pending_samples_max
            or self._pending_bytes > PENDING_BYTES_MAX
        )

    def _drop_oldest(self) -> bool:
        """Drop the oldest of the node that has most waiting; False when nothing may be dropped."""
        waiting = [self._nodes[key] for key in self._dirty if self._nodes[key].pieces]
        if not waiting:
            return False  # all of it is being written
        node = max(waiting, key=lambda one: len(one.pieces))
        piece = node.pieces.popleft()
        self._count(piece, -1)
        self.dropped_count += len(piece.batch)
        times_us = piece.batch.time_range_us()
        detail = "the hub could not store as fast as the edge node sent"
        node.lose(new_loss("intake_full", times_us, len(piece.batch), detail, self._clock))
        return True
