"""The metrics of one node or device as a host knows them: the last birth and what data made of it.

Bytes come from anyone who may publish: nothing here raises for them; what is left out is counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

from sparkplug_b.datatype import DataType
from sparkplug_b.edge_message import BD_SEQ
from sparkplug_b.host_drops import ScopeDrops
from sparkplug_b.host_event import HostDrop, HostMetric, MetricValues
from sparkplug_b.metric_columns import MetricColumns
from sparkplug_b.payload import Metric, Payload
from sparkplug_b.topic import has_control_character

TIME_MS_MAX: Final = (1 << 63) - 1

T = TypeVar("T")


def payload_time_ms(payload: Payload | MetricColumns, now_ms: int) -> int:
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
        self._of_alias: dict[int | None, HostMetric | None] = {}
        self._refused: set[int | str | None] = set()

    def bear(self, payload: Payload, drops: ScopeDrops, now_ms: int) -> None:
        """Replace everything by a birth."""
        default_time_ms = payload_time_ms(payload, now_ms)
        self.metrics = {}
        self.types = {}
        self._of_alias = {}
        self._refused = set()
        for metric in payload.metrics:
            name = metric.name
            if not name:
                drops.note("no_name", f"alias {metric.alias}")
            elif name in self.metrics:
                drops.note("name_twice", name)
            elif has_control_character(name):
                drops.note("bad_name", name)
                self._refused.update((name,) if metric.alias is None else (name, metric.alias))
            elif self.device_id is not None or name != BD_SEQ:
                self._add(metric, name, drops, _time_ms(metric, default_time_ms, drops))
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
            metadata=_sparse([metric.metadata for metric in metrics]),
        )

    def take(
        self, columns: MetricColumns, drops: ScopeDrops, received_ms: int
    ) -> tuple[MetricValues, bool]:
        """Take data; return what is usable of it, and whether a rebirth is needed."""
        needs_rebirth = False
        found = self._find_all(columns)
        faults = self._faults(columns, found)
        if faults:
            for fault, metric in faults.values():
                drops.note(fault, metric)
                needs_rebirth |= fault in {"unknown_metric", "retyped"}
            kept = [row for row in range(len(columns)) if row not in faults]
            found, columns = [found[row] for row in kept], columns.select(kept)
        knowns = [known for known in found if known is not None]
        assert len(knowns) == len(columns)
        times_ms = _times_ms(columns, payload_time_ms(columns, received_ms), drops)
        _update(knowns, columns, times_ms)
        values = MetricValues(
            group_id=drops.node[0],
            node_id=drops.node[1],
            device_id=self.device_id,
            origin="data",
            received_ms=received_ms,
            names=[known.name for known in knowns],
            data_types=[known.data_type for known in knowns],
            times_ms=times_ms,
            values=columns.values,
            is_historical=columns.is_historical,
            is_transient=[
                said or known.is_transient
                for said, known in zip(columns.is_transient, knowns, strict=True)
            ],
            properties=columns.properties,
            metadata=columns.metadata,
        )
        return values, needs_rebirth

    def _find_all(self, columns: MetricColumns) -> list[HostMetric | None]:
        """Find the metrics of all rows: by alias where the birth knows it, else by name."""
        of_alias = self._of_alias
        found = list(map(of_alias.get, columns.aliases))
        if not all(found):
            for row, name in enumerate(columns.names):
                if name is not None and columns.aliases[row] not in of_alias:
                    found[row] = self.metrics.get(name)
        return found

    def _faults(
        self, columns: MetricColumns, found: list[HostMetric | None]
    ) -> dict[int, tuple[HostDrop, str]]:
        """Return the rows that cannot be used: why, and which metric."""
        nulls = columns.is_null
        rows = {row for row, value in enumerate(columns.values) if value is None and not nulls[row]}
        if not all(found):
            rows.update(row for row, known in enumerate(found) if known is None)
        if any(columns.data_types):
            for row, said in enumerate(columns.data_types):
                known = found[row]
                if said and known is not None and known.data_type not in {said, DataType.UNKNOWN}:
                    rows.add(row)
        return {row: self._fault(columns, row, found[row]) for row in sorted(rows)}

    def _fault(
        self, columns: MetricColumns, row: int, known: HostMetric | None
    ) -> tuple[HostDrop, str]:
        alias, name, said = columns.aliases[row], columns.names[row], columns.data_types[row]
        if known is not None:
            if said and known.data_type and said is not known.data_type:
                return "retyped", f"{known.name}: {said.name}, born as {known.data_type.name}"
            return "no_value", known.name
        metric = f"alias {alias}" if name is None else name
        if alias in self._of_alias:
            return "alias_clash", metric
        is_refused = (alias is not None and alias in self._refused) or name in self._refused
        return ("bad_name" if is_refused else "unknown_metric"), metric

    def _add(self, metric: Metric, name: str, drops: ScopeDrops, time_ms: int) -> None:
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
            drops.note("alias_clash", f"alias {alias} of {name!r}")
            first = self._of_alias[alias]
            if first is not None:
                first.alias = None
            known.alias = None
            self._of_alias[alias] = None
            self.types.pop(alias, None)
        else:
            self._of_alias[alias] = known
            self.types[alias] = data_type


def _sparse(column: Iterable[T | None]) -> dict[int, T]:
    return {row: found for row, found in enumerate(column) if found is not None}


def _update(knowns: list[HostMetric], columns: MetricColumns, times_ms: list[int]) -> None:
    """Make live values the current ones."""
    is_historical = columns.is_historical
    rows = zip(knowns, columns.values, times_ms, is_historical, strict=True)
    for known, value, time_ms, is_old in rows:
        if not is_old:
            known.value = value
            known.time_ms = time_ms
    for row, properties in columns.properties.items():
        if not is_historical[row]:
            knowns[row].properties = properties


def _times_ms(columns: MetricColumns, default_time_ms: int, drops: ScopeDrops) -> list[int]:
    times_ms = [default_time_ms if time is None else time for time in columns.times_ms]
    if max(times_ms, default=0) > TIME_MS_MAX:
        late = [row for row, time_ms in enumerate(times_ms) if time_ms > TIME_MS_MAX]
        drops.note("bad_time", f"{times_ms[late[0]]}", count=len(late))
        for row in late:
            times_ms[row] = default_time_ms
    return times_ms


def _time_ms(metric: Metric, default_time_ms: int, drops: ScopeDrops) -> int:
    time_ms = metric.time_ms
    if time_ms is None:
        return default_time_ms
    if time_ms > TIME_MS_MAX:
        drops.note("bad_time", f"{metric.name}: {time_ms}")
        return default_time_ms
    return time_ms
