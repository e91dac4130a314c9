"""Live samples in order of time, as a message has to have them.

Source: Sparkplug 3.0, tck-id-operational-behavior-data-publish-dbirth-order: metrics of a payload
that are not historical stand in chronological order, all of them, whichever tag they are of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contract.sample import SampleColumns


@dataclass(slots=True)
class Run:
    """Encoded metrics of one device, chronological, cut at message size: (bytes, samples) each.

    Attributes:
        first_us: of the earliest sample; 0 for history, which any order is good for.
        last_us: of the latest.
    """

    parts: list[tuple[bytes, int]]
    first_us: int = 0
    last_us: int = 0


def in_time_order(columns: SampleColumns) -> list[SampleColumns]:
    """Return the samples sorted by time; cut instead where that would turn a tag's own order.

    A tag's samples go back in time only when its clock was set back: then each stretch that
    ascends is returned by itself, in order of arrival, for a message of its own.
    """
    time_us, count = columns.time_us, len(columns)
    falls = np.flatnonzero(time_us[1:] < time_us[:-1]) + 1
    if not len(falls):
        return [columns]
    by_tag = np.argsort(columns.tag, kind="stable")
    tag, time_of_tag = columns.tag[by_tag], time_us[by_tag]
    goes_back = (tag[1:] == tag[:-1]) & (time_of_tag[1:] < time_of_tag[:-1])
    if goes_back.any():
        return [columns.take(rows) for rows in np.split(np.arange(count), falls)]
    return [columns.take(np.argsort(time_us, kind="stable"))]
