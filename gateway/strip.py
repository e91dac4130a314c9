"""The status strip's words: pure rules from reports to Source -> Buffer -> Broker -> Hub.

A cell is OK only when its next hop acknowledged recently; a dead source is not "lag 0". Limits of
the states: shared/reference/ui.md, section 5.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.sinks.base import SinkReport
from gateway.sources.base import SourceReport
from gateway.web.views import Cell, StateWord

SILENT_S = 30.0
HUB_SILENT_S = 90.0
"""The uplink asks an idle hub every 15 s and waits 30 s for an answer."""


def source_cell(reports: Sequence[SourceReport], values_per_s: float, now_s: float) -> Cell:
    """Word the sources: all up and at least 99 % of the tags good is OK."""
    if not reports:
        return Cell(state="Off", figure="no source", reason="no source is configured yet")
    down = [r for r in reports if r.state != "up"]
    total = sum(r.tags_total for r in reports)
    good = total - sum(r.troubles_count for r in reports)
    ages = [now_s - r.last_value_s for r in reports if r.last_value_s is not None]
    age_s = min(ages) if ages else None
    figure = f"{values_per_s:,.0f} values/s"
    if len(down) == len(reports):
        return Cell(state="Fault", figure=figure, reason=_why(down), acknowledged_age_s=age_s)
    if down:
        return Cell(state="Attention", figure=figure, reason=_why(down), acknowledged_age_s=age_s)
    if total and good < 0.99 * total:
        why = f"{total - good} of {total} tags cannot be read"
        return Cell(state="Attention", figure=figure, reason=why, acknowledged_age_s=age_s)
    if age_s is None or age_s > SILENT_S:
        why = "connected, but no value has come" + (f" for {age_s:.0f} s" if age_s else "")
        return Cell(state="Attention", figure=figure, reason=why, acknowledged_age_s=age_s)
    return Cell(state="OK", figure=figure, acknowledged_age_s=age_s)


def _why(down: Sequence[SourceReport]) -> str:
    return "; ".join(f"{r.endpoint}: {r.reason or r.state}" for r in down[:3])


def buffer_cell(
    pending_rows: int,
    lag_s: float,
    error: str,
    last_commit_age_s: float | None,
    pending_ratio: float,
) -> Cell:
    """Word the journal: what waits for the slowest enabled sink, and whether it can be written.

    ``pending_ratio`` is the part of the size limit that rows take which somebody still needs.
    """
    figure = "1 row waiting" if pending_rows == 1 else f"{pending_rows:,} rows waiting"
    if error:
        why = f"the journal cannot be written: {error}"
        return Cell(state="Fault", figure=figure, reason=why, acknowledged_age_s=last_commit_age_s)
    if pending_ratio > 0.9:
        why = f"{pending_ratio:.0%} of the size limit waits to be sent: the oldest is dropped soon"
        return Cell(state="Fault", figure=figure, reason=why, acknowledged_age_s=last_commit_age_s)
    state: StateWord = "OK" if lag_s < 10 else "Attention"
    why = "" if state == "OK" else f"the oldest row waits for {lag_s:.0f} s"
    return Cell(state=state, figure=figure, reason=why, acknowledged_age_s=last_commit_age_s)


def broker_cell(
    report: SinkReport | None,
    keep_alive_s: float,
    lag_s: float,
    waits_s: float,
    confirmed: int,
    now_s: float,
) -> Cell:
    """Word the broker: OK while it answers within twice the keep-alive."""
    if report is None:
        return Cell(state="Off", figure="no broker", reason="no Sparkplug broker is configured")
    age_s = None if report.last_acknowledged_s is None else now_s - report.last_acknowledged_s
    figure = "never answered" if age_s is None else f"confirmed to row {confirmed:,}"
    if report.state in {"connecting", "waiting"}:
        state: StateWord = "Attention" if waits_s < 300 else "Fault"
        why = report.reason or "connecting"
        return Cell(state=state, figure=figure, reason=why, acknowledged_age_s=age_s)
    if age_s is None or age_s > 2 * keep_alive_s:
        why = "the broker has not answered for twice the keep-alive"
        return Cell(state="Fault", figure=figure, reason=why, acknowledged_age_s=age_s)
    if lag_s > 30:
        why = f"catching up: the oldest unsent row is {lag_s:.0f} s old"
        return Cell(state="Attention", figure=figure, reason=why, acknowledged_age_s=age_s)
    if report.reason:
        return Cell(
            state="Attention", figure=figure, reason=report.reason, acknowledged_age_s=age_s
        )
    return Cell(state="OK", figure=figure, acknowledged_age_s=age_s)


def hub_cell(report: SinkReport | None, lag_s: float, confirmed: int, now_s: float) -> Cell:
    """Word the hub: lag below 30 s is OK, above 15 min a fault."""
    if report is None:
        return Cell(state="Off", figure="no hub", reason="the hub is disabled in the configuration")
    if report.state == "off":
        return Cell(state="Off", figure="not enrolled", reason=report.reason)
    age_s = None if report.last_acknowledged_s is None else now_s - report.last_acknowledged_s
    figure = f"confirmed to row {confirmed:,}"
    if age_s is None or lag_s > 900:
        why = report.reason or f"the oldest unconfirmed row is {lag_s:.0f} s old"
        state: StateWord = "Attention" if age_s is None and lag_s < 900 else "Fault"
        return Cell(state=state, figure=figure, reason=why, acknowledged_age_s=age_s)
    if age_s > HUB_SILENT_S:
        why = report.reason or f"the hub has not answered for {age_s:.0f} s"
        return Cell(state="Attention", figure=figure, reason=why, acknowledged_age_s=age_s)
    if report.state == "waiting" or lag_s > 30:
        why = report.reason or f"{lag_s:.0f} s behind"
        return Cell(state="Attention", figure=figure, reason=why, acknowledged_age_s=age_s)
    return Cell(state="OK", figure=figure, acknowledged_age_s=age_s)
