"""What variables are: type, dimensions, unit, range, description, access.

Everything is asked in batches; a node that the server does not know has its status, and its
neighbours go on. Source: OPC 10000-3, 5.6.2 (Variable NodeClass); OPC 10000-8, 5.3.2 (EURange,
EngineeringUnits).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from asyncua import ua

from gateway.sources.opcua.datatypes import UNKNOWN, DataTypes
from gateway.sources.opcua.references import property_path
from gateway.sources.opcua.requests import Requests
from gateway.sources.opcua.structures import ENUMERATION, STRUCTURE, TypeInfo
from gateway.sources.opcua.types import readable

NUMERIC = frozenset({*range(2, 12), ENUMERATION})
DESCRIPTION_CHARS_MAX = 500
_PROPERTIES = ("EURange", "EngineeringUnits")


@dataclass(slots=True)
class Variable:
    """A variable as the server describes it.

    Attributes:
        type_id: built-in type; 22 a structure, 29 an enumeration; 0 when nobody knows.
        info: its data type.
        dimensions: lengths of an array; empty for a single value, (0,) for a length not known.
        status: why the server told no data type; "" when it did.
        access: bit 0 readable, bit 1 writable, by this login (UserAccessLevel).
    """

    node_id: Any
    type_id: int = 0
    info: TypeInfo = field(default_factory=lambda: UNKNOWN)
    dimensions: tuple[int, ...] = ()
    status: str = ""
    description: str = ""
    unit: str = ""
    low: float | None = None
    high: float | None = None
    access: int = 0

    @property
    def is_array(self) -> bool:
        """Whether it holds an array, of however many dimensions."""
        return bool(self.dimensions)


async def learn_variables(
    requests: Requests,
    types: DataTypes,
    node_ids: Sequence[Any],
    *,
    with_access: bool = False,
    with_lengths: bool = False,
) -> list[Variable]:
    """Describe variables; one each, in order. Raises SourceError.

    Args:
        requests: where to ask.
        types: the session's data types.
        node_ids: the variables.
        with_access: read UserAccessLevel too.
        with_lengths: learn the lengths of arrays from their values where nothing else tells.
    """
    found = [Variable(node_id) for node_id in node_ids]
    unclear = await _read_declared(requests, types, found)
    lengths = [v for v in found if with_lengths and 0 in v.dimensions]
    await _read_values(requests, list({id(v): v for v in unclear + lengths}.values()))
    await _read_ranges(requests, [v for v in found if v.type_id in NUMERIC])
    told = [v for v in found if v.type_id]
    for variable, value in zip(
        told,
        await requests.read([v.node_id for v in told], ua.AttributeIds.Description),
        strict=True,
    ):
        held = _held(value)
        if isinstance(held, ua.LocalizedText):
            variable.description = readable(held.Text or "")[:DESCRIPTION_CHARS_MAX]
    if with_access:
        levels = await requests.read([v.node_id for v in found], ua.AttributeIds.UserAccessLevel)
        for variable, value in zip(found, levels, strict=True):
            held = _held(value)
            variable.access = int(held) if isinstance(held, int) else 0
    return found


def _held(value: Any) -> Any:
    return value.Value.Value if value.Value is not None else None


async def _read_declared(
    requests: Requests, types: DataTypes, found: list[Variable]
) -> list[Variable]:
    """Read DataType and ValueRank; return those whose value has to tell more."""
    node_ids = [v.node_id for v in found]
    declared = await requests.read(node_ids, ua.AttributeIds.DataType)
    ranks = await requests.read(node_ids, ua.AttributeIds.ValueRank)
    await types.learn(_held(d) for d in declared if isinstance(_held(d), ua.NodeId))
    unclear: list[Variable] = []
    arrays: list[Variable] = []
    for variable, data_type, value_rank in zip(found, declared, ranks, strict=True):
        if data_type.StatusCode is not None and not data_type.StatusCode.is_good():
            variable.status = str(data_type.StatusCode.name)
        named, rank = _held(data_type), _held(value_rank)
        if isinstance(named, ua.NodeId):
            variable.info = types.of(named)
            variable.type_id = variable.info.built_in
        if isinstance(rank, int) and rank >= 0:
            variable.dimensions = (0,) * min(max(rank, 1), 8)
            arrays.append(variable)
        if variable.type_id in {0, 23, 24, 25} or not isinstance(rank, int) or rank in {-2, -3}:
            variable.type_id = variable.type_id if variable.type_id < 23 else 0
            unclear.append(variable)
    lengths = await requests.read([v.node_id for v in arrays], ua.AttributeIds.ArrayDimensions)
    for variable, value in zip(arrays, lengths, strict=True):
        held = _held(value)
        if isinstance(held, list) and len(held) == len(variable.dimensions):
            variable.dimensions = tuple(int(length) for length in held)
    return unclear


async def _read_values(requests: Requests, unclear: list[Variable]) -> None:
    values = await requests.read([v.node_id for v in unclear], ua.AttributeIds.Value)
    for variable, value in zip(unclear, values, strict=True):
        variant = value.Value
        if variant is None or variant.Value is None:
            continue
        variable.type_id = variable.type_id or variant.VariantType.value
        if variable.info is UNKNOWN or not variable.info.built_in:
            variable.info = TypeInfo(variable.type_id)
        variable.dimensions = _dimensions(variant.Value)


def _dimensions(value: Any) -> tuple[int, ...]:
    lengths: list[int] = []
    while isinstance(value, list) and len(lengths) < 8:
        lengths.append(len(value))
        value = value[0] if value else None
    return tuple(lengths)


async def _read_ranges(requests: Requests, part: list[Variable]) -> None:
    """Read EURange and EngineeringUnits where the variables have them."""
    paths = [property_path(v.node_id, name) for v in part for name in _PROPERTIES]
    wanted: list[tuple[Variable, str, Any]] = []
    for number, target in enumerate(await requests.translate(paths)):
        if target.StatusCode.is_good() and target.Targets:
            variable = part[number // len(_PROPERTIES)]
            name = _PROPERTIES[number % len(_PROPERTIES)]
            wanted.append((variable, name, target.Targets[0].TargetId))
    values = await requests.read([node_id for *_, node_id in wanted], ua.AttributeIds.Value)
    for (variable, name, _), value in zip(wanted, values, strict=True):
        held = _held(value)
        if name == "EURange" and isinstance(held, ua.Range):
            variable.low, variable.high = float(held.Low), float(held.High)
        elif name == "EngineeringUnits" and isinstance(held, ua.EUInformation):
            variable.unit = readable(held.DisplayName.Text or "")


def is_structure(variable: Variable) -> bool:
    """Tell whether a variable's values are structures."""
    return variable.type_id == STRUCTURE
