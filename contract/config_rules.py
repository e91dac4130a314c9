"""What the types of a configuration cannot say: clashes, illegal names, secrets in clear.

Works on the parts of a document that could be read, so that one broken tag hides no other fault.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from contract.config import (
    Deadband,
    GroupConfig,
    JournalConfig,
    ModbusSourceConfig,
    MqttSourceConfig,
    RuleConfig,
    Scale,
    SecurityConfig,
    SparkplugConfig,
    TagConfig,
)
from contract.config_acting import (
    EventConfig,
    MethodConfig,
    event_faults,
    method_faults,
    write_faults,
)
from contract.config_factoryplus import FactoryPlusConfig
from contract.config_factoryplus_rules import (
    factoryplus_faults,
    uns_faults,
    without_sparkplug,
)
from contract.config_group import group_faults
from contract.config_names import (
    fault_of_id,
    fault_of_metric,
    fault_of_node,
    fault_of_regex,
    fault_of_url,
    same_key,
)
from contract.config_rules_kinds import modbus_faults, mqtt_faults
from contract.config_rules_sparkplug import sparkplug_faults
from contract.config_security import Login, security_faults
from contract.config_shape import joined, nearest, shown
from contract.config_uns import UnsConfig
from contract.errors import Fault

TAGS_MAX = 200_000


@dataclass
class SourceParts:
    """A source as far as it could be read; each entry keeps its place in the document.

    ``group_names`` is None when not all of them could be read; ``is_whole``: everything was;
    ``named`` is (place, device, name) of each tag; ``other`` is a source of another kind than OPC
    UA, whole.
    """

    path: str
    name: str | None
    is_whole: bool = False
    endpoint: str | None = None
    security: SecurityConfig | None = None
    username: str | None = None
    password: str | None = None
    user_certificate_file: str | None = None
    user_key_file: str | None = None
    endpoints: list[str] = field(default_factory=list)
    groups: list[tuple[int, GroupConfig]] = field(default_factory=list)
    group_names: set[str] | None = None
    tags: list[tuple[int, TagConfig]] = field(default_factory=list)
    rules: list[tuple[int, RuleConfig]] = field(default_factory=list)
    named: list[tuple[int, str | None, str | None]] = field(default_factory=list)
    other: MqttSourceConfig | ModbusSourceConfig | None = None
    methods: list[tuple[int, MethodConfig]] = field(default_factory=list)
    events: list[tuple[int, EventConfig]] = field(default_factory=list)


@dataclass(frozen=True)
class Sections:
    """The sections that have rules; None: not there, or it could not be read.

    ``given`` has the names of those that are there.
    """

    sparkplug: SparkplugConfig | None = None
    journal: JournalConfig | None = None
    factoryplus: FactoryPlusConfig | None = None
    uns: UnsConfig | None = None
    given: frozenset[str] = frozenset()


def rule_faults(sections: Sections, sources: Sequence[SourceParts]) -> Iterator[Fault]:
    """Find all that is wrong beyond types."""
    sparkplug, journal = sections.sparkplug, sections.journal
    if sparkplug is not None:
        yield from sparkplug_faults(sparkplug)
    if journal is not None and not math.isfinite(journal.retention_hours):
        yield _not_finite("journal.retention_hours")
    yield from _clashes(
        ((s.path + ".name", s.name) for s in sources if s.name), "source", "config.duplicate_source"
    )
    tags_count = sum(len(s.named) for s in sources)
    if tags_count > TAGS_MAX:
        yield Fault(
            code="config.too_many",
            path="sources",
            message=f"there are {tags_count} tags, at most {TAGS_MAX} are allowed",
            remedy="split them over two gateways",
        )
        return
    for source in sources:
        if isinstance(source.other, MqttSourceConfig):
            yield from mqtt_faults(source.other, source.path)
        elif isinstance(source.other, ModbusSourceConfig):
            yield from modbus_faults(source.other, source.path)
        else:
            yield from _check_source(source)
    yield from _check_metrics(sources)
    yield from _check_conventions(sections, sources)


def _check_conventions(sections: Sections, sources: Sequence[SourceParts]) -> Iterator[Fault]:
    conventions = sections.factoryplus
    if conventions is not None:
        if "sparkplug" not in sections.given:
            yield without_sparkplug()
        tags = [
            (device or source.name or "", name, f"{source.path}.tags[{index}]")
            for source in sources
            for index, device, name in source.named
            if name is not None
        ]
        yield from factoryplus_faults(conventions, sections.sparkplug, _devices(sources), tags)
    if sections.uns is not None:
        has_factoryplus = "factoryplus" in sections.given
        yield from uns_faults(sections.uns, conventions, has_factoryplus=has_factoryplus)


def _devices(sources: Sequence[SourceParts]) -> set[str] | None:
    """Return the devices that tags and rules name; None when a source could be read in part."""
    if not all(source.is_whole for source in sources):
        return None
    named = {device or s.name or "" for s in sources for _, device, _ in _named(s)}
    return named | {r.device or s.name or "" for s in sources for _, r in s.rules}


def _check_source(source: SourceParts) -> Iterator[Fault]:
    if source.endpoint is not None:
        path = joined(source.path, "endpoint")
        yield from _given(fault_of_url(source.endpoint, path, ("opc.tcp",)))
    for index, endpoint in enumerate(source.endpoints):
        yield from _given(fault_of_url(endpoint, f"{source.path}.endpoints[{index}]", ("opc.tcp",)))
    for index, group in source.groups:
        yield from group_faults(group, f"{source.path}.groups[{index}]")
    if source.security is not None:
        login = Login(
            username=source.username,
            password=source.password,
            user_certificate_file=source.user_certificate_file,
            user_key_file=source.user_key_file,
        )
        yield from security_faults(source.security, login, source.path)
    yield from _clashes(
        ((f"{source.path}.groups[{i}].name", g.name) for i, g in source.groups),
        "group",
        "config.duplicate_group",
    )
    yield from method_faults(source.methods, source.path)
    yield from event_faults(source.events, source.groups, source.group_names, source.path)
    groups = source.group_names
    for index, tag in source.tags:
        yield from _check_tag(tag, f"{source.path}.tags[{index}]", groups)
    seen: dict[bytes, str] = {}
    for index, rule in source.rules:
        path = f"{source.path}.rules[{index}]"
        yield from _check_rule(rule, path, groups)
        first = seen.setdefault(_what_it_takes(rule), path)
        if first != path:
            yield Fault(
                code="config.duplicate_rule",
                path=joined(path, "below"),
                message=f"the same variables are taken by {first}",
                remedy="leave one of the two rules out, or give it another device or prefix",
            )


def _check_tag(tag: TagConfig, path: str, groups: set[str] | None) -> Iterator[Fault]:
    yield from _given(fault_of_node(tag.node, joined(path, "node")))
    yield from _check_group(tag.group, path, groups)
    if tag.name is not None:
        yield from _given(fault_of_metric(tag.name, joined(path, "name")))
    if tag.device is not None:
        yield from _given(fault_of_id(tag.device, joined(path, "device"), "device"))
    if tag.deadband is not None:
        yield from _check_deadband(tag.deadband, path)
    if tag.scale is not None:
        yield from _check_scale(tag.scale, joined(path, "scale"))
    if tag.write is not None:
        yield from write_faults(tag.write, path, writable=tag.writable)


def _what_it_takes(rule: RuleConfig) -> bytes:
    """Return what two rules share that take the same variables under the same names."""
    plain = msgspec.structs.replace(
        rule, group="", deadband=None, auto=False, split=False, record=True
    )
    return msgspec.json.encode(plain)


def _check_rule(rule: RuleConfig, path: str, groups: set[str] | None) -> Iterator[Fault]:
    yield from _given(fault_of_node(rule.below, joined(path, "below")))
    yield from _check_group(rule.group, path, groups)
    if rule.type is not None:
        yield from _given(fault_of_node(rule.type, joined(path, "type")))
    if rule.regex is not None:
        yield from _given(fault_of_regex(rule.regex, joined(path, "regex")))
    if rule.device is not None:
        yield from _given(fault_of_id(rule.device, joined(path, "device"), "device"))
    if rule.prefix:
        yield from _given(fault_of_metric(rule.prefix, joined(path, "prefix")))
    if rule.deadband is not None:
        yield from _check_deadband(rule.deadband, path)


def _check_group(name: str, path: str, groups: set[str] | None) -> Iterator[Fault]:
    if groups is not None and name not in groups:
        yield Fault(
            code="config.unknown_group",
            path=joined(path, "group"),
            message=f"the source has no group {shown(name)}",
            remedy=nearest(name, groups) or "add the group, or name one that exists",
        )


def _check_deadband(deadband: Deadband, path: str) -> Iterator[Fault]:
    if not math.isfinite(deadband.absolute):
        yield _not_finite(f"{path}.deadband.absolute")


def _check_scale(scale: Scale, path: str) -> Iterator[Fault]:
    if not math.isfinite(scale.gain):
        yield _not_finite(joined(path, "gain"))
    elif scale.gain == 0:
        yield Fault(
            code="config.out_of_range",
            path=joined(path, "gain"),
            message="a gain of 0 turns every value into the offset",
            remedy="give the factor, 1.0 for none",
        )
    if not math.isfinite(scale.offset):
        yield _not_finite(joined(path, "offset"))


def _check_metrics(sources: Sequence[SourceParts]) -> Iterator[Fault]:
    """Metric names are unique within a device, whichever source they come from."""
    devices: dict[str, str] = {}
    metrics: dict[tuple[str, str], tuple[str, str]] = {}
    for source in sources:
        for path, own_device, name in _named(source):
            device = own_device or source.name
            if device is None:
                continue
            first_device = devices.setdefault(same_key(device), device)
            if first_device != device:
                at = joined(path, "device") if own_device else joined(source.path, "name")
                yield _case_twin(at, "device", device, first_device)
            if name is None:
                continue
            first = metrics.setdefault((device, same_key(name)), (name, path))
            if first[1] == path:
                continue
            if first[0] != name:
                yield _case_twin(joined(path, "name"), "metric", name, first[0])
            else:
                yield Fault(
                    code="config.duplicate_metric",
                    path=joined(path, "name"),
                    message=f"device {shown(device)} has this metric already, from {first[1]}",
                    remedy="give one of the two another name or device",
                )


def _named(source: SourceParts) -> Iterator[tuple[str, str | None, str | None]]:
    """Return (path, device, name) of what becomes a metric: tags, and streams of events."""
    for index, device, name in source.named:
        yield f"{source.path}.tags[{index}]", device, name
    for index, event in source.events:
        yield f"{source.path}.events[{index}]", event.device, event.name


def _clashes(named: Iterator[tuple[str, str]], what: str, code: str) -> Iterator[Fault]:
    seen: dict[str, tuple[str, str]] = {}
    for path, name in named:
        first_name, first_path = seen.setdefault(same_key(name), (name, path))
        if first_path == path:
            continue
        if first_name != name:
            yield _case_twin(path, what, name, first_name)
        else:
            yield Fault(
                code=code,
                path=path,
                message=f"the {what} name {shown(name)} is taken by {first_path}",
                remedy=f"give each {what} a name of its own",
            )


def _case_twin(path: str, what: str, name: str, first: str) -> Fault:
    return Fault(
        code="config.case_twin",
        path=path,
        message=f"{what} {shown(name)} differs from {shown(first)} in case or accents' form only",
        remedy="write both the same, or make them clearly different",
    )


def _not_finite(path: str) -> Fault:
    return Fault(
        code="config.out_of_range",
        path=path,
        message="has to be a finite number, not NaN or infinity",
    )


def _given(fault: Fault | None) -> Iterator[Fault]:
    if fault is not None:
        yield fault
