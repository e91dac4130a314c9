"""Walk the address space below a node, page by page.

Promise: each node once, however often it is referenced (cycles are cut); a page of references is
turned into nodes and let go before the next is asked for. Continuation points are followed, and
given back when the walk ends early. A server whose continuation points never end is left after
``STALE_PAGES_MAX`` pages that brought nothing new, or at the walk's limit of nodes.
Limits: ``nodes_max`` and ``depth_max`` of the walk.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import anyio
from asyncua import ua

from gateway.errors import SourceError
from gateway.sources.opcua.references import children_of, is_property, parents_of
from gateway.sources.opcua.requests import Requests
from gateway.sources.opcua.types import readable

NODES_MAX = 500_000
DEPTH_MAX = 32
BATCH = 200
STALE_PAGES_MAX = 3
RELEASE_S_MAX = 2
_NO_POINTS = 0x804B0000  # BadNoContinuationPoints


class Node(NamedTuple):
    """A node found: where, under which path below the start, how deep, and what it is."""

    node_id: Any
    path: str
    depth: int
    is_variable: bool
    within: int  # bit n: it lies in an instance of a type of types[n]


@dataclass(slots=True)
class Walk:
    """One walk: what it may take, and how it ended.

    Attributes:
        types: sets of type definitions to watch for.
        enters: decides by path and depth whether a node is looked at.
        ended: why the walk is not whole; "" when it is.
        seen_count: nodes seen.
    """

    types: Sequence[frozenset[Any]] = ()
    enters: Callable[[str, int], bool] = lambda _path, _depth: True
    depth_max: int = DEPTH_MAX
    nodes_max: int = NODES_MAX
    skip: frozenset[Any] = frozenset()
    ended: str = ""
    code: str = ""
    seen_count: int = 0
    refused: list[str] = field(default_factory=list)

    def end(self, code: str, why: str) -> None:
        """Note why the walk is not whole; the first reason stays."""
        if not self.ended:
            self.code, self.ended = code, why


async def walk(requests: Requests, start: Any, plan: Walk) -> AsyncGenerator[Node, None]:
    """Give the objects and variables below ``start``, level by level; see ``Walk`` for the end."""
    seen: set[Any] = {start}
    level: list[tuple[Any, str, int]] = [(start, "", 0)]
    for depth in range(1, plan.depth_max + 1):
        below: list[tuple[Any, str, int]] = []
        for first in range(0, len(level), BATCH):
            part = level[first : first + BATCH]
            async with aclosing(pages(requests, [n for n, _, _ in part], plan)) as found:
                async for number, references in found:
                    _, path, within = part[number]
                    for reference in references:
                        node = _node(reference, path, within, depth, plan)
                        if node is None or node.node_id in seen:
                            continue
                        seen.add(node.node_id)
                        plan.seen_count += 1
                        yield node
                        below.append((node.node_id, node.path, node.within))
                    if len(seen) > plan.nodes_max:
                        plan.end("too_many_nodes", f"over {plan.nodes_max} nodes are below")
                        return
        level = below
        if not level:
            return


def _node(reference: Any, path: str, within: int, depth: int, plan: Walk) -> Node | None:
    if is_property(reference) or reference.NodeId in plan.skip:
        return None
    own = readable(reference.BrowseName.Name or "")
    name = f"{path}/{own}" if path else own
    if not plan.enters(name, depth):
        return None
    for bit, types in enumerate(plan.types):
        if reference.TypeDefinition in types:
            within |= 1 << bit
    is_variable = reference.NodeClass == ua.NodeClass.Variable
    return Node(_plain(reference.NodeId), name, depth, is_variable, within)


def _plain(node_id: Any) -> Any:
    """Return an expanded node id of this server as a plain one: half the memory."""
    if isinstance(node_id, ua.ExpandedNodeId) and not node_id.NamespaceUri:
        return ua.NodeId(node_id.Identifier, node_id.NamespaceIndex, node_id.NodeIdType)
    return node_id


async def pages(
    requests: Requests, node_ids: Sequence[Any], plan: Walk
) -> AsyncGenerator[tuple[int, list[Any]], None]:
    """Give (number of the node, some of its references) until all are read."""
    results = await requests.browse([children_of(node_id) for node_id in node_ids])
    again: list[int] = []
    points: dict[int, bytes] = {}
    try:
        for number, result in enumerate(results):
            if result.ContinuationPoint:
                points[number] = result.ContinuationPoint
        for number, result in enumerate(results):
            if result.StatusCode.value == _NO_POINTS:
                again.append(number)
            elif not result.StatusCode.is_good():
                _refuse(plan, node_ids[number], result)
            elif result.References:
                yield number, result.References
        results = []
        async for page in _following(requests, points, plan):
            yield page
    finally:
        await _give_back(requests, points)
    for number in again:
        # the server had no more continuation points for that many nodes at once
        async for page in _alone(requests, number, node_ids[number], plan):
            yield page


async def _alone(
    requests: Requests, number: int, node_id: Any, plan: Walk
) -> AsyncGenerator[tuple[int, list[Any]], None]:
    (result,) = await requests.browse([children_of(node_id)])
    if not result.StatusCode.is_good():
        _refuse(plan, node_id, result)
        return
    points = {number: result.ContinuationPoint} if result.ContinuationPoint else {}
    try:
        yield number, result.References or []
        async for page in _following(requests, points, plan):
            yield page
    finally:
        await _give_back(requests, points)


async def _following(
    requests: Requests, points: dict[int, bytes], plan: Walk
) -> AsyncGenerator[tuple[int, list[Any]], None]:
    """Follow continuation points; ``points`` always holds those that the server holds."""
    known: dict[int, set[int]] = {number: set() for number in points}
    stale: dict[int, int] = dict.fromkeys(points, 0)
    while points:
        order = list(points)
        results = await requests.browse_next([points[number] for number in order])
        points.clear()
        points |= {
            number: result.ContinuationPoint
            for number, result in zip(order, results, strict=True)
            if result.ContinuationPoint
        }
        for number, result in zip(order, results, strict=True):
            if not result.StatusCode.is_good():
                plan.end("browse_cut", f"BrowseNext failed: {result.StatusCode.name}")
                continue
            references = result.References or []
            fresh = {hash(r.NodeId) for r in references} - known[number]
            stale[number] = 0 if fresh else stale[number] + 1
            known[number] |= fresh
            if references:
                yield number, references
        for number in [n for n in points if stale[n] >= STALE_PAGES_MAX]:
            plan.end("browse_endless", "the server's continuation points never end")
            await _give_back(requests, {number: points.pop(number)})


async def _give_back(requests: Requests, points: dict[int, bytes]) -> None:
    """Give continuation points back; a session that is lost has none."""
    if not points:
        return
    held = list(points.values())
    points.clear()
    with anyio.move_on_after(RELEASE_S_MAX, shield=True), suppress(SourceError):
        await requests.browse_next(held, release=True)


def _refuse(plan: Walk, node_id: Any, result: Any) -> None:
    if len(plan.refused) < 100:
        plan.refused.append(f"{readable(node_id.to_string())}: {result.StatusCode.name}")


async def browse_paths(requests: Requests, node_ids: Sequence[Any]) -> dict[Any, str]:
    """Return the names from below Objects to each node, joined by "/"; "" where it has none.

    All nodes go up together, level by level; what they share is asked for once.
    """
    names: dict[Any, str] = {}
    above: dict[Any, Any] = {}
    level = list(dict.fromkeys(node_ids))
    for _ in range(DEPTH_MAX):
        if not level:
            break
        for node_id, value in zip(
            level, await requests.read(level, ua.AttributeIds.BrowseName), strict=True
        ):
            held = value.Value.Value if value.Value is not None else None
            names[node_id] = readable(held.Name or "") if held is not None else ""
        results = await requests.browse([parents_of(node_id) for node_id in level])
        await _give_back(
            requests, {n: r.ContinuationPoint for n, r in enumerate(results) if r.ContinuationPoint}
        )
        for node_id, result in zip(level, results, strict=True):
            parents = result.References or []
            above[node_id] = _plain(parents[0].NodeId) if parents else None
        ends = {None, ua.NodeId(ua.ObjectIds.ObjectsFolder)}
        level = list(
            dict.fromkeys(p for n in level if (p := above[n]) not in ends and p not in names)
        )
    return {node_id: _path(node_id, names, above) for node_id in node_ids}


def _path(node_id: Any, names: dict[Any, str], above: dict[Any, Any]) -> str:
    parts: list[str] = []
    current, seen = node_id, set[Any]()
    while names.get(current) and current not in seen and len(parts) < DEPTH_MAX:
        seen.add(current)
        parts.append(names[current])
        current = above.get(current)
    return "/".join(reversed(parts))
