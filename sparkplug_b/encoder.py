"""The writing half of `codec.py`: payload data into protobuf messages, every value checked.

Internal; it fills protobuf messages but never imports protobuf at run time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sparkplug_b.datatype import BASIC_TYPES, WIRE_FIELD, DataType, Quality, Scalar, pack_array
from sparkplug_b.errors import EncodeError
from sparkplug_b.payload import (
    DataSet,
    MetaData,
    Metric,
    Payload,
    PropertySet,
    PropertySetList,
    PropertyValue,
    Template,
    Value,
)
from sparkplug_b.scalar import to_wire
from sparkplug_b.timestamp import TimestampUnit, to_unit

if TYPE_CHECKING:
    from sparkplug_b import sparkplug_b_pb2 as pb

ENCODE_DEPTH_MAX: Final = 32
QUALITIES: Final = frozenset(int(quality) for quality in Quality)

_METADATA_FIELDS: Final = MetaData.__struct_fields__


class Writer:
    """Fills one protobuf message."""

    def __init__(self, *, with_data_types: bool, timestamp_unit: TimestampUnit) -> None:
        self._with_types = with_data_types
        self._unit: Final = timestamp_unit

    def payload(self, out: pb.Payload, payload: Payload) -> None:
        """Write the whole payload; raises EncodeError, and TypeError or ValueError of protobuf."""
        _set(out, timestamp=to_unit(payload.timestamp_ms, self._unit), seq=payload.seq)
        _set(out, uuid=payload.uuid, body=payload.body)
        for metric in payload.metrics:
            self._metric(out.metrics.add(), metric, 0)

    def _metric(self, out: pb.Payload.Metric, metric: Metric, depth: int) -> None:
        _set(
            out, name=metric.name, alias=metric.alias, timestamp=to_unit(metric.time_ms, self._unit)
        )
        if self._with_types and metric.data_type is not None:
            out.datatype = metric.data_type
        if metric.is_historical:
            out.is_historical = True
        if metric.is_transient:
            out.is_transient = True
        if metric.metadata is not None:
            out.metadata.SetInParent()
            _set(
                out.metadata, **{name: getattr(metric.metadata, name) for name in _METADATA_FIELDS}
            )
        field = metric.name or (f"alias {metric.alias}" if metric.alias is not None else "")
        try:
            if metric.properties is not None:
                out.properties.SetInParent()
                _write_properties(out.properties, metric.properties, depth)
            if metric.is_null:
                if metric.value is not None:
                    raise EncodeError("null, but with a value")
                out.is_null = True
            elif metric.value is not None:
                self._value(out, metric.data_type, metric.value, depth)
        except EncodeError as error:
            raise EncodeError(
                error.reason, field="/".join(filter(None, (field, error.field)))
            ) from error

    def _value(
        self, out: pb.Payload.Metric, data_type: DataType | None, value: Value, depth: int
    ) -> None:
        if data_type is None:
            raise EncodeError("a value needs a data type")
        if isinstance(value, DataSet):
            if data_type is not DataType.DATASET:
                raise EncodeError(f"a DataSet is no {data_type.name}")
            out.dataset_value.SetInParent()
            _write_dataset(out.dataset_value, value)
        elif isinstance(value, Template):
            if data_type is not DataType.TEMPLATE:
                raise EncodeError(f"a Template is no {data_type.name}")
            out.template_value.SetInParent()
            self._template(out.template_value, value, depth + 1)
        elif isinstance(value, tuple):
            out.bytes_value = pack_array(data_type, value)
        else:
            wire = to_wire(data_type, value)
            setattr(out, WIRE_FIELD[data_type], wire)

    def _template(self, out: pb.Payload.Template, template: Template, depth: int) -> None:
        if depth > ENCODE_DEPTH_MAX:
            raise EncodeError(f"nested deeper than {ENCODE_DEPTH_MAX}")
        if template.is_definition == (template.template_ref is not None):
            raise EncodeError("a template instance has a template_ref, a definition has none")
        _set(out, version=template.version, template_ref=template.template_ref)
        out.is_definition = template.is_definition
        for member in template.metrics:
            self._metric(out.metrics.add(), member, depth)
        for parameter in template.parameters:
            target = out.parameters.add()
            target.name = parameter.name
            if parameter.data_type is None:
                raise EncodeError("a parameter needs a data type", field=parameter.name)
            target.type = parameter.data_type
            if parameter.value is not None:
                _write_basic(target, parameter.data_type, parameter.value)


def _set(message: Any, **fields: Scalar | None) -> None:  # noqa: ANN401 - any protobuf message
    for name, value in fields.items():
        if value is not None:
            setattr(message, name, value)


def _write_basic(out: Any, data_type: DataType, value: Scalar) -> None:  # noqa: ANN401 - three message types
    if data_type not in BASIC_TYPES:
        raise EncodeError(f"{data_type.name} is not a basic type")
    wire = to_wire(data_type, value)
    setattr(out, WIRE_FIELD[data_type], wire)


def _write_properties(out: pb.Payload.PropertySet, properties: PropertySet, depth: int) -> None:
    if depth > ENCODE_DEPTH_MAX:
        raise EncodeError(f"nested deeper than {ENCODE_DEPTH_MAX}")
    for key, entry in properties.entries.items():
        out.keys.append(key)
        target = out.values.add()
        if entry.data_type is None:
            raise EncodeError("a property needs a data type", field=key)
        target.type = entry.data_type
        value = entry.value
        if key == "Quality":
            _check_quality(entry)
        if value is None:
            target.is_null = True
        elif isinstance(value, PropertySet):
            _check_property_type(key, entry.data_type, DataType.PROPERTY_SET)
            target.propertyset_value.SetInParent()
            _write_properties(target.propertyset_value, value, depth + 1)
        elif isinstance(value, PropertySetList):
            _check_property_type(key, entry.data_type, DataType.PROPERTY_SET_LIST)
            target.propertysets_value.SetInParent()
            for one in value.sets:
                _write_properties(target.propertysets_value.propertyset.add(), one, depth + 1)
        else:
            _write_basic(target, entry.data_type, value)


def _check_quality(entry: PropertyValue) -> None:
    """Check the one property that the specification fixes.

    Source: Sparkplug 3.0, tck-id-payloads-propertyset-quality-value-type, -quality-value-value.
    """
    if entry.data_type is not DataType.INT32 or entry.value not in QUALITIES:
        raise EncodeError(f"Quality is an INT32 of {sorted(QUALITIES)}", field="Quality")


def _check_property_type(key: str, said: DataType, needed: DataType) -> None:
    if said is not needed:
        raise EncodeError(f"{needed.name} value for {said.name}", field=key)


def _write_dataset(out: pb.Payload.DataSet, dataset: DataSet) -> None:
    column_count = len(dataset.columns)
    if len(dataset.types) != column_count:
        raise EncodeError(f"{len(dataset.types)} types for {column_count} columns")
    if not BASIC_TYPES.issuperset(dataset.types):
        raise EncodeError("a column is not of a basic type")
    out.num_of_columns = column_count
    out.columns.extend(dataset.columns)
    out.types.extend(dataset.types)
    for row in dataset.rows:
        if len(row) != column_count:
            raise EncodeError(f"a row of {len(row)} cells for {column_count} columns")
        cells = out.rows.add().elements
        for data_type, value in zip(dataset.types, row, strict=True):
            cell = cells.add()
            if value is not None:
                _write_basic(cell, data_type, value)
