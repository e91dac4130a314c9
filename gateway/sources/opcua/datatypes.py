"""The data types of one session's server: built-in type, enumeration labels, structures.

Types are asked for in batches and kept; a chain of subtypes is followed up to ``DEPTH_MAX`` to a
type of the standard. Limits: ``TYPES_MAX`` types.
Source: OPC 10000-3, 5.8.3 (DataType NodeClass), 5.8.3 (EnumStrings, EnumValues), 8.47 to 8.50.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from asyncua import ua

from gateway.sources.opcua.references import has_subtype_above, property_path
from gateway.sources.opcua.requests import Requests
from gateway.sources.opcua.structures import (
    DEPTH_MAX,
    ENUMERATION,
    STRUCTURE,
    Shape,
    TypeInfo,
    shape_of_definition,
    shape_of_standard,
)
from gateway.sources.opcua.types import readable

TYPES_MAX = 5_000
LABELS_MAX = 1_000
_ABSTRACT = frozenset({24, 26, 27, 28})  # BaseDataType, Number, Integer, UInteger
UNKNOWN = TypeInfo(0)


class DataTypes:
    """What a server's data types are; valid for one session."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._known: dict[Any, TypeInfo] = {}

    def of(self, node_id: Any) -> TypeInfo:
        """Return a type that was learned; ``UNKNOWN`` otherwise."""
        return self._known.get(node_id, UNKNOWN)

    async def learn(self, node_ids: Iterable[Any], depth: int = 0) -> None:
        """Learn types, and those of their members. Raises SourceError."""
        wanted = [n for n in dict.fromkeys(node_ids) if n is not None and n not in self._known]
        wanted = wanted[: max(0, TYPES_MAX - len(self._known))]
        if not wanted or depth > DEPTH_MAX:
            return
        built_in = await self._built_in(wanted)
        names = await self._requests.read(wanted, ua.AttributeIds.BrowseName)
        for node_id, name in zip(wanted, names, strict=True):
            held = name.Value.Value if name.Value is not None else None
            shown = readable(held.Name or "") if isinstance(held, ua.QualifiedName) else ""
            self._known[node_id] = TypeInfo(built_in[node_id], shown)
        await self._learn_enumerations([n for n in wanted if built_in[n] == ENUMERATION])
        await self._learn_structures([n for n in wanted if built_in[n] == STRUCTURE], depth)

    async def _built_in(self, wanted: list[Any]) -> dict[Any, int]:
        """Follow each type's supertypes to one of the standard's built-in types."""
        found: dict[Any, int] = {}
        at = {node_id: node_id for node_id in wanted}
        for _ in range(DEPTH_MAX * 2):
            for node_id, current in list(at.items()):
                number = _standard(current)
                if number is not None:
                    found[node_id] = number
                    del at[node_id]
            if not at:
                break
            order = list(at)
            above = await self._requests.browse([has_subtype_above(at[n]) for n in order])
            for node_id, result in zip(order, above, strict=True):
                if not result.References:
                    found[node_id] = 0
                    del at[node_id]
                else:
                    at[node_id] = result.References[0].NodeId
        return found | dict.fromkeys(at, 0)

    async def _learn_enumerations(self, wanted: list[Any]) -> None:
        definitions = await self._definitions(wanted)
        without = []
        for node_id in wanted:
            definition = definitions[node_id]
            if isinstance(definition, ua.EnumDefinition):
                self._known[node_id].labels = _labels(
                    (f.Value, f.DisplayName.Text or f.Name) for f in definition.Fields or []
                )
            else:
                without.append(node_id)
        if not without:
            return
        names = ("EnumStrings", "EnumValues")
        paths = [property_path(node_id, name) for node_id in without for name in names]
        results = await self._requests.translate(paths)
        targets = [
            (without[number // 2], result.Targets[0].TargetId)
            for number, result in enumerate(results)
            if result.StatusCode.is_good() and result.Targets
        ]
        values = await self._requests.read([t for _, t in targets], ua.AttributeIds.Value)
        for (node_id, _), value in zip(targets, values, strict=True):
            held = value.Value.Value if value.Value is not None else None
            if isinstance(held, list):
                self._known[node_id].labels |= _labels(_pairs(held))

    async def _learn_structures(self, wanted: list[Any], depth: int) -> None:
        definitions = await self._definitions(wanted)
        members: list[Any] = []
        for node_id in wanted:
            definition = definitions[node_id]
            shape: Shape | None = None
            if isinstance(definition, ua.StructureDefinition):
                shape = shape_of_definition(definition)
            elif node_id.NamespaceIndex == 0:
                shape = shape_of_standard(self._known[node_id].name)
            self._known[node_id].structure = shape
            members += [field.data_type for field in shape.fields] if shape is not None else []
        await self.learn(members, depth + 1)
        for node_id in wanted:
            for field in (self._known[node_id].structure or Shape([])).fields:
                field.type_info = self._known.get(field.data_type)

    async def _definitions(self, wanted: list[Any]) -> dict[Any, Any]:
        if not wanted:
            return {}
        values = await self._requests.read(wanted, ua.AttributeIds.DataTypeDefinition)
        return {
            node_id: value.Value.Value if value.Value is not None else None
            for node_id, value in zip(wanted, values, strict=True)
        }


def _standard(node_id: Any) -> int | None:
    """Return the built-in number of a type of the standard; 0 for an abstract one."""
    if node_id.NamespaceIndex != 0 or not isinstance(node_id.Identifier, int):
        return None
    number = node_id.Identifier
    if number in _ABSTRACT:
        return 0
    return number if 1 <= number <= 25 or number == ENUMERATION else None


def _labels(pairs: Iterable[tuple[Any, Any]]) -> dict[int, str]:
    found: dict[int, str] = {}
    for value, name in pairs:
        if len(found) >= LABELS_MAX:
            break
        found[int(value)] = readable(str(name or ""))
    return found


def _pairs(held: list[Any]) -> Iterable[tuple[Any, Any]]:
    for number, item in enumerate(held):
        if isinstance(item, ua.EnumValueType):
            yield item.Value, item.DisplayName.Text
        elif isinstance(item, ua.LocalizedText):
            yield number, item.Text
