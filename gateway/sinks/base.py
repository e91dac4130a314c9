"""The seam of a sink: it takes portions of journal rows and says which of them are safe.

A sink connects, takes portions from its ``Outlet`` for as long as the connection holds, and
confirms rows once the other side is known to have them. Whatever it took and did not confirm comes
again after the next connect, as backlog. It raises ``SinkError`` when the connection is lost; the
engine calls ``run_session`` again with back-off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec

from contract.sample import SampleBatch
from contract.upload import Loss, TagDefinition

Lane = Literal["live", "backlog"]
SinkState = Literal["off", "connecting", "waiting", "live", "catching_up"]


@dataclass(slots=True)
class Row:
    """A journal row on its way out: as stored (``payload``) and decoded (``batch``)."""

    sequence: int
    hash: bytes
    samples_count: int
    first_time_us: int
    last_time_us: int
    committed_us: int
    payload: bytes
    batch: SampleBatch


@dataclass(slots=True)
class Portion:
    """Rows of one lane, with consecutive numbers."""

    lane: Lane
    rows: Sequence[Row]

    @property
    def samples_count(self) -> int:
        """Samples in all rows."""
        return sum(row.samples_count for row in self.rows)


class LastValue(msgspec.Struct, frozen=True, gc=False):
    """A tag's last reported sample; ``value`` as its kind holds it, None where there is none."""

    value: Any
    status: int
    time_us: int


class TagView(Protocol):
    """What a sink may know of the tags."""

    @property
    def generation(self) -> int:
        """Grows when the tags in use change."""
        ...

    def in_use(self) -> list[TagDefinition]:
        """Return the definitions of all tags in use."""
        ...

    def definitions_from(self, index: int, limit: int) -> list[TagDefinition]:
        """Return definitions from a tag index on, used or not."""
        ...

    def last(self, tag: int) -> LastValue | None:
        """Return a tag's last reported sample; None before the first."""
        ...

    def is_writable(self, tag: int) -> bool:
        """Tell whether a tag is on the write allow-list; a change grows ``generation``."""
        ...

    @property
    def liveness(self) -> int:
        """Grows when a source comes up, or has been away for longer than the death delay."""
        ...

    def source_is_up(self, name: str) -> bool:
        """Tell whether a source's tags are read; a short absence does not count."""
        ...

    @property
    def next_death_s(self) -> float | None:
        """Seconds until ``liveness`` may grow by itself: a source that is away; None for none."""
        ...


class Outlet(Protocol):
    """What the engine gives to one sink."""

    def begin(self) -> None:
        """Start a session: rows from here on are live, what is older and unconfirmed is backlog."""
        ...

    async def next(self, timeout_s: float | None = None) -> Portion | None:
        """Wait for rows: live ones first, else a paced portion of the backlog.

        Returns None when ``wake`` was called or the time is over.
        """
        ...

    def wake(self) -> None:
        """Make a waiting ``next`` return."""
        ...

    @property
    def has_backlog(self) -> bool:
        """There are rows, older than the live lane's, that this session has not handed out."""
        ...

    def confirm(self, first: int, last: int) -> None:
        """Tell that rows ``first`` to ``last`` are safe on the other side."""
        ...

    def give_up(self, sequence: int, times_us: tuple[int, int], reason: str) -> None:
        """Tell that the other side will never take a row: it is entered in the ledger.

        ``times_us`` are its first and last source time.
        """
        ...

    async def losses_after(self, loss_id: int, limit: int) -> list[Loss]:
        """Return ledger entries with ids above ``loss_id``."""
        ...

    async def hash_before(self, sequence: int) -> bytes:
        """Return the hash of the row before one."""
        ...

    @property
    def epoch(self) -> str:
        """The journal's epoch."""
        ...

    @property
    def head(self) -> tuple[int, int]:
        """The newest row's number and when it was committed, in µs."""
        ...


class SinkReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a sink shows of itself; counts are of samples since the start.

    ``left_out`` are samples that the other side's format cannot carry: they are journalled only.
    ``commands`` counts what hosts asked for, by outcome. ``reason`` may stand beside a good state.
    """

    state: SinkState
    target: str = ""
    reason: str = ""
    sent: int = 0
    left_out: int = 0
    connects: int = 0
    last_acknowledged_s: float | None = None
    commands: dict[str, int] = {}


class WriteCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A host's wish to write a metric.

    Attributes:
        tag: tag index; None when the metric is no tag.
        device: Sparkplug device; "" for the node itself.
        name: the metric's.
        value: fits the metric's data type; None for null, a tuple for an array.
        origin: who asked: the broker and the topic it came on. MQTT does not say more.
        sent_ms: when the host says it sent it.
    """

    tag: int | None
    device: str
    name: str
    value: Any
    origin: str
    sent_ms: int | None = None


class CommandPort(Protocol):
    """Where a sink hands commands in. Neither call blocks or raises: outcomes are audited."""

    def submit(self, command: WriteCommand) -> bool:
        """Take a write, to be carried out soon; False: refused, and audited with the reason.

        Only tags on the write allow-list are written, and no more wait than the queue holds.
        """
        ...

    def refuse(self, command: WriteCommand, reason: str) -> None:
        """Audit a write that the sink itself does not let through."""
        ...


class Sink(Protocol):
    """One consumer of the journal. Constructors only store; ``run_session`` does."""

    @property
    def name(self) -> str:
        """The consumer's name: its cursor is kept under it."""
        ...

    async def run_session(self, outlet: Outlet) -> None:
        """Connect, then send portions until the connection is lost.

        Raises:
            SinkError: not connected, or lost; try again later.
        """
        ...

    def report(self) -> SinkReport:
        """Return what to show of the sink now."""
        ...
