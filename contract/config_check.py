"""Check a whole configuration document and name every fault with its path.

``check_config`` takes plain values (what a YAML or JSON reader gives) and promises: it returns a
``GatewayConfig`` that can be run, or raises a ``ConfigError`` with all faults found (at most
``FAULTS_MAX``); no document makes it raise anything else. Types are held against
``contract.config`` by ``contract.config_shape``; what types cannot say (names that clash or that
Sparkplug forbids, addresses, secrets in clear) is in ``contract.config_rules``.

Parts are checked even where their neighbours are broken, so one run shows everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar, cast

from contract.config import (
    GatewayConfig,
    GatewayIdentity,
    GroupConfig,
    HubConfig,
    JournalConfig,
    ModbusTagConfig,
    MqttTagConfig,
    OpcUaSourceConfig,
    RuleConfig,
    SecurityConfig,
    SourceConfig,
    SparkplugConfig,
    TagConfig,
)
from contract.config_acting import EventConfig, MethodConfig
from contract.config_factoryplus import FactoryPlusConfig
from contract.config_rules import TAGS_MAX, Sections, SourceParts, rule_faults
from contract.config_shape import FAULTS_MAX, convert_part, try_convert
from contract.config_uns import UnsConfig
from contract.errors import ConfigError, Fault

SOURCES_MAX = 1_000

T = TypeVar("T")

_SECTIONS: dict[str, type] = {
    "gateway": GatewayIdentity,
    "sparkplug": SparkplugConfig,
    "journal": JournalConfig,
    "hub": HubConfig,
    "factoryplus": FactoryPlusConfig,
    "uns": UnsConfig,
}
_MAY_BE_NULL = frozenset({"sparkplug", "factoryplus", "uns"})


def check_config(document: object) -> GatewayConfig:
    """Turn plain values into a configuration that can be run.

    Args:
        document: what a YAML or JSON reader gave; None (an empty document) is an empty mapping.

    Raises:
        ConfigError: with every fault, in the order of the document's sections.
    """
    plain = {} if document is None else document
    faults: list[Fault] = []
    config = try_convert(plain, GatewayConfig)
    if config is not None:
        whole = {name: getattr(config, name) for name in _SECTIONS}
        sections = _sections({k: v for k, v in whole.items() if v is not None})
        sources = [_whole(f"sources[{i}]", s) for i, s in enumerate(config.sources)]
    elif isinstance(plain, dict):
        sections, sources = _by_part(plain, faults)
    else:
        convert_part(plain, GatewayConfig, "", faults)
        raise ConfigError(faults)
    found = rule_faults(sections, sources)
    faults.extend(islice(found, FAULTS_MAX + 1 - len(faults)))
    if faults:
        raise ConfigError(_capped(faults))
    assert config is not None, "refused by its types, but no fault was found"
    return config


def _capped(faults: list[Fault]) -> list[Fault]:
    if len(faults) <= FAULTS_MAX:
        return faults
    return [
        *faults[: FAULTS_MAX - 1],
        Fault(
            code="config.more_faults",
            path="",
            message=f"there are more than {FAULTS_MAX} faults; the others are not listed",
            remedy="mend these and check again",
        ),
    ]


def _by_part(plain: dict[Any, Any], faults: list[Fault]) -> tuple[Sections, list[SourceParts]]:
    """Convert section by section, source by source, tag by tag; collect what does not fit."""
    known: dict[str, Any] = {}
    for name, wanted in _SECTIONS.items():
        if name in plain and not (name in _MAY_BE_NULL and plain[name] is None):
            known[name] = convert_part(plain[name], wanted, name, faults)
    other = {k: v for k, v in plain.items() if k not in _SECTIONS and k != "sources"}
    if other:
        convert_part(other, GatewayConfig, "", faults)
    sources: list[SourceParts] = []
    raw = plain.get("sources", [])
    if not isinstance(raw, list) or len(raw) > SOURCES_MAX:
        convert_part({"sources": raw}, GatewayConfig, "", faults)
        sources.append(_partial("sources", None))
    else:
        for index, item in enumerate(raw):
            path = f"sources[{index}]"
            source = convert_part(item, _source_type(item), path, faults)
            sources.append(_whole(path, source) if source else _partial(path, item))
    return _sections(known), sources


def _sections(known: Mapping[str, Any]) -> Sections:
    """Take the sections that have rules; a key with None stands for one that cannot be read."""
    return Sections(
        sparkplug=known.get("sparkplug"),
        journal=known.get("journal"),
        factoryplus=known.get("factoryplus"),
        uns=known.get("uns"),
        given=frozenset(known),
    )


def _source_type(item: object) -> type[SourceConfig]:
    """Return the type of a source's kind; OPC UA where none is said, as msgspec takes it."""
    if isinstance(item, dict) and "kind" in item:
        return cast("type[SourceConfig]", SourceConfig)
    return OpcUaSourceConfig


def _whole(path: str, source: SourceConfig) -> SourceParts:
    tags: Sequence[TagConfig | MqttTagConfig | ModbusTagConfig] = source.tags
    named = [(i, t.device, t.name) for i, t in enumerate(tags)]
    if not isinstance(source, OpcUaSourceConfig):
        return SourceParts(path=path, name=source.name, is_whole=True, named=named, other=source)
    return SourceParts(
        named=named,
        path=path,
        name=source.name,
        is_whole=True,
        endpoint=source.endpoint,
        security=source.security,
        username=source.username,
        password=source.password,
        user_certificate_file=source.user_certificate_file,
        user_key_file=source.user_key_file,
        groups=list(enumerate(source.groups)),
        endpoints=source.endpoints,
        group_names={g.name for g in source.groups},
        tags=list(enumerate(source.tags)),
        rules=list(enumerate(source.rules)),
        methods=list(enumerate(source.methods)),
        events=list(enumerate(source.events)),
    )


def _partial(path: str, item: object) -> SourceParts:
    """Take what can be read of a source whose faults are already collected."""
    if not isinstance(item, dict):
        return SourceParts(path=path, name=None, group_names=None)
    if item.get("kind", "opcua") != "opcua":
        return SourceParts(path=path, name=_text(item.get("name")), group_names=None)
    raw_groups = item.get("groups")
    tags = _entries(item.get("tags"), TagConfig)
    return SourceParts(
        named=[(i, t.device, t.name) for i, t in tags],
        path=path,
        name=_text(item.get("name")),
        endpoint=_text(item.get("endpoint")),
        security=try_convert(item.get("security", {}), SecurityConfig),
        username=_text(item.get("username")),
        password=_text(item.get("password")),
        user_certificate_file=_text(item.get("user_certificate_file")),
        user_key_file=_text(item.get("user_key_file")),
        endpoints=_entries_of_text(item.get("endpoints")),
        groups=_entries(raw_groups, GroupConfig),
        group_names=_names(raw_groups),
        tags=tags,
        rules=_entries(item.get("rules"), RuleConfig),
        methods=_entries(item.get("methods"), MethodConfig),
        events=_entries(item.get("events"), EventConfig),
    )


def _names(raw_groups: object) -> set[str] | None:
    if not isinstance(raw_groups, list) or not raw_groups:
        return None
    names = [g.get("name") for g in raw_groups if isinstance(g, dict)]
    readable = {n for n in names if isinstance(n, str)}
    return readable if len(names) == len(raw_groups) and None not in names else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _entries_of_text(raw: object) -> list[str]:
    return [e for e in raw if isinstance(e, str)] if isinstance(raw, list) else []


def _entries(raw: object, wanted: type[T]) -> list[tuple[int, T]]:
    if not isinstance(raw, list) or len(raw) > TAGS_MAX:
        return []
    converted = ((i, try_convert(item, wanted)) for i, item in enumerate(raw))
    return [(i, entry) for i, entry in converted if entry is not None]
