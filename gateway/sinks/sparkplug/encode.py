"""Journal rows as Sparkplug DATA: sample columns to metric bytes per device.

Columns in, bytes out: samples are grouped by device and data type with one stable sort, each group
is encoded whole (``sparkplug_b.encode_metrics``) and cut at message size. The order of one tag's
samples is kept. Aliases are tag index + 1, the same in every session.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.mapping import KIND_OF, quality_of
from contract.sample import SampleBatch, SampleColumns, ValueKind, concatenate, in_turns
from contract.upload import TagDefinition
from gateway.sinks.base import Row
from sparkplug_b.columns import MetricColumn, encode_metrics
from sparkplug_b.datatype import DataType
from sparkplug_b.errors import EncodeError

ALIAS_OF_FIRST_TAG = 1
MESSAGE_BYTES_MAX = 256 * 1024
_NOT_BORN = 0xFFFF


@dataclass(slots=True)
class DeviceData:
    """Encoded metrics of one device, small enough for one message."""

    device: str
    body: bytes
    samples_count: int


class TagPlaces:
    """Where each tag goes: device and data type, as columns indexed by tag.

    Built from the definitions of a birth; tags that are not in it have no place.
    """

    def __init__(self, born: Sequence[TagDefinition]) -> None:
        size = max((d.index for d in born), default=-1) + 1
        self.devices = sorted({d.device for d in born})
        number = {device: n for n, device in enumerate(self.devices)}
        assert len(number) < _NOT_BORN
        self._group: NDArray[np.uint32] = np.full(size, _NOT_BORN << 8, dtype=np.uint32)
        for definition in born:
            self._group[definition.index] = number[definition.device] << 8 | definition.data_type

    def groups(self, tag: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Return device number x 256 + data type of each tag; all ones as device: not born."""
        if len(tag) and int(tag.max()) >= len(self._group):
            known = np.where(tag < len(self._group), tag, 0)
            groups = self._group[known] if len(self._group) else np.zeros(len(tag), np.uint32)
            return np.where(tag < len(self._group), groups, np.uint32(_NOT_BORN << 8))
        return self._group[tag]


def encode_rows(
    rows: Sequence[Row],
    places: TagPlaces,
    *,
    is_historical: bool,
    bytes_max: int = MESSAGE_BYTES_MAX,
) -> tuple[list[DeviceData], int]:
    """Encode rows; see ``encode_batch``."""
    batch = rows[0].batch if len(rows) == 1 else concatenate(row.batch for row in rows)
    return encode_batch(batch, places, is_historical=is_historical, bytes_max=bytes_max)


def encode_batch(
    batch: SampleBatch, places: TagPlaces, *, is_historical: bool, bytes_max: int
) -> tuple[list[DeviceData], int]:
    """Encode samples; returns the messages' bodies, in order, and how many samples are left out.

    Left out: samples of tags that are not born, and values that do not fit their data type. A body
    is larger than ``bytes_max`` only where one value alone is.
    """
    bodies: dict[str, list[tuple[bytes, int]]] = {}
    left_out = 0
    for columns in (columns for turn in in_turns(batch) for columns in turn.columns):
        for device, data_type, part in _split(columns, places):
            if device is None:
                left_out += len(part)
                continue
            encoded = _encode(data_type, part, bytes_max, is_historical=is_historical)
            left_out += len(part) - sum(count for _, count in encoded)
            bodies.setdefault(device, []).extend(encoded)
    packed = [data for device in bodies for data in _pack(device, bodies[device], bytes_max)]
    return packed, left_out


def _split(
    columns: SampleColumns, places: TagPlaces
) -> Iterator[tuple[str | None, DataType, SampleColumns]]:
    """Yield (device, data type, samples); device None for tags that are not born."""
    if not len(columns):
        return
    groups = places.groups(columns.tag)
    first = int(groups[0])
    if (groups == first).all():
        yield _place(first, places), DataType(first & 0xFF), columns
        return
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    cuts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    for rows in np.split(order, cuts):
        group = int(groups[rows[0]])
        yield _place(group, places), DataType(group & 0xFF), columns.take(rows)


def _place(group: int, places: TagPlaces) -> str | None:
    return None if group >> 8 == _NOT_BORN else places.devices[group >> 8]


def _encode(
    data_type: DataType, columns: SampleColumns, bytes_max: int, *, is_historical: bool
) -> list[tuple[bytes, int]]:
    """Encode samples of one device and type; cut them at message size: (bytes, samples) each.

    A value that does not fit the type (its server changed it) is left out; its neighbours go on.
    """
    try:
        encoded = encode_metrics(_column(data_type, columns), is_historical=is_historical)
    except EncodeError:
        if len(columns) == 1:
            return []
        halves = np.array_split(np.arange(len(columns)), 2)
        return [
            part
            for half in halves
            for part in _encode(
                data_type, columns.take(half), bytes_max, is_historical=is_historical
            )
        ]
    if len(encoded.body) <= bytes_max:
        return [(encoded.body, len(columns))]
    return _cut(encoded.body, encoded.ends, bytes_max)


def _column(data_type: DataType, columns: SampleColumns) -> MetricColumn:
    is_null = columns.kind is ValueKind.NULL
    return MetricColumn(
        data_type=data_type,
        alias=columns.tag.astype(np.uint64) + np.uint64(ALIAS_OF_FIRST_TAG),
        time_ms=np.maximum(columns.time_us // 1000, 0),
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


def _pack(device: str, parts: list[tuple[bytes, int]], bytes_max: int) -> list[DeviceData]:
    """Join a device's parts, of several types, into as few messages as their size allows."""
    packed: list[DeviceData] = []
    held: list[bytes] = []
    size = samples = 0
    for body, count in parts:
        if held and size + len(body) > bytes_max:
            packed.append(DeviceData(device, b"".join(held), samples))
            held, size, samples = [], 0, 0
        held.append(body)
        size += len(body)
        samples += count
    if held:
        packed.append(DeviceData(device, b"".join(held), samples))
    return packed
