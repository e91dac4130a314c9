"""The gateway's tags: numbers that are never used twice, and which of them are in use.

A definition never changes; a tag whose definition changed gets a new number. Limits:
``TAGS_MAX`` numbers in one journal epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from contract.upload import TagDefinition
from gateway.sources.base import TagSpec

TAGS_MAX = 2_000_000


class TagTable:
    """All tags of the journal's epoch. Used on the event loop only.

    Attributes:
        definitions: by tag index.
        active: tag indexes in use, per source.
        writable: tag indexes on the write allow-list; none before their source registers.
        generation: grows whenever one of these changes.
    """

    def __init__(self, known: Sequence[TagDefinition]) -> None:
        assert all(d.index == i for i, d in enumerate(known))
        self.definitions: list[TagDefinition] = list(known)
        self.active: dict[str, list[int]] = {}
        self.writable: set[int] = set()
        self.generation = 0
        self._by_name: dict[tuple[str, str, str], int] = {
            (d.source, d.device, d.name): d.index for d in known
        }
        self._unsaved_from = len(known)

    def activate_known(self, sources: Iterable[str]) -> None:
        """Take the newest definitions of these sources as in use, until they register anew."""
        wanted = set(sources)
        for (source, _, _), index in self._by_name.items():
            if source in wanted:
                self.active.setdefault(source, []).append(index)
        self.generation += 1

    def register(self, source: str, specs: Sequence[TagSpec]) -> list[int]:
        """Return the numbers of a source's tags; these, and no others of it, are in use now."""
        indexes = [self._index(source, spec) for spec in specs]
        before = self.active.get(source)
        allowed = self.writable.difference(before or ()) | _writable(indexes, specs)
        if before != indexes or allowed != self.writable:
            self.active[source], self.writable = indexes, allowed
            self.generation += 1
        return indexes

    def add(self, source: str, specs: Sequence[TagSpec]) -> list[int]:
        """Return the numbers of tags that a source found later, beside those in use."""
        indexes = [self._index(source, spec) for spec in specs]
        self.writable |= _writable(indexes, specs)
        known = set(self.active.get(source, ()))
        new = [i for i in indexes if i not in known]
        self.active.setdefault(source, []).extend(new)
        self.generation += bool(new)
        return indexes

    def _index(self, source: str, spec: TagSpec) -> int:
        key = (source, spec.device, spec.name)
        held = self._by_name.get(key)
        if held is not None and self.definitions[held] == _definition(held, source, spec):
            return held
        index = len(self.definitions)
        assert index < TAGS_MAX
        self.definitions.append(_definition(index, source, spec))
        self._by_name[key] = index
        return index

    def take_unsaved(self) -> list[TagDefinition]:
        """Return the definitions that no commit has carried yet."""
        fresh = self.definitions[self._unsaved_from :]
        self._unsaved_from = len(self.definitions)
        return fresh

    def in_use(self) -> list[TagDefinition]:
        """Return the definitions in use; of two with one device and name, the first stays."""
        chosen: dict[tuple[str, str], TagDefinition] = {}
        for indexes in self.active.values():
            for index in indexes:
                definition = self.definitions[index]
                chosen.setdefault((definition.device, definition.name), definition)
        return list(chosen.values())


def _writable(indexes: Sequence[int], specs: Sequence[TagSpec]) -> set[int]:
    return {index for index, spec in zip(indexes, specs, strict=True) if spec.writable}


def _definition(index: int, source: str, spec: TagSpec) -> TagDefinition:
    return TagDefinition(
        index=index,
        name=spec.name,
        device=spec.device,
        data_type=int(spec.data_type),
        source=source,
        address=spec.address,
        unit=spec.unit,
        low=spec.low,
        high=spec.high,
        description=spec.description,
        record=spec.record,
    )
