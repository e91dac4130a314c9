"""Samples on their way into rows: where they come from, what may share a row, and time. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from central.ingest.verify import TIME_US_MAX
from contract.sample import SampleBatch, ValueKind

NANOSECONDS_FROM: Final = 1_000_000_000_000_000
"""A timestamp from here on is in ns: in ms it would be of the year 33658 (acs.md, timestamps)."""


def micros_of(time: int) -> int | None:
    """Return a Sparkplug timestamp (ms, or ns from 10^15 on) in µs; None when out of range."""
    time_us = time // 1000 if time >= NANOSECONDS_FROM else time * 1000
    return time_us if 0 <= time_us <= TIME_US_MAX else None


Origin = Literal["data", "birth", "stale", "historical"]


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Samples of one origin on their way into a row; ``is_settled``: they are what is stored."""

    batch: SampleBatch
    origin: Origin
    received_us: int
    is_settled: bool = False

    @property
    def is_alone(self) -> bool:
        """Say whether it must be a row of its own, so that the order of arrival is kept."""
        return self.origin in {"birth", "stale"} or any(
            c.kind is ValueKind.NULL for c in self.batch.columns
        )

    @property
    def size_bytes(self) -> int:
        """Return about how much memory it takes."""
        return sum(
            len(c) * 24 + (sum(map(len, c.value)) if isinstance(c.value, list) else 0)
            for c in self.batch.columns
        )


def runs(pieces: Sequence[Piece], samples_max: int, size_bytes_max: int) -> Iterator[list[Piece]]:
    """Cut pieces into runs that may be joined into one row each, in order."""
    run: list[Piece] = []
    samples = size = 0
    for piece in pieces:
        more, more_bytes = len(piece.batch), piece.size_bytes
        is_cut = (
            piece.is_alone
            or (bool(run) and run[-1].is_alone)
            or (bool(run) and (piece.origin == "historical") != (run[-1].origin == "historical"))
            or samples + more > samples_max
            or size + more_bytes > size_bytes_max
        )
        if run and is_cut:
            yield run
            run, samples, size = [], 0, 0
        run.append(piece)
        samples += more
        size += more_bytes
    if run:
        yield run
