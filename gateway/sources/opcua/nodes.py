"""What a server says of the nodes that are written and called; learned once a session.

Source: OPC 10000-3, 5.6 (Variable), 5.7 (Method), 8.6 (Argument); OPC 10000-8, 5.3.2
(InstrumentRange, EURange).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncua import ua
from asyncua.common.ua_utils import get_base_data_type

from gateway.sources.opcua.outgoing import Target
from gateway.sources.opcua.session import Session

ENUMERATION, _INT32 = 29, 6
ABSTRACT = frozenset({24, 26, 27, 28})
"""BaseDataType, Number, Integer, UInteger: the value that stands there tells the type."""
_BUILT_IN_MAX = 25


class Nodes:
    """Asks one session's server; what does not change is kept.

    Raises UaError, OSError and TimeoutError as asyncua does: the caller words them.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._built_in: dict[Any, int] = {}
        self._labels: dict[Any, dict[int, str] | None] = {}
        self._ranges: dict[Any, tuple[float | None, float | None]] = {}

    async def attributes(self, node_id: Any, wanted: Sequence[Any]) -> list[Any]:
        """Read attributes of one node, with one call; a DataValue each."""
        parameters = ua.ReadParameters()
        parameters.TimestampsToReturn = ua.TimestampsToReturn.Source
        parameters.NodesToRead = [
            ua.ReadValueId(NodeId=node_id, AttributeId=attribute) for attribute in wanted
        ]
        values: list[Any] = await self.session.services.read(parameters)
        if len(values) != len(wanted):
            raise ua.UaError(f"the server answered {len(values)} values for {len(wanted)}")
        return values

    async def built_in(self, data_type: Any) -> int:
        """Return the built-in type of a data type; ``ENUMERATION``, or one of ``ABSTRACT``."""
        known = self._built_in.get(data_type)
        if known is None:
            base = await get_base_data_type(self.session.client.get_node(data_type))
            known = self._built_in[data_type] = int(base.nodeid.Identifier)
        return known

    async def target(self, data_type: Any, rank: Any, dimensions: Any, value: Any) -> Target:
        """Return what is taken at a place; ``value`` is the variant there, or None."""
        type_id = await self.built_in(data_type)
        labels = None
        if type_id == ENUMERATION:
            type_id, labels = _INT32, await self._labels_of(data_type)
        elif type_id in ABSTRACT:
            kind = None if value is None or value.Value is None else value.VariantType
            type_id = 0 if kind is None else int(kind.value)
        sizes = [int(size) for size in dimensions or []]
        return Target(
            type_id=type_id if type_id <= _BUILT_IN_MAX else 0,
            rank=-1 if rank is None else int(rank),
            length_max=sizes[0] if len(sizes) == 1 else 0,
            labels=labels,
        )

    async def _labels_of(self, data_type: Any) -> dict[int, str] | None:
        if data_type not in self._labels:
            (told,) = await self.attributes(data_type, [ua.AttributeIds.DataTypeDefinition])
            definition = held(told)
            found = None
            if isinstance(definition, ua.EnumDefinition) and definition.Fields:
                found = {int(field.Value): str(field.Name or "") for field in definition.Fields}
            self._labels[data_type] = found
        return self._labels[data_type]

    async def range_of(self, node_id: Any) -> tuple[float | None, float | None]:
        """Return what the instrument can hold; its normal range where the server tells no more."""
        if node_id not in self._ranges:
            found = [
                value for value in await self.properties(node_id, ("InstrumentRange", "EURange"))
                if isinstance(value, ua.Range) and value.Low < value.High
            ]  # fmt: skip
            low, high = (float(found[0].Low), float(found[0].High)) if found else (None, None)
            self._ranges[node_id] = (low, high)
        return self._ranges[node_id]

    async def properties(self, node_id: Any, names: Sequence[str]) -> list[Any]:
        """Read properties of a node by their names; None for one that it has not."""
        paths = [_property(node_id, name) for name in names]
        results = await self.session.services.translate_browsepaths_to_nodeids(paths)
        at = [r.Targets[0].TargetId if r.StatusCode.is_good() and r.Targets else None
              for r in results]  # fmt: skip
        there = [target for target in at if target is not None]
        values = iter(await self.session.read(there, ua.AttributeIds.Value) if there else [])
        return [None if target is None else held(next(values)) for target in at]


def held(value: Any) -> Any:
    """Return what a DataValue holds; None where it is bad or empty."""
    if value.StatusCode is not None and not value.StatusCode.is_good():
        return None
    return None if value.Value is None else value.Value.Value


def _property(node_id: Any, name: str) -> Any:
    element = ua.RelativePathElement()
    element.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HasProperty)
    element.IsInverse, element.IncludeSubtypes = False, True
    element.TargetName = ua.QualifiedName(name, 0)
    path = ua.BrowsePath()
    path.StartingNode = node_id
    path.RelativePath.Elements = [element]
    return path
