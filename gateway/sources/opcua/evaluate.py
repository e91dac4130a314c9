"""Evaluate a source's rules: which variables of the address space they take now.

Rules that start at the same node share one walk. Nothing is decided about tags here: what a rule
finds goes to ``selection``, which compares it with what is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from asyncua import ua

from contract.config import OpcUaSourceConfig, RuleConfig
from gateway.sources.base import TagTrouble
from gateway.sources.opcua.references import has_subtype_below
from gateway.sources.opcua.requests import Requests
from gateway.sources.opcua.rules import PatternError, RuleFilter
from gateway.sources.opcua.types import readable
from gateway.sources.opcua.walk import DEPTH_MAX, Node, Walk, walk

SUBTYPES_MAX = 1_000
TOO_MANY = "too_many_tags"
_TOO_MANY = (
    "the rules of this source find more variables than tags_max allows, so nothing is changed: "
    "narrow them (match, exclude, depth_max) or raise tags_max"
)


@dataclass(slots=True)
class Evaluation:
    """What one rule found.

    Attributes:
        found: by address: the tag's name.
        node_ids: by address.
        is_whole: the walk reached its end; else nothing may be said to be gone.
    """

    rule: RuleConfig
    found: dict[str, str] = field(default_factory=dict)
    node_ids: dict[str, Any] = field(default_factory=dict)
    troubles: list[TagTrouble] = field(default_factory=list)
    is_whole: bool = True

    def refuse(self, code: str, message: str) -> None:
        """Say that the rule could not be evaluated whole."""
        self.is_whole = False
        shown = self.rule.below
        self.troubles.append(TagTrouble(tag=shown, address=shown, code=code, message=message))


@dataclass(slots=True)
class _Started:
    """A rule ready to walk: its filter, and the types whose instances it takes."""

    evaluation: Evaluation
    filter: RuleFilter
    types: frozenset[Any]


async def evaluate(requests: Requests, config: OpcUaSourceConfig) -> list[Evaluation]:
    """Evaluate all rules; one evaluation each, in order. Raises SourceError."""
    evaluations = [Evaluation(rule) for rule in config.rules]
    walks: dict[Any, list[_Started]] = {}
    for evaluation in evaluations:
        start, started = await _start(requests, evaluation)
        if started is not None:
            walks.setdefault(start, []).append(started)
    room_count = config.tags_max
    for start, together in walks.items():
        room_count -= await _walk_together(requests, start, together, max(room_count, 0))
    for evaluation in evaluations:
        if not evaluation.found and evaluation.is_whole:
            evaluation.troubles.append(
                TagTrouble(
                    tag=evaluation.rule.below,
                    address=evaluation.rule.below,
                    code="rule_empty",
                    message="no variable was found below this node that the rule takes",
                )
            )
    return evaluations


async def _start(requests: Requests, evaluation: Evaluation) -> tuple[Any, _Started | None]:
    rule, namespaces = evaluation.rule, requests.session.namespaces
    types: frozenset[Any] = frozenset()
    start: Any = None
    for address in (rule.below, rule.type):
        if address is None:
            continue
        try:
            node_id = namespaces.node_id(address)
        except KeyError as error:
            message = f"the server has no namespace {error.args[0]}"
            evaluation.refuse("namespace_unknown", message)
            return None, None
        except ValueError as error:
            evaluation.refuse("node_id_malformed", str(error))
            return None, None
        if start is None:
            start = node_id
        else:
            types = await _with_subtypes(requests, node_id)
    try:
        return start, _Started(evaluation, RuleFilter(rule), types)
    except PatternError as error:
        evaluation.refuse("pattern_refused", f"match, regex or exclude: {error}")
        return None, None


async def _with_subtypes(requests: Requests, type_id: Any) -> frozenset[Any]:
    found = {type_id}
    level = [type_id]
    while level and len(found) < SUBTYPES_MAX:
        results = await requests.browse([has_subtype_below(node_id) for node_id in level])
        level = [
            reference.NodeId
            for result in results
            for reference in result.References or []
            if reference.NodeId not in found
        ]
        found.update(level)
    return frozenset(found)


async def _walk_together(
    requests: Requests, start: Any, together: Sequence[_Started], room_count: int
) -> int:
    """Walk once for all rules that start here; return how many variables they took."""
    skip: frozenset[Any] = frozenset()
    if start == ua.NodeId(ua.ObjectIds.ObjectsFolder):
        skip = frozenset({ua.NodeId(ua.ObjectIds.Server)})
    plan = Walk(
        types=[one.types for one in together],
        enters=lambda path, depth: any(one.filter.enters(path, depth) for one in together),
        depth_max=min(DEPTH_MAX, max(one.filter.rule.depth_max for one in together)),
        skip=skip,
    )
    taken_count = 0
    async with aclosing(walk(requests, start, plan)) as nodes:
        async for node in nodes:
            if not node.is_variable:
                continue
            if _give(together, node, requests):
                taken_count += 1
            if taken_count > room_count:
                plan.end(TOO_MANY, _TOO_MANY)
                break
    if not plan.seen_count and plan.refused and not plan.ended:
        plan.end("node_unknown", f"the server does not open this node: {plan.refused[0]}")
    if plan.ended:
        for one in together:
            one.evaluation.refuse(plan.code, plan.ended)
    return taken_count


def _give(together: Sequence[_Started], node: Node, requests: Requests) -> bool:
    """Give a variable to the rules that take it; return whether any does."""
    takers = [
        one
        for bit, one in enumerate(together)
        if _takes(one, node.path, node.depth, node.within >> bit & 1, together)
    ]
    if not takers:
        return False
    address = readable(requests.session.namespaces.address(node.node_id))
    for one in takers:
        prefix = one.evaluation.rule.prefix
        one.evaluation.found[address] = f"{prefix}/{node.path}" if prefix else node.path
        one.evaluation.node_ids[address] = node.node_id
    return True


def _takes(
    one: _Started, path: str, depth: int, is_within: int, together: Sequence[_Started]
) -> bool:
    if one.types and not is_within:
        return False
    if len(together) > 1 and not _entered(one.filter, path, depth):
        return False
    return one.filter.takes(path)


def _entered(rule: RuleFilter, path: str, depth: int) -> bool:
    """Whether a rule, walking alone, would have come here: no folder above is left out."""
    parts = path.split("/")
    return depth <= rule.rule.depth_max and all(
        rule.enters("/".join(parts[:count]), 1) for count in range(1, len(parts) + 1)
    )
