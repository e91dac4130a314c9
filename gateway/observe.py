"""The running gateway as screens and scripts see it; see ``web.views.GatewayView``."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from contract.config import GatewayConfig
from contract.sample import STATUS_SEVERITY_MASK
from contract.upload import Loss, TagDefinition
from gateway import strip
from gateway.fleet.membership import Membership
from gateway.flow.command_audit import AuditedCommand
from gateway.flow.commands import CommandDesk
from gateway.flow.intake import Committed, Intake
from gateway.flow.outlet import JournalOutlet
from gateway.flow.rowindex import RowIndex
from gateway.flow.tags import TagTable
from gateway.flow.view import TagBook, shown_value
from gateway.journal.log import Journal
from gateway.journal.reader import JournalReader
from gateway.journal.trend import trend
from gateway.sinks.base import LastValue, Sink, SinkReport
from gateway.sources.base import Source, SourceReport
from gateway.sources.explore import Explorable, SourceExplorer
from gateway.web.prometheus import metrics_text
from gateway.web.views import (
    Cell,
    Counters,
    GatewayStatus,
    JournalStatus,
    LiveValue,
    SinkStatus,
    SourceStatus,
    StateWord,
    Strip,
    TagFault,
    TagPage,
    TagRow,
    TrendColumns,
)
from runtime.clock import Clock
from sparkplug_b.datatype import DataType

RATE_WINDOW_S = 5.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What the view looks at."""

    config: GatewayConfig
    version: str
    clock: Clock
    intake: Intake
    journal: Journal
    reader: JournalReader
    rows: RowIndex
    tags: TagTable
    book: TagBook
    sources: Sequence[Source]
    sinks: Sequence[Sink]
    outlets: Mapping[str, JournalOutlet]
    commands: CommandDesk
    membership: Callable[[], Membership | None]


class RunningGateway:
    """Reads counters and states; changes nothing."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._started_s = parts.clock.monotonic_s()
        self._commits: deque[tuple[float, int]] = deque(maxlen=200)
        self._reading = anyio.CapacityLimiter(1)
        self._sorted: list[TagDefinition] = []
        self._sorted_generation = -1
        self._unanswered_since: dict[str, float] = {}
        self._since: dict[str, tuple[StateWord, int]] = {}
        self._kinds = {s.name: str(type(s).__struct_config__.tag) for s in parts.config.sources}
        parts.intake.listeners.append(self._count)

    def _count(self, row: Committed) -> None:
        self._commits.append((self._parts.clock.monotonic_s(), row.head.samples_count))

    def _values_per_s(self) -> float:
        """Stored samples a second over the last ``RATE_WINDOW_S``."""
        now_s = self._parts.clock.monotonic_s()
        recent = [count for at_s, count in self._commits if now_s - at_s <= RATE_WINDOW_S]
        span_s = min(RATE_WINDOW_S, max(now_s - self._started_s, 0.2))
        return sum(recent) / span_s

    # -- status -----------------------------------------------------------------------------------

    def status(self) -> GatewayStatus:
        """Take all counters and states at one moment."""
        parts = self._parts
        now_s = parts.clock.monotonic_s()
        reports = [source.status() for source in parts.sources]
        sinks = {sink.name: sink.report() for sink in parts.sinks}
        statuses = {name: self._sink(name, report, now_s) for name, report in sinks.items()}
        membership = parts.membership()
        return GatewayStatus(
            id=parts.config.gateway.id,
            site=parts.config.gateway.site,
            version=parts.version,
            time_us=parts.clock.wall_us(),
            uptime_s=round(now_s - self._started_s, 1),
            strip=self._strip(reports, sinks, statuses, now_s),
            counters=self._counters(),
            values_per_s=round(self._values_per_s(), 1),
            journal=self._journal(now_s),
            sources=[
                self._source(s, r, now_s) for s, r in zip(parts.sources, reports, strict=True)
            ],
            sinks=statuses,
            enrolled=membership is not None,
            hub_url=membership.uplink_url if membership is not None else "",
            rss_bytes=_rss_bytes(),
        )

    def _counters(self) -> Counters:
        counters = self._parts.intake.counters
        return Counters(
            read=counters.read,
            stored=counters.stored,
            filtered=counters.filtered,
            dropped=sum(counters.dropped.values()),
            in_flight=counters.in_flight,
            filtered_by_reason=self._parts.intake.filtered_by_reason,
            dropped_by_reason=dict(counters.dropped),
        )

    def _journal(self, now_s: float) -> JournalStatus:
        journal, counters = self._parts.journal, self._parts.intake.counters
        return JournalStatus(
            epoch=journal.epoch,
            first_sequence=journal.first_sequence,
            last_sequence=journal.last_sequence,
            last_commit_age_s=_age(counters.last_commit_s, now_s),
            commits=counters.commits,
            samples=counters.stored,
            payload_bytes=counters.payload_bytes,
            file_bytes=journal.file_bytes(),
            max_bytes=self._parts.config.journal.max_bytes,
            losses_count=journal.last_loss_id,
            write_errors=counters.write_errors,
            last_error=counters.last_error,
        )

    def _source(self, source: Source, report: SourceReport, now_s: float) -> SourceStatus:
        return SourceStatus(
            name=source.name,
            kind=self._kinds[source.name],
            endpoint=report.endpoint,
            state=report.state,
            reason=report.reason,
            reason_code=report.reason_code,
            remedy=report.remedy,
            notices=report.notices,
            tags_total=report.tags_total,
            tags_good=report.tags_total - report.troubles_count if report.state == "up" else 0,
            tags_faulted=report.troubles_count,
            values=report.values_count,
            last_value_age_s=_age(report.last_value_s, now_s),
            sessions=report.sessions_count,
            pending=report.pending,
            faults=[
                TagFault(tag=t.tag, address=t.address, code=t.code, message=t.message)
                for t in report.troubles
            ],
            groups=report.groups,
            losses_open=report.open_losses_count,
            filled=report.filled_count,
            profile=report.profile,
        )

    def _sink(self, name: str, report: SinkReport, now_s: float) -> SinkStatus:
        lanes = self._parts.outlets[name].lanes
        confirmed = lanes.confirmed.confirmed
        total = self._parts.rows.samples_after(confirmed)
        pending = lanes.pending_rows
        span = max(1, lanes.head - confirmed)
        return SinkStatus(
            state=report.state,
            reason=report.reason,
            target=report.target,
            sent=report.sent,
            left_out=report.left_out,
            overflowed_rows=lanes.overflowed_rows,
            confirmed=self._parts.outlets[name].confirmed_samples,
            backlog_rows=pending,
            backlog_samples=total * pending // span,
            lag_s=round(self._lag_s(confirmed, lanes.head), 3),
            confirmed_sequence=confirmed,
            acknowledged_age_s=_age(report.last_acknowledged_s, now_s),
            in_flight=lanes.sent.confirmed - confirmed if lanes.is_open else 0,
            connects=report.connects,
            commands=report.commands,
            retries=self._parts.outlets[name].retries_count,
        )

    def _lag_s(self, confirmed: int, head: int) -> float:
        """Age of the oldest row that is not confirmed; 0 when there is none."""
        if confirmed >= head:
            return 0.0
        committed_us = self._parts.rows.committed_us(confirmed + 1)
        if committed_us is None:
            return 0.0
        return max(0.0, (self._parts.clock.wall_us() - committed_us) / 1e6)

    def _strip(
        self,
        reports: Sequence[SourceReport],
        sinks: Mapping[str, SinkReport],
        statuses: Mapping[str, SinkStatus],
        now_s: float,
    ) -> Strip:
        parts = self._parts
        wanted = [s for s in statuses.values() if s.state != "off"]
        journal = self._journal(now_s)
        spark, hub = sinks.get("sparkplug"), sinks.get("hub")
        brokers = parts.config.sparkplug.brokers if parts.config.sparkplug else []
        keep_alive_s = max((broker.keep_alive_s for broker in brokers), default=15)
        spark_status, hub_status = statuses.get("sparkplug"), statuses.get("hub")
        cells = {
            "source": strip.source_cell(reports, self._values_per_s(), now_s),
            "buffer": strip.buffer_cell(
                max((s.backlog_rows for s in wanted), default=0),
                max((s.lag_s for s in wanted), default=0.0),
                journal.last_error,
                journal.last_commit_age_s,
                self._pending_ratio(max((s.backlog_rows for s in wanted), default=0)),
            ),
            "broker": strip.broker_cell(
                spark,
                keep_alive_s,
                spark_status.lag_s if spark_status else 0.0,
                self._waits_s("sparkplug", spark, now_s),
                spark_status.confirmed_sequence if spark_status else 0,
                now_s,
            ),
            "hub": strip.hub_cell(
                hub,
                hub_status.lag_s if hub_status else 0.0,
                hub_status.confirmed_sequence if hub_status else 0,
                now_s,
            ),
        }
        return Strip(**{name: self._dated(name, cell) for name, cell in cells.items()})

    def _pending_ratio(self, pending_rows: int) -> float:
        journal = self._parts.journal
        pending_bytes = journal.payload_bytes * pending_rows / max(1, journal.rows_count)
        return pending_bytes / self._parts.config.journal.max_bytes

    def _dated(self, name: str, cell: Cell) -> Cell:
        """Add since when the cell has its state, as far as anybody looked."""
        held = self._since.get(name)
        if held is None or held[0] != cell.state:
            held = self._since[name] = (cell.state, self._parts.clock.wall_us())
        return msgspec.structs.replace(cell, since_us=held[1])

    def _waits_s(self, name: str, report: SinkReport | None, now_s: float) -> float:
        """How long a sink has been without a connection, as far as anybody looked."""
        if report is None or report.state in {"live", "catching_up", "off"}:
            self._unanswered_since.pop(name, None)
            return 0.0
        return now_s - self._unanswered_since.setdefault(name, now_s)

    # -- tags -------------------------------------------------------------------------------------

    def tags(self, search: str, offset: int, limit: int) -> TagPage:
        """Return the tags whose name, device or address holds ``search``, by device and name."""
        tags = self._parts.tags
        if self._sorted_generation != tags.generation:
            self._sorted = sorted(tags.in_use(), key=lambda d: (d.device, d.name))
            self._sorted_generation = tags.generation
        wanted = search.casefold()
        found = self._sorted
        if wanted:
            found = [
                d
                for d in found
                if wanted in d.name.casefold()
                or wanted in d.device.casefold()
                or wanted in d.address.casefold()
            ]
        rows = [self._row(d) for d in found[offset : offset + limit]]
        return TagPage(total=len(found), offset=offset, tags=rows)

    def _row(self, definition: TagDefinition) -> TagRow:
        last = self._parts.book.last(definition.index)
        return TagRow(
            index=definition.index,
            name=definition.name,
            device=definition.device,
            source=definition.source,
            data_type=DataType(definition.data_type).name,
            unit=definition.unit,
            address=definition.address,
            value=None if last is None else shown_value(definition, last),
            status=0 if last is None else last.status,
            quality=_quality(last),
            time_us=0 if last is None else last.time_us,
        )

    def last_values(self, indexes: Sequence[int]) -> list[LiveValue]:
        """Return the last values of the given tags; unknown indexes are left out."""
        values: list[LiveValue] = []
        for index in indexes:
            definition = self._parts.book.definition(index)
            last = self._parts.book.last(index)
            if definition is not None and last is not None:
                values.append(
                    LiveValue(
                        index=index,
                        value=shown_value(definition, last),
                        status=last.status,
                        time_us=last.time_us,
                    )
                )
        return values

    async def trend(self, index: int, seconds: float, points_max: int) -> TrendColumns | None:
        """Read one tag's samples of the last ``seconds``; None for an unknown tag."""
        definition = self._parts.book.definition(index)
        if definition is None:
            return None
        since_us = self._parts.clock.wall_us() - int(seconds * 1e6)
        time_us, value, complete = await anyio.to_thread.run_sync(
            trend,
            self._parts.reader,
            self._parts.journal.last_sequence,
            index,
            since_us,
            points_max,
            limiter=self._reading,
        )
        return TrendColumns(
            index=index,
            name=definition.name,
            unit=definition.unit,
            time_ms=(time_us / 1000).tolist(),
            value=[v if math.isfinite(v) else None for v in value.tolist()],
            complete=complete,
        )

    def losses(self, limit: int) -> list[Loss]:
        """Return the newest entries of the loss ledger, newest first."""
        return self._parts.reader.newest_losses(limit)

    async def commands(self, limit: int) -> list[AuditedCommand]:
        """Return the newest commands and what came of them. Raises AuditError."""
        return await self._parts.commands.newest(limit)

    def config(self) -> GatewayConfig:
        """Return the configuration that runs; the web redacts its secrets."""
        return self._parts.config

    def explorer(self, source: str) -> SourceExplorer | None:
        """Return what looks into a source's address space; None where there is none."""
        found = [s for s in self._parts.sources if s.name == source and isinstance(s, Explorable)]
        return found[0].explorer if found else None

    # -- metrics ----------------------------------------------------------------------------------

    def metrics_text(self) -> str:
        """Return all counters in Prometheus text format."""
        return metrics_text(self.status(), time.process_time())


def _age(at_s: float | None, now_s: float) -> float | None:
    return None if at_s is None else round(max(0.0, now_s - at_s), 3)


def _rss_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def _quality(last: LastValue | None) -> Any:  # noqa: ANN401 - a literal of TagRow
    if last is None:
        return "never"
    severity = last.status & STATUS_SEVERITY_MASK
    return "good" if severity == 0 else "uncertain" if severity == 0x40000000 else "bad"
