"""What the gateway shows of itself, and the seam the web asks through.

``app.py`` implements ``GatewayView`` over the running parts; tests implement it over columns they
make up. Every figure carries its age or the time it was taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from contract.config import GatewayConfig
from contract.upload import Loss
from gateway.flow.command_audit import AuditedCommand
from gateway.sources.base import GroupReport, PendingChanges
from gateway.sources.explore import SourceExplorer

StateWord = Literal["OK", "Attention", "Fault", "Off", "Unknown"]
"""The one vocabulary for states, in both UIs (shared/reference/ui.md, section 5)."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of the status strip.

    Attributes:
        state: the word; OK only when the next hop acknowledged recently.
        figure: the one figure, worded: ``412 values/s``.
        reason: why the state is what it is, one sentence; "" when OK needs none.
        since_us: since when the state holds.
        acknowledged_age_s: seconds since the next hop last acknowledged; None if never.
    """

    state: StateWord
    figure: str
    reason: str = ""
    since_us: int = 0
    acknowledged_age_s: float | None = None


class Strip(msgspec.Struct, frozen=True, kw_only=True):
    """Source -> Buffer -> Broker -> Hub."""

    source: Cell
    buffer: Cell
    broker: Cell
    hub: Cell


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """Monotone since the process started: read = stored + filtered + dropped + in_flight.

    Attributes:
        read: values taken from sources.
        stored: samples committed to the journal.
        filtered: values not reported on purpose, by reason (unchanged, deadband).
        dropped: values lost before the journal, by reason.
        in_flight: read and not yet committed.
    """

    read: int
    stored: int
    filtered: int
    dropped: int
    in_flight: int
    filtered_by_reason: dict[str, int] = {}
    dropped_by_reason: dict[str, int] = {}


class JournalStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The journal: rows are commits; ``commits``, ``samples`` and bytes count this process's."""

    epoch: str
    first_sequence: int
    last_sequence: int
    last_commit_age_s: float | None
    commits: int
    samples: int
    payload_bytes: int
    file_bytes: int
    max_bytes: int
    losses_count: int
    write_errors: int
    last_error: str = ""


class SourceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One source; see ``sources.base.SourceReport``.

    Attributes:
        groups: how its tags are read, as asked for and as the server gives it.
        losses_open: ledger entries that the server's history could still fill.
        filled: samples filled from the server's history since the start.
        profile: the kind of server it is taken for: ``s7-1500 (detected)``.
    """

    name: str
    kind: str
    endpoint: str
    state: Literal["starting", "connecting", "up", "waiting", "stopped"]
    reason: str = ""
    reason_code: str = ""
    remedy: str = ""
    notices: list[str] = []
    tags_total: int = 0
    tags_good: int = 0
    tags_faulted: int = 0
    values: int = 0
    last_value_age_s: float | None = None
    sessions: int = 0
    pending: PendingChanges | None = None
    faults: list[TagFault] = []
    groups: list[GroupReport] = []
    losses_open: int = 0
    filled: int = 0
    profile: str = ""


class TagFault(msgspec.Struct, frozen=True, kw_only=True):
    """A tag that cannot be read; its neighbours go on."""

    tag: str
    address: str
    code: str
    message: str


class SinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One consumer of the journal.

    Attributes:
        state: off; connecting; waiting (for a primary host, or a retry); live; catching_up.
        sent: samples handed to the connection.
        confirmed: samples the other side has confirmed.
        left_out: samples that the other side's format cannot carry (journalled only).
        overflowed_rows: live rows that fell back to the backlog, as the sink was too slow.
        backlog_rows: journal rows not yet confirmed.
        backlog_samples: samples in them, estimated from the rows' counts.
        lag_s: age of the oldest row not yet confirmed; 0 when none.
        confirmed_sequence: all rows up to this one are confirmed.
        acknowledged_age_s: seconds since the last confirmation; None if never.
        in_flight: rows sent and not yet confirmed.
        commands: what hosts asked for since the start, by outcome.
    """

    state: Literal["off", "connecting", "waiting", "live", "catching_up"]
    reason: str = ""
    target: str = ""
    sent: int = 0
    confirmed: int = 0
    left_out: int = 0
    overflowed_rows: int = 0
    backlog_rows: int = 0
    backlog_samples: int = 0
    lag_s: float = 0.0
    confirmed_sequence: int = 0
    acknowledged_age_s: float | None = None
    in_flight: int = 0
    connects: int = 0
    retries: int = 0
    commands: dict[str, int] = {}


class GatewayStatus(msgspec.Struct, frozen=True, kw_only=True):
    """``GET /api/status`` and ``factoryplus gateway status --json``."""

    id: str
    site: str
    version: str
    time_us: int
    uptime_s: float
    strip: Strip
    counters: Counters
    values_per_s: float
    journal: JournalStatus
    sources: list[SourceStatus]
    sinks: dict[str, SinkStatus]
    enrolled: bool
    hub_url: str = ""
    rss_bytes: int = 0


class TagRow(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the live tag table. ``value`` is the last one; arrays come as text."""

    index: int
    name: str
    device: str
    source: str
    data_type: str
    unit: str
    address: str
    value: float | int | bool | str | None
    status: int
    quality: Literal["good", "uncertain", "bad", "never"]
    time_us: int


class TagPage(msgspec.Struct, frozen=True, kw_only=True):
    """Part of the tag table: ``total`` matches over all, ``tags`` from ``offset`` on."""

    total: int
    offset: int
    tags: list[TagRow]


class LiveValue(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A tag's last value, as sent over the live WebSocket."""

    index: int
    value: float | int | bool | str | None
    status: int
    time_us: int


class TrendColumns(msgspec.Struct, frozen=True, kw_only=True):
    """Samples of one tag, as parallel columns in source order.

    ``value`` is None where the status is bad. ``complete`` is False when the range reaches back
    beyond what was kept or read.
    """

    index: int
    name: str
    unit: str
    time_ms: list[float]
    value: list[float | None]
    complete: bool


class GatewayView(Protocol):
    """What the web may ask of the running gateway. Calls are quick and never block the loop."""

    def status(self) -> GatewayStatus:
        """Take all counters and states at one moment."""
        ...

    def tags(self, search: str, offset: int, limit: int) -> TagPage:
        """Return the tags whose name, device or address holds ``search``, by device and name."""
        ...

    def last_values(self, indexes: Sequence[int]) -> list[LiveValue]:
        """Return the last values of the given tags; unknown indexes are left out."""
        ...

    async def trend(self, index: int, seconds: float, points_max: int) -> TrendColumns | None:
        """Read one tag's samples of the last ``seconds``; None for an unknown tag."""
        ...

    def losses(self, limit: int) -> list[Loss]:
        """Return the newest entries of the loss ledger, newest first."""
        ...

    async def commands(self, limit: int) -> list[AuditedCommand]:
        """Return the newest commands and what came of them, newest first. Raises AuditError."""
        ...

    def config(self) -> GatewayConfig:
        """Return the configuration that runs; the web takes its secrets out."""
        ...

    def explorer(self, source: str) -> SourceExplorer | None:
        """Return what looks into a source's address space; None where there is none."""
        ...

    def metrics_text(self) -> str:
        """Return all counters in Prometheus text format."""
        ...
