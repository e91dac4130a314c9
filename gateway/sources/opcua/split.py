"""One tag per element of an array and per member of a structure.

A node is monitored once, under its first member's tag; each notification is taken apart here. An
element that the array no longer has, and a member that is absent (optional fields, the other
members of a union), is a sample without a value. A value that cannot be taken apart is left out
for all its members and counted. Limits: ``MEMBERS_MAX`` tags per node.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.sources.opcua.decode import DecodeError, Segment
from gateway.sources.opcua.structures import (
    DEPTH_MAX,
    ENUMERATION,
    STRUCTURE,
    Shape,
    TypeInfo,
    read_structure,
)
from gateway.sources.opcua.types import hold, readable
from gateway.sources.opcua.varied import HELD_TYPES

MEMBERS_MAX = 1_000
NO_ELEMENT = 0x80370000
"""Bad_IndexRangeNoData: OPC 10000-4, 7.39."""

Path = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """A tag that comes out of a node's value: where it lies in it, and what it is."""

    path: Path
    type_id: int
    is_array: bool = False
    labels: str = ""

    @property
    def name(self) -> str:
        """The end of the tag's name: ``0`` or ``Position/x``."""
        return "/".join(readable(str(step)) for step in self.path)


@dataclass(frozen=True, slots=True)
class Split:
    """How a node's value is taken apart."""

    shape: Shape | None
    members: tuple[Member, ...]


class SplitError(Exception):
    """Raised when a value cannot be split; ``code`` and text are the tag's trouble."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def split_of(info: TypeInfo, dimensions: Sequence[int]) -> Split:
    """Plan the members of a value of a type and of these dimensions (none: no array).

    Raises SplitError.
    """
    elements = 1
    for length in dimensions:
        elements *= length
    if dimensions and not elements:
        raise SplitError(
            "array_empty",
            "the array has no elements now, so there is nothing to split: it is tried again",
        )
    if info.built_in == STRUCTURE:
        if info.structure is None:
            raise SplitError(
                "structure_unknown",
                "the server does not tell how this structure is made (no DataTypeDefinition)",
            )
        leaves = list(_leaves(info.structure, (), 0))
        if not leaves:
            raise SplitError("structure_empty", "the structure has no member that can be a tag")
    elif dimensions:
        leaves = [Member((), info.built_in, labels=_labels(info))]
    else:
        raise SplitError("not_splittable", "this is a single value: leave split out")
    count = elements * len(leaves)
    if count > MEMBERS_MAX:
        raise SplitError(
            "split_too_many",
            f"{count} tags would come out of this node, at most {MEMBERS_MAX} are allowed: "
            "read the array whole, or select what is needed at the server",
        )
    members = [
        Member((*index, *leaf.path), leaf.type_id, leaf.is_array, leaf.labels)
        for index in (np.ndindex(*dimensions) if dimensions else [()])
        for leaf in leaves
    ]
    shape = info.structure if info.built_in == STRUCTURE else None
    return Split(shape, tuple(members))


def _leaves(shape: Shape, path: Path, depth: int) -> Iterator[Member]:
    if depth > DEPTH_MAX:
        return
    for field in shape.fields:
        info = field.type_info
        if info is None or not info.built_in:
            continue
        at = (*path, field.name)
        if info.built_in == STRUCTURE:
            if info.structure is not None and not field.is_array:
                yield from _leaves(info.structure, at, depth + 1)
        elif info.built_in <= 21 or info.built_in == ENUMERATION:
            yield Member(at, info.built_in, field.is_array, _labels(info))


def _labels(info: TypeInfo) -> str:
    return ", ".join(f"{number} = {name}" for number, name in sorted(info.labels.items()))


class Splits:
    """The split nodes of a source, by the tag index under which each is monitored."""

    def __init__(self) -> None:
        self._by_leader: dict[int, tuple[Split, list[int]]] = {}
        self._leaders: NDArray[np.uint32] = np.zeros(0, dtype=np.uint32)

    def set(self, splits: Sequence[tuple[Split, list[int]]]) -> None:
        """Add splits: each with the tag indexes of its members in order; the first leads."""
        self._by_leader |= {indexes[0]: (split, indexes) for split, indexes in splits}
        self._leaders = np.array(sorted(self._by_leader), dtype=np.uint32)

    def expand(
        self, segments: Sequence[Segment]
    ) -> tuple[Sequence[Segment], list[NDArray[np.uint32]]]:
        """Take the values of split nodes apart.

        Returns the segments, and the tags of values that could not be taken apart.
        """
        if not self._by_leader:
            return segments, []
        whole: list[Segment] = []
        parts: dict[tuple[int, bool], list[tuple[int, int, int, Any]]] = {}
        misfits: list[int] = []
        for segment in segments:
            led = np.isin(segment.handle, self._leaders)
            if not led.any():
                whole.append(segment)
                continue
            if not led.all():
                whole.append(segment.rows(~led))
            self._take_apart(segment.rows(led), parts, misfits)
        for (type_id, is_array), rows in parts.items():
            whole.append(_segment(type_id, is_array, rows))
        return whole, [np.array(misfits, dtype=np.uint32)] if misfits else []

    def _take_apart(
        self,
        segment: Segment,
        parts: dict[tuple[int, bool], list[tuple[int, int, int, Any]]],
        misfits: list[int],
    ) -> None:
        rows = zip(
            segment.handle.tolist(),
            segment.ticks.tolist(),
            segment.status.tolist(),
            list(segment.value),
            strict=True,
        )
        for handle, ticks, status, value in rows:
            split, indexes = self._by_leader[handle]
            try:
                values = _values(split, value)
            except (DecodeError, TypeError, LookupError):
                misfits.extend(indexes)
                continue
            for index, member, (held, missing) in zip(indexes, split.members, values, strict=True):
                own = segment.type_id if split.shape is None else member.type_id
                key = (0, False) if held is None else (own, member.is_array)
                parts.setdefault(key, []).append((index, ticks, missing or status, held))


def _values(split: Split, value: Any) -> list[tuple[Any, int]]:
    """Return (value, status where it is not the whole's) for each member, in order."""
    if value is None:
        return [(None, 0)] * len(split.members)
    if split.shape is None:
        return [_element(value, member.path) for member in split.members]
    read: dict[Path, dict[str, Any] | None] = {}
    values: list[tuple[Any, int]] = []
    for member in split.members:
        at = sum(isinstance(step, int) for step in member.path)
        index, names = member.path[:at], member.path[at:]
        if index not in read:
            element, missing = _element(value, index)
            is_there = element is not None and not missing
            read[index] = read_structure(split.shape, element) if is_there else None
        members = read[index]
        if members is None:
            values.append((None, NO_ELEMENT if index else 0))
        else:
            values.append((_named(members, names), 0))
    return values


def _element(value: Any, path: Path) -> tuple[Any, int]:
    for step in path:
        if not isinstance(value, list):
            raise TypeError("no array")
        if not isinstance(step, int) or step >= len(value):
            return None, NO_ELEMENT
        value = value[step]
    if isinstance(value, list):
        raise TypeError("an array of more dimensions")
    return value, 0


def _named(members: dict[str, Any], names: Path) -> Any:
    value: Any = members
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _segment(type_id: int, is_array: bool, rows: list[tuple[int, int, int, Any]]) -> Segment:
    values = [row[3] for row in rows]
    own = 6 if type_id == ENUMERATION else type_id
    if own in HELD_TYPES and not is_array:
        values = [hold(own, value, is_array=False)[1] for value in values]
    return Segment(
        own,
        np.array([row[0] for row in rows], dtype=np.uint32),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows], dtype=np.uint32),
        values,
        is_array,
    )
