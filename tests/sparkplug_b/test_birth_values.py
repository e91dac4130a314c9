"""Everything a metric can be, from an edge node's birth and data to what the host tells."""

import numpy as np
import pytest

from sparkplug_b import (
    BirthMetric,
    DataSet,
    DataType,
    DeviceBirth,
    EncodeError,
    MetaData,
    Metric,
    MetricColumn,
    MetricValues,
    NodeOnline,
    Payload,
    PropertySet,
    PropertySetList,
    PropertyValue,
    encode,
    encode_metrics,
)
from tests.sparkplug_b.test_host_bench import Bench, T

INNER = PropertySet(entries={"low": PropertyValue(data_type=DataType.FLOAT, value=-1.5)})
PROPERTIES = {
    "engUnit": PropertyValue(data_type=DataType.STRING, value="°C"),
    "limits": PropertyValue(data_type=DataType.PROPERTY_SET, value=INNER),
    "ranges": PropertyValue(
        data_type=DataType.PROPERTY_SET_LIST, value=PropertySetList(sets=(INNER, INNER))
    ),
    "nothing": PropertyValue(data_type=DataType.INT32, value=None),
}
PICTURE = MetaData(
    content_type="image/png",
    size=3,
    file_name="p.png",
    file_type="png",
    md5="x",
    is_multi_part=False,
)
TABLE = DataSet(
    columns=("a", "b"), types=(DataType.INT8, DataType.STRING), rows=((-1, "x"), (None, "y"))
)

METRICS = {
    "picture": {"data_type": DataType.FILE, "value": b"\x89PN", "metadata": PICTURE},
    "blob": {"data_type": DataType.BYTES, "value": b"", "metadata": MetaData(size=0)},
    "table": {"data_type": DataType.DATASET, "value": TABLE},
    "array": {"data_type": DataType.INT16_ARRAY, "value": (-1, 2)},
    "flags": {"data_type": DataType.BOOLEAN_ARRAY, "value": (True, False, True)},
    "null array": {"data_type": DataType.STRING_ARRAY, "value": None},
    "null": {"data_type": DataType.DOUBLE, "value": None},
    "transient": {"data_type": DataType.UUID, "value": "u", "is_transient": True},
    "annotated": {"data_type": DataType.UINT64, "value": 2**64 - 1, "properties": PROPERTIES},
}
NODE = DeviceBirth(
    metrics=[
        BirthMetric(name=name, alias=alias, time_ms=T, **rest)
        for alias, (name, rest) in enumerate(METRICS.items())
    ]
)


@pytest.mark.parametrize("name", METRICS)
def test_a_host_tells_of_a_birth_what_the_node_said(name):
    bench = Bench()
    online, values = bench.give(*bench.births(NODE, ()))
    assert isinstance(online, NodeOnline)
    said, heard = METRICS[name], online.metrics[name]
    assert (heard.data_type, heard.value) == (said["data_type"], said["value"])
    assert heard.metadata == said.get("metadata")
    assert heard.is_transient is said.get("is_transient", False)
    row = list(values.names).index(name)
    assert values.values[row] == said["value"]
    assert values.metadata.get(row) == said.get("metadata")
    assert values.is_transient[row] is said.get("is_transient", False)
    found = values.properties.get(row)
    assert (None if found is None else found.entries) == said.get("properties")


def test_data_that_is_null_transient_or_a_part_of_a_file_is_told_as_such():
    bench = Bench()
    bench.give(*bench.births(NODE, ()))
    part = MetaData(is_multi_part=True, seq=2, size=3)
    aliases = {name: alias for alias, name in enumerate(METRICS)}
    metrics = (
        Metric(
            alias=aliases["picture"],
            time_ms=T + 1,
            data_type=DataType.FILE,
            value=b"abc",
            metadata=part,
        ),
        Metric(alias=aliases["annotated"], time_ms=T + 1, is_null=True),
        Metric(alias=aliases["transient"], time_ms=T + 1, data_type=DataType.UUID, value="v"),
    )
    data = encode(Payload(timestamp_ms=T, seq=1, metrics=metrics), with_data_types=False)
    (values,) = bench.host.on_message("spBv1.0/G/NDATA/N", data, retained=False, now_ms=T)
    assert isinstance(values, MetricValues)
    assert values.names == ["picture", "annotated", "transient"]
    assert values.values == [b"abc", None, "v"]
    assert values.metadata == {0: part}
    assert values.is_transient == [False, False, True]
    assert bench.value("annotated") is None
    assert bench.host.take_drops() == []


@pytest.mark.parametrize("is_historical", [False, True])
def test_many_rows_of_all_kinds_change_the_current_values_unless_historical(is_historical):
    count = 300
    bench = Bench()
    metrics = [
        BirthMetric(name=f"m{n}", alias=n, data_type=DataType.DOUBLE, value=0.0, time_ms=T)
        for n in range(count)
    ]
    bench.give(*bench.births(DeviceBirth(metrics=metrics), ()))
    nulls = np.arange(count) % 10 == 0
    column = MetricColumn(
        DataType.DOUBLE,
        np.arange(count, dtype=np.uint64),
        np.full(count, T + 5),
        np.arange(count) / 4,
        quality=np.where(nulls, 500, 192).astype(np.int32),
        null=nulls,
    )
    body = encode_metrics(column, is_historical=is_historical).body
    (values,) = bench.give(bench.edge.data(None, body, T + 9))
    expected = [None if n % 10 == 0 else n / 4 for n in range(count)]
    assert values.values == expected
    assert values.is_historical == [is_historical] * count
    assert sorted(values.properties) == list(range(0, count, 10))
    now = [bench.value(f"m{n}") for n in range(count)]
    assert now == ([0.0] * count if is_historical else expected)
    current = bench.node.scope.metrics["m10"].properties
    assert (current is None) is is_historical


@pytest.mark.parametrize(
    "quality",
    [
        PropertyValue(data_type=DataType.INT32, value=1),
        PropertyValue(data_type=DataType.INT64, value=192),
        PropertyValue(data_type=DataType.STRING, value="good"),
        PropertyValue(data_type=DataType.INT32, value=None),
    ],
)
def test_a_quality_of_another_type_or_value_is_not_sent(quality):
    metric = BirthMetric(
        name="a", data_type=DataType.INT8, value=1, time_ms=T, properties={"Quality": quality}
    )
    with pytest.raises(EncodeError, match=r"a/Quality: Quality is an INT32 of \[0, 192, 500\]"):
        Bench().births(DeviceBirth(metrics=[metric]), ())
