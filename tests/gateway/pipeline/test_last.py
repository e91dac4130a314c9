"""Last values: the newest sample of every tag, the same after a restart."""

from hypothesis import given
from hypothesis import strategies as st

from contract.batch import decode_batch, encode_batch
from contract.sample import SampleBatch, ValueKind
from gateway.pipeline.last import NEVER, LastValues
from tests.contract.batches import batches, columns, doubles, rows_of

FEW = st.integers(0, 30)


def filled(stream):
    last = LastValues()
    for batch in stream:
        last.restore(batch)
    return last


def by_tag(batch):
    return {row[1]: row for row in rows_of(batch)}


@given(st.lists(batches(tags=FEW), max_size=4))
def test_the_last_sample_of_each_tag_stays(stream):
    expected = {row[1]: row for batch in stream for row in rows_of(batch)}
    assert by_tag(filled(stream).snapshot()) == expected


@given(st.lists(batches(tags=FEW), min_size=1, max_size=4))
def test_a_snapshot_restores_the_same_values_also_through_its_encoding(stream):
    snapshot = filled(stream).snapshot()
    again = filled([decode_batch(encode_batch(snapshot))])
    assert rows_of(again.snapshot()) == rows_of(snapshot)


@given(batches(tags=FEW))
def test_a_value_is_given_as_its_kind_holds_it(batch):
    last = filled([batch])
    for kind, tag, *_ in by_tag(batch).values():
        expected = {
            ValueKind.DOUBLE: float,
            ValueKind.INT: int,
            ValueKind.UINT: int,
            ValueKind.TEXT: str,
            ValueKind.BYTES: bytes,
            ValueKind.NULL: type(None),
        }[kind]
        assert type(last.value(tag)) is expected


def test_a_tag_that_never_reported_has_no_value_and_is_not_in_the_snapshot():
    last = filled([doubles((3, 1.0))])
    last.grow(8)
    assert [int(kind) for kind in last.kind] == [NEVER] * 3 + [ValueKind.DOUBLE] + [NEVER] * 4
    assert (last.value(0), last.value(7)) == (None, None)
    assert [row[1] for row in rows_of(last.snapshot())] == [3]


def test_growing_keeps_what_is_there_and_never_shrinks():
    last = filled([doubles((1, 2.5))])
    last.grow(100)
    last.grow(3)
    assert len(last.kind) == 100
    assert last.value(1) == 2.5


def test_a_value_follows_a_text_and_a_missing_value():
    last = LastValues()
    last.restore(SampleBatch((columns(ValueKind.TEXT, [(0, 1, 0, "x")]),)))
    assert last.value(0) == "x"
    last.restore(SampleBatch((columns(ValueKind.NULL, [(0, 2, 5, None)]),)))
    assert last.value(0) is None
    last.restore(SampleBatch((columns(ValueKind.UINT, [(0, 3, 0, 2**64 - 1)]),)))
    assert last.value(0) == 2**64 - 1
    assert len(last.snapshot()) == 1
