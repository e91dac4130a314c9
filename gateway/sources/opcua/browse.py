"""What one session can tell about its server's address space: nodes, their types, their values."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Any

from asyncua import ua

from gateway.sources.explore import ExploreError, NodeView, PeekValue
from gateway.sources.opcua.datatypes import DataTypes
from gateway.sources.opcua.decode import DecodeError
from gateway.sources.opcua.references import children_of, is_property
from gateway.sources.opcua.requests import Requests
from gateway.sources.opcua.session import Session
from gateway.sources.opcua.split import SplitError, split_of
from gateway.sources.opcua.structures import STRUCTURE, Shape, read_structure
from gateway.sources.opcua.types import as_text, data_type_of, micros, readable
from gateway.sources.opcua.variables import Variable, learn_variables
from gateway.sources.opcua.walk import Node, Walk, walk
from runtime.clock import Clock
from sparkplug_b.datatype import DataType

REFERENCES_MAX = 10_000
"""Kept of one answer of a server that does not page."""
SEARCH_NODES_MAX = 200_000
MEMBERS_SHOWN = 20
ITEMS_SHOWN = 16
TEXT_CHARS_SHOWN = 500
_ROOT = "ns=0;i=85"


class Desk:
    """Asks one session; keeps what it learned of the server's types while that lives."""

    def __init__(self, session: Session, clock: Clock, *, is_live: bool) -> None:
        self.session = session
        self.is_live = is_live
        self._requests = Requests(session, clock)
        self._types = DataTypes(self._requests)

    def node_id(self, address: str) -> Any:
        """Return the node id of an address; "" is the Objects folder. Raises ExploreError."""
        try:
            return self.session.namespaces.node_id(address or _ROOT)
        except KeyError as error:
            raise ExploreError(
                "browse.node_unknown", f"the server has no namespace {error.args[0]}"
            ) from error
        except ValueError as error:
            raise ExploreError("browse.node_unknown", str(error)) from error

    # -- pages ------------------------------------------------------------------------------------

    async def first_page(self, node: str, limit: int) -> tuple[list[Any], bytes | None, str]:
        """Browse a node; return references, the continuation point where there are more, a reason.

        The reason says what is left out; "" for nothing.
        """
        (result,) = await self._requests.browse(
            [children_of(self.node_id(node))], references_max=limit
        )
        if not result.StatusCode.is_good():
            raise ExploreError(
                "browse.node_unknown",
                f"the server does not open {node or 'Objects'}: {result.StatusCode.name}",
            )
        return _kept(result)

    async def next_page(self, point: bytes) -> tuple[list[Any], bytes | None, str]:
        """Follow a continuation point; see ``first_page``."""
        (result,) = await self._requests.browse_next([point])
        if not result.StatusCode.is_good():
            return [], None, f"the server ended the list: {result.StatusCode.name}"
        return _kept(result)

    async def release(self, point: bytes) -> None:
        """Give a continuation point back."""
        await self._requests.browse_next([point], release=True)

    def search(self, node: str, plan: Walk) -> AsyncGenerator[Node, None]:
        """Walk below a node, without the server's own diagnostics where it starts at Objects."""
        start = self.node_id(node)
        plan.nodes_max = SEARCH_NODES_MAX
        if start == ua.NodeId(ua.ObjectIds.ObjectsFolder):
            plan.skip = frozenset({ua.NodeId(ua.ObjectIds.Server)})
        return walk(self._requests, start, plan)

    # -- descriptions -----------------------------------------------------------------------------

    async def describe(self, references: Sequence[Any]) -> list[NodeView]:
        """Describe what references lead to."""
        variables = await self._variables(
            [r.NodeId for r in references if r.NodeClass == ua.NodeClass.Variable]
        )
        return [
            _view(
                node=self._address(reference.NodeId),
                name=readable(reference.BrowseName.Name or ""),
                display_name=readable(reference.DisplayName.Text or ""),
                type_definition=self._address(reference.TypeDefinition),
                variable=variables.get(reference.NodeId),
            )
            for reference in references
        ]

    async def describe_found(self, nodes: Sequence[Node]) -> list[NodeView]:
        """Describe what a walk found."""
        variables = await self._variables([n.node_id for n in nodes if n.is_variable])
        return [
            _view(
                node=self._address(found.node_id),
                name=found.path.rpartition("/")[2],
                display_name="",
                type_definition="",
                variable=variables.get(found.node_id),
                path=found.path,
            )
            for found in nodes
        ]

    async def _variables(self, node_ids: list[Any]) -> dict[Any, Variable]:
        found = await learn_variables(
            self._requests, self._types, node_ids, with_access=True, with_lengths=True
        )
        return {variable.node_id: variable for variable in found}

    def _address(self, node_id: Any) -> str:
        return as_configured(readable(self.session.namespaces.address(node_id)))

    # -- values -----------------------------------------------------------------------------------

    async def peek(self, nodes: Sequence[str]) -> list[PeekValue]:
        """Read values; a node that cannot be read has its bad status."""
        node_ids = [self.node_id(node) for node in nodes]
        values = await self._requests.read(node_ids, ua.AttributeIds.Value)
        composed = [
            node_id
            for node_id, value in zip(node_ids, values, strict=True)
            if value.Value is not None and value.Value.VariantType.value == STRUCTURE
        ]
        shapes: dict[Any, Shape | None] = {}
        if composed:
            declared = await self._requests.read(composed, ua.AttributeIds.DataType)
            types = [d.Value.Value if d.Value is not None else None for d in declared]
            await self._types.learn(t for t in types if isinstance(t, ua.NodeId))
            shapes = {
                node_id: self._types.of(named).structure
                for node_id, named in zip(composed, types, strict=True)
            }
        return [
            _peeked(node, value, shapes.get(node_id))
            for node, node_id, value in zip(nodes, node_ids, values, strict=True)
        ]

    async def unknown(self, nodes: Sequence[str]) -> dict[str, str]:
        """Return the nodes that are no variables of the server, each with the reason."""
        troubles: dict[str, str] = {}
        node_ids: dict[str, Any] = {}
        for node in nodes:
            try:
                node_ids[node] = self.node_id(node)
            except ExploreError as error:
                troubles[node] = str(error)
        classes = await self._requests.read(list(node_ids.values()), ua.AttributeIds.NodeClass)
        for node, value in zip(node_ids, classes, strict=True):
            held = value.Value.Value if value.Value is not None else None
            if value.StatusCode is not None and not value.StatusCode.is_good():
                troubles[node] = f"the server does not know it: {value.StatusCode.name}"
            elif held is None or int(held) != ua.NodeClass.Variable:
                troubles[node] = "it is no variable"
        return troubles


def as_configured(address: str) -> str:
    """Return an address as a configuration names it: those of the standard with their namespace."""
    return address if address.startswith(("nsu=", "ns=")) else f"ns=0;{address}"


def _kept(result: Any) -> tuple[list[Any], bytes | None, str]:
    all_of_them = result.References or []
    cut = ""
    if len(all_of_them) > REFERENCES_MAX:
        cut = (
            f"the server sent {len(all_of_them)} nodes at once; the first {REFERENCES_MAX} are "
            "shown: search below the node instead"
        )
    kept = [r for r in all_of_them[:REFERENCES_MAX] if not is_property(r)]
    return kept, result.ContinuationPoint or None, cut


def _view(
    *,
    node: str,
    name: str,
    display_name: str,
    type_definition: str,
    variable: Variable | None,
    path: str = "",
) -> NodeView:
    if variable is None:
        return NodeView(
            node=node,
            name=name,
            display_name=display_name,
            kind="object",
            type_definition=type_definition,
            path=path,
        )
    members, trouble = _members(variable)
    return NodeView(
        node=node,
        name=name,
        display_name=display_name,
        kind="variable",
        type_definition=type_definition,
        data_type=variable.info.name,
        tag_type=_tag_type(variable),
        dimensions=list(variable.dimensions),
        labels=variable.info.labels,
        unit=variable.unit,
        low=_finite(variable.low),
        high=_finite(variable.high),
        description=variable.description,
        readable=bool(variable.access & 1),
        writable=bool(variable.access & 2),
        members=members[:MEMBERS_SHOWN],
        members_count=len(members),
        trouble=trouble,
        path=path,
    )


def _tag_type(variable: Variable) -> str:
    if not variable.type_id or variable.type_id == STRUCTURE:
        return ""
    if len(variable.dimensions) > 1:
        return DataType.STRING.name
    return data_type_of(variable.type_id, is_array=variable.is_array).name


def _members(variable: Variable) -> tuple[list[str], str]:
    """Return how the value would be split, and why it cannot be a tag as it is."""
    if not variable.type_id:
        return [], variable.status or "the server names no data type, and it has no value"
    if not variable.is_array and variable.type_id != STRUCTURE:
        return [], ""
    unsplit = "a structure: set split: true" if variable.type_id == STRUCTURE else ""
    try:
        split = split_of(variable.info, variable.dimensions)
    except SplitError as error:
        return [], str(error) if unsplit else ""
    return [member.name for member in split.members], unsplit


def _peeked(node: str, value: Any, shape: Shape | None) -> PeekValue:
    variant, status = value.Value, value.StatusCode
    held = variant.Value if variant is not None else None
    return PeekValue(
        node=node,
        value=_shown(held, shape),
        type=variant.VariantType.name if variant is not None else "",
        status=int(status.value) if status is not None else 0,
        status_name=str(status.name) if status is not None else "Good",
        source_time_us=_time_us(value.SourceTimestamp),
        server_time_us=_time_us(value.ServerTimestamp),
    )


def _time_us(moment: datetime | None) -> int | None:
    return None if moment is None else micros(moment)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _shown(held: Any, shape: Shape | None) -> float | int | bool | str | None:
    if held is None or isinstance(held, (bool, int)):
        return held
    if isinstance(held, float):
        return held if math.isfinite(held) else str(held)
    if isinstance(held, list):
        items = [_shown(item, shape) for item in held[:ITEMS_SHOWN]]
        more = f" … {len(held)} in all" if len(held) > ITEMS_SHOWN else ""
        return _cut(json.dumps(items, ensure_ascii=False) + more)
    return _cut(_text(held, shape))


def _text(held: Any, shape: Shape | None) -> str:
    if isinstance(held, bytes):
        return held[:TEXT_CHARS_SHOWN].hex()
    if isinstance(held, ua.StatusCode):
        return str(held.name)
    if shape is None:
        return as_text(held)
    try:
        members = read_structure(shape, held)
    except DecodeError as error:
        return f"not readable: {error}"
    return json.dumps(members, ensure_ascii=False, default=as_text)


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARS_SHOWN else text[: TEXT_CHARS_SHOWN - 1] + "…"
