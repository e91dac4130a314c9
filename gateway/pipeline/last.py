"""The last reported sample of every tag, as columns indexed by tag.

Report by exception compares with it, births and screens read it. Numbers are held as their 64-bit
patterns, so that a NaN equals itself and -0.0 differs from 0.0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.sample import NUMPY_TYPE, SampleBatch, SampleColumns, ValueKind

NEVER = 255
"""In place of a kind: the tag has not reported yet."""


class LastValues:
    """Columns of length ``size``, which grow with the tags."""

    def __init__(self) -> None:
        self.kind: NDArray[np.uint8] = np.zeros(0, dtype=np.uint8)
        self.bits: NDArray[np.uint64] = np.zeros(0, dtype=np.uint64)
        self.time_us: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.status: NDArray[np.uint32] = np.zeros(0, dtype=np.uint32)
        self.objects: dict[int, str | bytes] = {}

    def grow(self, size: int) -> None:
        """Make room for tags 0 to ``size - 1``."""
        more = size - len(self.kind)
        if more <= 0:
            return
        self.kind = np.append(self.kind, np.full(more, NEVER, dtype=np.uint8))
        self.bits = np.append(self.bits, np.zeros(more, dtype=np.uint64))
        self.time_us = np.append(self.time_us, np.zeros(more, dtype=np.int64))
        self.status = np.append(self.status, np.zeros(more, dtype=np.uint32))

    def set(self, columns: SampleColumns) -> None:
        """Remember samples; of several of one tag, the last one stays."""
        if len(columns) == 0:
            return
        tag = columns.tag
        self.kind[tag] = columns.kind
        self.time_us[tag] = columns.time_us
        self.status[tag] = columns.status
        if isinstance(columns.value, np.ndarray):
            self.bits[tag] = columns.value.view(np.uint64)
        elif columns.value is not None:
            self.objects.update(zip(tag.tolist(), columns.value, strict=True))

    def value(self, tag: int) -> Any:  # noqa: ANN401 - a value of any kind
        """Return the last value as its kind holds it; None where there is none."""
        kind = int(self.kind[tag])
        if kind in {NEVER, ValueKind.NULL}:
            return None
        number = NUMPY_TYPE.get(ValueKind(kind))
        if number is not None:
            return self.bits[tag : tag + 1].view(number)[0].item()
        return self.objects.get(tag)

    def snapshot(self) -> SampleBatch:
        """Return one sample per tag that ever reported, for keeping over a restart."""
        parts: list[SampleColumns] = []
        for kind in ValueKind:
            tags = np.flatnonzero(self.kind == kind)
            if not len(tags):
                continue
            value: NDArray[Any] | list[Any] | None = None
            if kind in NUMPY_TYPE:
                value = self.bits[tags].view(NUMPY_TYPE[kind])
            elif kind is not ValueKind.NULL:
                value = [self.objects[t] for t in tags.tolist()]
            parts.append(
                SampleColumns(
                    kind, tags.astype(np.uint32), self.time_us[tags], self.status[tags], value
                )
            )
        return SampleBatch(tuple(parts))

    def restore(self, batch: SampleBatch) -> None:
        """Take samples in as if they had just been reported."""
        for columns in batch.columns:
            if len(columns):
                self.grow(int(columns.tag.max()) + 1)
                self.set(columns)
