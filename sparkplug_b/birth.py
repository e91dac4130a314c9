"""Birth data: what an edge node says about itself and its devices, and the tables it leaves.

A birth fixes name, alias and data type of every metric until the next one; `BornScope` keeps that
for reading commands. Aliases are unique over the whole node (`AliasBook`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from sparkplug_b.datatype import DataType
from sparkplug_b.errors import DuplicateAliasError, DuplicateNameError, EncodeError
from sparkplug_b.payload import MetaData, Metric, PropertySet, PropertyValue, Template, Value
from sparkplug_b.topic import has_control_character

_NOT_METRIC_TYPES = frozenset({DataType.UNKNOWN, DataType.PROPERTY_SET, DataType.PROPERTY_SET_LIST})


class BirthMetric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of a birth.

    Attributes:
        alias: unique over the node and its devices; None: DATA goes by name.
        value: None is sent as `is_null`; arrays as a tuple or as packed bytes.
        time_ms: when the value was acquired, ms since 1970 UTC.
        properties: `engUnit` (STRING), `engLow`, `engHigh` (DOUBLE), `Quality` (INT32), ...
    """

    name: str
    data_type: DataType
    time_ms: int
    alias: int | None = None
    value: Value | None = None
    properties: Mapping[str, PropertyValue] | None = None
    metadata: MetaData | None = None
    is_transient: bool = False


class DeviceBirth(msgspec.Struct, frozen=True, kw_only=True):
    """All metrics of a device, or of the node itself (`device_id` None)."""

    device_id: str | None = None
    metrics: Sequence[BirthMetric] = ()


class BornScope(msgspec.Struct, frozen=True, kw_only=True):
    """What the last birth of a node or device fixed.

    Attributes:
        types: data type by name and by alias.
        name_of_alias: the name behind each alias.
    """

    types: dict[int | str, DataType]
    name_of_alias: dict[int, str]


class AliasBook:
    """Who holds which alias in one edge node. Scope None is the node itself."""

    def __init__(self) -> None:
        self._owner: dict[int, str | None] = {}

    def claim(self, scope: str | None, aliases: Iterator[tuple[int, str]]) -> None:
        """Book aliases with the names of their metrics: all of them or, raising, none.

        Source: Sparkplug 3.0, tck-id-payloads-alias-uniqueness.

        Raises:
            DuplicateAliasError: sparkplug.duplicate_alias.
        """
        taken: dict[int, str | None] = {}
        for alias, name in aliases:
            if alias in self._owner or alias in taken:
                raise DuplicateAliasError(alias, name)
            taken[alias] = scope
        self._owner |= taken

    def release(self, scope: str) -> None:
        """Free the aliases of a device."""
        self._owner = {alias: owner for alias, owner in self._owner.items() if owner != scope}


def born_scope(birth: DeviceBirth) -> BornScope:
    """Return the tables of a birth.

    Source: Sparkplug 3.0, tck-id-payloads-name-requirement, -metric-datatype-req,
    -metric-datatype-value, -alias-birth-requirement.

    Raises:
        DuplicateNameError: sparkplug.duplicate_name.
        EncodeError: sparkplug.encode, for an empty name, one with control characters, or a type
            that is not a metric's.
    """
    types: dict[int | str, DataType] = {}
    name_of_alias: dict[int, str] = {}
    for metric in birth.metrics:
        if not metric.name:
            raise EncodeError("a metric needs a name")
        if has_control_character(metric.name):
            raise EncodeError("a name must not contain control characters", field=metric.name)
        if metric.name in types:
            raise DuplicateNameError(metric.name)
        if metric.data_type in _NOT_METRIC_TYPES:
            raise EncodeError(f"{metric.data_type.name} in a birth", field=metric.name)
        types[metric.name] = metric.data_type
        if metric.alias is not None:
            types[metric.alias] = metric.data_type
            name_of_alias[metric.alias] = metric.name
    return BornScope(types=types, name_of_alias=name_of_alias)


def aliases_of(birth: DeviceBirth) -> Iterator[tuple[int, str]]:
    """Yield every alias with its metric's name, members of templates included."""
    for metric in birth.metrics:
        if metric.alias is not None:
            yield metric.alias, metric.name
        if isinstance(metric.value, Template):
            yield from _member_aliases(metric.value, metric.name)


def birth_metrics(birth: DeviceBirth, *controls: Metric) -> tuple[Metric, ...]:
    """Return the metrics of a birth payload, `controls` among them, in order of time.

    Source: Sparkplug 3.0, tck-id-operational-behavior-data-publish-nbirth-order, -dbirth-order:
    metrics that are not historical stand in chronological order.
    """
    metrics = [*controls, *map(metric_of, birth.metrics)]
    metrics.sort(key=lambda metric: metric.time_ms or 0)
    return tuple(metrics)


def metric_of(metric: BirthMetric) -> Metric:
    """Return a metric of a birth as it is encoded.

    Source: Sparkplug 3.0, tck-id-operational-behavior-data-publish-nbirth-values, -dbirth-values;
    tck-id-payloads-name-birth-data-requirement, tck-id-topics-nbirth-metrics, -dbirth-metrics.
    """
    properties = metric.properties
    return Metric(
        name=metric.name,
        alias=metric.alias,
        time_ms=metric.time_ms,
        data_type=metric.data_type,
        value=metric.value,
        is_null=metric.value is None,
        is_transient=metric.is_transient,
        metadata=metric.metadata,
        properties=PropertySet(entries=dict(properties)) if properties else None,
    )


def _member_aliases(template: Template, path: str) -> Iterator[tuple[int, str]]:
    for member in template.metrics:
        name = f"{path}/{member.name}"
        if member.alias is not None:
            yield member.alias, name
        if isinstance(member.value, Template):
            yield from _member_aliases(member.value, name)
