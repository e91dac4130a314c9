"""A batch is the same after its way over disk and wire; bad bytes are only ever a BatchError."""

import hashlib
from io import BytesIO

import numpy as np
import pytest
from arro3.core import Array, DataType, Field, RecordBatch, RecordBatchReader, Schema
from arro3.io import write_ipc_stream
from hypothesis import given, settings
from hypothesis import strategies as st

from contract import batch as batch_module
from contract.batch import FIRST_HASH, chain_hash, decode_batch, encode_batch
from contract.errors import BatchError
from contract.sample import EMPTY_BATCH, SampleBatch, ValueKind, concatenate
from tests.contract.batches import SPECIAL_BITS, batches, columns, doubles, rows_of

MIXED = SampleBatch(
    (
        columns(ValueKind.DOUBLE, [(1, 5, 0, 0x7FF800000000BEEF), (2, 6, 7, 0)]),
        columns(ValueKind.TEXT, [(4, 5, 0, "°C"), (4, 6, 0, "")]),
        columns(ValueKind.NULL, [(5, 1, 0x80000000, None)]),
    )
)
MIXED_BYTES = encode_batch(MIXED)


@given(batches())
def test_every_kind_comes_back_bit_equal(batch):
    assert rows_of(decode_batch(encode_batch(batch))) == rows_of(batch)


def test_the_values_that_formats_lose_come_back():
    batch = SampleBatch(
        (
            columns(ValueKind.DOUBLE, [(0, 0, 0, bits) for bits in SPECIAL_BITS]),
            columns(ValueKind.INT, [(1, -(2**63), 0, -(2**63)), (1, 2**63 - 1, 0, 2**63 - 1)]),
            columns(ValueKind.UINT, [(2**32 - 1, 0, 2**32 - 1, 2**64 - 1)]),
            columns(
                ValueKind.TEXT, [(3, 0, 0, ""), (3, 0, 0, "\0"), (3, 0, 0, "e\u0301 \U0001f600")]
            ),
            columns(ValueKind.BYTES, [(4, 0, 0, b""), (4, 0, 0, bytes(range(256)))]),
            columns(ValueKind.NULL, [(5, 0, 0x80AB0000, None), (6, 0, 0, None)]),
        )
    )
    decoded = decode_batch(encode_batch(batch))
    assert rows_of(decoded) == rows_of(batch)
    assert [c.kind for c in decoded.columns] == sorted(ValueKind)


def test_columns_without_samples_leave_no_trace():
    empty = columns(ValueKind.INT, [(1, 1, 0, 1)]).take(np.zeros(0, dtype=np.intp))
    batch = SampleBatch((*doubles((1, 2.0)).columns, empty))
    assert rows_of(decode_batch(encode_batch(batch))) == rows_of(batch)


def test_an_empty_batch_is_not_encoded():
    with pytest.raises(AssertionError):
        encode_batch(EMPTY_BATCH)


def test_a_regular_batch_costs_less_than_eight_bytes_a_sample():
    tags, scans = 1000, 2
    batch = doubles(
        *[
            (tag, tag * 0.37 + scan, 10**15 + scan * 100_000)
            for scan in range(scans)
            for tag in range(tags)
        ]
    )
    assert len(encode_batch(batch)) < 8 * tags * scans


# -- bad bytes ---


def batch_or_batch_error(payload):
    try:
        rows_of(decode_batch(payload))
    except BatchError:
        return False
    return True


@given(at=st.integers(0, len(MIXED_BYTES) - 1), mask=st.integers(1, 255))
@settings(max_examples=300)
def test_a_flipped_byte_gives_a_batch_or_a_batch_error(at, mask):
    damaged = bytearray(MIXED_BYTES)
    damaged[at] ^= mask
    batch_or_batch_error(bytes(damaged))


@pytest.mark.slow
@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_each_byte_flipped_gives_a_batch_or_a_batch_error(mask):
    refused = 0
    for at in range(len(MIXED_BYTES)):
        damaged = bytearray(MIXED_BYTES)
        damaged[at] ^= mask
        refused += not batch_or_batch_error(bytes(damaged))
    assert refused


def test_every_truncation_is_refused_also_between_two_record_batches():
    for end in range(len(MIXED_BYTES)):
        assert not batch_or_batch_error(MIXED_BYTES[:end])


def test_anything_behind_the_end_is_refused():
    assert not batch_or_batch_error(MIXED_BYTES + b"\0")


@given(st.binary(max_size=300))
def test_random_bytes_give_a_batch_error(payload):
    with pytest.raises(BatchError):
        rows_of(decode_batch(b"x" + payload))


def stream(*record_columns, **changed):
    """An IPC stream of one record batch per argument: kind -> values; ``changed`` columns."""
    out = []
    fields = None
    for kind, values in record_columns:
        n = len(values)
        arrays = {
            "tag": Array.from_numpy(np.zeros(n, dtype=np.uint32)),
            "time_us": Array.from_numpy(np.zeros(n, dtype=np.int64)),
            "status": Array.from_numpy(np.zeros(n, dtype=np.uint32)),
            "kind": Array.from_numpy(np.full(n, kind, dtype=np.uint8)),
            "double": Array(values, type=DataType.float64()),
        } | changed
        arrays = {name: array for name, array in arrays.items() if array is not None}
        fields = [Field(name, array.type, nullable=True) for name, array in arrays.items()]
        out.append(RecordBatch.from_arrays(list(arrays.values()), schema=Schema(fields)))
    sink = BytesIO()
    write_ipc_stream(RecordBatchReader.from_batches(Schema(fields), out), sink)
    return sink.getvalue()


def test_a_stream_of_the_right_form_is_read():
    assert rows_of(decode_batch(stream((0, [1.5])))) == rows_of(doubles((0, 1.5, 0)))


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (stream((0, [1.0]), (0, [2.0])), "two record batches of one value kind"),
        (stream((6, [1.0])), "unknown value kind"),
        (stream((0, [1.0, 2.0]), kind=Array.from_numpy(np.array([0, 1], np.uint8))), "mixed"),
        (stream((0, [1.0, None])), "nulls"),
        (stream((0, [1.0]), tag=Array.from_numpy(np.zeros(1, np.int64))), "schema"),
        (stream((0, [1.0]), time_us=Array.from_numpy(np.zeros(1, np.int32))), "schema"),
        (stream((0, [1.0]), double=Array.from_numpy(np.zeros(1, np.int64))), "schema"),
        (stream((0, [1.0]), status=None), "schema"),
        (stream((1, [1.0])), "not an Arrow IPC sample batch"),
        (stream((3, [1.0]), text=Array([b"x"], type=DataType.binary())), "schema"),
        (stream((4, [1.0]), bytes=Array(["x"], type=DataType.utf8())), "schema"),
    ],
)
def test_a_stream_of_another_form_is_refused_by_name(payload, why):
    with pytest.raises(BatchError, match=why):
        decode_batch(payload)


@pytest.mark.parametrize("name", ["tag", "time_us", "status", "kind"])
def test_a_null_in_a_fixed_column_is_refused(name):
    types = {"tag": DataType.uint32(), "time_us": DataType.int64(), "status": DataType.uint32()}
    holed = Array([0, None], type=types.get(name, DataType.uint8()))
    with pytest.raises(BatchError):
        decode_batch(stream((0, [1.0, 2.0]), **{name: holed}))


def test_too_many_bytes_are_refused_before_they_are_read(monkeypatch):
    monkeypatch.setattr(batch_module, "PAYLOAD_BYTES_MAX", len(MIXED_BYTES) - 1)
    with pytest.raises(BatchError, match="limit"):
        decode_batch(MIXED_BYTES)


def test_too_many_samples_are_refused_over_all_kinds_together(monkeypatch):
    monkeypatch.setattr(batch_module, "SAMPLES_MAX", len(MIXED))
    decode_batch(MIXED_BYTES)
    monkeypatch.setattr(batch_module, "SAMPLES_MAX", len(MIXED) - 1)
    with pytest.raises(BatchError, match="samples"):
        decode_batch(MIXED_BYTES)
    with pytest.raises(AssertionError):
        encode_batch(MIXED)


# -- the chain ---

EPOCH = "0123456789abcdef" * 2
LINKS = st.tuples(
    st.binary(min_size=32, max_size=32),
    st.text("0123456789abcdef", min_size=32, max_size=32),
    st.integers(1, 2**63),
    st.binary(max_size=40),
)


@given(LINKS, LINKS)
def test_the_chain_hash_changes_with_every_input(one, other):
    assert (chain_hash(*one) == chain_hash(*other)) == (one == other)


@given(LINKS, st.integers(0, 3), LINKS)
def test_a_link_changed_in_one_input_has_another_hash(link, which, other):
    changed = tuple(other[i] if i == which else link[i] for i in range(4))
    assert (chain_hash(*changed) == chain_hash(*link)) == (changed == link)


def test_the_chain_hash_is_what_the_format_page_says():
    payload = b"payload"
    expected = hashlib.sha256(bytes(32) + EPOCH.encode() + (7).to_bytes(8, "big") + payload)
    assert chain_hash(FIRST_HASH, EPOCH, 7, payload) == expected.digest()


@given(batches(), st.booleans())
@settings(max_examples=20)
def test_where_a_batch_came_from_is_kept(batch, is_historical):
    marked = SampleBatch(batch.columns, is_historical=is_historical)
    assert decode_batch(encode_batch(marked)).is_historical is is_historical
    assert concatenate([marked, marked]).is_historical is is_historical
    assert not concatenate([marked, batch]).is_historical
