"""Payload to bytes and back: the one door to protobuf (upb).

`encode` refuses what a data type cannot hold. `decode` takes bytes from anyone: whatever they are,
it returns a Payload or raises DecodeError, within the limits. Explicit presence is kept: seq 0,
alias 0, `is_definition` false and a boolean false are written. Unknown fields and extensions are
ignored.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import DecodeError as ProtobufDecodeError
from google.protobuf.message import EncodeError as ProtobufEncodeError

from sparkplug_b import sparkplug_b_pb2 as pb
from sparkplug_b.datatype import (
    BASIC_TYPES,
    WIRE_FIELD,
    DataType,
    Scalar,
    pack_array,
)
from sparkplug_b.decoder import DEFAULT_LIMITS, Limits, Reader, TypeTable
from sparkplug_b.errors import DecodeError, EncodeError
from sparkplug_b.payload import (
    DataSet,
    MetaData,
    Metric,
    Payload,
    PropertySet,
    PropertySetList,
    Template,
    Value,
)
from sparkplug_b.scalar import to_wire

ENCODE_DEPTH_MAX: Final = 32

_METADATA_FIELDS: Final = MetaData.__struct_fields__


def encode(payload: Payload, *, with_data_types: bool = True) -> bytes:
    """Encode a payload.

    Args:
        payload: metrics that have a value need their data type.
        with_data_types: False leaves the `datatype` fields out, as DATA should.

    Raises:
        EncodeError: sparkplug.encode, when a value does not fit its data type.
    """
    message = pb.Payload()
    try:
        _set(message, timestamp=payload.timestamp_ms, seq=payload.seq, uuid=payload.uuid)
        _set(message, body=payload.body)
        for metric in payload.metrics:
            _write_metric(message.metrics.add(), metric, with_data_types, 0)
        return message.SerializeToString()
    except (TypeError, ValueError, ProtobufEncodeError) as error:
        raise EncodeError(str(error)) from error


def decode(
    data: bytes | bytearray | memoryview,
    *,
    types: TypeTable | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Payload:
    """Decode a payload; a metric without a known data type keeps its raw value.

    Args:
        data: the bytes as received.
        types: data types of the births, by alias and by name; the payload's own go first.
        limits: what the payload may cost.

    Raises:
        DecodeError: sparkplug.decode, with its cause; nothing else, whatever the bytes are.
    """
    if len(data) > limits.payload_bytes_max:
        raise DecodeError("too_large", f"{len(data)} bytes")
    message = pb.Payload()
    try:
        message.ParseFromString(bytes(data))
    except ProtobufDecodeError as error:
        raise DecodeError("malformed", str(error)) from error
    return Reader(types or {}, limits).payload(message)


# --- encode ----------------------------------------------------------------------------------


def _set(message: Any, **fields: Scalar | None) -> None:  # noqa: ANN401 - any protobuf message
    for name, value in fields.items():
        if value is not None:
            setattr(message, name, value)


def _write_metric(out: pb.Payload.Metric, metric: Metric, with_types: bool, depth: int) -> None:
    _set(out, name=metric.name, alias=metric.alias, timestamp=metric.time_ms)
    if with_types and metric.data_type is not None:
        out.datatype = metric.data_type
    if metric.is_historical:
        out.is_historical = True
    if metric.is_transient:
        out.is_transient = True
    if metric.metadata is not None:
        out.metadata.SetInParent()
        _set(out.metadata, **{name: getattr(metric.metadata, name) for name in _METADATA_FIELDS})
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
            _write_value(out, metric.data_type, metric.value, with_types, depth)
    except EncodeError as error:
        raise EncodeError(
            error.reason, field="/".join(filter(None, (field, error.field)))
        ) from error


def _write_value(
    out: pb.Payload.Metric,
    data_type: DataType | None,
    value: Value,
    with_types: bool,
    depth: int,
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
        _write_template(out.template_value, value, with_types, depth + 1)
    elif isinstance(value, tuple):
        out.bytes_value = pack_array(data_type, value)
    else:
        wire = to_wire(data_type, value)
        setattr(out, WIRE_FIELD[data_type], wire)


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


def _write_template(
    out: pb.Payload.Template,
    template: Template,
    with_types: bool,
    depth: int,
) -> None:
    if depth > ENCODE_DEPTH_MAX:
        raise EncodeError(f"nested deeper than {ENCODE_DEPTH_MAX}")
    if template.is_definition == (template.template_ref is not None):
        raise EncodeError("a template instance has a template_ref, a definition has none")
    _set(out, version=template.version, template_ref=template.template_ref)
    out.is_definition = template.is_definition
    for member in template.metrics:
        _write_metric(out.metrics.add(), member, with_types, depth)
    for parameter in template.parameters:
        target = out.parameters.add()
        target.name = parameter.name
        if parameter.data_type is None:
            raise EncodeError("a parameter needs a data type", field=parameter.name)
        target.type = parameter.data_type
        if parameter.value is not None:
            _write_basic(target, parameter.data_type, parameter.value)
