"""The fast half of `decode_columns`: a payload's plain metrics, many at a time.

Internal. Promise: what it returns is what `decode` returns; a property test holds it to that. It
never raises for bad input: `None` says that protobuf has to read (and judge) the whole payload.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from sparkplug_b.column_layout import Layout, LayoutReader
from sparkplug_b.column_scan import Scan, Scanner
from sparkplug_b.column_values import NotPlainError, typed_values
from sparkplug_b.column_wire import varint
from sparkplug_b.datatype import DataType
from sparkplug_b.decoder import Limits, TypeTable
from sparkplug_b.errors import DecodeError
from sparkplug_b.metric_columns import MetricColumns
from sparkplug_b.payload import MetaData, PropertySet, Value
from sparkplug_b.timestamp import NS_PER_MS, NS_TIMESTAMP_MIN, normalise_ms

#: Fewer metrics than this are read faster one by one (measured, README.md).
COLUMN_ROWS_MIN: Final = 96
#: A shorter payload is not looked at: a Double with alias and time takes 19 bytes, a Boolean 12.
COLUMN_BYTES_MIN: Final = 15 * COLUMN_ROWS_MIN
_WIDTH_ROWS_MIN: Final = 32  # rows per length, on average: numpy costs some 40 us per layout
_LAYOUT_ROWS_MIN: Final = 12
_LAYOUTS_MAX: Final = 32
_ODD_ROWS_MAX: Final = 8  # rows without a layout, before the rest of that length is given up

_TYPE_OF_NUMBER: Final = {int(data_type): data_type for data_type in DataType}

Indices = NDArray[np.int64]
#: Reads a payload of some of the metrics within limits; returns it and the items it cost.
ReadSome = Callable[[bytes, Limits], tuple[MetricColumns, int]]


T = TypeVar("T")


@dataclass(slots=True)
class _Part:
    """Columns of some of the rows; a column that is the same in all of them is a one-tuple."""

    rows: Indices
    aliases: list[int | None] | tuple[int | None]
    times_ms: list[int | None] | tuple[int | None]
    data_types: list[DataType | None] | tuple[DataType | None]
    values: list[Value | None] | tuple[Value | None]
    is_null: list[bool] | tuple[bool]
    is_historical: list[bool] | tuple[bool]
    is_transient: list[bool] | tuple[bool]


class ColumnReader:
    """Reads one payload."""

    def __init__(
        self, data: bytes, types: TypeTable, limits: Limits, *, normalise: bool, read: ReadSome
    ) -> None:
        self._data = data
        self._view = np.frombuffer(data, np.uint8)
        self._types = types
        self._limits = limits
        self._is_normalised = normalise
        self._read = read
        self._items_count = 0
        self._names: list[str | None] | None = None
        self._properties: dict[int, PropertySet] = {}
        self._metadata: dict[int, MetaData] = {}

    def columns(self) -> MetricColumns | None:
        """Return the payload; None: it is not plain, too short, or over a limit."""
        scan = Scanner(self._data).scan()
        if scan is None or not COLUMN_ROWS_MIN <= len(scan.tag) <= self._limits.metrics_count_max:
            return None
        try:
            if scan.names:
                self._names = [None] * len(scan.tag)
                for row, name in scan.names.items():
                    self._names[row] = name.decode()
            parts, rest = self._parts(scan)
            if 2 * len(rest) > len(scan.tag):
                return None
            if len(rest):
                parts.append(self._rest(scan, np.sort(rest)))
            return self._joined(scan, parts)
        except (NotPlainError, DecodeError, UnicodeDecodeError):
            return None

    def _parts(self, scan: Scan) -> tuple[list[_Part], Indices]:
        """Read the rows layout by layout; return the rows that have none as well."""
        widths = scan.end - scan.start
        parts: list[_Part] = []
        rest: list[Indices] = []
        rows_of_width = _by_number(widths)
        if len(rows_of_width) * _WIDTH_ROWS_MIN > len(widths):
            raise NotPlainError  # one by one is faster
        for rows in rows_of_width:
            todo, odd = rows, 0
            span = np.arange(int(widths[rows[0]]), dtype=np.int64)
            matrix = self._view[scan.start[rows, None] + span]
            while len(todo) - odd >= _LAYOUT_ROWS_MIN and len(parts) < _LAYOUTS_MAX:
                layout = LayoutReader(matrix[odd].tobytes()).read()
                if layout is None:
                    odd += 1
                    if odd > _ODD_ROWS_MAX:
                        break
                    continue
                is_other = layout.differing(matrix)
                if is_other is None:
                    parts.append(self._part(layout, todo, matrix))
                    todo, odd = todo[:0], 0
                else:
                    parts.append(self._part(layout, todo[~is_other], matrix[~is_other]))
                    todo, matrix, odd = todo[is_other], matrix[is_other], 0
            rest.append(todo)
        return parts, np.concatenate(rest) if rest else np.empty(0, np.int64)

    def _part(self, layout: Layout, rows: Indices, matrix: NDArray[np.uint8]) -> _Part:
        flags = layout.flags
        aliases = layout.numbers("alias", matrix)
        alias_list: list[int] | None = None if aliases is None else aliases.tolist()
        sent = None if layout.data_type is None else _data_type(layout.data_type)
        values: list[Any] | tuple[None] = (None,)
        raw = None if flags.get("is_null") else layout.values(matrix)
        if raw is not None:
            assert layout.value_field is not None
            kinds = sent or self._kinds(alias_list, rows)
            values = typed_values(raw, layout.value_field, kinds)
        if layout.properties is not None:
            self._share_properties(layout.properties, rows)
        return _Part(
            rows=rows,
            aliases=(None,) if alias_list is None else [*alias_list],
            times_ms=self._times_ms(layout.numbers("time", matrix)),
            data_types=(sent,),
            values=values,
            is_null=(flags.get("is_null", False),),
            is_historical=(flags.get("is_historical", False),),
            is_transient=(flags.get("is_transient", False),),
        )

    def _times_ms(self, times: NDArray[np.uint64] | None) -> list[int | None] | tuple[None]:
        if times is None:
            return (None,)
        if self._is_normalised:
            times = np.where(times >= NS_TIMESTAMP_MIN, times // NS_PER_MS, times)
        found: list[int | None] = times.tolist()
        return found

    def _kinds(
        self, aliases: list[int] | None, rows: Indices
    ) -> DataType | list[DataType | None] | None:
        """Look up the data types of rows that carry none."""
        get = self._types.get
        if not self._types:
            return None
        kinds: list[DataType | None] = (
            [None] * len(rows) if aliases is None else list(map(get, aliases))
        )
        names = self._names
        if names is not None:
            for place, row in enumerate(rows.tolist()):
                name = names[row]
                if kinds[place] is None and name is not None:
                    kinds[place] = get(name)
        return kinds

    def _share_properties(self, field: bytes, rows: Indices) -> None:
        """Read the properties that all these rows have; each row costs its items."""
        columns, items_count = self._read(b"\x12" + varint(len(field)) + field, self._limits)
        self._take_items(items_count * len(rows))
        found = columns.properties[0]
        self._properties.update(dict.fromkeys(rows.tolist(), found))

    def _take_items(self, items_count: int) -> None:
        self._items_count += items_count
        if self._items_count > self._limits.items_count_max:
            raise NotPlainError

    def _rest(self, scan: Scan, rows: Indices) -> _Part:
        """Let protobuf read the rows that have no layout, as a payload of their own."""
        places = zip(scan.tag[rows].tolist(), scan.end[rows].tolist(), strict=True)
        data = b"".join([self._data[tag:end] for tag, end in places])
        left = msgspec.structs.replace(
            self._limits,
            metrics_count_max=self._limits.metrics_count_max - len(scan.tag) + len(rows),
        )
        columns, items_count = self._read(data, left)
        self._take_items(items_count)
        assert len(columns) == len(rows)
        place = rows.tolist()
        for row, name in zip(place, columns.names, strict=True):
            if name is not None:
                if self._names is None:
                    self._names = [None] * len(scan.tag)
                self._names[row] = name
        self._metadata = {place[row]: found for row, found in columns.metadata.items()}
        self._properties.update({place[row]: found for row, found in columns.properties.items()})
        return _Part(
            rows=rows,
            aliases=columns.aliases,
            times_ms=columns.times_ms,
            data_types=columns.data_types,
            values=columns.values,
            is_null=columns.is_null,
            is_historical=columns.is_historical,
            is_transient=columns.is_transient,
        )

    def _joined(self, scan: Scan, parts: list[_Part]) -> MetricColumns:
        row_count = len(scan.tag)
        parts = sorted(parts, key=lambda part: int(part.rows[0]))
        counts = [len(part.rows) for part in parts]
        order: list[int] | None = None
        rows = np.concatenate([part.rows for part in parts])
        if (rows[1:] < rows[:-1]).any():
            place = np.empty(row_count, np.int64)
            place[rows] = np.arange(row_count)
            order = place.tolist()

        def join(columns: list[list[T] | tuple[T]]) -> list[T]:
            return _joined_column(columns, counts, order)

        timestamp = scan.timestamp
        if timestamp is not None and self._is_normalised:
            timestamp = normalise_ms(timestamp)
        return MetricColumns(
            timestamp_ms=timestamp,
            seq=scan.seq,
            uuid=None if scan.uuid is None else scan.uuid.decode(),
            body=scan.body,
            names=[None] * row_count if self._names is None else self._names,
            aliases=join([part.aliases for part in parts]),
            times_ms=join([part.times_ms for part in parts]),
            data_types=join([part.data_types for part in parts]),
            values=join([part.values for part in parts]),
            is_null=join([part.is_null for part in parts]),
            is_historical=join([part.is_historical for part in parts]),
            is_transient=join([part.is_transient for part in parts]),
            metadata=self._metadata,
            properties=self._properties,
        )


def _data_type(number: int) -> DataType:
    return _TYPE_OF_NUMBER.get(number, DataType.UNKNOWN)


def _by_number(numbers: Indices) -> list[Indices]:
    """Return the places of each number, ascending."""
    if (numbers == numbers[0]).all():
        return [np.arange(len(numbers), dtype=np.int64)]
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    return np.split(order, np.flatnonzero(ordered[1:] != ordered[:-1]) + 1)


def _joined_column(
    columns: list[list[T] | tuple[T]], counts: list[int], order: list[int] | None
) -> list[T]:
    """Put the column of all parts together, in the order of the payload."""
    first = columns[0]
    if isinstance(first, tuple) and all(column == first for column in columns):
        return list(first) * sum(counts)
    flat: list[T] = []
    for column, count in zip(columns, counts, strict=True):
        flat += column if isinstance(column, list) else column * count
    return flat if order is None else list(map(flat.__getitem__, order))
