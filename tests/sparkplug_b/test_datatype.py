import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkplug_b import DataType, DecodeError, EncodeError, pack_array, unpack_array
from sparkplug_b.datatype import ARRAY_TYPES
from tests.sparkplug_b.strategies import ITEM_OF_ARRAY, array_of

# Source: the specification's examples, corrected where the text is wrong (sparkplug.md 11).
VECTORS = [
    (DataType.INT8_ARRAY, [-23, 123], "e97b"),
    (DataType.INT16_ARRAY, [-30000, 30000], "d08a3075"),
    (DataType.INT32_ARRAY, [123456789, 987654321], "15cd5b07b168de3a"),
    (DataType.UINT8_ARRAY, [23, 250], "17fa"),
    (DataType.UINT32_ARRAY, [52, 3293969225], "3400000049fb55c4"),
    (DataType.DOUBLE_ARRAY, [12.354213, 1022.9123213], "d7a205685bb528408e171c6f4cf78f40"),
    (DataType.DATETIME_ARRAY, [1256102875335, 1656107875000], "c7d0907524010000b8bab89781010000"),
    (DataType.STRING_ARRAY, ["ABC", "hello"], "41424300" + "68656c6c6f00"),
    (DataType.STRING_ARRAY, [], ""),
    (DataType.STRING_ARRAY, [""], "00"),
    (DataType.BOOLEAN_ARRAY, [c == "T" for c in "FFTTFTFFTTFT"], "0c00000034d0"),
    (DataType.BOOLEAN_ARRAY, [True], "0100000080"),
    (DataType.BOOLEAN_ARRAY, [], "00000000"),
]


@pytest.mark.parametrize(("data_type", "values", "packed"), VECTORS)
def test_array_packs_to_the_vector_and_back(data_type, values, packed):
    assert pack_array(data_type, values).hex() == packed
    assert unpack_array(data_type, bytes.fromhex(packed)) == values


def test_float_array_is_little_endian_as_the_corrected_example_says():
    packed = bytes.fromhex("a4709d3f98aeb242")
    values = unpack_array(DataType.FLOAT_ARRAY, packed)
    assert [round(value, 3) for value in values] == [1.23, 89.341]
    assert pack_array(DataType.FLOAT_ARRAY, values) == packed


@given(st.sampled_from(sorted(ARRAY_TYPES)).flatmap(lambda t: st.tuples(st.just(t), array_of(t))))
def test_every_array_type_comes_back_equal(pair):
    data_type, values = pair
    assert tuple(unpack_array(data_type, pack_array(data_type, values))) == values


def test_every_array_type_has_a_strategy():
    assert set(ITEM_OF_ARRAY) == ARRAY_TYPES


def test_nan_in_an_array_keeps_its_bits():
    bits = struct.pack("<d", math.nan)
    assert pack_array(DataType.DOUBLE_ARRAY, unpack_array(DataType.DOUBLE_ARRAY, bits)) == bits


@pytest.mark.parametrize(
    ("data_type", "values"),
    [
        (DataType.INT8_ARRAY, [128]),
        (DataType.UINT8_ARRAY, [-1]),
        (DataType.INT32_ARRAY, [1.5]),
        (DataType.INT32_ARRAY, [True]),
        (DataType.INT32_ARRAY, ["1"]),
        (DataType.FLOAT_ARRAY, [1e300]),
        (DataType.BOOLEAN_ARRAY, [1]),
        (DataType.STRING_ARRAY, ["a\0b"]),
        (DataType.STRING_ARRAY, ["\ud800"]),
        (DataType.STRING_ARRAY, [1]),
        (DataType.DOUBLE, [1.0]),
    ],
)
def test_array_refuses_what_its_type_cannot_hold(data_type, values):
    with pytest.raises(EncodeError):
        pack_array(data_type, values)


@pytest.mark.parametrize(
    ("data_type", "packed"),
    [
        (DataType.INT16_ARRAY, "01"),
        (DataType.DOUBLE_ARRAY, "00" * 7),
        (DataType.BOOLEAN_ARRAY, "0100"),
        (DataType.BOOLEAN_ARRAY, "09000000ff"),
        (DataType.BOOLEAN_ARRAY, "ffffffffff"),
        (DataType.BOOLEAN_ARRAY, "0100000080ff"),
        (DataType.STRING_ARRAY, "4142"),
        (DataType.STRING_ARRAY, "ff00"),
        (DataType.BYTES, "00"),
    ],
)
def test_bytes_that_are_no_such_array_are_a_decode_error(data_type, packed):
    with pytest.raises(DecodeError):
        unpack_array(data_type, bytes.fromhex(packed))
