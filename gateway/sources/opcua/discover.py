"""Which variables become tags, and what they are: type, unit, range.

Tags come one by one or by rule ("all variables below this node"). Everything is asked in batches;
a node that the server does not know faults its own tag only. Limits: ``NODES_MAX`` nodes browsed
and ``DEPTH_MAX`` levels below a rule's node; cycles are cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from asyncua import ua

from contract.config import Deadband, OpcUaSourceConfig, RuleConfig, TagConfig
from gateway.sources.base import TagSpec, TagTrouble
from gateway.sources.opcua.session import Session
from gateway.sources.opcua.types import data_type_of, readable
from sparkplug_b.datatype import DataType

NODES_MAX = 500_000
DEPTH_MAX = 32
BATCH = 500
_HAS_PROPERTY_TYPES = ("EURange", "EngineeringUnits")
_NUMERIC = frozenset(range(2, 12))


class FoundTag(msgspec.Struct, frozen=True, kw_only=True):
    """A variable that becomes a tag: where it is, in which group, and its specification."""

    node_id: Any
    group: str
    spec: TagSpec


class Discovery(msgspec.Struct, kw_only=True):
    """What a session found: tags, and what could not become one."""

    found: list[FoundTag] = []
    troubles: list[TagTrouble] = []


class _Candidate(msgspec.Struct, kw_only=True):
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
    type_id: int = 0
    is_array: bool = False
    is_matrix: bool = False
    status: str = ""  # why the server told no data type
    description: str = ""
    unit: str = ""
    low: float | None = None
    high: float | None = None


async def discover(session: Session, config: OpcUaSourceConfig) -> Discovery:
    """Resolve the configuration's tags and rules against the server as it is now."""
    result = Discovery()
    candidates: dict[str, _Candidate] = {}
    for tag in config.tags:
        candidate = await _single(session, config.name, tag, result)
        if candidate is None:
            continue
        if candidates.setdefault(candidate.address, candidate) is not candidate:
            result.troubles.append(_twice(candidate, candidates[candidate.address]))
    for rule in config.rules:
        for_rule = await _below(session, config.name, rule, result)
        for candidate in for_rule:
            candidates.setdefault(candidate.address, candidate)
    known = list(candidates.values())
    for part in _parts(known):
        await _read_types(session, part)
    typed = [c for c in known if _has_type(c, result)]
    for part in _parts([c for c in typed if c.type_id in _NUMERIC]):
        await _read_ranges(session, part)
    _specify(typed, result)
    return result


def _parts(items: Sequence[_Candidate]) -> Iterator[Sequence[_Candidate]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


async def _single(
    session: Session, source: str, tag: TagConfig, result: Discovery
) -> _Candidate | None:
    try:
        node_id = session.namespaces.node_id(tag.node)
    except (KeyError, ValueError) as error:
        result.troubles.append(_unresolved(tag.name or tag.node, tag.node, error))
        return None
    name = tag.name or await _browse_path(session, node_id)
    scale = tag.scale
    return _Candidate(
        node_id=node_id,
        address=readable(session.namespaces.address(node_id)),
        name=name,
        group=tag.group,
        device=tag.device or source,
        deadband=tag.deadband,
        writable=tag.writable,
        gain=scale.gain if scale else 1.0,
        offset=scale.offset if scale else 0.0,
        record=tag.record,
    )


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


async def _browse_path(session: Session, node_id: Any) -> str:
    """Return the names from below Objects to the node, joined by "/"; the id where it has none."""
    names: list[str] = []
    current = node_id
    for _ in range(DEPTH_MAX):
        description = ua.BrowseDescription()
        description.NodeId = current
        description.BrowseDirection = ua.BrowseDirection.Inverse
        description.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HierarchicalReferences)
        description.IncludeSubtypes = True
        description.ResultMask = ua.BrowseResultMask.All
        own = (await session.read([current], ua.AttributeIds.BrowseName))[0].Value
        if own is None or own.Value is None:
            break
        names.append(readable(own.Value.Name or ""))
        parents = (await _browse(session, [description]))[0]
        if not parents or parents[0].NodeId == ua.NodeId(ua.ObjectIds.ObjectsFolder):
            break
        current = parents[0].NodeId
    return "/".join(reversed(names)) or session.namespaces.address(node_id)


async def _below(
    session: Session, source: str, rule: RuleConfig, result: Discovery
) -> list[_Candidate]:
    try:
        root = session.namespaces.node_id(rule.below)
    except (KeyError, ValueError) as error:
        result.troubles.append(_unresolved(f"rule below {rule.below}", rule.below, error))
        return []
    found: list[_Candidate] = []
    seen = {root}
    level: list[tuple[Any, str]] = [(root, rule.prefix)]
    for _ in range(DEPTH_MAX):
        if not level or len(seen) > NODES_MAX:
            break
        below: list[tuple[Any, str]] = []
        for start in range(0, len(level), BATCH):
            parents = level[start : start + BATCH]
            children = await _browse(session, [_children_of(node) for node, _ in parents])
            for (_, path), references in zip(parents, children, strict=True):
                for reference in references:
                    if reference.NodeId in seen:
                        continue
                    seen.add(reference.NodeId)
                    own = readable(reference.BrowseName.Name or "")
                    name = f"{path}/{own}" if path else own
                    below.append((reference.NodeId, name))
                    if reference.NodeClass == ua.NodeClass.Variable:
                        found.append(_by_rule(session, source, rule, reference.NodeId, name))
        level = below
    if not found:
        message = "no variable was found below this node"
        result.troubles.append(
            TagTrouble(tag=rule.below, address=rule.below, code="rule_empty", message=message)
        )
    return found


def _by_rule(
    session: Session,
    source: str,
    rule: RuleConfig,
    node_id: Any,
    name: str,
) -> _Candidate:
    return _Candidate(
        node_id=node_id,
        address=readable(session.namespaces.address(node_id)),
        name=name,
        group=rule.group,
        device=rule.device or source,
        deadband=rule.deadband,
        record=rule.record,
    )


def _children_of(node_id: Any) -> Any:
    description = ua.BrowseDescription()
    description.NodeId = node_id
    description.BrowseDirection = ua.BrowseDirection.Forward
    # Organizes, HasComponent and their subtypes; properties (EURange ...) describe, no tags
    description.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HierarchicalReferences)
    description.IncludeSubtypes = True
    description.NodeClassMask = ua.NodeClass.Object | ua.NodeClass.Variable
    description.ResultMask = ua.BrowseResultMask.All
    return description


async def _browse(session: Session, descriptions: list[Any]) -> list[list[Any]]:
    """Browse, following continuation points; properties are left out."""
    parameters = ua.BrowseParameters()
    parameters.View.Timestamp = ua.get_win_epoch()
    parameters.RequestedMaxReferencesPerNode = 0
    parameters.NodesToBrowse = descriptions
    results = await session.services.browse(parameters)
    references = [list(r.References or []) for r in results]
    points = {i: r.ContinuationPoint for i, r in enumerate(results) if r.ContinuationPoint}
    while points and sum(len(r) for r in references) < NODES_MAX:
        order = list(points)
        following = ua.BrowseNextParameters()
        following.ContinuationPoints = [points[i] for i in order]
        points = {}
        for i, more in zip(order, await session.services.browse_next(following), strict=True):
            references[i].extend(more.References or [])
            if more.ContinuationPoint:
                points[i] = more.ContinuationPoint
    has_property = ua.NodeId(ua.ObjectIds.HasProperty)
    return [[r for r in part if r.ReferenceTypeId != has_property] for part in references]


async def _read_types(session: Session, part: Sequence[_Candidate]) -> None:
    """Learn each variable's built-in type from its DataType, or else from its present value."""
    node_ids = [c.node_id for c in part]
    types = await session.read(node_ids, ua.AttributeIds.DataType)
    ranks = await session.read(node_ids, ua.AttributeIds.ValueRank)
    unclear: list[_Candidate] = []
    for candidate, data_type, rank in zip(part, types, ranks, strict=True):
        if data_type.StatusCode is not None and not data_type.StatusCode.is_good():
            candidate.status = str(data_type.StatusCode.name)
        declared = data_type.Value.Value if data_type.Value is not None else None
        if declared is not None and declared.NamespaceIndex == 0:
            candidate.type_id = _BUILT_IN.get(declared.Identifier, 0)
        value_rank = rank.Value.Value if rank.Value is not None else None
        candidate.is_array = value_rank is not None and value_rank >= 0
        candidate.is_matrix = value_rank is not None and value_rank > 1
        if candidate.type_id == 0 or value_rank is None or value_rank in {-2, -3}:
            unclear.append(candidate)
    if not unclear:
        return
    values = await session.read([c.node_id for c in unclear], ua.AttributeIds.Value)
    for candidate, value in zip(unclear, values, strict=True):
        variant = value.Value
        if variant is None or variant.Value is None:
            continue
        candidate.type_id = candidate.type_id or variant.VariantType.value
        candidate.is_array = isinstance(variant.Value, list)
        candidate.is_matrix = len(variant.Dimensions or ()) > 1


_BUILT_IN: dict[int, int] = {number: number for number in range(1, 23)} | {
    29: 29,  # Enumeration
    290: 11,  # Duration
    294: 13,  # UtcTime
    295: 12,  # LocaleId
    288: 7,  # IntegerId
    289: 7,  # Counter
    30: 15,  # Image
}


def _has_type(candidate: _Candidate, result: Discovery) -> bool:
    if candidate.type_id:
        return True
    code, message = _TYPE_TROUBLES.get(
        candidate.status,
        (
            "type_unknown",
            "the server names no data type for this node, and it has no value to learn it from",
        ),
    )
    result.troubles.append(
        TagTrouble(tag=candidate.name, address=candidate.address, code=code, message=message)
    )
    return False


_TYPE_TROUBLES = {
    "BadNodeIdUnknown": (
        "node_unknown",
        "the server does not know this node: check the address, or load the program that has it",
    ),
    "BadNodeIdInvalid": ("node_unknown", "the server says that this is no node id of its own"),
    "BadUserAccessDenied": ("access_denied", "this login may not read the node"),
    "BadAttributeIdInvalid": ("not_a_variable", "this node is no variable: name one below it"),
}


async def _read_ranges(session: Session, part: Sequence[_Candidate]) -> None:
    """Read EURange and EngineeringUnits where the variables have them."""
    paths = [_property_path(c.node_id, name) for c in part for name in _HAS_PROPERTY_TYPES]
    targets = await session.services.translate_browsepaths_to_nodeids(paths)
    wanted: list[tuple[_Candidate, str, Any]] = []
    for number, target in enumerate(targets):
        if target.StatusCode.is_good() and target.Targets:
            candidate = part[number // len(_HAS_PROPERTY_TYPES)]
            name = _HAS_PROPERTY_TYPES[number % len(_HAS_PROPERTY_TYPES)]
            wanted.append((candidate, name, target.Targets[0].TargetId))
    if not wanted:
        return
    values = await session.read([node_id for *_, node_id in wanted], ua.AttributeIds.Value)
    for (candidate, name, _), value in zip(wanted, values, strict=True):
        held = value.Value.Value if value.Value is not None else None
        if name == "EURange" and isinstance(held, ua.Range):
            candidate.low, candidate.high = float(held.Low), float(held.High)
        elif name == "EngineeringUnits" and isinstance(held, ua.EUInformation):
            candidate.unit = readable(held.DisplayName.Text or "")


def _property_path(node_id: Any, name: str) -> Any:
    element = ua.RelativePathElement()
    element.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HasProperty)
    element.IsInverse = False
    element.IncludeSubtypes = True
    element.TargetName = ua.QualifiedName(name, 0)
    path = ua.BrowsePath()
    path.StartingNode = node_id
    path.RelativePath.Elements = [element]
    return path


def _specify(candidates: Sequence[_Candidate], result: Discovery) -> None:
    """Make the specifications; the second metric of one name within a device is refused."""
    taken: set[tuple[str, str]] = set()
    for candidate in candidates:
        key = (candidate.device, candidate.name)
        if key in taken:
            message = f"another tag of device {candidate.device} has the name {candidate.name}"
            result.troubles.append(
                TagTrouble(
                    tag=candidate.name,
                    address=candidate.address,
                    code="name_duplicate",
                    message=message,
                )
            )
            continue
        taken.add(key)
        result.found.append(
            FoundTag(node_id=candidate.node_id, group=candidate.group, spec=_spec(candidate))
        )


def _spec(candidate: _Candidate) -> TagSpec:
    data_type = data_type_of(candidate.type_id, is_array=candidate.is_array)
    if candidate.is_matrix:
        data_type = DataType.STRING
    is_scaled = candidate.gain != 1.0 or candidate.offset != 0.0
    is_number = candidate.type_id in _NUMERIC and not candidate.is_array
    return TagSpec(
        name=candidate.name,
        device=candidate.device,
        data_type=DataType.DOUBLE if is_scaled and is_number else data_type,
        address=candidate.address,
        gain=candidate.gain if is_number else 1.0,
        offset=candidate.offset if is_number else 0.0,
        deadband=candidate.deadband.absolute if candidate.deadband and is_number else 0.0,
        unit=candidate.unit,
        low=candidate.low,
        high=candidate.high,
        description=candidate.description,
        writable=candidate.writable,
        record=candidate.record,
    )
