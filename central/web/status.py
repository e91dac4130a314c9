"""``/api/status`` and ``/metrics``: how the hub itself is."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
from litestar import get
from litestar.di import NamedDependency
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from central.ingest.sparkplug.host import SparkplugHost
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
        yield from _host_families(self._parts.sparkplug)


def _host_families(host: SparkplugHost) -> Iterator[Metric]:
    """Yield the figures of the Sparkplug host; none where it is off."""
    if host.document is None:
        return
    bridge, lease = host.bridge, host.lease
    counters = {
        "samples_stored": bridge.stored_count,
        "rows_stored": bridge.rows_count,
        "samples_dropped": bridge.dropped_count,
        "samples_not_stored": bridge.not_stored_count,
        "samples_transient": bridge.transient_count,
        "store_failures": bridge.failures_count,
        "lease_taken": lease.taken_count,
        "lease_lost": lease.lost_count,
    }
    for name, value in counters.items():
        text = name.replace("_", " ")
        yield CounterMetricFamily(f"factoryplus_hub_sparkplug_{name}", text, value=value)
    gauges = {"is_host": int(host.is_host), "samples_pending": bridge.pending_count}
    for name, value in gauges.items():
        text = name.replace("_", " ")
        yield GaugeMetricFamily(f"factoryplus_hub_sparkplug_{name}", text, value=value)
    nodes = GaugeMetricFamily(
        "factoryplus_hub_sparkplug_nodes", "edge nodes by state", labels=["state"]
    )
    for state, count in Counter(node.own.state for node in host.nodes.all()).items():
        nodes.add_metric([state], count)
    yield nodes
    drops = CounterMetricFamily(
        "factoryplus_hub_sparkplug_drops", "input not used, by cause", labels=["cause"]
    )
    for cause, count in (host.total_drops() + Counter(bridge.unstorable)).items():
        drops.add_metric([cause], count)
    yield drops
    for field in ("messages", "bytes", "connects", "inbox_dropped"):
        family = CounterMetricFamily(
            f"factoryplus_hub_sparkplug_{field}", field.replace("_", " "), labels=["server"]
        )
        for link in host.links:
            family.add_metric([link.label], getattr(link, f"{field}_count"))
        yield family


def metrics_of(parts: Parts) -> bytes:
    """Render the figures in Prometheus text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_HubCollector(parts))
    return generate_latest(registry)


HANDLERS: list[Any] = [read_status]
