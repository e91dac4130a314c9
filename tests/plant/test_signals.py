"""The signals are pure functions of (seed, tick) and stay within what the model declares."""

from collections import Counter
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from plant import signals
from plant.model import VARIABLES, Kind

WHOLE_RANGE = {
    Kind.SBYTE: (-(2**7), 2**7 - 1),
    Kind.BYTE: (0, 2**8 - 1),
    Kind.INT16: (-(2**15), 2**15 - 1),
    Kind.UINT16: (0, 2**16 - 1),
    Kind.INT32: (-(2**31), 2**31 - 1),
    Kind.UINT32: (0, 2**32 - 1),
    Kind.INT64: (-(2**63), 2**63 - 1),
    Kind.UINT64: (0, 2**64 - 1),
    Kind.ENUM: (0, len(signals.MachineState) - 1),
}
PYTHON_TYPE = {
    Kind.BOOLEAN: bool,
    Kind.FLOAT: float,
    Kind.DOUBLE: float,
    Kind.STRING: str,
    Kind.DATETIME: datetime,
}
seeds = st.integers(0, 2**31)
ticks = st.integers(0, 40_000_000)  # 115 days


@given(seeds, ticks)
def test_the_same_seed_and_tick_give_the_same_values_in_any_order(seed, tick):
    forwards = [variable.signal(seed, tick) for variable in VARIABLES]
    backwards = [variable.signal(seed, tick) for variable in reversed(VARIABLES)]
    assert forwards == backwards[::-1]


@given(seeds, ticks)
def test_every_value_fits_its_type_and_range(seed, tick):
    for variable in VARIABLES:
        value = variable.signal(seed, tick)
        for item in value if variable.is_array else [value]:
            if variable.kind in WHOLE_RANGE:
                low, high = WHOLE_RANGE[variable.kind]
                assert type(item) is int
                assert low <= item <= high, variable.string_id
            else:
                assert type(item) is PYTHON_TYPE[variable.kind]
            if variable.low is not None:
                assert variable.low <= item <= variable.high, variable.string_id


def test_another_seed_gives_other_values():
    first = [variable.signal(1, 100) for variable in VARIABLES]
    second = [variable.signal(2, 100) for variable in VARIABLES]
    assert first != second


def test_noise_is_the_published_sequence_of_splitmix64():
    # Source: the reference splitmix64.c with state 0; crc32 of the empty key is 0.
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    drawn = [signals.noise(0, "", tick) for tick in range(3)]
    assert drawn == [(number >> 11) / 2**53 for number in published]


def test_noise_is_spread_evenly():
    tenths = Counter(int(10 * signals.noise(7, "spread", tick)) for tick in range(10_000))
    assert set(tenths) == set(range(10))
    assert max(tenths.values()) - min(tenths.values()) < 250


def test_the_plant_has_every_type_and_three_kinds_of_array():
    scalars = {variable.kind for variable in VARIABLES if not variable.is_array}
    arrays = {variable.kind for variable in VARIABLES if variable.is_array}
    assert scalars == set(Kind)
    assert arrays == {Kind.DOUBLE, Kind.BOOLEAN, Kind.STRING}


def test_string_ids_are_unique_and_the_example_tag_exists():
    ids = [variable.string_id for variable in VARIABLES]
    assert len(set(ids)) == len(ids)
    assert "Press.Temperature" in ids
    (temperature,) = [v for v in VARIABLES if v.string_id == "Press.Temperature"]
    assert temperature.kind is Kind.DOUBLE
    assert temperature.unit is not None
    assert temperature.unit.unit_id == 4408652  # Source: UNECE_to_OPCUA.csv, CEL
