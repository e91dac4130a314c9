"""CPU time of the Sparkplug codec, in this process: no broker, no gateway.

A payload is what a gateway sends in one message: Doubles with alias, each with its own timestamp
and value; every payload is another one. A birth is one device with units, ranges and documentation.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import sparkplug_b as spb
from bench.processes import HarnessError
from bench.results import Figures

_BLOCKS = 15
_FIRST_MS = 1_790_000_000_000
_EPOCH_SEED = 7


@dataclass(frozen=True, kw_only=True)
class CodecLoad:
    """What to encode and decode.

    Attributes:
        metrics: Metrics in a DATA payload.
        payloads: Payloads per block; the figure is the median of 15 blocks.
        birth_metrics: Metrics of the device that is born.
    """

    metrics: int = 1_000
    payloads: int = 20
    birth_metrics: int = 20_000


async def run_codec(load: CodecLoad, directory: Path) -> Figures:
    """Measure; the directory is not used."""
    del directory
    columns = [_column(load.metrics, number) for number in range(load.payloads)]
    types: dict[int | str, spb.DataType] = dict.fromkeys(
        range(1, load.metrics + 1), spb.DataType.DOUBLE
    )
    payloads = [_payload(column) for column in columns]
    per_metric = load.metrics * load.payloads * 1_000
    host, messages = _host(load.metrics, columns)
    return {
        "metrics": load.metrics,
        "encode_us_per_metric": _cpu_ns(lambda: [_payload(one) for one in columns]) / per_metric,
        "decode_us_per_metric": _cpu_ns(
            lambda: [spb.decode_columns(one, types=types) for one in payloads]
        )
        / per_metric,
        "decode_objects_us_per_metric": _cpu_ns(
            lambda: [spb.decode(one, types=types) for one in payloads], blocks=3
        )
        / per_metric,
        "host_us_per_metric": _host_cpu_ns(host, messages) / per_metric,
        "payload_bytes_per_value": sum(map(len, payloads)) / (load.metrics * load.payloads),
        **_birth(load.birth_metrics),
    }


def _column(metric_count: int, number: int) -> spb.MetricColumn:
    chance = np.random.default_rng(_EPOCH_SEED + number)
    alias: NDArray[np.uint64] = np.arange(1, metric_count + 1, dtype=np.uint64)
    times = _FIRST_MS + number * 100 + chance.integers(0, 100, metric_count)
    return spb.MetricColumn(spb.DataType.DOUBLE, alias, times, chance.normal(20, 5, metric_count))


def _payload(column: spb.MetricColumn) -> bytes:
    body = spb.encode_metrics(column).body
    return spb.data_payload(body, timestamp_ms=_FIRST_MS, seq=1)


def _cpu_ns(work: Callable[[], object], *, blocks: int = _BLOCKS) -> float:
    """Return the CPU time of a block of work, the median of several."""
    spans: list[int] = []
    work()
    for _ in range(blocks):
        start_ns = time.process_time_ns()
        work()
        spans.append(time.process_time_ns() - start_ns)
    return statistics.median(spans)


def _metrics(metric_count: int) -> list[spb.BirthMetric]:
    texts = {"engUnit": "°C", "Documentation": "Temperature of the bearing, drive side"}
    properties = {
        name: spb.PropertyValue(data_type=spb.DataType.STRING, value=text)
        for name, text in texts.items()
    }
    properties["engHigh"] = spb.PropertyValue(data_type=spb.DataType.DOUBLE, value=120.0)
    return [
        spb.BirthMetric(
            name=f"Hall 1/Line {number % 20}/Temperature {number}",
            alias=number,
            data_type=spb.DataType.DOUBLE,
            value=number / 8,
            time_ms=_FIRST_MS,
            properties=properties,
        )
        for number in range(1, metric_count + 1)
    ]


def _connected() -> tuple[spb.EdgeNodeSession, spb.HostSession]:
    edge = spb.EdgeNodeSession(
        "Bench", "Node", bd_seq=0, options=spb.EdgeOptions(packet_bytes_max=1 << 28)
    )
    edge.connected()
    host = spb.HostSession("Host")
    host.will(_FIRST_MS)
    host.connected()
    host.birth()
    return edge, host


def _host(
    metric_count: int, columns: Sequence[spb.MetricColumn]
) -> tuple[spb.HostSession, list[list[spb.OutboundMessage]]]:
    """Return a host that knows the node, and the messages of every block."""
    edge, host = _connected()
    device = spb.DeviceBirth(device_id="Device", metrics=_metrics(metric_count))
    for message in edge.birth(spb.DeviceBirth(), [device], _FIRST_MS):
        _hear(host, message)
    bodies = [spb.encode_metrics(column).body for column in columns]
    return host, [
        [edge.data("Device", body, _FIRST_MS) for body in bodies] for _ in range(_BLOCKS + 1)
    ]


def _host_cpu_ns(host: spb.HostSession, blocks: Sequence[Sequence[spb.OutboundMessage]]) -> float:
    todo = iter(blocks)

    def hear_a_block() -> None:
        for message in next(todo):
            if not isinstance(_hear(host, message)[0], spb.MetricValues):
                raise HarnessError("the host did not take the data")

    return _cpu_ns(hear_a_block)


def _hear(host: spb.HostSession, message: spb.OutboundMessage) -> list[spb.HostEvent]:
    return host.on_message(message.topic, message.payload, retained=False, now_ms=_FIRST_MS)


def _birth(metric_count: int) -> Figures:
    """Measure a device's birth, its packet size checked, and a host that takes it."""
    device = spb.DeviceBirth(device_id="Device", metrics=_metrics(metric_count))
    births: list[float] = []
    takings: list[float] = []
    size = 0
    for _ in range(3):
        edge, host = _connected()
        start_ns = time.process_time_ns()
        messages = list(edge.birth(spb.DeviceBirth(), [device], _FIRST_MS))
        born_ns = time.process_time_ns()
        for message in messages:
            _hear(host, message)
        births.append((born_ns - start_ns) / 1e9)
        takings.append((time.process_time_ns() - born_ns) / 1e9)
        if len(host.nodes["Bench", "Node"].devices["Device"].metrics) != metric_count:
            raise HarnessError("the host did not take the birth")
        size = len(messages[1].payload)
    return {
        "birth_metrics": metric_count,
        "birth_cpu_s": statistics.median(births),
        "birth_taken_cpu_s": statistics.median(takings),
        "birth_bytes": size,
    }
