"""What a person writes as JSON, as a tag's type holds it; nothing is bent to fit."""

import pytest

from gateway.flow.json_value import MisfitError, from_json
from sparkplug_b import DataType


@pytest.mark.parametrize(
    ("data_type", "value", "held"),
    [
        (DataType.DOUBLE, 1, 1),
        (DataType.FLOAT, 0.5, 0.5),
        (DataType.BOOLEAN, False, False),
        (DataType.UINT64, 2**64 - 1, 2**64 - 1),
        (DataType.STRING, "ü", "ü"),
        (DataType.BYTES, "AAE=", b"\x00\x01"),
        (DataType.DATETIME, 5, 5),
        (DataType.DATETIME, "1970-01-01T00:00:01+00:00", 1000),
        (DataType.INT8_ARRAY, [-128, 127], (-128, 127)),
        (DataType.STRING_ARRAY, [], ()),
    ],
)
def test_a_value_that_fits_is_taken_as_it_is(data_type, value, held):
    assert from_json(data_type, value) == held


@pytest.mark.parametrize(
    ("data_type", "value"),
    [
        (DataType.DOUBLE, True), (DataType.DOUBLE, "1"), (DataType.DOUBLE, None),
        (DataType.INT8, 128), (DataType.INT32, 1.0), (DataType.UINT8, -1),
        (DataType.BOOLEAN, 1), (DataType.STRING, 1), (DataType.BYTES, "no base64"),
        (DataType.DATETIME, "soon"), (DataType.DATETIME, "2026-01-01T00:00:00"),
        (DataType.DATETIME, -1), (DataType.INT8_ARRAY, 1), (DataType.INT8_ARRAY, [1, "2"]),
        (DataType.DOUBLE, {}), (DataType.DOUBLE, [1.0]),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_refused(data_type, value):
    with pytest.raises(MisfitError, match="needed"):
        from_json(data_type, value)
