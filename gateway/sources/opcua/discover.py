"""Which variables become tags, and what they are: type, unit, range.

Tags come one by one or by rule. Everything is asked in batches; a node that the server does not
know faults its own tag only. Arrays and structures are taken apart where the configuration says
``split``; a structure that is not split is refused with that remedy (docs/decisions/0016).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from contract.config import Deadband, OpcUaSourceConfig, RuleConfig, TagConfig
from gateway.sources.base import TagSpec, TagTrouble
from gateway.sources.opcua.convert import TagColumns
from gateway.sources.opcua.datatypes import DataTypes
from gateway.sources.opcua.evaluate import evaluate
from gateway.sources.opcua.events import EventStream
from gateway.sources.opcua.requests import Requests
from gateway.sources.opcua.selection import Selection
from gateway.sources.opcua.session import Session
from gateway.sources.opcua.split import Member, Split, SplitError, split_of
from gateway.sources.opcua.structures import STRUCTURE
from gateway.sources.opcua.types import data_type_of, readable
from gateway.sources.opcua.variables import NUMERIC, Variable, learn_variables
from gateway.sources.opcua.walk import browse_paths
from runtime.clock import Clock
from sparkplug_b.datatype import DataType

DESCRIPTION_CHARS_MAX = 500


class FoundTag(msgspec.Struct, frozen=True, kw_only=True):
    """A variable, or a part of one, that becomes a tag.

    Attributes:
        node_id: the variable's.
        group: subscription group.
        spec: of the tag.
        split: how the variable is taken apart; None for a whole one. Shared by all its parts.
        is_monitored: False for the parts that come with another's monitored item.
        variable: the variable's address; the tag's own names the part too.
        events: set where it is no variable but a stream of events.
    """

    node_id: Any
    variable: str
    group: str
    spec: TagSpec
    split: Split | None = None
    is_monitored: bool = True
    events: EventStream | None = None


class Discovery(msgspec.Struct, kw_only=True):
    """What a session found.

    Attributes:
        found: tags; without those of variables that were known already.
        troubles: what could not become a tag.
        selected: addresses of all variables that the configuration selects now.
    """

    found: list[FoundTag] = []
    troubles: list[TagTrouble] = []
    selected: set[str] = set()

    def gone(self, tags: Sequence[tuple[int, FoundTag]]) -> set[int]:
        """Return the numbers of tags that are not selected any more; those in trouble still are."""
        return {index for index, tag in tags if tag.variable not in self.selected}


IndexedTag = tuple[int, FoundTag]
"""A tag with its number."""


class _Candidate(msgspec.Struct, kw_only=True):
    """A variable that was selected, before the server has told what it is."""

    node_id: Any
    address: str
    name: str
    group: str
    device: str
    deadband: Deadband | None
    writable: bool = False
    gain: float = 1.0
    offset: float = 0.0
    record: bool = True
    split: bool = False


async def discover(
    session: Session,
    config: OpcUaSourceConfig,
    selection: Selection,
    clock: Clock | None = None,
    known: Sequence[FoundTag] = (),
) -> Discovery:
    """Resolve the configuration's tags and rules against the server as it is now.

    Variables of ``known`` tags are not described again. Raises SourceError.
    """
    requests = Requests(session, clock)
    result = Discovery()
    are_known = {tag.variable for tag in known}
    candidates: dict[str, _Candidate] = {}
    for candidate in await _singles(requests, config, are_known, result):
        if candidates.setdefault(candidate.address, candidate) is not candidate:
            result.troubles.append(_twice(candidate, candidates[candidate.address]))
    for candidate in await _by_rules(requests, config, selection, result):
        candidates.setdefault(candidate.address, candidate)
    result.selected = set(candidates)
    new = [c for c in candidates.values() if c.address not in are_known]
    variables = await learn_variables(
        requests,
        DataTypes(requests),
        [c.node_id for c in new],
        with_lengths=any(c.split for c in new),
    )
    taken = {(t.spec.device, t.spec.name) for t in known if t.variable in result.selected}
    _specify(list(zip(new, variables, strict=True)), taken, result)
    return result


def register_splits(columns: TagColumns, indexes: Sequence[int], found: Sequence[FoundTag]) -> None:
    """Tell the conversion how to take apart what is split; ``indexes`` are the tags' numbers."""
    splits: dict[int, tuple[Split, list[int]]] = {}
    for index, tag in zip(indexes, found, strict=True):
        if tag.split is not None:
            splits.setdefault(id(tag.split), (tag.split, []))[1].append(index)
    columns.splits.set(list(splits.values()))


async def _singles(
    requests: Requests, config: OpcUaSourceConfig, known: set[str], result: Discovery
) -> list[_Candidate]:
    """Resolve the tags named singly; those without a name get their browse path."""
    namespaces = requests.session.namespaces
    resolved: list[tuple[TagConfig, Any, str]] = []
    for tag in config.tags:
        try:
            node_id = namespaces.node_id(tag.node)
        except (KeyError, ValueError) as error:
            result.troubles.append(_unresolved(tag.name or tag.node, tag.node, error))
        else:
            resolved.append((tag, node_id, readable(namespaces.address(node_id))))
    unnamed = [n for tag, n, address in resolved if tag.name is None and address not in known]
    paths = await browse_paths(requests, unnamed)
    return [
        _Candidate(
            node_id=node_id,
            address=address,
            name=tag.name or paths.get(node_id) or address,
            group=tag.group,
            device=tag.device or config.name,
            deadband=tag.deadband,
            gain=tag.scale.gain if tag.scale else 1.0,
            offset=tag.scale.offset if tag.scale else 0.0,
            writable=tag.writable,
            record=tag.record,
            split=tag.split,
        )
        for tag, node_id, address in resolved
    ]


def _twice(candidate: _Candidate, first: _Candidate) -> TagTrouble:
    return TagTrouble(
        tag=candidate.name,
        address=candidate.address,
        code="node_duplicate",
        message=f"this node is read as {first.name} already: one node is one tag",
    )


def _unresolved(name: str, address: str, error: Exception) -> TagTrouble:
    if isinstance(error, KeyError):
        message = f"the server has no namespace {error.args[0]}"
        return TagTrouble(tag=name, address=address, code="namespace_unknown", message=message)
    return TagTrouble(tag=name, address=address, code="node_id_malformed", message=str(error))


async def _by_rules(
    requests: Requests,
    config: OpcUaSourceConfig,
    selection: Selection,
    result: Discovery,
) -> list[_Candidate]:
    if not config.rules:
        return []
    selection.begin()
    evaluations = await evaluate(requests, config)
    selected = await selection.settle(evaluations)
    candidates: list[_Candidate] = []
    for evaluation, taken in zip(evaluations, selected, strict=True):
        result.troubles += evaluation.troubles
        for address, name in taken.items():
            node_id = evaluation.node_ids.get(address)
            try:
                # a variable that is gone stays selected until the change is applied
                node_id = node_id or requests.session.namespaces.node_id(address)
            except (KeyError, ValueError) as error:
                result.troubles.append(_unresolved(name, address, error))
                continue
            candidates.append(_of_rule(config.name, evaluation.rule, node_id, address, name))
    return candidates


def _of_rule(source: str, rule: RuleConfig, node_id: Any, address: str, name: str) -> _Candidate:
    return _Candidate(
        node_id=node_id,
        address=address,
        name=name,
        group=rule.group,
        device=rule.device or source,
        deadband=rule.deadband,
        record=rule.record,
        split=rule.split,
    )


_TYPE_TROUBLES = {
    "BadNodeIdUnknown": (
        "node_unknown",
        "the server does not know this node: check the address, or load the program that has it",
    ),
    "BadNodeIdInvalid": ("node_unknown", "the server says that this is no node id of its own"),
    "BadUserAccessDenied": ("access_denied", "this login may not read the node"),
    "BadAttributeIdInvalid": ("not_a_variable", "this node is no variable: name one below it"),
}
_TYPE_UNKNOWN = (
    "type_unknown",
    "the server names no data type for this node, and it has no value to learn it from",
)
_NOT_SPLIT = (
    "structure_unsplit",
    "the value is a structure, which is no single tag: set split: true for one tag per member",
)


def _specify(
    new: Sequence[tuple[_Candidate, Variable]], taken: set[tuple[str, str]], result: Discovery
) -> None:
    """Make the specifications; the second metric of one name within a device is refused."""
    for candidate, variable in new:
        try:
            tags = _tags_of(candidate, variable)
        except SplitError as error:
            result.troubles.append(_trouble(candidate, error.code, str(error)))
            continue
        twice = next((t for t in tags if (t.spec.device, t.spec.name) in taken), None)
        if twice is not None:
            device, name = twice.spec.device, twice.spec.name
            message = f"another tag of device {device} has the name {name}"
            result.troubles.append(_trouble(candidate, "name_duplicate", message))
            continue
        taken.update((t.spec.device, t.spec.name) for t in tags)
        result.found += tags


def _trouble(candidate: _Candidate, code: str, message: str) -> TagTrouble:
    return TagTrouble(tag=candidate.name, address=candidate.address, code=code, message=message)


def _tags_of(candidate: _Candidate, variable: Variable) -> list[FoundTag]:
    """Return the tags of a variable: one, or one per part. Raises SplitError with the trouble."""
    if not variable.type_id:
        raise SplitError(*_TYPE_TROUBLES.get(variable.status, _TYPE_UNKNOWN))
    is_composed = variable.is_array or variable.type_id == STRUCTURE
    if not candidate.split or not is_composed:
        if variable.type_id == STRUCTURE:
            raise SplitError(*_NOT_SPLIT)
        return [
            FoundTag(
                node_id=candidate.node_id,
                variable=candidate.address,
                group=candidate.group,
                spec=_spec(candidate, variable, None),
            )
        ]
    split = split_of(variable.info, variable.dimensions)
    return [
        FoundTag(
            node_id=candidate.node_id,
            variable=candidate.address,
            group=candidate.group,
            spec=_spec(candidate, variable, member),
            split=split,
            is_monitored=number == 0,
        )
        for number, member in enumerate(split.members)
    ]


def _spec(candidate: _Candidate, variable: Variable, member: Member | None) -> TagSpec:
    type_id = variable.type_id if member is None else member.type_id
    is_array = variable.is_array if member is None else member.is_array
    data_type = data_type_of(type_id, is_array=is_array)
    if member is None and len(variable.dimensions) > 1:
        data_type = DataType.STRING  # a matrix, as JSON
    is_scaled = candidate.gain != 1.0 or candidate.offset != 0.0
    is_number = type_id in NUMERIC and not is_array
    is_measured = is_number and (member is None or variable.type_id != STRUCTURE)
    return TagSpec(
        name=candidate.name if member is None else f"{candidate.name}/{member.name}",
        device=candidate.device,
        data_type=DataType.DOUBLE if is_scaled and is_number else data_type,
        address=candidate.address if member is None else f"{candidate.address}#{member.name}",
        gain=candidate.gain if is_number else 1.0,
        offset=candidate.offset if is_number else 0.0,
        deadband=candidate.deadband.absolute if candidate.deadband and is_number else 0.0,
        unit=variable.unit if is_measured else "",
        low=variable.low if is_measured else None,
        high=variable.high if is_measured else None,
        description=_description(variable, member),
        writable=candidate.writable and member is None,
        record=candidate.record,
    )


def _description(variable: Variable, member: Member | None) -> str:
    """Return the description for people; an enumeration's tells what its numbers mean."""
    labels = variable.info.labels
    told = ", ".join(f"{number} = {name}" for number, name in sorted(labels.items()))
    if member is not None:
        told = member.labels
    text = f"{variable.description} ({told})" if variable.description and told else told
    return (text or variable.description)[:DESCRIPTION_CHARS_MAX]
