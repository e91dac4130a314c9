"""The reading half of `codec.py`: parsed protobuf messages to payload data, within limits.

Internal; it sees protobuf messages but never imports protobuf at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from sparkplug_b.datatype import (
    ARRAY_TYPES,
    INTEGER_RANGE,
    WIRE_FIELD,
    DataType,
    Scalar,
    unpack_array,
)
from sparkplug_b.errors import DecodeError
from sparkplug_b.metric_columns import MetricColumns, empty_columns
from sparkplug_b.payload import (
    DataSet,
    MetaData,
    Metric,
    Parameter,
    Payload,
    PropertySet,
    PropertySetList,
    PropertyValue,
    Template,
    Value,
)
from sparkplug_b.scalar import from_wire
from sparkplug_b.timestamp import normalise_ms

if TYPE_CHECKING:
    from sparkplug_b import sparkplug_b_pb2 as pb

#: Data types by alias or name, as the births gave them; DATA and commands carry none.
TypeTable = Mapping[int | str, DataType]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a payload from outside may cost.

    Attributes:
        payload_bytes_max: protobuf may take some 60 times that while parsing hostile bytes.
        metrics_count_max: metrics, members of templates included.
        items_count_max: cells, properties, parameters and array elements together.
        depth_max: templates in templates, property sets in property sets.
    """

    payload_bytes_max: int = 4 * 1024 * 1024
    metrics_count_max: int = 200_000
    items_count_max: int = 1_000_000
    depth_max: int = 32


DEFAULT_LIMITS: Final = Limits()

_TYPE_OF_NUMBER: Final = {int(data_type): data_type for data_type in DataType}
_METADATA_FIELDS: Final = MetaData.__struct_fields__
_NO_TYPES: Final[TypeTable] = {}
_SCALAR_FIELDS: Final = frozenset(WIRE_FIELD.values())
_INTEGER_FIELDS: Final = ("int_value", "long_value")
#: Types whose value stands in the field as it is, if not above `_NUMBER_MAX` (two's complement).
_FIELDS_OF_NUMBER: Final[dict[DataType | None, tuple[str, ...]]] = {
    **dict.fromkeys(INTEGER_RANGE, _INTEGER_FIELDS),
    DataType.FLOAT: ("float_value",),
    DataType.DOUBLE: ("double_value",),
    DataType.BOOLEAN: ("boolean_value",),
}
_NUMBER_MAX: Final[dict[DataType | None, int]] = {
    data_type: high for data_type, (_, high) in INTEGER_RANGE.items()
}


def _text(value: str) -> str:
    # upb hands out bytes where a string field is not UTF-8.
    if not isinstance(value, str):
        raise DecodeError("malformed", "a text is not UTF-8")
    return value


def _data_type(number: int) -> DataType:
    return _TYPE_OF_NUMBER.get(number, DataType.UNKNOWN)


class Reader:
    """Reads one parsed payload and counts what it costs.

    Attributes:
        items_left_count: of `Limits.items_count_max`.
    """

    def __init__(self, types: TypeTable, limits: Limits, *, normalise: bool = False) -> None:
        self._types = types
        self._is_normalised = normalise
        self._depth_max = limits.depth_max
        self._metrics_left_count = limits.metrics_count_max
        self.items_left_count = limits.items_count_max

    def payload(self, message: pb.Payload) -> Payload:
        """Read the whole payload; raises DecodeError."""
        return self._envelope(message, self._metrics(message.metrics, self._types, 0))

    def columns(self, message: pb.Payload) -> MetricColumns:
        """Read the whole payload as columns, no object per metric; raises what `payload` does."""
        messages = message.metrics
        self._take_metrics(len(messages))
        found = empty_columns()
        types = self._types
        for row, metric in enumerate(messages):
            name, alias, data_type, known = self._identity(metric, types)
            is_null = metric.is_null
            field = None if is_null else metric.WhichOneof("value")
            value = None if field is None else self._value(metric, field, known, 0)
            found.names.append(name)
            found.aliases.append(alias)
            found.times_ms.append(self._time_ms(metric))
            found.data_types.append(data_type)
            found.values.append(value)
            found.is_null.append(is_null)
            found.is_historical.append(metric.is_historical)
            found.is_transient.append(metric.is_transient)
            if metric.HasField("metadata"):
                found.metadata[row] = self._metadata(metric.metadata)
            if metric.HasField("properties"):
                found.properties[row] = self._properties(metric.properties, 0)
        found.wrap(self._envelope(message, ()))
        return found

    def _envelope(self, message: pb.Payload, metrics: tuple[Metric, ...]) -> Payload:
        has = message.HasField
        return Payload(
            timestamp_ms=self._time_ms(message),
            metrics=metrics,
            seq=message.seq if has("seq") else None,
            uuid=_text(message.uuid) if has("uuid") else None,
            body=message.body if has("body") else None,
        )

    def _time_ms(self, message: pb.Payload | pb.Payload.Metric) -> int | None:
        timestamp: int = message.timestamp
        if not timestamp:
            return 0 if message.HasField("timestamp") else None
        return normalise_ms(timestamp) if self._is_normalised else timestamp

    def _take(self, item_count: int) -> None:
        self.items_left_count -= item_count
        if self.items_left_count < 0:
            raise DecodeError("too_many", "cells, properties or array elements")

    def _take_metrics(self, metric_count: int) -> None:
        self._metrics_left_count -= metric_count
        if self._metrics_left_count < 0:
            raise DecodeError("too_many", "metrics")

    def _check_depth(self, depth: int) -> None:
        if depth > self._depth_max:
            raise DecodeError("too_deep", f"nested deeper than {self._depth_max}")

    def _metrics(self, messages: Any, types: TypeTable, depth: int) -> tuple[Metric, ...]:  # noqa: ANN401 - upb's list
        self._take_metrics(len(messages))
        return tuple([self._metric(message, types, depth) for message in messages])

    def _metric(self, message: pb.Payload.Metric, types: TypeTable, depth: int) -> Metric:
        has = message.HasField
        name, alias, data_type, known = self._identity(message, types)
        is_null = message.is_null
        field = None if is_null else message.WhichOneof("value")
        return Metric(
            name=name,
            alias=alias,
            time_ms=self._time_ms(message),
            data_type=data_type,
            value=None if field is None else self._value(message, field, known, depth),
            is_null=is_null,
            is_historical=message.is_historical,
            is_transient=message.is_transient,
            metadata=self._metadata(message.metadata) if has("metadata") else None,
            properties=self._properties(message.properties, depth) if has("properties") else None,
        )

    def _identity(
        self, message: pb.Payload.Metric, types: TypeTable
    ) -> tuple[str | None, int | None, DataType | None, DataType | None]:
        """Return name, alias, the data type as sent, and the data type as known."""
        has = message.HasField
        name = _text(message.name) if has("name") else None
        alias = message.alias or (0 if has("alias") else None)
        data_type = _data_type(message.datatype) if has("datatype") else None
        known = data_type
        if not known and types:  # absent, or UNKNOWN
            known = types.get(alias) if alias is not None else None
            if known is None and name is not None:
                known = types.get(name)
        return name, alias, data_type, known

    def _value(
        self, message: pb.Payload.Metric, field: str, data_type: DataType | None, depth: int
    ) -> Value | None:
        if field in _FIELDS_OF_NUMBER.get(data_type, ()):
            number: Scalar = getattr(message, field)
            if number <= _NUMBER_MAX.get(data_type, number):  # type: ignore[operator]
                return number
        if field == "dataset_value" and data_type in {DataType.DATASET, DataType.UNKNOWN, None}:
            return self._dataset(message.dataset_value)
        if field == "template_value" and data_type in {DataType.TEMPLATE, DataType.UNKNOWN, None}:
            return self._template(message.template_value, depth + 1)
        value = self._scalar(message, field, data_type)
        if data_type in ARRAY_TYPES and isinstance(value, bytes):
            assert data_type is not None
            self._take(len(value) * (8 if data_type is DataType.BOOLEAN_ARRAY else 1))
            return tuple(unpack_array(data_type, value))
        return value

    def _scalar(self, message: Any, field: str, data_type: DataType | None) -> Scalar | None:  # noqa: ANN401 - four message types
        if not data_type:
            return None if field == "extension_value" else self._raw(message, field)
        if field not in _SCALAR_FIELDS:
            raise DecodeError("type_mismatch", f"{data_type.name} in {field}")
        return from_wire(data_type, field, self._raw(message, field))

    def _raw(self, message: Any, field: str) -> Scalar:  # noqa: ANN401 - four message types
        raw: Scalar = getattr(message, field)
        if field == "string_value" and not isinstance(raw, str):
            raise DecodeError("malformed", "a text is not UTF-8")
        return raw

    def _metadata(self, message: pb.Payload.MetaData) -> MetaData:
        found = {n: getattr(message, n) for n in _METADATA_FIELDS if message.HasField(n)}
        if any(isinstance(value, bytes) for value in found.values()):
            raise DecodeError("malformed", "a text is not UTF-8")
        return MetaData(**found)

    def _properties(self, message: pb.Payload.PropertySet, depth: int) -> PropertySet:
        self._check_depth(depth)
        keys, values = message.keys, message.values
        if len(keys) != len(values):
            raise DecodeError("inconsistent", f"{len(keys)} keys for {len(values)} properties")
        self._take(len(keys))
        pairs = zip(keys, values, strict=True)
        entries = {_text(key): self._property(value, depth) for key, value in pairs}
        if len(entries) != len(keys):
            raise DecodeError("inconsistent", "a property stands twice")
        return PropertySet(entries=entries)

    def _property(self, message: pb.Payload.PropertyValue, depth: int) -> PropertyValue:
        data_type = _data_type(message.type) if message.HasField("type") else None
        field = None if message.is_null else message.WhichOneof("value")
        value: Scalar | PropertySet | PropertySetList | None = None
        if field == "propertyset_value" and data_type in {DataType.PROPERTY_SET, None}:
            value = self._properties(message.propertyset_value, depth + 1)
        elif field == "propertysets_value" and data_type in {DataType.PROPERTY_SET_LIST, None}:
            sets = message.propertysets_value.propertyset
            self._take(len(sets))
            value = PropertySetList(sets=tuple([self._properties(s, depth + 1) for s in sets]))
        elif field is not None:
            value = self._scalar(message, field, data_type)
        return PropertyValue(data_type=data_type, value=value)

    def _dataset(self, message: pb.Payload.DataSet) -> DataSet:
        columns, numbers, rows = message.columns, message.types, message.rows
        column_count = len(columns)
        said = message.num_of_columns if message.HasField("num_of_columns") else column_count
        if not column_count == len(numbers) == said:
            raise DecodeError("inconsistent", "columns and types of a DataSet differ in number")
        self._take(column_count + len(rows) * (column_count + 1))
        types = tuple([_data_type(number) for number in numbers])
        found: list[tuple[Scalar | None, ...]] = []
        for row in rows:
            if len(row.elements) != column_count:
                raise DecodeError("inconsistent", "a row of a DataSet has not one cell per column")
            found.append(tuple(map(self._basic, row.elements, types)))
        return DataSet(columns=tuple(map(_text, columns)), types=types, rows=tuple(found))

    def _basic(self, message: Any, data_type: DataType | None) -> Scalar | None:  # noqa: ANN401 - cell or parameter
        field = message.WhichOneof("value")
        return None if field is None else self._scalar(message, field, data_type)

    def _template(self, message: pb.Payload.Template, depth: int) -> Template:
        self._check_depth(depth)
        self._take(len(message.parameters))
        has = message.HasField
        parameters: list[Parameter] = []
        for parameter in message.parameters:
            said = _data_type(parameter.type) if parameter.HasField("type") else None
            value = self._basic(parameter, said)
            parameters.append(Parameter(name=_text(parameter.name), data_type=said, value=value))
        return Template(
            is_definition=message.is_definition,
            template_ref=_text(message.template_ref) if has("template_ref") else None,
            version=_text(message.version) if has("version") else None,
            # Members are named within the template: the node's table says nothing about them.
            metrics=self._metrics(message.metrics, _NO_TYPES, depth),
            parameters=tuple(parameters),
        )
