"""Journal rows as Sparkplug DATA: sample columns to metric bytes per device.

Columns in, bytes out: samples are grouped by device and data type with one stable sort, each group
is encoded whole (``sparkplug_b.encode_metrics``) and cut at message size. The order of one tag's
samples is kept. Aliases are tag index + 1, the same in every session. A tag that is not recorded
(transient) makes a group of its own, so the flag costs nothing per sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.mapping import KIND_OF, quality_of
from contract.sample import SampleBatch, SampleColumns, ValueKind, concatenate, in_turns
from contract.upload import TagDefinition
from gateway.sinks.base import Row
from gateway.sinks.sparkplug.chronology import Run, in_time_order
from sparkplug_b.columns import MetricColumn, encode_metrics
from sparkplug_b.datatype import DataType
from sparkplug_b.errors import EncodeError
from sparkplug_b.timestamp import TimestampUnit

ALIAS_OF_FIRST_TAG = 1
TIME_US_MAX_IN_NS = (2**63 - 1) // 1000
"""The year 2262; later times are written as that, rather than not at all."""
MESSAGE_BYTES_MAX = 256 * 1024
_NOT_BORN = 0xFFFF
_TRANSIENT = 0x80
"""In a group's low byte, above all data types."""


@dataclass(slots=True)
class DeviceData:
    """Encoded metrics of one device, small enough for one message."""

    device: str
    body: bytes
    samples_count: int


class TagPlaces:
    """Where each tag goes: device, data type and whether it is transient, as columns by tag.

    Built from the definitions of a birth; tags that are not in it have no place. ``unit`` is that
    of the timestamps that are written.
    """

    def __init__(
        self,
        born: Sequence[TagDefinition],
        is_transient: Callable[[TagDefinition], bool] = lambda d: not d.record,
        unit: TimestampUnit = "ms",
    ) -> None:
        self.unit: TimestampUnit = unit
        size = max((d.index for d in born), default=-1) + 1
        self.devices = sorted({d.device for d in born})
        number = {device: n for n, device in enumerate(self.devices)}
        assert len(number) < _NOT_BORN
        self._group: NDArray[np.uint32] = np.full(size, _NOT_BORN << 8, dtype=np.uint32)
        for definition in born:
            group = number[definition.device] << 8 | definition.data_type
            self._group[definition.index] = group | _TRANSIENT * is_transient(definition)

    def groups(self, tag: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Return device number x 256 + flag + data type of each tag; device all ones: not born."""
        if len(tag) and int(tag.max()) >= len(self._group):
            known = np.where(tag < len(self._group), tag, 0)
            groups = self._group[known] if len(self._group) else np.zeros(len(tag), np.uint32)
            return np.where(tag < len(self._group), groups, np.uint32(_NOT_BORN << 8))
        return self._group[tag]


@dataclass(frozen=True, slots=True)
class _Form:
    """How the samples of one call are written."""

    is_historical: bool
    is_transient: bool
    unit: TimestampUnit
    bytes_max: int


def encode_rows(
    rows: Sequence[Row],
    places: TagPlaces,
    *,
    is_historical: bool,
    bytes_max: int = MESSAGE_BYTES_MAX,
) -> tuple[list[DeviceData], int]:
    """Encode rows; see ``encode_batch``.

    Rows that were filled from a device's history are historical in any lane.
    """
    found: list[DeviceData] = []
    left_out = 0
    for from_history, run in groupby(rows, key=lambda row: row.batch.is_historical):
        messages, without = encode_batch(
            concatenate(row.batch for row in run),
            places,
            is_historical=is_historical or from_history,
            bytes_max=bytes_max,
        )
        found += messages
        left_out += without
    return found, left_out


def encode_batch(
    batch: SampleBatch, places: TagPlaces, *, is_historical: bool, bytes_max: int
) -> tuple[list[DeviceData], int]:
    """Encode samples; returns the messages' bodies, in order, and how many samples are left out.

    Live samples stand in order of time within each message (``chronology``).

    Left out: samples of tags that are not born, and values that do not fit their data type. A body
    is larger than ``bytes_max`` only where one value alone is.
    """
    runs: dict[str, list[Run]] = {}
    left_out = 0
    forms = [_Form(is_historical, flag, places.unit, bytes_max) for flag in (False, True)]
    for columns in (columns for turn in in_turns(batch) for columns in turn.columns):
        for group, part in _split(columns, places):
            if group >> 8 == _NOT_BORN:
                left_out += len(part)
                continue
            device, data_type = places.devices[group >> 8], DataType(group & ~_TRANSIENT & 0xFF)
            for ordered in [part] if is_historical else in_time_order(part):
                encoded = _encode(data_type, ordered, forms[bool(group & _TRANSIENT)])
                left_out += len(ordered) - sum(count for _, count in encoded)
                times = (0, 0) if is_historical else ordered.time_us[[0, -1]]
                runs.setdefault(device, []).append(Run(encoded, int(times[0]), int(times[1])))
    packed = [data for device in runs for data in _pack(device, runs[device], bytes_max)]
    return packed, left_out


def _split(columns: SampleColumns, places: TagPlaces) -> Iterator[tuple[int, SampleColumns]]:
    """Yield (group, samples); see ``TagPlaces.groups``."""
    if not len(columns):
        return
    groups = places.groups(columns.tag)
    first = int(groups[0])
    if (groups == first).all():
        yield first, columns
        return
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    cuts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    for rows in np.split(order, cuts):
        yield int(groups[rows[0]]), columns.take(rows)


def _encode(data_type: DataType, columns: SampleColumns, form: _Form) -> list[tuple[bytes, int]]:
    """Encode samples of one device and type; cut them at message size: (bytes, samples) each.

    A value that does not fit the type (its server changed it) is left out; its neighbours go on.
    """
    try:
        encoded = encode_metrics(
            _column(data_type, columns, form.unit),
            is_historical=form.is_historical,
            is_transient=form.is_transient,
            timestamp_unit=form.unit,
        )
    except EncodeError:
        if len(columns) == 1:
            return []
        halves = np.array_split(np.arange(len(columns)), 2)
        return [part for half in halves for part in _encode(data_type, columns.take(half), form)]
    if len(encoded.body) <= form.bytes_max:
        return [(encoded.body, len(columns))]
    return _cut(encoded.body, encoded.ends, form.bytes_max)


def _column(data_type: DataType, columns: SampleColumns, unit: TimestampUnit) -> MetricColumn:
    is_null = columns.kind is ValueKind.NULL
    time_us = np.maximum(columns.time_us, 0)
    return MetricColumn(
        data_type=data_type,
        alias=columns.tag.astype(np.uint64) + np.uint64(ALIAS_OF_FIRST_TAG),
        time_ms=time_us // 1000,
        time_ns=None if unit == "ms" else np.minimum(time_us, TIME_US_MAX_IN_NS) * 1000,
        values=_nulls(data_type, len(columns)) if is_null else _values(data_type, columns.value),
        quality=quality_of(columns.status) if columns.status.any() else None,
        null=np.ones(len(columns), dtype=np.bool_) if is_null else None,
    )


def _cut(body: bytes, ends: NDArray[np.int64], bytes_max: int) -> list[tuple[bytes, int]]:
    parts: list[tuple[bytes, int]] = []
    start_row, start = 0, 0
    while start_row < len(ends):
        row = int(np.searchsorted(ends, start + bytes_max, side="right"))
        row = max(row, start_row + 1)
        end = int(ends[row - 1])
        parts.append((body[start:end], row - start_row))
        start_row, start = row, end
    return parts


def _nulls(data_type: DataType, count: int) -> NDArray[Any] | Sequence[Any]:
    kind = KIND_OF[data_type]
    if kind is ValueKind.TEXT:
        return [""] * count
    if kind is ValueKind.BYTES:
        return [b""] * count
    return np.zeros(count, dtype=np.float64 if kind is ValueKind.DOUBLE else np.int64)


def _values(
    data_type: DataType, value: NDArray[Any] | list[Any] | None
) -> NDArray[Any] | Sequence[Any]:
    if not isinstance(value, np.ndarray):
        return value or []
    numbers: NDArray[Any] = value
    if data_type is DataType.DATETIME:
        numbers = np.maximum(value // 1000, 0)
    elif data_type is DataType.BOOLEAN:
        numbers = value != 0
    elif data_type is DataType.FLOAT:
        with np.errstate(over="ignore", invalid="ignore"):
            narrow = value.astype(np.float32)
        # a number too large for it stays as it is, and is refused: infinity is another value
        numbers = value if (np.isinf(narrow) & np.isfinite(value)).any() else narrow
    return numbers


def _pack(device: str, runs: list[Run], bytes_max: int) -> list[DeviceData]:
    """Join a device's runs, of several types, into as few messages as size and time allow."""
    packed: list[DeviceData] = []
    held: list[bytes] = []
    size = samples = 0
    latest_us = 0
    for run in runs:
        goes_back = run.first_us < latest_us
        latest_us = run.last_us
        for body, count in run.parts:
            if held and (goes_back or size + len(body) > bytes_max):
                packed.append(DeviceData(device, b"".join(held), samples))
                held, size, samples = [], 0, 0
            goes_back = False
            held.append(body)
            size += len(body)
            samples += count
    if held:
        packed.append(DeviceData(device, b"".join(held), samples))
    return packed
