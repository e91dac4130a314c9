"""The rig of the whole way: plant, broker, sink and gateway as separate processes.

`open_rig` starts them in the order that loses nothing of its own: the sink is
subscribed (and its session saved) before the gateway first connects, and the plant
counts before the gateway first reads.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import msgspec
import numpy as np

from bench.counting import Ints
from bench.processes import (
    FACTORYPLUS,
    Broker,
    Gateway,
    HarnessError,
    Plant,
    Sink,
    running,
)
from contract.config import GroupConfig
from plant.load import FREE_MODE_S
from plant.model import LOAD_FOLDER_ID, NAMESPACE_URI

DATA_MARKS = (b"/DDATA/", b"/NDATA/")
QUIET_S = 1.5
DRAIN_DEADLINE_S = 180.0


@dataclass(frozen=True, kw_only=True)
class Load:
    """The load and how the gateway subscribes to it.

    Attributes:
        tags: load tags, each counting 1, 2, 3, ...
        period_ms: time between two scans.
        publishing_ms: publishing interval of the subscription.
        sampling_ms: sampling interval; default see `sampling_chosen_ms`.
        queue_size: values that the server queues per tag.
        engine: the plant's server: o6 or asyncua.
        noisy: give each value a 12-bit fraction; without it all tags carry one value, which
            compresses far better than measured ones.
    """

    tags: int = 5000
    period_ms: int = 100
    publishing_ms: int = 100
    sampling_ms: int | None = None
    queue_size: int = 10
    engine: str = "o6"
    noisy: bool = True

    @property
    def sampling_chosen_ms(self) -> int:
        """Return the sampling interval asked for.

        By default 0 (each write is reported) where the gateway's configuration takes it;
        else less than the period, since a server that samples exactly as often as values
        change skips one when the two instants cross (see the README).
        """
        if self.sampling_ms is not None:
            return self.sampling_ms
        if _takes_sampling_of_zero():
            return 0
        return min(max(self.period_ms * 9 // 10, 10), self.publishing_ms)

    def refuse_longer_than_free_mode(self, seconds: float) -> None:
        """Raise when the plant's server would end by itself within `seconds`."""
        if self.engine == "o6" and seconds > FREE_MODE_S - 30:
            raise HarnessError(
                f"{seconds:.0f} s with set-up is too long: the free mode of o6 ends after"
                f" {FREE_MODE_S:.0f} s; use --engine asyncua (up to 5,000 changes/s)"
            )


def _takes_sampling_of_zero() -> bool:
    try:
        msgspec.convert({"name": "zero", "sampling_interval_ms": 0}, GroupConfig)
    except msgspec.ValidationError:
        return False
    return True


def gateway_document(load: Load, endpoint: str, broker_url: str) -> dict[str, object]:
    """Return the gateway's configuration for a load."""
    group = {
        "name": "fast",
        "sampling_interval_ms": load.sampling_chosen_ms,
        "publishing_interval_ms": load.publishing_ms,
        "queue_size": load.queue_size,
    }
    rule = {"below": f"nsu={NAMESPACE_URI};s={LOAD_FOLDER_ID}", "group": "fast", "device": "Load"}
    source = {
        "name": "load",
        "kind": "opcua",
        "endpoint": endpoint,
        "security": {"policy": "None", "mode": "None", "allow_insecure": True},
        "groups": [group],
        "rules": [rule],
    }
    return {
        "gateway": {"id": "bench"},
        "sparkplug": {"group": "Bench", "node": "Bench", "broker": {"url": broker_url}},
        "hub": {"enabled": False},
        "sources": [source],
    }


class Rig:
    """The four processes, and the waits between them. Made by `open_rig`."""

    def __init__(self, broker: Broker, sink: Sink, plant: Plant, gateway: Gateway) -> None:
        self.broker = broker
        self.sink = sink
        self.plant = plant
        self.gateway = gateway
        self._searched_bytes = 0

    async def wait_for_data(self, deadline_s: float = 60.0) -> None:
        """Return when the sink has recorded a DATA message."""
        await self.gateway.wait_until(self._has_data, "data at the sink", deadline_s)

    async def drain(self, deadline_s: float = DRAIN_DEADLINE_S) -> bool:
        """Wait, after the counting has ended, until the sink has all that will come.

        That is: the gateway reports no backlog, and the recording has not grown for
        `QUIET_S`. Returns False when that was not reached in time.
        """
        size, still_s = -1, 0.0
        with anyio.move_on_after(deadline_s):
            while True:
                now = self.sink.path.stat().st_size
                still_s = still_s + 0.25 if now == size else 0.0
                size = now
                if still_s >= QUIET_S:
                    if await self._has_no_backlog():
                        return True
                    still_s = 0.0
                await anyio.sleep(0.25)
        return False

    def scan_times_us(self) -> Ints:
        """Return the source time of each scan so far."""
        return np.fromfile(self.plant.scan_log, dtype="<i8").astype(np.int64)

    async def _has_no_backlog(self) -> bool:
        sink = (await self.gateway.status()).sinks.get("sparkplug")
        return sink is None or sink.backlog_rows == 0

    async def _has_data(self) -> bool:
        with self.sink.path.open("rb") as recording:
            recording.seek(self._searched_bytes)
            fresh = recording.read()
        self._searched_bytes += max(len(fresh) - 8, 0)  # a mark may be torn
        return any(mark in fresh for mark in DATA_MARKS)


@contextlib.asynccontextmanager
async def open_rig(
    directory: Path, load: Load, *, program: Sequence[str] = FACTORYPLUS, has_gateway: bool = True
) -> AsyncIterator[Rig]:
    """Start the rig in `directory`, and stop it at the end whatever happens.

    Args:
        directory: for configurations, logs, data and the recording.
        load: what to count.
        program: the command of the gateway under test.
        has_gateway: False leaves the start of `rig.gateway` to the caller.
    """
    broker = Broker(directory)
    sink = Sink(directory, broker.port)
    plant = Plant(
        directory,
        *("--tags", str(load.tags), "--period-ms", str(load.period_ms)),
        *("--engine", load.engine, "--state-file", str(directory / "plant.json")),
        *(("--noisy",) if load.noisy else ()),
    )
    gateway = Gateway(
        directory, gateway_document(load, plant.endpoint, broker.url), program=program
    )
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(running(broker))
        await stack.enter_async_context(running(sink))
        broker.save_sessions()
        await stack.enter_async_context(running(plant))
        rig = Rig(broker, sink, plant, gateway)
        stack.push_async_callback(gateway.stop)
        if has_gateway:
            await gateway.start()
        yield rig
