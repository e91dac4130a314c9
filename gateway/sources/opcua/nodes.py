"""What a server says of the nodes that are written and called; learned once a session.

Source: OPC 10000-3, 5.6 (Variable), 5.7 (Method), 8.6 (Argument); OPC 10000-8, 5.3.2
(InstrumentRange, EURange).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncua import ua

from gateway.sources.opcua.datatypes import DataTypes
from gateway.sources.opcua.outgoing import Target, type_name
from gateway.sources.opcua.references import property_path
from gateway.sources.opcua.requests import Requests
from gateway.sources.opcua.session import Session
from gateway.sources.opcua.structures import ENUMERATION

_INT32 = 6
_BUILT_IN_MAX = 25


class Nodes:
    """Asks one session's server; what does not change is kept.

    Raises SourceError, and UaError, OSError and TimeoutError as asyncua does: the caller words
    them.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._types = DataTypes(Requests(session))
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

    async def type_name(self, data_type: Any) -> str:
        """Return the name of a data type: its own, else that of its built-in type."""
        await self._types.learn([data_type])
        found = self._types.of(data_type)
        return found.name or type_name(found.built_in)

    async def target(self, data_type: Any, rank: Any, dimensions: Any, value: Any) -> Target:
        """Return what is taken at a place; ``value`` is the variant there, or None."""
        await self._types.learn([data_type])
        found = self._types.of(data_type)
        type_id = _INT32 if found.built_in == ENUMERATION else found.built_in
        if not type_id and value is not None and value.Value is not None:
            type_id = int(value.VariantType.value)  # an abstract type: what stands there tells it
        sizes = [int(size) for size in dimensions or []]
        return Target(
            type_id=type_id if type_id <= _BUILT_IN_MAX else 0,
            rank=-1 if rank is None else int(rank),
            length_max=sizes[0] if len(sizes) == 1 else 0,
            labels=found.labels or None,
        )

    async def range_of(self, node_id: Any) -> tuple[float | None, float | None]:
        """Return what the instrument can hold; its normal range where the server tells no more."""
        if node_id not in self._ranges:
            found = [
                value
                for value in await self.properties(node_id, ("InstrumentRange", "EURange"))
                if isinstance(value, ua.Range) and value.Low < value.High
            ]
            low, high = (float(found[0].Low), float(found[0].High)) if found else (None, None)
            self._ranges[node_id] = (low, high)
        return self._ranges[node_id]

    async def properties(self, node_id: Any, names: Sequence[str]) -> list[Any]:
        """Read properties of a node by their names; None for one that it has not."""
        paths = [property_path(node_id, name) for name in names]
        results = await self.session.services.translate_browsepaths_to_nodeids(paths)
        at = [
            result.Targets[0].TargetId if result.StatusCode.is_good() and result.Targets else None
            for result in results
        ]
        there = [target for target in at if target is not None]
        values = iter(await self.session.read(there, ua.AttributeIds.Value) if there else [])
        return [None if target is None else held(next(values)) for target in at]


def held(value: Any) -> Any:
    """Return what a DataValue holds; None where it is bad or empty."""
    if value.StatusCode is not None and not value.StatusCode.is_good():
        return None
    return None if value.Value is None else value.Value.Value
