"""Columns of samples: taking rows and joining batches keep every value and the order per tag."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.sample import (
    EMPTY_BATCH,
    SampleBatch,
    SampleColumns,
    ValueKind,
    columns_of,
    concatenate,
    in_turns,
)
from tests.contract.batches import batches, columns, doubles, rows_of


@given(st.lists(batches(), max_size=4))
def test_joined_batches_hold_the_same_samples_in_order_within_each_kind(parts):
    joined = concatenate(parts)
    expected = sorted((row for part in parts for row in rows_of(part)), key=lambda row: row[0])
    assert rows_of(joined) == expected
    assert len({c.kind for c in joined.columns}) == len(joined.columns)


def test_joining_nothing_gives_the_empty_batch():
    assert rows_of(concatenate([])) == []
    assert len(concatenate([EMPTY_BATCH, EMPTY_BATCH]).columns) == 0


@given(batches(kinds=tuple(ValueKind), rows_max=8), st.data())
def test_rows_are_taken_by_mask_and_by_number_alike(batch, data):
    for part in batch.columns:
        mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(part), max_size=len(part))))
        wanted = [
            row for row, keep in zip(rows_of(SampleBatch((part,))), mask, strict=True) if keep
        ]
        for chosen in (mask.astype(np.bool_), np.flatnonzero(mask)):
            taken = part.take(chosen)
            taken.check()
            assert rows_of(SampleBatch((taken,))) == wanted


def test_row_numbers_are_taken_in_the_order_given():
    part = columns(ValueKind.TEXT, [(1, 1, 0, "a"), (2, 2, 0, "b"), (3, 3, 0, "c")])
    taken = part.take(np.array([2, 0], dtype=np.intp))
    assert taken.value == ["c", "a"]
    assert taken.tag.tolist() == [3, 1]


@given(batches())
def test_the_time_range_is_that_of_all_kinds(batch):
    times = [row[2] for row in rows_of(batch)]
    assert batch.time_range_us() == (min(times), max(times))
    assert len(batch) == len(times)


def test_the_empty_batch_has_no_time_range():
    assert EMPTY_BATCH.time_range_us() == (0, 0)


@pytest.mark.parametrize(
    "broken",
    [
        {"tag": np.zeros(1, np.int64)},
        {"time_us": np.zeros(2, np.int64)},
        {"status": np.zeros(1, np.int32)},
        {"value": np.zeros(1, np.float32)},
        {"value": [1.0]},
        {"value": None},
        {"kind": ValueKind.NULL},
    ],
)
def test_columns_that_do_not_fit_together_are_an_assertion(broken):
    good = doubles((1, 2.0)).columns[0]
    fields = {name: getattr(good, name) for name in ("kind", "tag", "time_us", "status", "value")}
    good.check()
    with pytest.raises(AssertionError):
        SampleColumns(**fields | broken).check()


def test_columns_from_sequences_have_the_types_of_their_kind():
    for kind, value in [
        (ValueKind.DOUBLE, [1]),
        (ValueKind.INT, [-1]),
        (ValueKind.UINT, [2**64 - 1]),
        (ValueKind.TEXT, ["x"]),
        (ValueKind.BYTES, [b"x"]),
        (ValueKind.NULL, None),
    ]:
        columns_of(kind, [1], [2], [3], value).check()


# -- samples without a value ---


@st.composite
def histories(draw):
    """Samples of a few tags at growing times, some of them without a value: (tag, time, value)."""
    rows = draw(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=25))
    return [(tag, 10 * n, None if is_null else n) for n, (tag, is_null) in enumerate(rows)]


def batch_of(history):
    """Tag 0 and 1 hold Ints, 2 and 3 Texts; samples without a value stand apart, as decoded."""
    kinds = {ValueKind.INT: [], ValueKind.TEXT: [], ValueKind.NULL: []}
    for tag, time_us, value in history:
        kind = ValueKind.NULL if value is None else ValueKind.INT if tag < 2 else ValueKind.TEXT
        kinds[kind].append((tag, time_us, 0, str(value) if kind is ValueKind.TEXT else value))
    return SampleBatch(tuple(columns(kind, rows) for kind, rows in kinds.items() if rows))


@given(histories())
def test_turns_give_the_order_of_samples_with_and_without_a_value_back(history):
    turns = in_turns(batch_of(history))
    seen = {}
    for turn in turns:
        kinds = {}
        for kind, tag, time_us, _, _ in rows_of(turn):
            assert kinds.setdefault(tag, kind) is kind
            seen.setdefault(tag, []).append(time_us)
    expected = {}
    for tag, time_us, _ in history:
        expected.setdefault(tag, []).append(time_us)
    assert seen == expected


def test_a_batch_in_which_no_tag_changes_is_its_own_turn():
    for batch in (EMPTY_BATCH, doubles((1, 1.0)), batch_of([(0, 0, 1), (2, 1, 1), (1, 2, None)])):
        assert in_turns(batch) == [batch]
