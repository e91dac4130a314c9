"""``/api/status`` and ``/metrics``: how the hub itself is."""

from __future__ import annotations

import resource
from typing import Any

import msgspec
from litestar import get
from litestar.di import NamedDependency
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from central.web.guard import FLEET_READ
from central.web.parts import Parts
from runtime.http import permit


class StatusAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The hub's own figures; counters count since its start.

    ``waiting_samples`` are acknowledged and visible, but not in the lake yet.
    """

    started_us: int
    now_us: int
    public_url: str
    rows_received: int
    samples_received: int
    duplicates_received: int
    spool_bytes: int
    spool_bytes_max: int
    spool_commits: int
    spool_refused_full: int
    spool_write_errors: int
    waiting_samples: int
    flushes: int
    flushed_samples: int
    last_flush_ms: float
    resident_bytes_max: int


@get("/api/status", opt=permit(FLEET_READ), tags=["status"], operation_id="readStatus")
async def read_status(parts: NamedDependency[Parts]) -> StatusAnswer:
    """Return the hub's own figures."""
    return status_of(parts)


def status_of(parts: Parts) -> StatusAnswer:
    """Collect the figures."""
    return StatusAnswer(
        started_us=parts.started_us,
        now_us=parts.clock.wall_us(),
        public_url=parts.public_url,
        rows_received=parts.receiver.rows_count,
        samples_received=parts.receiver.samples_count,
        duplicates_received=parts.receiver.duplicates_count,
        spool_bytes=parts.spool.size_bytes,
        spool_bytes_max=parts.spool.bytes_max,
        spool_commits=parts.spool.commits_count,
        spool_refused_full=parts.spool.refused_full_count,
        spool_write_errors=parts.spool.write_errors_count,
        waiting_samples=parts.drain.waiting_samples,
        flushes=parts.drain.flushes_count,
        flushed_samples=parts.drain.flushed_samples_count,
        last_flush_ms=round(parts.drain.last_flush_ms, 1),
        resident_bytes_max=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


_COUNTERS = frozenset(
    {
        "rows_received",
        "samples_received",
        "duplicates_received",
        "spool_commits",
        "spool_refused_full",
        "spool_write_errors",
        "flushes",
        "flushed_samples",
    }
)


class _HubCollector(Collector):
    """The figures of ``StatusAnswer`` as metrics, and each gateway's watermark."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def collect(self) -> Any:  # noqa: ANN401 - metric families
        for name, value in msgspec.structs.asdict(status_of(self._parts)).items():
            if isinstance(value, str):
                continue
            family = CounterMetricFamily if name in _COUNTERS else GaugeMetricFamily
            yield family(f"factoryplus_hub_{name}", name.replace("_", " "), value=value)
        samples = CounterMetricFamily(
            "factoryplus_hub_gateway_samples", "samples held", labels=["gateway"]
        )
        held: dict[int, int] = {}
        for state in self._parts.watermarks.all():
            held[state.gateway] = held.get(state.gateway, 0) + state.samples_count
        for gateway, count in held.items():
            samples.add_metric([str(gateway)], count)
        yield samples


def metrics_of(parts: Parts) -> bytes:
    """Render the figures in Prometheus text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_HubCollector(parts))
    return generate_latest(registry)


HANDLERS: list[Any] = [read_status]
