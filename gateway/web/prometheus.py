"""The gateway's status as Prometheus text. Pure; names carry their units."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.web.views import GatewayStatus

Sample = tuple[str, str, float]
"""Name and kind (counter, gauge) of a metric with its labels in braces, and the value."""


def metrics_text(status: GatewayStatus, cpu_s: float) -> str:
    """Render a status; ``cpu_s`` is the process's CPU time so far."""
    lines: list[str] = []
    typed: set[str] = set()
    for name, kind, value in _samples(status, cpu_s):
        bare = name.partition("{")[0]
        if bare not in typed:
            typed.add(bare)
            lines.append(f"# TYPE factoryplus_{bare} {kind}")
        number = str(int(value)) if float(value).is_integer() else repr(float(value))
        lines.append(f"factoryplus_{name} {number}")
    return "\n".join(lines) + "\n"


def _samples(status: GatewayStatus, cpu_s: float) -> Iterator[Sample]:
    counters, journal = status.counters, status.journal
    yield "values_read_total", "counter", counters.read
    yield "samples_stored_total", "counter", counters.stored
    for reason, count in counters.filtered_by_reason.items():
        yield f'values_filtered_total{{reason="{reason}"}}', "counter", count
    for reason, count in counters.dropped_by_reason.items():
        yield f'values_dropped_total{{reason="{reason}"}}', "counter", count
    yield "values_in_flight", "gauge", counters.in_flight
    yield "journal_commits_total", "counter", journal.commits
    yield "journal_payload_bytes_total", "counter", journal.payload_bytes
    yield "journal_file_bytes", "gauge", journal.file_bytes
    yield "journal_write_errors_total", "counter", journal.write_errors
    yield "ledger_entries_total", "counter", journal.losses_count
    # one metric after another: Prometheus wants the lines of a metric together
    for field, kind in (
        ("sent", "counter"),
        ("confirmed", "counter"),
        ("left_out", "counter"),
        ("overflowed_rows", "counter"),
        ("confirmed_sequence", "gauge"),
        ("backlog_rows", "gauge"),
        ("lag_s", "gauge"),
    ):
        metric = {"lag_s": "lag_seconds"}.get(field, field)
        suffix = "_total" if kind == "counter" else ""
        for sink_name, sink in status.sinks.items():
            yield f'sink_{metric}{suffix}{{sink="{sink_name}"}}', kind, getattr(sink, field)
    for sink_name, sink in status.sinks.items():
        for outcome, count in sink.commands.items():
            labels = f'sink="{sink_name}",outcome="{outcome}"'
            yield f"sink_commands_total{{{labels}}}", "counter", count
    for source in status.sources:
        yield f'source_up{{source="{source.name}"}}', "gauge", int(source.state == "up")
    for source in status.sources:
        yield f'source_values_total{{source="{source.name}"}}', "counter", source.values
    for source in status.sources:
        yield f'source_tags_faulted{{source="{source.name}"}}', "gauge", source.tags_faulted
    yield "process_resident_memory_bytes", "gauge", status.rss_bytes
    yield "process_cpu_seconds_total", "counter", cpu_s
