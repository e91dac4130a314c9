"""A cursor says the same as the plain set of rows that are done."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.journal.cursors import Cursor

HIGH = 40
RANGES = st.tuples(st.integers(1, HIGH), st.integers(0, 8)).map(lambda r: (r[0], r[0] + r[1]))
HISTORIES = st.lists(RANGES, max_size=12)


def built(ranges):
    cursor, done = Cursor(), set()
    for first, last in ranges:
        cursor.add(first, last)
        done |= set(range(first, last + 1))
    return cursor, done


@given(HISTORIES)
def test_a_row_is_done_when_some_range_held_it(ranges):
    cursor, done = built(ranges)
    assert {n for n in range(1, HIGH + 12) if cursor.done(n)} == done


@given(HISTORIES)
def test_the_watermark_is_the_end_of_the_contiguous_rows_from_one(ranges):
    cursor, done = built(ranges)
    expected = 0
    while expected + 1 in done:
        expected += 1
    assert cursor.confirmed == expected


@given(HISTORIES)
def test_ranges_beyond_the_watermark_are_sorted_and_never_touch(ranges):
    cursor, done = built(ranges)
    before = cursor.confirmed
    for low, high in cursor.beyond:
        assert before + 1 < low <= high
        before = high
    rows = {n for low, high in cursor.beyond for n in range(low, high + 1)}
    assert rows | set(range(1, cursor.confirmed + 1)) == done


@given(HISTORIES, st.integers(0, HIGH + 5), st.integers(0, HIGH + 5))
def test_a_gap_is_the_first_run_of_rows_that_are_not_done(ranges, after, to):
    cursor, done = built(ranges)
    open_rows = [n for n in range(after + 1, to + 1) if n not in done]
    if not open_rows:
        assert cursor.gap(after, to) is None
        return
    first = last = open_rows[0]
    while last + 1 in open_rows:
        last += 1
    assert cursor.gap(after, to) == (first, last)


@given(HISTORIES, st.integers(0, HIGH + 5))
def test_pending_rows_are_those_not_done(ranges, to):
    cursor, done = built(ranges)
    assert cursor.pending_count(to) == len(set(range(1, to + 1)) - done)


@given(HISTORIES)
def test_the_stored_form_comes_back_equal(ranges):
    cursor, _ = built(ranges)
    assert Cursor.of(cursor.confirmed, cursor.beyond_bytes()) == cursor


@given(HISTORIES, HISTORIES)
def test_a_copy_changes_on_its_own(ranges, more):
    cursor, done = built(ranges)
    copy = cursor.copy()
    for first, last in more:
        copy.add(first, last)
    assert {n for n in range(1, HIGH + 12) if cursor.done(n)} == done


@given(HISTORIES, st.randoms(use_true_random=False))
def test_the_order_of_confirmations_does_not_matter(ranges, random):
    shuffled = list(ranges)
    random.shuffle(shuffled)
    assert built(ranges)[0] == built(shuffled)[0]
