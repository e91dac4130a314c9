"""Typed, frozen data of a Sparkplug B payload: what `codec.py` writes and reads.

`None` means "the field is absent" everywhere; zero, false and the empty text are values and are
written. Times are ms since 1970 UTC. Nothing here checks values: encoding does.
"""

from __future__ import annotations

import msgspec

from sparkplug_b.datatype import ArrayItem, DataType, Scalar


class PropertySet(msgspec.Struct, frozen=True, kw_only=True):
    """Properties by name, in order. Keys are case-sensitive.

    Source: Sparkplug 3.0, tck-id-payloads-propertyset-keys-array-size, -values-array-size.
    """

    entries: dict[str, PropertyValue]


class PropertySetList(msgspec.Struct, frozen=True, kw_only=True):
    """A list of property sets, the value of a property of type PROPERTY_SET_LIST."""

    sets: tuple[PropertySet, ...]


class PropertyValue(msgspec.Struct, frozen=True, kw_only=True):
    """One property.

    Source: Sparkplug 3.0, tck-id-payloads-metric-propertyvalue-type-type, -type-value, -type-req.

    Attributes:
        data_type: basic type (1 to 14), PROPERTY_SET or PROPERTY_SET_LIST; None if not sent.
        value: None is written as `is_null`.
    """

    data_type: DataType | None
    value: Scalar | PropertySet | PropertySetList | None


class MetaData(msgspec.Struct, frozen=True, kw_only=True):
    """What a metric says about its value; mostly for FILE and multi-part BYTES."""

    is_multi_part: bool | None = None
    content_type: str | None = None
    size: int | None = None
    seq: int | None = None
    file_name: str | None = None
    file_type: str | None = None
    md5: str | None = None
    description: str | None = None


class DataSet(msgspec.Struct, frozen=True, kw_only=True):
    """A table. `types` are basic types; every row has one cell per column; None is a null cell.

    Source: Sparkplug 3.0, tck-id-payloads-dataset-column-size, -column-num-headers, -types-def,
    -types-num, -types-type, -types-value, -parameter-type-req;
    tck-id-payloads-template-dataset-value.
    """

    columns: tuple[str, ...]
    types: tuple[DataType, ...]
    rows: tuple[tuple[Scalar | None, ...], ...] = ()


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter of a template; value None: the definition gives no default.

    Source: Sparkplug 3.0, tck-id-payloads-template-parameter-name-required, -name-type,
    -value-type, -type-value, -type-req, -value;
    tck-id-payloads-template-definition-parameters-default.
    """

    name: str
    data_type: DataType | None
    value: Scalar | None = None


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """A definition (no `template_ref`) or an instance (`template_ref` = name of the definition).

    `template.check_templates` holds births to the rules between the two.

    Source: Sparkplug 3.0, tck-id-payloads-template-is-definition, -is-definition-definition,
    -is-definition-instance, -version, -ref-definition, -ref-instance;
    tck-id-payloads-template-instance-members-data.
    """

    is_definition: bool
    template_ref: str | None = None
    version: str | None = None
    metrics: tuple[Metric, ...] = ()
    parameters: tuple[Parameter, ...] = ()


Value = Scalar | tuple[ArrayItem, ...] | DataSet | Template


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric.

    Attributes:
        name: absent in DATA when an alias is used.
        alias: uint64; 0 is a legal alias.
        time_ms: when the value was acquired.
        data_type: always in births; absent in DATA. UNKNOWN for a number this version lacks
            (tck-id-payloads-metric-datatype-value-type, -datatype-value).
        value: typed by `data_type`; for arrays a tuple (encoding also takes packed bytes). Decoded
            without a known data type: the raw field, so two's complement numbers are unsigned.
        is_null: the metric has no value, and says so; `value` is None then.
        is_historical: written only when true.
        is_transient: written only when true.
    """

    name: str | None = None
    alias: int | None = None
    time_ms: int | None = None
    data_type: DataType | None = None
    value: Value | None = None
    is_null: bool = False
    is_historical: bool = False
    is_transient: bool = False
    metadata: MetaData | None = None
    properties: PropertySet | None = None


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """One Sparkplug B payload.

    Attributes:
        timestamp_ms: when it was sent.
        seq: 0 to 255; absent in NDEATH and commands.
        uuid: name of the schema of `body`, or of an agreement between the two ends.
    """

    timestamp_ms: int | None = None
    metrics: tuple[Metric, ...] = ()
    seq: int | None = None
    uuid: str | None = None
    body: bytes | None = None
