"""What sinks and screens see of the tags: definitions in use and last values."""

from __future__ import annotations

import math

from contract.mapping import metric_value
from contract.upload import TagDefinition
from gateway.flow.liveness import SourceLiveness
from gateway.flow.tags import TagTable
from gateway.pipeline.last import NEVER, LastValues
from gateway.sinks.base import LastValue
from sparkplug_b.datatype import DataType, unpack_array
from sparkplug_b.errors import DecodeError

ARRAY_ITEMS_SHOWN = 16
TEXT_CHARS_SHOWN = 500


class TagBook:
    """See ``sinks.base.TagView``.

    Last values are written by the journal's worker thread; a reader on the loop may see a value a
    moment before its row is committed. Without ``sources`` all of them count as up.
    """

    def __init__(
        self, tags: TagTable, last: LastValues, sources: SourceLiveness | None = None
    ) -> None:
        self._tags = tags
        self._last = last
        self._sources = sources

    @property
    def generation(self) -> int:
        """Grows when the tags in use change."""
        return self._tags.generation

    def in_use(self) -> list[TagDefinition]:
        """Return the definitions of all tags in use."""
        return self._tags.in_use()

    def definitions_from(self, index: int, limit: int) -> list[TagDefinition]:
        """Return definitions from a tag index on, used or not."""
        return self._tags.definitions[index : index + limit]

    def definition(self, index: int) -> TagDefinition | None:
        """Return one definition; None for an unknown index."""
        known = self._tags.definitions
        return known[index] if 0 <= index < len(known) else None

    def last(self, tag: int) -> LastValue | None:
        """Return a tag's last reported sample; None before the first."""
        last = self._last
        if tag >= len(last.kind) or last.kind[tag] == NEVER:
            return None
        return LastValue(last.value(tag), int(last.status[tag]), int(last.time_us[tag]))

    def is_writable(self, tag: int) -> bool:
        """Tell whether a tag is on the write allow-list."""
        return tag in self._tags.writable

    @property
    def liveness(self) -> int:
        """Grows when a source comes up, or has been away for longer than the death delay."""
        return 0 if self._sources is None else self._sources.generation

    def source_is_up(self, name: str) -> bool:
        """Tell whether a source's tags are read; a short absence does not count."""
        return self._sources is None or self._sources.is_up(name)

    @property
    def next_death_s(self) -> float | None:
        """Seconds until a source that is away counts as down; None for none."""
        return None if self._sources is None else self._sources.next_death_s


def shown_value(definition: TagDefinition, last: LastValue) -> float | int | bool | str | None:
    """Return a value for a screen: numbers as they are, arrays and long texts cut."""
    data_type = DataType(definition.data_type)
    value = metric_value(data_type, last.value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bytes):
        if data_type >= DataType.INT8_ARRAY:
            try:
                items = unpack_array(data_type, value)
            except DecodeError:
                return f"{len(value)} bytes"
            more = ", …" if len(items) > ARRAY_ITEMS_SHOWN else ""
            return f"[{', '.join(str(i) for i in items[:ARRAY_ITEMS_SHOWN])}{more}]"
        return f"{len(value)} bytes"
    if isinstance(value, str):
        return value[:TEXT_CHARS_SHOWN]
    result: float | int | bool | str | None = value
    return result
