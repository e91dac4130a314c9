"""Report by exception says the same as a plain rule applied sample by sample."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.sample import NUMPY_TYPE, SampleBatch, ValueKind
from gateway.pipeline.exception import ReportByException
from gateway.pipeline.last import LastValues
from tests.contract.batches import columns, doubles, rows_of

TAGS = 5
FLOATS = st.sampled_from(
    [0.0, -0.0, 1.0, 1.05, 1.2, 2.0, -1.0, math.inf, -math.inf, math.nan, 1e300, 2.0**53]
)
SMALL = {
    ValueKind.DOUBLE: FLOATS,
    ValueKind.INT: st.sampled_from([0, 1, 2, -1, 2**63 - 1, -(2**63)]),
    ValueKind.UINT: st.sampled_from([0, 1, 2**64 - 1]),
    ValueKind.TEXT: st.sampled_from(["", "a", "b"]),
    ValueKind.BYTES: st.sampled_from([b"", b"a"]),
    ValueKind.NULL: st.none(),
}
STATUS = st.sampled_from([0, 0, 0, 0x40000000, 0x80000000])


@st.composite
def streams(draw):
    """Batches of samples of few tags with few values, so that many are alike; a tag has one kind.

    Some samples have no value. Times grow over all batches.
    """
    kind_of = draw(st.lists(st.sampled_from(list(ValueKind)[:5]), min_size=TAGS, max_size=TAGS))
    time_us = 0
    found = []
    for size in draw(st.lists(st.integers(1, 12), min_size=1, max_size=4)):
        rows = {}
        for _ in range(size):
            tag = draw(st.integers(0, TAGS - 1))
            kind = draw(st.sampled_from([kind_of[tag]] * 5 + [ValueKind.NULL]))
            time_us += 10
            rows.setdefault(kind, []).append((tag, time_us, draw(STATUS), draw(SMALL[kind])))
        found.append(SampleBatch(tuple(columns(kind, rows[kind]) for kind in sorted(rows))))
    return found


def number_of(kind, bits):
    return float(np.uint64(bits).view(NUMPY_TYPE[kind]))


class Model:
    """The rule, one sample at a time."""

    def __init__(self, deadbands):
        self.deadbands = deadbands
        self.last = {}

    def reports(self, row):
        kind, tag, _, status, value = row
        before = self.last.get(tag)
        if self.is_same(before, kind, status, value, self.deadbands.get(tag, 0.0)):
            return False
        self.last[tag] = (kind, status, value)
        return True

    @staticmethod
    def is_same(before, kind, status, value, width):
        if before is None or before[:2] != (kind, status):
            return False
        if before[2] == value:
            return True
        if not width or kind not in NUMPY_TYPE:
            return False
        return abs(number_of(kind, value) - number_of(kind, before[2])) < width


def by_tag(rows):
    found = {}
    for row in sorted(rows, key=lambda row: row[2]):
        found.setdefault(row[1], []).append(row)
    return found


DEADBANDS = st.dictionaries(st.integers(0, TAGS - 1), st.sampled_from([0.1, 1.0, 1e18]))


@given(streams(), DEADBANDS)
@settings(max_examples=150)
def test_what_is_reported_is_what_the_rule_says(stream, deadbands):
    last = LastValues()
    by_exception = ReportByException(last)
    by_exception.set_deadbands([(tag, deadbands.get(tag, 0.0)) for tag in range(TAGS)])
    model = Model(deadbands)
    read = reported = 0
    for batch in stream:
        rows = sorted(rows_of(batch), key=lambda row: row[2])
        expected = [row for row in rows if model.reports(row)]
        found = rows_of(by_exception.filter(batch))
        assert by_tag(found) == by_tag(expected)
        read += len(rows)
        reported += len(found)
    assert by_exception.unchanged_count + by_exception.deadband_count == read - reported
    for tag, (kind, status, value) in model.last.items():
        assert (last.kind[tag], last.status[tag]) == (kind, status)
        if kind in NUMPY_TYPE:
            assert last.bits[tag] == value
        else:
            assert last.value(tag) == value


@given(streams())
def test_the_order_of_each_tags_reports_is_the_order_of_its_samples(stream):
    by_exception = ReportByException(LastValues())
    by_exception.set_deadbands([(tag, 0.0) for tag in range(TAGS)])
    for batch in stream:
        filtered = by_exception.filter(batch)
        for part in filtered.columns:
            for tag in range(TAGS):
                times = part.time_us[part.tag == tag].tolist()
                assert times == sorted(times)


def filtering(*deadbands):
    by_exception = ReportByException(LastValues())
    by_exception.set_deadbands(list(enumerate(deadbands)))

    def values(*given_values):
        batch = by_exception.filter(doubles(*[(0, value) for value in given_values]))
        return [v for part in batch.columns for v in part.value.tolist()]

    return values


def test_a_value_that_returns_within_one_batch_is_reported_each_time():
    assert filtering(0.0)(1.0, 1.0, 2.0, 1.0, 1.0) == [1.0, 2.0, 1.0]


def test_a_slow_drift_is_reported_when_it_has_moved_by_the_deadband():
    values = filtering(1.0)
    assert values(0.0, 0.4, 0.8, 1.0, 1.4) == [0.0, 1.0]
    assert values(1.9, 2.0) == [2.0]


def test_nan_equals_itself_and_minus_zero_is_another_value():
    values = filtering(0.0)
    assert len(values(math.nan, math.nan)) == 1
    assert [struct.pack("<d", v) for v in values(0.0, -0.0)] == [
        struct.pack("<d", 0.0),
        struct.pack("<d", -0.0),
    ]
    assert len(filtering(1.0)(1.0, math.nan, math.nan, 1.0)) == 3


def test_a_change_of_status_reports_within_the_deadband():
    by_exception = ReportByException(LastValues())
    by_exception.set_deadbands([(0, 10.0)])
    batch = doubles((0, 1.0, 1, 0), (0, 1.1, 2, 0x80000000), (0, 1.2, 3, 0x80000000))
    assert by_exception.filter(batch).columns[0].time_us.tolist() == [1, 2]


def test_a_tag_that_lost_its_value_for_a_moment_is_good_again_at_the_end():
    last = LastValues()
    by_exception = ReportByException(last)
    by_exception.set_deadbands([(0, 0.0)])
    by_exception.filter(doubles((0, 7.0, 1)))
    flicker = SampleBatch(
        (
            columns(ValueKind.DOUBLE, [(0, 3, 0, 7.0)]),
            columns(ValueKind.NULL, [(0, 2, 0x80000000, None)]),
        )
    )
    assert sorted(row[2] for row in rows_of(by_exception.filter(flicker))) == [2, 3]
    assert (last.value(0), int(last.status[0])) == (7.0, 0)


def test_a_deadband_holds_from_the_moment_it_is_set():
    by_exception = ReportByException(LastValues())
    by_exception.set_deadbands([(0, 0.0)])
    by_exception.filter(doubles((0, 1.0)))
    assert len(by_exception.filter(doubles((0, 1.1)))) == 1
    by_exception.set_deadbands([(0, 5.0), (3, 1.0)])
    assert len(by_exception.filter(doubles((0, 1.2)))) == 0
    by_exception.set_deadbands([(0, 0.0)])
    assert len(by_exception.filter(doubles((0, 1.3)))) == 1


@pytest.mark.parametrize("size", [0, 1])
def test_a_batch_of_which_nothing_is_left_has_no_columns(size):
    by_exception = ReportByException(LastValues())
    by_exception.set_deadbands([(0, 0.0)])
    batch = doubles(*[(0, 1.0)] * size) if size else SampleBatch(())
    by_exception.filter(batch)
    assert len(by_exception.filter(batch)) == 0


def test_below_zero_every_sample_is_reported_changed_or_not():
    by_exception = ReportByException(LastValues())
    by_exception.set_deadbands([(0, -1.0), (1, 0.0)])
    by_exception.filter(doubles((0, 1.0), (1, 1.0)))
    assert [row[1] for row in rows_of(by_exception.filter(doubles((0, 1.0), (1, 1.0))))] == [0]
