"""The metrics that go both ways between our codec and the npm package."""

import math

from sparkplug_b import (
    DataSet,
    DataType,
    MetaData,
    Metric,
    Parameter,
    Payload,
    PropertySet,
    PropertySetList,
    PropertyValue,
    Template,
)

T = 1_790_000_000_123

NPM_NAME = {
    DataType.INT8: "Int8",
    DataType.INT16: "Int16",
    DataType.INT32: "Int32",
    DataType.INT64: "Int64",
    DataType.UINT8: "UInt8",
    DataType.UINT16: "UInt16",
    DataType.UINT32: "UInt32",
    DataType.UINT64: "UInt64",
    DataType.FLOAT: "Float",
    DataType.DOUBLE: "Double",
    DataType.BOOLEAN: "Boolean",
    DataType.STRING: "String",
    DataType.DATETIME: "DateTime",
    DataType.TEXT: "Text",
    DataType.UUID: "UUID",
    DataType.DATASET: "DataSet",
    DataType.BYTES: "Bytes",
    DataType.FILE: "File",
    DataType.TEMPLATE: "Template",
    DataType.PROPERTY_SET: "PropertySet",
    DataType.PROPERTY_SET_LIST: "PropertySetList",
}
LONGS = {DataType.INT64, DataType.UINT64, DataType.DATETIME}

SCALARS = [
    *[(DataType.INT8, value) for value in (-128, -1, 0, 127)],
    *[(DataType.INT16, value) for value in (-32768, -1, 0, 32767)],
    *[(DataType.INT32, value) for value in (-(2**31), -1, 0, 2**31 - 1)],
    *[(DataType.INT64, value) for value in (-(2**63), -1, 0, 2**63 - 1)],
    *[(DataType.UINT8, value) for value in (0, 255)],
    *[(DataType.UINT16, value) for value in (0, 65535)],
    *[(DataType.UINT32, value) for value in (0, 2**31 - 1)],
    *[(DataType.UINT64, value) for value in (0, 2**64 - 1)],
    *[(DataType.FLOAT, value) for value in (0.0, -1.5, math.inf)],
    *[(DataType.DOUBLE, value) for value in (0.0, 0.1, -math.inf, 5e-324)],
    *[(DataType.BOOLEAN, value) for value in (True, False)],
    *[(DataType.STRING, value) for value in ("", "größe 温度 \0")],
    (DataType.DATETIME, T),
    (DataType.TEXT, "text"),
    (DataType.UUID, "6f1c1f9e-3b0a-4a53-9c0e-0a3f5b1c2d3e"),
    *[(DataType.BYTES, value) for value in (b"", b"\x00\xff")],
    (DataType.FILE, b"%PDF"),
]


def payload_of(*metrics):
    return Payload(timestamp_ms=T, seq=0, metrics=metrics)


def metric_of(data_type, value, **rest):
    rest = {"name": "m", "time_ms": T} | rest
    return Metric(data_type=data_type, value=value, is_null=value is None, **rest)


PROPERTY_SET = PropertySet(
    entries={
        "Quality": PropertyValue(data_type=DataType.INT32, value=500),
        "engUnit": PropertyValue(data_type=DataType.STRING, value="°C"),
        "engLow": PropertyValue(data_type=DataType.DOUBLE, value=-40.5),
        "readOnly": PropertyValue(data_type=DataType.BOOLEAN, value=False),
        "none": PropertyValue(data_type=DataType.INT64, value=None),
        "since": PropertyValue(data_type=DataType.DATETIME, value=T),
    }
)
NESTED = PropertySet(
    entries={
        "set": PropertyValue(data_type=DataType.PROPERTY_SET, value=PROPERTY_SET),
        "list": PropertyValue(
            data_type=DataType.PROPERTY_SET_LIST,
            value=PropertySetList(sets=(PROPERTY_SET, PropertySet(entries={}))),
        ),
    }
)
METADATA = MetaData(
    is_multi_part=False,
    content_type="application/pdf",
    size=4,
    seq=0,
    file_name="a.pdf",
    file_type="pdf",
    md5="d41d8cd98f00b204e9800998ecf8427e",
    description="",
)
DATASET = DataSet(
    columns=("long", "u32", "f", "d", "b", "s"),
    types=(
        DataType.INT64,
        DataType.UINT32,
        DataType.FLOAT,
        DataType.DOUBLE,
        DataType.BOOLEAN,
        DataType.STRING,
    ),
    rows=((2**62, 7, 1.5, 0.1, False, ""), (0, 0, -0.5, -2.0, True, "ä")),
)
BASIC = {
    DataType.INT8: -128,
    DataType.INT16: -1,
    DataType.INT32: -(2**31),
    DataType.INT64: -(2**63),
    DataType.UINT8: 255,
    DataType.UINT16: 65535,
    DataType.UINT32: 2**32 - 1,
    DataType.UINT64: 2**64 - 1,
    DataType.FLOAT: 1.5,
    DataType.DOUBLE: 0.1,
    DataType.BOOLEAN: False,
    DataType.STRING: "ä",
    DataType.DATETIME: T,
    DataType.TEXT: "",
}
MEMBERS = (
    metric_of(DataType.INT16, -5, name="speed"),
    metric_of(DataType.DOUBLE, 0.1, name="temp", properties=PROPERTY_SET),
)
PARAMETERS = (
    Parameter(name="id", data_type=DataType.STRING, value="x"),
    Parameter(name="limit", data_type=DataType.DOUBLE, value=2.5),
    Parameter(name="on", data_type=DataType.BOOLEAN, value=False),
)
DEFINITION = Template(is_definition=True, version="1", metrics=MEMBERS, parameters=PARAMETERS)
INSTANCE = Template(
    is_definition=False,
    template_ref="Motor",
    metrics=(
        *MEMBERS,
        metric_of(
            DataType.TEMPLATE,
            Template(is_definition=False, template_ref="Bearing", metrics=MEMBERS[:1]),
            name="bearing",
        ),
    ),
    parameters=PARAMETERS,
)

CASES = [
    *[metric_of(data_type, value) for data_type, value in SCALARS],
    *[metric_of(data_type, None) for data_type in sorted(NPM_NAME) if data_type < 16],
    metric_of(DataType.INT32, 1, alias=0),
    metric_of(DataType.INT32, 1, alias=2**64 - 1),
    metric_of(DataType.INT32, 1, is_historical=True, is_transient=True),
    metric_of(DataType.FILE, b"%PDF", metadata=METADATA),
    metric_of(DataType.DOUBLE, 1.0, properties=PROPERTY_SET),
    metric_of(DataType.DOUBLE, 1.0, properties=NESTED),
    metric_of(DataType.DATASET, DATASET),
    metric_of(DataType.TEMPLATE, DEFINITION, name="Motor"),
    metric_of(DataType.TEMPLATE, INSTANCE),
]

# Written by the npm package, but not read by it.
WRITTEN_ONLY = [
    metric_of(
        DataType.DATASET,
        DataSet(
            columns=tuple(t.name for t in BASIC),
            types=tuple(BASIC),
            rows=(tuple(BASIC.values()),),
        ),
    ),
    metric_of(
        DataType.TEMPLATE,
        Template(
            is_definition=False,
            template_ref="Motor",
            parameters=tuple(
                Parameter(name=t.name, data_type=t, value=value) for t, value in BASIC.items()
            ),
        ),
    ),
    metric_of(DataType.UINT32, 2**32 - 1),
]
