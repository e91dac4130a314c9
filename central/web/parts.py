"""What handlers need of the hub, built by the composition root."""

from __future__ import annotations

from dataclasses import dataclass

from central.database import Database
from central.fleet.registry import Registry
from central.identity.attempts import Attempts
from central.identity.people import People
from central.ingest.completeness import Completeness
from central.ingest.drain import Drain
from central.ingest.last import LastValues
from central.ingest.rates import Rates
from central.ingest.receiver import Receiver
from central.ingest.sparkplug.host import SparkplugHost
from central.ingest.spool import Spool
from central.ingest.tags import Tags
from central.ingest.watermarks import Watermarks
from central.timeseries.store import TimeSeriesStore
from runtime.clock import Clock


@dataclass(kw_only=True)
class Parts:
    """The hub's parts, as the handlers see them; ``public_url`` is known once it listens."""

    clock: Clock
    database: Database
    people: People
    registry: Registry
    enrol_attempts: Attempts
    watermarks: Watermarks
    receiver: Receiver
    spool: Spool
    drain: Drain
    last_values: LastValues
    rates: Rates
    tags: Tags
    completeness: Completeness
    store: TimeSeriesStore
    sparkplug: SparkplugHost
    started_us: int
    public_url: str = ""
