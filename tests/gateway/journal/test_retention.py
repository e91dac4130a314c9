"""What may go: only what all have and what is over its window; the rest is counted."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.journal.cursors import Cursor
from gateway.journal.retention import expired_to, unconfirmed_count

CURSORS = st.dictionaries(
    st.sampled_from(["hub", "sparkplug"]),
    st.lists(st.tuples(st.integers(1, 20), st.integers(0, 5)), max_size=5),
)


def built(drawn):
    cursors = {}
    for name, ranges in drawn.items():
        cursors[name] = Cursor()
        for first, more in ranges:
            cursors[name].add(first, first + more)
    return cursors


@given(CURSORS, st.integers(0, 30))
def test_a_row_expires_only_when_everybody_has_it_and_all_before_it(drawn, before_window):
    cursors = built(drawn)
    last = expired_to(cursors, before_window)
    assert last <= before_window
    assert all(cursor.done(n) for cursor in cursors.values() for n in range(1, last + 1))
    if last < before_window:
        assert any(not cursor.done(last + 1) for cursor in cursors.values())


@given(CURSORS, st.integers(1, 20), st.integers(0, 10))
def test_each_consumers_missing_rows_are_counted(drawn, first, more):
    cursors = built(drawn)
    rows = range(first, first + more + 1)
    expected = {name: sum(not c.done(n) for n in rows) for name, c in cursors.items()}
    found = unconfirmed_count(cursors, first, first + more)
    assert found == {name: count for name, count in expected.items() if count}
