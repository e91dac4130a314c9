"""Timestamps on the wire: ms as the specification says, or ns as some deployments write.

Inside this package a time is ms since 1970 UTC, always. The unit on the wire is an option of the
writer, never a guess; a reader that has to bear both asks for `normalise`.
"""

from __future__ import annotations

from typing import Final, Literal

#: What a timestamp counts on the wire. Source: Sparkplug 3.0, tck-id-payloads-timestamp-in-UTC and
#: -metric-timestamp-in-UTC (ms);
#: Factory+ (ACS) since version 6 writes ns.
TimestampUnit = Literal["ms", "ns"]

NS_PER_MS: Final = 1_000_000
#: From here on a timestamp counts ns: in ms it would be the year 33658, in ns it is 1970-01-12.
NS_TIMESTAMP_MIN: Final = 10**15


def normalise_ms(timestamp: int) -> int:
    """Return a timestamp of either unit in ms; below `NS_TIMESTAMP_MIN` it is in ms already.

    Source: the readers of Factory+ (ACS 6) tell the units apart at 1e15.
    """
    return timestamp // NS_PER_MS if timestamp >= NS_TIMESTAMP_MIN else timestamp


def to_unit(time_ms: int | None, unit: TimestampUnit) -> int | None:
    """Return what stands on the wire for a time; an absent time stays absent."""
    return time_ms if unit == "ms" or time_ms is None else time_ms * NS_PER_MS
