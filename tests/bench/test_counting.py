"""The checker finds exactly the losses, repeats and reorderings that were planted."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bench import counting
from bench.counting import CounterRange
from bench.frames import Values


def recording(rows, *, historical=(), births=()):
    """Make a recording from (tag, counter) in order of arrival; flags by row number."""
    array = np.array(rows, np.int64).reshape(-1, 2)
    places = np.arange(len(array))
    return Values(
        tag=array[:, 0],
        counter=array[:, 1],
        source_us=array[:, 1] * 1000,
        arrival_us=places,
        from_birth=np.isin(places, births),
        is_historical=np.isin(places, historical),
    )


def clean_rows(tags, scans):
    return [(tag, scan) for scan in range(1, scans + 1) for tag in range(1, tags + 1)]


def judge(rows, **flags):
    verdict = counting.check(recording(rows, **flags))
    return verdict.lost, verdict.duplicated, verdict.reordered


def test_a_clean_recording_has_no_fault():
    verdict = counting.check(recording(clean_rows(3, 10)))
    assert (verdict.lost, verdict.duplicated, verdict.reordered) == (0, 0, 0)
    assert (verdict.tags, verdict.delivered, verdict.distinct) == (3, 30, 30)


def test_an_empty_recording_has_no_fault():
    assert judge([]) == (0, 0, 0)
    assert len(counting.find_missing(recording([]), last=10)) == 0


def test_a_hole_is_lost_and_named_as_a_range():
    rows = [row for row in clean_rows(3, 10) if row not in {(2, 4), (2, 5), (3, 9)}]
    verdict = counting.check(recording(rows))
    assert verdict.lost == 3
    assert verdict.lost_ranges == [
        CounterRange(tag=2, first=4, last=5),
        CounterRange(tag=3, first=9, last=9),
    ]


def test_a_repeat_is_a_duplicate_and_a_reordering_only_when_something_newer_came_between():
    assert judge([(1, 1), (1, 2), (1, 2), (1, 3)]) == (0, 1, 0)
    assert judge([(1, 1), (1, 2), (1, 1), (1, 3)]) == (0, 1, 1)


def test_swapped_values_of_one_tag_are_reordered_but_not_those_of_two():
    assert judge([(1, 1), (1, 3), (1, 2), (1, 4)]) == (0, 0, 1)
    assert judge([(2, 1), (1, 1), (1, 2), (2, 2)]) == (0, 0, 0)


def test_history_beside_live_data_is_not_reordered_but_within_itself_it_is():
    rows = [(1, 1), (1, 5), (1, 2), (1, 6), (1, 4), (1, 3), (1, 7)]
    verdict = counting.check(recording(rows, historical=[2, 4, 5]))
    assert (verdict.lost, verdict.duplicated, verdict.reordered) == (0, 0, 0)
    assert verdict.reordered_historical == 1


def test_a_birth_fills_a_hole_but_is_never_a_duplicate():
    rows = [(1, 1), (1, 2), (1, 2), (1, 4), (1, 3)]
    verdict = counting.check(recording(rows, births=[2, 4]))
    assert (verdict.lost, verdict.duplicated, verdict.reordered) == (0, 0, 0)
    assert verdict.delivered == 3


def test_the_value_before_the_first_write_is_not_counted():
    assert judge([(1, 0), (1, 3), (1, 4)]) == (0, 0, 0)


def test_missing_ends_count_when_the_plants_first_and_last_value_are_given():
    missing = counting.find_missing(recording([(1, 3), (1, 4), (2, 2)]), first=2, last=5)
    assert list(zip(missing.tag.tolist(), missing.counter.tolist(), strict=True)) == [
        (1, 2),
        (1, 5),
        (2, 3),
        (2, 4),
        (2, 5),
    ]


def test_losses_are_explained_by_the_time_at_which_the_value_was_written():
    missing = counting.find_missing(recording([(1, 1), (1, 6), (2, 1), (2, 3), (2, 6)]))
    scan_us = np.array([100, 200, 300, 400, 500, 600])
    assert len(missing) == 7
    assert counting.explained_by(missing, scan_us, []) == 0
    assert counting.explained_by(missing, scan_us, [(200, 300)]) == 3
    assert counting.explained_by(missing, scan_us, [(200, 300), (250, 1000)]) == 7


def test_a_resumed_plant_writes_scan_one_with_the_value_after_its_start():
    missing = counting.find_missing(recording([(1, 101), (1, 103)]))
    scan_us = np.array([100, 200, 300])
    assert counting.explained_by(missing, scan_us, [(200, 200)], start_at=100) == 1


def test_a_counter_too_large_for_the_keys_is_refused():
    with pytest.raises(ValueError, match="40 bits"):
        counting.check(recording([(1, 1 << 40)]))


@given(
    tags=st.integers(1, 4),
    scans=st.integers(3, 12),
    data=st.data(),
)
def test_planted_losses_and_repeats_are_counted_exactly(tags, scans, data):
    rows = clean_rows(tags, scans)
    inner = [row for row in rows if 1 < row[1] < scans]
    lost = data.draw(st.sets(st.sampled_from(inner)))
    repeated = data.draw(st.lists(st.sampled_from([row for row in rows if row not in lost])))
    received = [row for row in rows if row not in lost]
    for row in repeated:
        received.insert(received.index(row), row)  # right beside itself: no reordering
    assert judge(received) == (len(lost), len(repeated), 0)
    missing = counting.find_missing(recording(received))
    assert set(zip(missing.tag.tolist(), missing.counter.tolist(), strict=True)) == lost


@given(rows=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 9)), max_size=40))
def test_the_checker_agrees_with_a_plain_count(rows):
    assume(rows)
    newest, seen, reordered = {}, {}, 0
    for tag, counter in rows:
        reordered += counter < newest.get(tag, 0)
        newest[tag] = max(newest.get(tag, 0), counter)
        seen.setdefault(tag, set()).add(counter)
    lost = sum(max(s) - min(s) + 1 - len(s) for s in seen.values())
    assert judge(rows) == (lost, len(rows) - len(set(rows)), reordered)
