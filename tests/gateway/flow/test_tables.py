"""Row index, tag table and pending losses: the small tables of the flow."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.flow import ledger, rowindex
from gateway.flow.ledger import LossNote, PendingLosses, number
from gateway.flow.rowindex import RowIndex
from gateway.flow.tags import TagTable
from gateway.flow.view import TagBook
from gateway.pipeline.last import LastValues
from gateway.sources.base import TagSpec
from sparkplug_b.datatype import DataType
from tests.contract.batches import doubles

# -- row index ---


@given(st.lists(st.integers(1, 100), max_size=60))
def test_what_was_recorded_lately_is_exact(samples):
    index = RowIndex()
    for sequence, count in enumerate(samples, 1):
        index.record(sequence, 1000 * sequence, count)
    for sequence in range(1, len(samples) + 1):
        assert index.committed_us(sequence) == 1000 * sequence
        assert index.samples_after(sequence) == sum(samples[sequence:])
    assert index.samples_after(0) == sum(samples)
    assert index.committed_us(len(samples) + 1) is None


def test_a_long_history_is_thinned_where_it_is_old_and_never_where_it_ends(monkeypatch):
    monkeypatch.setattr(rowindex, "POINTS_MAX", 100)
    index = RowIndex()
    for sequence in range(1, 5001):
        index.record(sequence, 1000 * sequence, 2)
        assert index.samples_after(sequence) == 0
        assert index.committed_us(sequence) == 1000 * sequence
    assert len(index._sequences) <= 100
    assert index._sequences == sorted(set(index._sequences))
    for sequence in (1, 777, 2500, 4999):
        true = 2 * (5000 - sequence)
        # never too small: a lag is not told smaller than it is by more than one step
        assert true <= index.samples_after(sequence)
        assert index.committed_us(sequence) >= 1000 * sequence
    assert index.samples_after(0) == 10_000


def test_one_point_can_stand_for_many_rows():
    index = RowIndex()
    index.record(10, 5, 3, rows=10)
    index.record(11, 6, 4)
    assert (index.samples_after(0), index.samples_after(10), index.samples_after(11)) == (34, 4, 0)


# -- tags ---


def spec(name, **changed):
    fields = {"device": "d", "data_type": DataType.DOUBLE, "address": f"nsu=u;s={name}"} | changed
    return TagSpec(name=name, **fields)


SPECS = st.lists(
    st.builds(
        spec,
        st.sampled_from("abc"),
        data_type=st.sampled_from([DataType.DOUBLE, DataType.INT32]),
        unit=st.sampled_from(["", "bar"]),
        device=st.sampled_from(["d", "e"]),
    ),
    max_size=5,
    unique_by=lambda s: (s.device, s.name),
)
CALLS = st.lists(st.tuples(st.sampled_from(["s", "t"]), SPECS), max_size=8)


@given(CALLS)
@settings(max_examples=60)
def test_a_number_means_the_same_for_ever(calls):
    table = TagTable([])
    meaning, saved = {}, []
    for source, specs in calls:
        indexes = table.register(source, specs)
        assert table.active[source] == indexes
        for index, found in zip(indexes, specs, strict=True):
            definition = table.definitions[index]
            assert (definition.name, definition.device, definition.unit) == (
                found.name,
                found.device,
                found.unit,
            )
            assert meaning.setdefault(index, definition) == definition
        saved += table.take_unsaved()
        assert table.register(source, specs) == indexes
        assert table.take_unsaved() == []
    assert saved == table.definitions
    assert [d.index for d in saved] == list(range(len(saved)))
    # the next process knows the same numbers
    again = TagTable(saved)
    for source, specs in calls[-1:]:
        assert again.register(source, specs) == table.register(source, specs)


def test_a_changed_definition_gets_a_new_number_and_the_old_one_is_out_of_use():
    table = TagTable([])
    assert table.register("s", [spec("a"), spec("b")]) == [0, 1]
    assert table.register("s", [spec("a", unit="bar"), spec("b")]) == [2, 1]
    assert [d.index for d in table.in_use()] == [2, 1]
    # and back again: the meaning is that of the newest number
    assert table.register("s", [spec("a"), spec("b")]) == [3, 1]


def test_only_a_change_counts_as_one():
    table = TagTable([])
    table.register("s", [spec("a")])
    generation = table.generation
    table.register("s", [spec("a")])
    assert table.generation == generation
    table.register("s", [spec("a"), spec("b")])
    assert table.generation > generation


def test_tags_found_later_stand_beside_the_others():
    table = TagTable([])
    table.register("s", [spec("a")])
    assert table.add("s", [spec("b"), spec("a")]) == [1, 0]
    assert [d.name for d in table.in_use()] == ["a", "b"]


def test_after_a_restart_the_newest_tags_of_the_configured_sources_are_in_use():
    table = TagTable([])
    table.register("s", [spec("a"), spec("b")])
    table.register("s", [spec("a", unit="bar")])
    table.register("gone", [spec("x", device="g")])
    again = TagTable(table.definitions)
    again.activate_known(["s"])
    assert {(d.name, d.unit) for d in again.in_use()} == {("a", "bar"), ("b", "")}


def test_of_two_tags_with_one_name_in_one_device_the_first_is_in_use():
    table = TagTable([])
    table.register("s", [spec("a")])
    table.register("t", [spec("a")])
    assert [d.source for d in table.in_use()] == ["s"]


def test_the_book_gives_definitions_and_last_values():
    table, last = TagTable([]), LastValues()
    table.register("s", [spec("a"), spec("b")])
    book = TagBook(table, last)
    assert book.last(0) is None
    last.restore(doubles((0, 2.5, 70, 5)))
    assert (book.last(0).value, book.last(0).status, book.last(0).time_us) == (2.5, 5, 70)
    assert (book.last(1), book.last(99)) == (None, None)
    assert [d.name for d in book.definitions_from(1, 5)] == ["b"]
    assert (book.definition(1).name, book.definition(2), book.definition(-1)) == ("b", None, None)
    assert book.generation == table.generation


# -- losses on their way ---

NOTES = st.lists(
    st.builds(
        lambda reason, source, tag, first, more, count: LossNote(
            reason=reason,
            source=source,
            tag=tag,
            first_time_us=first,
            last_time_us=first + more,
            count=count,
        ),
        st.sampled_from(["session_gap", "server_overflow"]),
        st.sampled_from(["s", "t"]),
        st.sampled_from([None, 1, 2, 3]),
        st.integers(0, 50),
        st.integers(0, 50),
        st.sampled_from([None, 1, 5]),
    ),
    max_size=12,
)


def covered(entries, note):
    return any(
        e.reason == note.reason
        and e.source == note.source
        and e.tag in {None, note.tag}
        and e.first_time_us <= note.first_time_us
        and e.last_time_us >= note.last_time_us
        for e in entries
    )


@given(NOTES, st.sampled_from([2, 10_000]))
def test_every_loss_is_covered_by_an_entry_however_many_there_are(notes, entries_max):
    before, ledger.ENTRIES_MAX = ledger.ENTRIES_MAX, entries_max
    try:
        pending = PendingLosses()
        given_notes = [LossNote(**{f: getattr(n, f) for f in n.__struct_fields__}) for n in notes]
        for note in notes:
            pending.add(note)
        assert len(pending) <= entries_max + 4
        entries = pending.take()
    finally:
        ledger.ENTRIES_MAX = before
    assert all(covered(entries, note) for note in given_notes)
    assert len(pending) == 0
    known = [n.count for n in given_notes]
    if None not in known:
        assert sum(e.count for e in entries) == sum(known)


def test_a_count_that_cannot_be_known_stays_unknown():
    pending = PendingLosses()
    for count in (1, None, 2):
        pending.add(LossNote(reason="session_gap", first_time_us=0, last_time_us=1, count=count))
    assert [note.count for note in pending.take()] == [None]


def test_damaged_rows_are_told_one_by_one_until_there_are_too_many(monkeypatch):
    monkeypatch.setattr(ledger, "ENTRIES_MAX", 3)
    pending = PendingLosses()
    for row in range(1, 10):
        pending.add(
            LossNote(
                reason="row_damaged",
                first_time_us=0,
                last_time_us=1,
                first_sequence=row,
                last_sequence=row,
            )
        )
    notes = pending.take()
    assert len(notes) <= 4
    named = {n for note in notes for n in range(note.first_sequence, note.last_sequence + 1)}
    assert named == set(range(1, 10))


def test_entries_are_numbered_on():
    note = LossNote(reason="session_gap", first_time_us=1, last_time_us=2, tag=3, detail="x")
    first, second = number([note, note], 41, 7)
    assert (first.id, second.id, first.recorded_time_us) == (42, 43, 7)
    assert (first.tag, first.detail) == (3, "x")


def test_the_allow_list_is_what_the_source_registered_last_and_a_number_stays_its_own():
    table = TagTable([])
    first = table.register("s", [spec("a", writable=True), spec("b")])
    (other,) = table.register("t", [spec("c", device="e", writable=True)])
    assert table.writable == {first[0], other}
    generation = table.generation
    assert table.register("s", [spec("a", writable=True), spec("b")]) == first
    assert table.generation == generation
    assert table.register("s", [spec("a"), spec("b", writable=True)]) == first
    assert table.writable == {first[1], other}
    assert table.generation > generation
    (found,) = table.add("s", [spec("d", writable=True)])
    assert table.writable == {first[1], other, found}
    table.register("s", [])
    assert table.writable == {other}
    # another process knows the tags, but not what may be written, until they register
    assert TagTable(table.definitions).writable == set()
