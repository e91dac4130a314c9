"""Where the metrics of a payload stand: the outermost fields of its bytes, without reading them.

Internal to `decode_columns`. It knows the plain writing that all encoders use: one-byte tags, each
field but the metrics once. Whatever is written otherwise, or is damaged, is `None` here and left to
protobuf, which has the last word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

_METRIC: Final = 0x12
_NAME: Final = 0x0A
_SAME_MIN: Final = 8  # rows of one length after which numpy looks how many more there are
_WINDOW_MIN: Final = 64
_WINDOW_MAX: Final = 65_536
_PADDING: Final = bytes(4)  # more than what is read behind the last byte


@dataclass(slots=True)
class Scan:
    """The outermost fields.

    Attributes:
        tag: place of the tag byte of each metric.
        start: place of the metric's first byte, behind its name where it begins with that.
        end: place behind the metric's last byte.
        names: bytes of the names by row; empty: no metric begins with its name.
    """

    timestamp: int | None
    seq: int | None
    uuid: bytes | None
    body: bytes | None
    tag: Rows
    start: Rows
    end: Rows
    names: dict[int, bytes]


def read_varint(data: bytes, at: int) -> tuple[int, int] | None:
    """Read a varint of at most nine bytes; return it and the place behind it."""
    number = 0
    for shift in range(0, 63, 7):
        if at >= len(data):
            return None
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    return None


class Scanner:
    """Goes over the bytes of one payload."""

    def __init__(self, data: bytes) -> None:
        self._size = len(data)
        self._data = data + _PADDING
        self._view = np.frombuffer(self._data, np.uint8)
        self._tags: list[int] = []  # of single metrics, and where they end
        self._ends: list[int] = []
        self._parts: list[tuple[Rows, Rows]] = []  # the same, of what came before them
        self._fields: dict[int, int | bytes] = {}

    def scan(self) -> Scan | None:
        """Return where everything stands; None: not the plain writing."""
        at: int | None = 0
        while at is not None and at < self._size:
            at = self._metrics(at) if self._data[at] == _METRIC else self._field(at)
        if at is None or at > self._size:
            return None
        self._flush()
        tag, end = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        start = tag + 2 + (self._view[tag + 1] >> 7)
        found = self._fields
        timestamp, seq, uuid, body = (found.get(field) for field in (0x08, 0x18, 0x22, 0x2A))
        assert not isinstance(timestamp, bytes)
        assert not isinstance(seq, bytes)
        assert not isinstance(uuid, int)
        assert not isinstance(body, int)
        names = self._names(start, end)
        return None if names is None else Scan(timestamp, seq, uuid, body, tag, start, end, names)

    def _metrics(self, at: int) -> int | None:
        """Take the metrics from here on; return the place behind the last one."""
        data, size = self._data, self._size
        tags, ends = self._tags, self._ends
        last_width, same_count = 0, 0
        while at < size and data[at] == _METRIC:
            width = data[at + 1]
            end = at + 2 + width
            if width >= 0x80:
                if data[at + 2] >= 0x80:
                    return None
                end += 1 - 0x80 + (data[at + 2] << 7)
            tags.append(at)
            ends.append(end)
            if width != last_width:
                last_width, same_count = width, 0
            elif same_count < _SAME_MIN:
                same_count += 1
            else:
                end = self._run(end, end - at)
                same_count = 0
                tags, ends = self._tags, self._ends
            at = end
        return at

    def _run(self, at: int, width: int) -> int:
        """Take all metrics of this length that follow at once."""
        view = self._view
        first, second = view[at - width], view[at - width + 1]
        if second >= 0x80:
            return at
        window = _WINDOW_MIN
        while at < self._size:
            row_count = min((self._size - at) // width, window)
            rows = view[at : at + row_count * width].reshape(row_count, width)
            is_same = (rows[:, 0] == first) & (rows[:, 1] == second)
            found = row_count if is_same.all() else int(is_same.argmin())
            if found:
                self._flush()
                tag = np.arange(at, at + found * width, width, dtype=np.int64)
                self._parts.append((tag, tag + width))
                at += found * width
            if found < window:
                break
            window = min(window * 4, _WINDOW_MAX)
        return at

    def _names(self, start: Rows, end: Rows) -> dict[int, bytes] | None:
        """Take the names that metrics begin with; `start` moves behind them."""
        named = np.flatnonzero((self._view[start] == _NAME) & (start < end))
        names: dict[int, bytes] = {}
        behinds: list[int] = []
        for row, at, last in zip(
            named.tolist(), start[named].tolist(), end[named].tolist(), strict=True
        ):
            width = self._data[at + 1]
            behind = at + 2 + width
            if width < 0x80:
                if behind > last:
                    return None
                names[row] = self._data[at + 2 : behind]
            else:
                behind = at  # left to protobuf, with the whole metric
            behinds.append(behind)
        start[named] = behinds
        return names

    def _field(self, at: int) -> int | None:
        """Take a field of the payload that is no metric."""
        tag = self._data[at]
        if tag in self._fields or tag not in {0x08, 0x18, 0x22, 0x2A}:
            return None
        found = read_varint(self._data, at + 1)
        if found is None:
            return None
        number, behind = found
        if tag in {0x08, 0x18}:
            self._fields[tag] = number
            return behind
        self._fields[tag] = self._data[behind : behind + number]
        return behind + number

    def _flush(self) -> None:
        tags, ends = np.array(self._tags, np.int64), np.array(self._ends, np.int64)
        self._parts.append((tags, ends))
        self._tags, self._ends = [], []
