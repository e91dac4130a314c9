"""Hypothesis strategies of Sparkplug payload data."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

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
from sparkplug_b.datatype import BASIC_TYPES, INTEGER_RANGE, STRING_TYPES

UINT64 = st.integers(0, 2**64 - 1)
TEXT = st.text(max_size=12)
NAME = st.text(min_size=1, max_size=12)
TIME_MS = st.integers(0, 2**63 - 1) | st.integers(1_700_000_000_000, 1_900_000_000_000)

INTEGERS = {
    data_type: st.sampled_from([low, high, 0, 1, high - 1]) | st.integers(low, high)
    for data_type, (low, high) in INTEGER_RANGE.items()
}
SCALARS: dict[DataType, st.SearchStrategy[Any]] = {
    **INTEGERS,
    DataType.FLOAT: st.floats(width=32, allow_nan=False),
    DataType.DOUBLE: st.floats(allow_nan=False),
    DataType.BOOLEAN: st.booleans(),
    **dict.fromkeys(STRING_TYPES, TEXT),
    DataType.BYTES: st.binary(max_size=40),
    DataType.FILE: st.binary(max_size=40),
}
ITEM_OF_ARRAY: dict[DataType, st.SearchStrategy[Any]] = {
    DataType.INT8_ARRAY: SCALARS[DataType.INT8],
    DataType.INT16_ARRAY: SCALARS[DataType.INT16],
    DataType.INT32_ARRAY: SCALARS[DataType.INT32],
    DataType.INT64_ARRAY: SCALARS[DataType.INT64],
    DataType.UINT8_ARRAY: SCALARS[DataType.UINT8],
    DataType.UINT16_ARRAY: SCALARS[DataType.UINT16],
    DataType.UINT32_ARRAY: SCALARS[DataType.UINT32],
    DataType.UINT64_ARRAY: SCALARS[DataType.UINT64],
    DataType.FLOAT_ARRAY: SCALARS[DataType.FLOAT],
    DataType.DOUBLE_ARRAY: SCALARS[DataType.DOUBLE],
    DataType.BOOLEAN_ARRAY: st.booleans(),
    DataType.STRING_ARRAY: st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    DataType.DATETIME_ARRAY: SCALARS[DataType.INT64],
}


def array_of(data_type: DataType) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(ITEM_OF_ARRAY[data_type], max_size=20).map(tuple)


def _typed(types: list[DataType]) -> st.SearchStrategy[tuple[DataType, Any]]:
    return st.sampled_from(types).flatmap(lambda t: st.tuples(st.just(t), SCALARS[t]))


BASIC = _typed(sorted(BASIC_TYPES))
_SIMPLE_PROPERTY = (BASIC | st.tuples(st.sampled_from(sorted(BASIC_TYPES)), st.none())).map(
    lambda pair: PropertyValue(data_type=pair[0], value=pair[1])
)


def _set_of(values: st.SearchStrategy[PropertyValue]) -> st.SearchStrategy[PropertySet]:
    keys = TEXT.filter(lambda key: key != "Quality")  # the one with rules of its own
    return st.dictionaries(keys, values, max_size=3).map(lambda d: PropertySet(entries=d))


def _nested_property(
    inner: st.SearchStrategy[PropertyValue],
) -> st.SearchStrategy[PropertyValue]:
    one = _set_of(inner).map(
        lambda s: PropertyValue(data_type=DataType.PROPERTY_SET, value=s),
    )
    many = st.lists(_set_of(inner), max_size=2).map(
        lambda sets: PropertyValue(
            data_type=DataType.PROPERTY_SET_LIST, value=PropertySetList(sets=tuple(sets))
        )
    )
    return one | many


PROPERTIES = _set_of(st.recursive(_SIMPLE_PROPERTY, _nested_property, max_leaves=4))
METADATA = st.builds(
    MetaData,
    is_multi_part=st.none() | st.booleans(),
    content_type=st.none() | TEXT,
    size=st.none() | UINT64,
    seq=st.none() | UINT64,
    file_name=st.none() | TEXT,
    file_type=st.none() | TEXT,
    md5=st.none() | TEXT,
    description=st.none() | TEXT,
)


@st.composite
def datasets(draw: st.DrawFn) -> DataSet:
    types = draw(st.lists(st.sampled_from(sorted(BASIC_TYPES)), max_size=4))
    cells = st.tuples(*[st.none() | SCALARS[data_type] for data_type in types])
    return DataSet(
        columns=tuple(draw(TEXT) for _ in types),
        types=tuple(types),
        rows=tuple(draw(st.lists(cells, max_size=3))),
    )


PARAMETER = st.builds(
    lambda name, pair, has: Parameter(name=name, data_type=pair[0], value=pair[1] if has else None),
    NAME,
    BASIC,
    st.booleans(),
)


def _templates(metrics: st.SearchStrategy[Metric]) -> st.SearchStrategy[Template]:
    return st.builds(
        lambda ref, version, members, parameters: Template(
            is_definition=ref is None,
            template_ref=ref,
            version=version,
            metrics=tuple(members),
            parameters=tuple(parameters),
        ),
        st.none() | TEXT,
        st.none() | TEXT,
        st.lists(metrics, max_size=3),
        st.lists(PARAMETER, max_size=2),
    )


def _metric(pairs: st.SearchStrategy[tuple[DataType, Any]]) -> st.SearchStrategy[Metric]:
    return st.builds(
        lambda pair, presence, rest: Metric(
            data_type=pair[0],
            value=pair[1] if presence == "value" else None,
            is_null=presence == "null",
            **rest,
        ),
        pairs,
        st.sampled_from(["value", "value", "value", "null", "nothing"]),
        st.fixed_dictionaries(
            {
                "name": st.none() | TEXT,
                "alias": st.none() | st.just(0) | UINT64,
                "time_ms": st.none() | st.just(0) | TIME_MS,
                "is_historical": st.booleans(),
                "is_transient": st.booleans(),
                "metadata": st.none() | METADATA,
                "properties": st.none() | PROPERTIES,
            }
        ),
    )


_PLAIN_PAIRS = (
    _typed(sorted(SCALARS))
    | st.sampled_from(sorted(ITEM_OF_ARRAY)).flatmap(
        lambda t: st.tuples(st.just(t), array_of(t)),
    )
    | datasets().map(lambda d: (DataType.DATASET, d))
)
METRICS = st.recursive(
    _metric(_PLAIN_PAIRS),
    lambda inner: _metric(_templates(inner).map(lambda t: (DataType.TEMPLATE, t))),
    max_leaves=5,
)
PAYLOADS = st.builds(
    lambda timestamp_ms, metrics, seq, uuid, body: Payload(
        timestamp_ms=timestamp_ms, metrics=tuple(metrics), seq=seq, uuid=uuid, body=body
    ),
    st.none() | st.just(0) | TIME_MS,
    st.lists(METRICS, max_size=4),
    st.none() | st.integers(0, 255),
    st.none() | TEXT,
    st.none() | st.binary(max_size=20),
)
