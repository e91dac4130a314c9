"""Last values told again because their quality changed: a source went, or is back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contract.mapping import KIND_OF
from contract.sample import SampleBatch, ValueKind, columns_of
from contract.upload import TagDefinition
from gateway.sinks.base import TagView
from sparkplug_b.datatype import DataType

LAST_USABLE = 0x40900000
"""Uncertain_LastUsableValue: ``contract.mapping.quality_of`` makes it Sparkplug's 500, stale.

Source: OPC 10000-4, 7.39.2.
"""


def told_again(
    definitions: Sequence[TagDefinition], tags: TagView, now_us: int, *, stale: bool
) -> SampleBatch:
    """Return the last values with the time of now, stale or with the status they had.

    Tags that never reported are left out: their birth called them stale.
    """
    found: dict[ValueKind, list[tuple[int, int, Any]]] = {}
    for definition in definitions:
        last = tags.last(definition.index)
        if last is None:
            continue
        kind = ValueKind.NULL if last.value is None else KIND_OF[DataType(definition.data_type)]
        status = LAST_USABLE if stale else last.status
        found.setdefault(kind, []).append((definition.index, status, last.value))
    return SampleBatch(
        tuple(
            columns_of(
                kind,
                [tag for tag, _, _ in found[kind]],
                [now_us] * len(found[kind]),
                [status for _, status, _ in found[kind]],
                None if kind is ValueKind.NULL else [value for _, _, value in found[kind]],
            )
            for kind in sorted(found)
        )
    )
