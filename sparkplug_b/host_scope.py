"""The metrics of one node or device as a host knows them: the last birth and what data made of it.

Bytes come from anyone who may publish: nothing here raises for them; what is left out is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal

from sparkplug_b.datatype import DataType
from sparkplug_b.edge import BD_SEQ
from sparkplug_b.host_event import HostDrop, HostMetric, MetricValues
from sparkplug_b.payload import Metric, Payload, PropertySet

TIME_MS_MAX: Final = (1 << 63) - 1


def payload_time_ms(payload: Payload, now_ms: int) -> int:
    """Return the payload's timestamp, or the time of receipt where it has none to use."""
    time_ms = payload.timestamp_ms
    return now_ms if time_ms is None or time_ms > TIME_MS_MAX else time_ms


def bd_seq_of(payload: Payload) -> int | None:
    """Return the bdSeq of an NBIRTH or NDEATH, if it has one."""
    for metric in payload.metrics:
        if metric.name == BD_SEQ:
            value = metric.value
            return value if isinstance(value, int) and not isinstance(value, bool) else None
    return None


class HostScope:
    """Metrics of a node (`device_id` None) or device.

    Attributes:
        is_online: born, and neither dead nor doubtful.
        since_ms: of the last change of `is_online`; None before the first birth.
        stale_since_ms: all metrics are stale since then; None: they are current.
        metrics: by name.
        types: data types by name and alias, for decoding.
    """

    def __init__(self, device_id: str | None) -> None:
        self.device_id: Final = device_id
        self.is_online = False
        self.since_ms: int | None = None
        self.stale_since_ms: int | None = None
        self.metrics: dict[str, HostMetric] = {}
        self.types: dict[int | str, DataType] = {}
        self._of_alias: dict[int, HostMetric | None] = {}

    def bear(self, payload: Payload, drops: Counter[HostDrop], now_ms: int) -> None:
        """Replace everything by a birth."""
        default_time_ms = payload_time_ms(payload, now_ms)
        self.metrics = {}
        self.types = {}
        self._of_alias = {}
        for metric in payload.metrics:
            if not metric.name:
                drops["no_name"] += 1
            elif metric.name in self.metrics:
                drops["name_twice"] += 1
            elif self.device_id is not None or metric.name != BD_SEQ:
                self._add(metric, metric.name, drops, _time_ms(metric, default_time_ms, drops))
        self.is_online = True
        self.since_ms = now_ms
        self.stale_since_ms = None

    def go_offline(self, time_ms: int) -> tuple[str, ...]:
        """Mark everything stale; return the names."""
        self.is_online = False
        self.since_ms = time_ms
        self.stale_since_ms = time_ms
        return tuple(self.metrics)

    def born_values(self, node: tuple[str, str], received_ms: int) -> MetricValues:
        """Return the values of the birth."""
        metrics = self.metrics.values()
        return MetricValues(
            group_id=node[0],
            node_id=node[1],
            device_id=self.device_id,
            origin="birth",
            received_ms=received_ms,
            names=list(self.metrics),
            data_types=[metric.data_type for metric in metrics],
            times_ms=[metric.time_ms for metric in metrics],
            values=[metric.value for metric in metrics],
            is_historical=[False] * len(metrics),
            is_transient=[metric.is_transient for metric in metrics],
            properties=_sparse([metric.properties for metric in metrics]),
        )

    def take(
        self, payload: Payload, drops: Counter[HostDrop], node: tuple[str, str], now_ms: int
    ) -> tuple[MetricValues, bool]:
        """Take data; return what is usable of it, and whether a rebirth is needed."""
        default_time_ms = payload_time_ms(payload, now_ms)
        taken: list[Metric] = []
        knowns: list[HostMetric] = []
        times_ms: list[int] = []
        needs_rebirth = False
        for metric in payload.metrics:
            known = self._find(metric)
            fault = _fault(metric, known)
            if fault is not None:
                drops[fault] += 1
                needs_rebirth |= fault in {"unknown_metric", "retyped"}
                continue
            assert isinstance(known, HostMetric)
            time_ms = _time_ms(metric, default_time_ms, drops)
            taken.append(metric)
            knowns.append(known)
            times_ms.append(time_ms)
            if not metric.is_historical:
                known.value = metric.value
                known.time_ms = time_ms
                if metric.properties is not None:
                    known.properties = metric.properties
        values = MetricValues(
            group_id=node[0],
            node_id=node[1],
            device_id=self.device_id,
            origin="data",
            received_ms=now_ms,
            names=[known.name for known in knowns],
            data_types=[known.data_type for known in knowns],
            times_ms=times_ms,
            values=[metric.value for metric in taken],
            is_historical=[metric.is_historical for metric in taken],
            is_transient=[
                metric.is_transient or known.is_transient
                for metric, known in zip(taken, knowns, strict=True)
            ],
            properties=_sparse([metric.properties for metric in taken]),
        )
        return values, needs_rebirth

    def _add(self, metric: Metric, name: str, drops: Counter[HostDrop], time_ms: int) -> None:
        data_type = metric.data_type or DataType.UNKNOWN
        known = HostMetric(
            name=name,
            alias=metric.alias,
            data_type=data_type,
            value=metric.value,
            time_ms=time_ms,
            is_transient=metric.is_transient,
            properties=metric.properties,
            metadata=metric.metadata,
        )
        self.metrics[name] = known
        self.types[name] = data_type
        alias = metric.alias
        if alias is None:
            return
        if alias in self._of_alias:
            drops["alias_clash"] += 1
            first = self._of_alias[alias]
            if first is not None:
                first.alias = None
            known.alias = None
            self._of_alias[alias] = None
            self.types.pop(alias, None)
        else:
            self._of_alias[alias] = known
            self.types[alias] = data_type

    def _find(self, metric: Metric) -> HostMetric | Literal["alias_clash"] | None:
        if metric.alias is not None and metric.alias in self._of_alias:
            return self._of_alias[metric.alias] or "alias_clash"
        return self.metrics.get(metric.name) if metric.name is not None else None


def _sparse(properties: Iterable[PropertySet | None]) -> dict[int, PropertySet]:
    return {row: found for row, found in enumerate(properties) if found is not None}


def _fault(metric: Metric, known: HostMetric | str | None) -> HostDrop | None:
    if known is None:
        return "unknown_metric"
    if not isinstance(known, HostMetric):
        return "alias_clash"
    if metric.data_type and known.data_type and metric.data_type != known.data_type:
        return "retyped"
    if metric.value is None and not metric.is_null:
        return "no_value"
    return None


def _time_ms(metric: Metric, default_time_ms: int, drops: Counter[HostDrop]) -> int:
    time_ms = metric.time_ms
    if time_ms is None:
        return default_time_ms
    if time_ms > TIME_MS_MAX:
        drops["bad_time"] += 1
        return default_time_ms
    return time_ms
