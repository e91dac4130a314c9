"""The exact-once checker: what is missing, repeated or out of order in counted values.

Every load tag counts 1, 2, 3, ...: so per tag a hole between the first and the last
value seen is a loss, a value seen twice a duplicate, and a value that arrives after a
greater one of its lane a reordering. Lanes are judged alone, because history may
arrive beside live data; losses are judged over all of them.

Births repeat the last known value. They count as seen, never as duplicates.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.frames import Values

RANGES_MAX = 20
"""Ranges listed in a verdict; the counts are always complete."""

Ints = NDArray[np.int64]


class CounterRange(msgspec.Struct, frozen=True, kw_only=True):
    """Values `first` to `last` of one tag, both included."""

    tag: int
    first: int
    last: int


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """Missing values as parallel columns."""

    tag: Ints
    counter: Ints

    def __len__(self) -> int:
        return len(self.tag)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the checker found.

    Attributes:
        tags: tags seen at all.
        delivered: values that came in DATA messages, repeats included.
        distinct: different (tag, value) pairs seen, births included.
        lost: holes between a tag's first and last value.
        duplicated: values that came again.
        reordered: live values that came after a greater one of their tag.
        reordered_historical: the same among historical values.
        lost_ranges: the first of the holes, up to `RANGES_MAX`.
    """

    tags: int
    delivered: int
    distinct: int
    lost: int
    duplicated: int
    reordered: int
    reordered_historical: int
    lost_ranges: list[CounterRange]


def check(values: Values) -> Verdict:
    """Judge a recording. The value 0, from before the first scan, does not count."""
    values = values.where(values.counter > 0)
    data = values.where(~values.from_birth)
    missing = find_missing(values)
    return Verdict(
        tags=len(np.unique(values.tag)),
        delivered=len(data),
        distinct=len(_distinct(values)),
        lost=len(missing),
        duplicated=len(data) - len(_distinct(data)),
        reordered=_count_reordered(data.where(~data.is_historical)),
        reordered_historical=_count_reordered(data.where(data.is_historical)),
        lost_ranges=missing_ranges(missing)[:RANGES_MAX],
    )


def find_missing(values: Values, *, first: int | None = None, last: int | None = None) -> Missing:
    """Return the holes of every tag that was seen.

    Args:
        values: the recording.
        first: also miss what lies between this value and a tag's first one.
        last: also miss what lies between a tag's last one and this value.
    """
    keys = _distinct(values.where(values.counter > 0))
    if not len(keys):
        return Missing(tag=np.empty(0, np.int64), counter=np.empty(0, np.int64))
    tags, counters = _split(keys)
    starts = np.flatnonzero(np.diff(tags, prepend=tags[0] - 1))
    before = np.empty_like(counters)
    before[1:] = counters[:-1]
    before[starts] = counters[starts] - 1 if first is None else first - 1
    holes_tag, holes_from, holes_to = [tags], [before + 1], [counters - 1]
    if last is not None:
        ends = np.append(starts[1:], len(tags)) - 1
        holes_tag.append(tags[ends])
        holes_from.append(counters[ends] + 1)
        holes_to.append(np.full(len(ends), last))
    return _expand(np.concatenate(holes_tag), np.concatenate(holes_from), np.concatenate(holes_to))


def missing_ranges(missing: Missing) -> list[CounterRange]:
    """Return missing values as ranges, tag by tag."""
    if not len(missing):
        return []
    keys = np.sort(_join(missing.tag, missing.counter))
    tags, counters = _split(keys)
    starts = np.flatnonzero(np.diff(keys, prepend=keys[0] - 2) != 1)
    ends = np.append(starts[1:], len(keys)) - 1
    return [
        CounterRange(tag=int(tags[a]), first=int(counters[a]), last=int(counters[b]))
        for a, b in zip(starts, ends, strict=True)
    ]


def explained_by(
    missing: Missing, scan_us: Ints, ranges_us: Sequence[tuple[int, int]], *, start_at: int = 0
) -> int:
    """Return how many missing values were written within one of the ledger's ranges.

    Args:
        missing: what is missing.
        scan_us: source time of scan 1, 2, ... of the plant (its scan log).
        ranges_us: (first, last) source time of each ledger entry, both included.
        start_at: the plant's `--start-at`.
    """
    if not len(missing):
        return 0
    written_us = scan_us[missing.counter - start_at - 1]
    explained = np.zeros(len(missing), bool)
    for first_us, last_us in ranges_us:
        explained |= (written_us >= first_us) & (written_us <= last_us)
    return int(explained.sum())


_COUNTER_BITS = 40


def _join(tag: Ints, counter: Ints) -> Ints:
    if len(counter) and int(counter.max()) >> _COUNTER_BITS:
        raise ValueError(f"counter {counter.max()} has over {_COUNTER_BITS} bits")
    keys: Ints = (tag << _COUNTER_BITS) | counter
    return keys


def _split(keys: Ints) -> tuple[Ints, Ints]:
    return keys >> _COUNTER_BITS, keys & ((1 << _COUNTER_BITS) - 1)


def _distinct(values: Values) -> Ints:
    """Return the different (tag, counter) pairs, joined and sorted."""
    return np.unique(_join(values.tag, values.counter))


def _count_reordered(values: Values) -> int:
    """Count values that came after a greater one of the same tag."""
    order = np.argsort(values.tag, kind="stable")
    tags, counters = values.tag[order], values.counter[order]
    # One running maximum for all tags: each tag's keys lie above those of the tags before it.
    keys = _join(tags, counters)
    return int((np.maximum.accumulate(keys) > keys).sum()) if len(keys) else 0


def _expand(tag: Ints, first: Ints, last: Ints) -> Missing:
    """Turn ranges (empty where last < first) into one row per value."""
    lengths = np.maximum(last - first + 1, 0)
    total = int(lengths.sum())
    offsets = np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return Missing(tag=np.repeat(tag, lengths), counter=np.repeat(first, lengths) + offsets)
