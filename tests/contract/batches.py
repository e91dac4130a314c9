"""Sample batches for tests: a hypothesis strategy, small builders, and what makes two equal."""

import struct

import numpy as np
from hypothesis import strategies as st

from contract.sample import NUMPY_TYPE, SampleBatch, SampleColumns, ValueKind, columns_of

I64 = st.integers(-(2**63), 2**63 - 1)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
SPECIAL_BITS = (
    0x7FF8000000000000,  # quiet NaN
    0x7FF800000000BEEF,  # NaN with a payload
    0xFFF8000000000001,  # negative NaN
    0x7FF0000000000001,  # signalling NaN
    0x7FF0000000000000,  # infinity
    0xFFF0000000000000,
    0x8000000000000000,  # -0.0
    0x0000000000000001,  # denormal
    0x4340000000000001,  # beyond 2**53
)
# bit patterns, not floats: a NaN has to keep its payload
DOUBLE_BITS = st.one_of(st.sampled_from(SPECIAL_BITS), U64)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = {
    ValueKind.DOUBLE: DOUBLE_BITS,
    ValueKind.INT: I64,
    ValueKind.UINT: U64,
    ValueKind.TEXT: TEXTS,
    ValueKind.BYTES: st.binary(max_size=12),
    ValueKind.NULL: st.none(),
}


def columns(kind, rows):
    """Columns from (tag, time_us, status, value); a Double's value may be given as its bits."""
    tag, time_us, status, value = zip(*rows, strict=True)
    if kind is ValueKind.DOUBLE and all(isinstance(v, int) for v in value):
        bits = np.array(value, dtype=np.uint64)
        return SampleColumns(
            kind,
            np.array(tag, dtype=np.uint32),
            np.array(time_us, dtype=np.int64),
            np.array(status, dtype=np.uint32),
            bits.view(np.float64),
        )
    return columns_of(kind, tag, time_us, status, None if kind is ValueKind.NULL else value)


@st.composite
def batches(draw, tags=U32, rows_max=12, kinds=tuple(ValueKind), rows_min=1):
    """A batch of one or more kinds, in order of kind, none of them empty."""
    chosen = draw(st.sets(st.sampled_from(kinds), min_size=1))
    parts = []
    for kind in sorted(chosen):
        row = st.tuples(tags, I64, U32, VALUES[kind])
        rows = draw(st.lists(row, min_size=rows_min, max_size=rows_max))
        parts.append(columns(kind, rows))
    return SampleBatch(tuple(parts))


def rows_of(batch):
    """All samples as (kind, tag, time_us, status, value), numbers as their 64-bit patterns."""
    rows = []
    for part in batch.columns:
        part.check()
        if part.value is None:
            values = [None] * len(part)
        elif part.kind in NUMPY_TYPE:
            values = part.value.view(np.uint64).tolist()
        else:
            values = list(part.value)
        rows += zip(
            [part.kind] * len(part),
            part.tag.tolist(),
            part.time_us.tolist(),
            part.status.tolist(),
            values,
            strict=True,
        )
    return rows


def doubles(*rows):
    """A batch of Doubles from (tag, value) or (tag, value, time_us) or with a status."""
    full = [
        (tag, rest[0] if rest else 1_000 + n, rest[1] if len(rest) > 1 else 0, float(value))
        for n, (tag, value, *rest) in enumerate(rows)
    ]
    return SampleBatch((columns(ValueKind.DOUBLE, full),))


def bits_of(value):
    """The 64-bit pattern of a float."""
    return struct.unpack("<Q", struct.pack("<d", value))[0]
