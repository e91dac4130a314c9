"""Metrics of one edge node to sample columns: tag indexes, kinds, times, status codes. Pure.

A node's tags are numbered from 0 as they are first stored; a metric that changes its data type gets
a new number. Names come from anyone who may publish: what cannot be stored is counted by cause.

| metric | stored as |
|---|---|
| scalar, Bytes, File | its value kind (contract.mapping) |
| array | bytes, packed as Sparkplug 3.0 packs it |
| template instance | its members, as METRIC/MEMBER |
| template definition, transient, the rebirth controls | not at all |
| DataSet, no or unknown data type, name too long | not at all: counted |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from central.ingest.sparkplug.pieces import NANOSECONDS_FROM, Piece, micros_of
from contract.mapping import KIND_OF, STATUS_NO_COMMUNICATION, status_of_quality
from contract.sample import (
    NUMPY_TYPE,
    STATUS_GOOD,
    SampleBatch,
    SampleColumns,
    ValueKind,
    columns_of,
    in_turns,
)
from contract.upload import TagDefinition
from sparkplug_b.command import DEVICE_REBIRTH, NODE_REBIRTH
from sparkplug_b.datatype import ARRAY_TYPES, WIRE_FIELD, DataType, pack_array
from sparkplug_b.errors import SparkplugError
from sparkplug_b.host_event import MetricValues
from sparkplug_b.host_scope import HostScope
from sparkplug_b.payload import DataSet, PropertySet, Template
from sparkplug_b.scalar import from_wire

NAME_LENGTH_MAX: Final = 500
DEVICE_LENGTH_MAX: Final = 200
_DATETIME_MS_MAX: Final = (2**63 - 1) // 1000
_CONTROLS: Final = frozenset({NODE_REBIRTH, DEVICE_REBIRTH})
_NEVER: Final = np.iinfo(np.int64).min

Unstorable = Literal[
    "dataset",  # tables have no place in a series
    "data_type",  # the birth gave none, or one that this version does not know
    "name",  # empty, too long, or with U+0000
    "text",  # a text with U+0000, which no database takes
    "value",  # a value that its type cannot hold
    "time",  # outside the years 1970 to 9999: the time of receipt was taken instead
]


class NodeTags:
    """The tags of one edge node, and what was last stored of each.

    Attributes:
        definitions: what each tag index means, in order.
        unstorable: values that were left out, by cause.
        transient_count: values left out because their metric is transient.
    """

    def __init__(self, source: str, unstorable: Counter[Unstorable]) -> None:
        self.definitions: Final[list[TagDefinition]] = []
        self.unstorable: Final = unstorable
        self.transient_count = 0
        self._source = source[:200]
        self._index: dict[str, dict[str, int]] = {}
        self._member_types: dict[tuple[str, str], DataType] = {}
        self._last_us: NDArray[np.int64] = np.full(64, _NEVER, dtype=np.int64)
        self._said_us: NDArray[np.int64] = np.full(64, _NEVER, dtype=np.int64)
        self._is_stale: NDArray[np.bool_] = np.zeros(64, dtype=np.bool_)

    def take(self, event: MetricValues) -> list[Piece]:
        """Turn an event into pieces, in the order in which they are to be stored."""
        received_us = event.received_ms * 1000
        fast = self._plain(event)
        if fast is not None:
            return [Piece(fast, "data", received_us)]
        rows = _Rows(self, event.device_id or "", received_us, None)
        older = _Rows(self, event.device_id or "", received_us, None)
        for at, name in enumerate(event.names):
            if event.is_transient[at]:
                self.transient_count += 1
                continue
            found = event.properties.get(at)
            target = older if event.is_historical[at] else rows
            target.add(name, event.data_types[at], event.times_ms[at], event.values[at], found)
        pieces = [Piece(turn, "historical", received_us) for turn in in_turns(older.batch())]
        pieces += [Piece(turn, event.origin, received_us) for turn in in_turns(rows.batch())]
        return [piece for piece in pieces if len(piece.batch)]

    def stale(self, scope: HostScope, time_ms: int, received_us: int) -> list[Piece]:
        """Return a sample per stored metric: its last value, no communication since ``time_ms``."""
        rows = _Rows(self, scope.device_id or "", received_us, STATUS_NO_COMMUNICATION)
        known = self._index.get(scope.device_id or "", {})
        for name, metric in scope.metrics.items():
            if metric.is_transient or metric.value is None:
                continue
            if name in known or metric.data_type is DataType.TEMPLATE:
                rows.add(name, metric.data_type, time_ms, metric.value, None)
        batch = rows.batch()
        return [Piece(batch, "stale", received_us)] if len(batch) else []

    def settle(self, piece: Piece) -> Piece:
        """Decide what is stored of a piece, once the pieces before it are settled."""
        if piece.is_settled:
            return piece
        batch = piece.batch
        if piece.origin == "birth":
            batch = self._news_of(batch, piece.received_us)
        for columns in batch.columns if piece.origin != "historical" else ():
            if piece.origin == "stale":
                np.maximum(columns.time_us, self._last_us[columns.tag] + 1, out=columns.time_us)
            elif piece.origin == "data":
                self._said_us[columns.tag] = columns.time_us
            self._last_us[columns.tag] = columns.time_us
            self._is_stale[columns.tag] = piece.origin == "stale"
        return Piece(batch, piece.origin, piece.received_us, is_settled=True)

    def seed(self, index: int, time_us: int, *, is_stale: bool) -> None:
        """Tell what was last stored of a tag before this process numbered it."""
        self._reserve(index)
        if self._last_us[index] == _NEVER:
            self._last_us[index] = time_us
            self._is_stale[index] = is_stale

    def place(
        self, device: str, name: str, data_type: DataType, properties: PropertySet | None
    ) -> int:
        """Return the index of a tag, numbering it when it is new or has a new type."""
        index = self._index.setdefault(device, {}).get(name)
        if index is not None and self.definitions[index].data_type == data_type:
            return index
        fresh = len(self.definitions)
        self._index[device][name] = fresh
        self._reserve(fresh)
        self.definitions.append(
            TagDefinition(
                index=fresh,
                name=name,
                device=device,
                data_type=int(data_type),
                source=self._source,
                address=f"{device}/{name}" if device else name,
                **_facts(properties),
            )
        )
        return fresh

    def member_type(self, device: str, name: str, data_type: DataType | None) -> DataType | None:
        """Return the data type of a template's member: births give it, data need not."""
        if data_type:
            self._member_types[device, name] = data_type
            return data_type
        return self._member_types.get((device, name))

    def _plain(self, event: MetricValues) -> SampleBatch | None:
        """Take the usual data message at column speed: one numeric type, nothing special."""
        types = event.data_types
        if (
            event.origin != "data"
            or not types
            or event.properties
            or types.count(types[0]) != len(types)
        ):
            return None
        kind = KIND_OF.get(types[0])
        if kind not in NUMPY_TYPE or types[0] is DataType.DATETIME:
            return None
        if any(event.is_transient) or any(event.is_historical) or None in event.values:
            return None
        index = self._index.get(event.device_id or "", {})
        tags = list(map(index.get, event.names))
        if None in tags:
            return None
        time_us = np.array(event.times_ms, dtype=np.int64)
        if not 0 <= int(time_us.min()) <= int(time_us.max()) < NANOSECONDS_FROM // 10:
            return None
        assert kind is not None
        n = len(tags)
        return SampleBatch(
            (
                SampleColumns(
                    kind,
                    np.array(tags, dtype=np.uint32),
                    time_us * 1000,
                    np.full(n, STATUS_GOOD, dtype=np.uint32),
                    np.array(event.values, dtype=NUMPY_TYPE[kind]),
                ),
            )
        )

    def _news_of(self, batch: SampleBatch, received_us: int) -> SampleBatch:
        """Leave out what a birth repeats: a tag's last stored sample, unless it went stale since.

        A value that is current again after it was stale is stored at the time of the birth.
        """
        kept: list[SampleColumns] = []
        for columns in batch.columns:
            tag, time_us = columns.tag, columns.time_us
            last_us, said_us, is_stale = self._last_us[tag], self._said_us[tag], self._is_stale[tag]
            # what this process has not heard itself is known by what was stored last
            is_repeated = np.where(said_us == _NEVER, time_us <= last_us, time_us == said_us)
            self._said_us[tag] = time_us
            moved_us = np.where(
                is_stale & (time_us <= last_us), np.maximum(received_us, last_us + 1), time_us
            )
            moved = SampleColumns(columns.kind, tag, moved_us, columns.status, columns.value)
            news = moved.take(is_stale | ~is_repeated)
            if len(news):
                kept.append(news)
        return SampleBatch(tuple(kept))

    def _reserve(self, index: int) -> None:
        size = len(self._last_us)
        if index >= size:
            never = np.full(size, _NEVER, dtype=np.int64)
            self._last_us = np.append(self._last_us, never)
            self._said_us = np.append(self._said_us, never)
            self._is_stale = np.append(self._is_stale, np.zeros(size, dtype=np.bool_))


class _Rows:
    """Gathers rows by value kind; ``status`` overrules the quality of each."""

    def __init__(self, tags: NodeTags, device: str, received_us: int, status: int | None) -> None:
        self._tags = tags
        self._device = device
        self._received_us = received_us
        self._status = status
        self._kinds: dict[ValueKind, tuple[list[int], list[int], list[int], list[Any]]] = {}

    def add(
        self,
        name: str,
        data_type: DataType | None,
        time_ms: int,
        value: Any,  # noqa: ANN401 - what the decoder gives
        properties: PropertySet | None,
    ) -> None:
        """Add a metric, or the members of a template instance."""
        if name in _CONTROLS:
            return
        fault = _name_fault(self._device, name)
        if fault is not None:
            self._tags.unstorable["name"] += 1
            return
        if isinstance(value, Template):
            if not value.is_definition:
                self._add_members(name, value, time_ms)
            return
        if data_type is DataType.DATASET or isinstance(value, DataSet):
            self._tags.unstorable["dataset"] += 1
            return
        kind = KIND_OF.get(data_type) if data_type is not None else None
        if kind is None or data_type is None:
            if data_type is not DataType.TEMPLATE:
                self._tags.unstorable["data_type"] += 1
            return
        held = _held(data_type, value)
        if isinstance(held, _Fault):
            self._tags.unstorable[held.cause] += 1
            return
        self._put(name, data_type, time_ms, held, properties)

    def batch(self) -> SampleBatch:
        """Return what was gathered."""
        return SampleBatch(
            tuple(
                columns_of(kind, tag, time, status, None if kind is ValueKind.NULL else value)
                for kind, (tag, time, status, value) in sorted(self._kinds.items())
            )
        )

    def _put(
        self,
        name: str,
        data_type: DataType,
        time_ms: int,
        held: Any,  # noqa: ANN401 - a value of any kind
        properties: PropertySet | None,
    ) -> None:
        time_us = micros_of(time_ms)
        if time_us is None:
            self._tags.unstorable["time"] += 1
            time_us = self._received_us
        kind = ValueKind.NULL if held is None else KIND_OF[data_type]
        tag, time, status, values = self._kinds.setdefault(kind, ([], [], [], []))
        tag.append(self._tags.place(self._device, name, data_type, properties))
        time.append(time_us)
        status.append(_status(properties) if self._status is None else self._status)
        values.append(held)

    def _add_members(self, name: str, template: Template, time_ms: int) -> None:
        for member in template.metrics:
            full = f"{name}/{member.name or ''}"
            data_type = self._tags.member_type(self._device, full, member.data_type)
            value = member.value
            if member.data_type is None and data_type in WIRE_FIELD and value is not None:
                value = _from_raw(data_type, value)
            self.add(full, data_type, member.time_ms or time_ms, value, member.properties)


class _Fault:
    def __init__(self, cause: Unstorable) -> None:
        self.cause: Unstorable = cause


_TEXT_FAULT: Final = _Fault("text")
_VALUE_FAULT: Final = _Fault("value")


def _held(data_type: DataType, value: Any) -> Any:  # noqa: ANN401 - a value of any kind
    """Return a value as its kind holds it, or why it cannot be held."""
    kind = KIND_OF[data_type]
    if value is None:
        return None
    if data_type in ARRAY_TYPES and isinstance(value, tuple):
        return pack_array(data_type, value)  # a tuple is what unpacking gave: it fits
    if kind is ValueKind.TEXT:
        is_text = isinstance(value, str)
        return value if is_text and "\0" not in value else _TEXT_FAULT if is_text else _VALUE_FAULT
    if kind is ValueKind.BYTES:
        return value if isinstance(value, bytes) else _VALUE_FAULT
    return _number(data_type, value) if isinstance(value, (int, float)) else _VALUE_FAULT


def _number(data_type: DataType, value: float) -> float | _Fault:
    if data_type is DataType.DATETIME:
        time = int(value)
        micros = micros_of(time) if time > _DATETIME_MS_MAX else time * 1000
        return _VALUE_FAULT if micros is None else micros
    return float(value) if KIND_OF[data_type] is ValueKind.DOUBLE else int(value)


def _from_raw(data_type: DataType, value: Any) -> Any:  # noqa: ANN401 - a value of any kind
    """Read a member that came without its type: two's complement has to be undone."""
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return from_wire(data_type, WIRE_FIELD[data_type], value)
        except SparkplugError:
            return None
    return value


def _status(properties: PropertySet | None) -> int:
    if properties is None:
        return STATUS_GOOD
    quality = properties.entries.get("Quality")
    return STATUS_GOOD if quality is None else status_of_quality(quality.value)


def _name_fault(device: str, name: str) -> str | None:
    if not name or len(name) > NAME_LENGTH_MAX or "\0" in name:
        return "name"
    return "device" if len(device) > DEVICE_LENGTH_MAX else None


def _facts(properties: PropertySet | None) -> dict[str, Any]:
    """Return unit, range and description from the usual properties of a birth."""
    if properties is None:
        return {}
    found: Mapping[str, Any] = {k: p.value for k, p in properties.entries.items()}
    facts: dict[str, Any] = {}
    for field, key in (("unit", "engUnit"), ("description", "Documentation")):
        value = found.get(key)
        if isinstance(value, str) and "\0" not in value:
            facts[field] = value[:2000]
    for field, key in (("low", "engLow"), ("high", "engHigh")):
        value = found.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            facts[field] = float(value)
    return facts
