"""A sample batch as bytes, and the hash that chains journal rows.

Bytes: one Arrow IPC stream, zstd, one record batch per value kind. Its schema has the columns
``tag`` uint32, ``time_us`` int64, ``status`` uint32, ``kind`` uint8, then one nullable value
column per kind present (``double`` float64, ``int`` int64, ``uint`` uint64, ``text`` utf8,
``bytes`` binary); in each record batch the value columns of other kinds are null. So a row can be
read straight into a table. A batch that was read from a device's history says so in the schema's
metadata (``origin`` = ``history``). The page is docs/formats/batch.md.

Limits: ``SAMPLES_MAX`` samples and ``PAYLOAD_BYTES_MAX`` bytes a batch; a breach is a BatchError.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from arro3.core import Array, DataType, Field, RecordBatch, RecordBatchReader, Schema
from arro3.io import read_ipc_stream, write_ipc_stream
from numpy.typing import NDArray

from contract.errors import BatchError
from contract.framing import check_framing
from contract.sample import NUMPY_TYPE, SampleBatch, SampleColumns, ValueKind

SAMPLES_MAX = 1_000_000
PAYLOAD_BYTES_MAX = 64 * 1024 * 1024
HASH_BYTES = 32
_ORIGIN, _HISTORY = b"origin", b"history"
_END = b"\xff\xff\xff\xff\0\0\0\0"  # Arrow's end-of-stream marker
FIRST_HASH = bytes(HASH_BYTES)
"""The hash before the first row of an epoch."""

VALUE_COLUMN: dict[ValueKind, str] = {
    ValueKind.DOUBLE: "double",
    ValueKind.INT: "int",
    ValueKind.UINT: "uint",
    ValueKind.TEXT: "text",
    ValueKind.BYTES: "bytes",
}
_ARROW_TYPE: dict[ValueKind, DataType] = {
    ValueKind.DOUBLE: DataType.float64(),
    ValueKind.INT: DataType.int64(),
    ValueKind.UINT: DataType.uint64(),
    ValueKind.TEXT: DataType.utf8(),
    ValueKind.BYTES: DataType.binary(),
}
_FIXED_COLUMNS: tuple[tuple[str, DataType, type[np.generic]], ...] = (
    ("tag", DataType.uint32(), np.uint32),
    ("time_us", DataType.int64(), np.int64),
    ("status", DataType.uint32(), np.uint32),
    ("kind", DataType.uint8(), np.uint8),
)


def encode_batch(batch: SampleBatch) -> bytes:
    """Encode a batch of 1 to ``SAMPLES_MAX`` samples; see the module's text for the format."""
    parts = [c for c in batch.columns if len(c)]
    assert parts, "an empty batch is never stored"
    assert len(batch) <= SAMPLES_MAX
    present = [c.kind for c in parts if c.kind is not ValueKind.NULL]
    schema = Schema(
        [Field(name, arrow, nullable=False) for name, arrow, _ in _FIXED_COLUMNS]
        + [Field(VALUE_COLUMN[k], _ARROW_TYPE[k], nullable=True) for k in present],
        metadata={_ORIGIN: _HISTORY} if batch.is_historical else None,
    )
    records = [_record(columns, present, schema) for columns in parts]
    out = BytesIO()
    write_ipc_stream(RecordBatchReader.from_batches(schema, records), out, compression="zstd")
    return out.getvalue()


def _record(columns: SampleColumns, present: Sequence[ValueKind], schema: Schema) -> RecordBatch:
    columns.check()
    n = len(columns)
    arrays: list[Array] = [
        Array.from_numpy(columns.tag),
        Array.from_numpy(columns.time_us),
        Array.from_numpy(columns.status),
        Array.from_numpy(np.full(n, columns.kind, dtype=np.uint8)),
    ]
    for kind in present:
        if kind is not columns.kind:
            arrays.append(_nulls(kind, n))
        elif isinstance(columns.value, np.ndarray):
            arrays.append(Array.from_numpy(columns.value))
        else:
            arrays.append(Array(columns.value or [], type=_ARROW_TYPE[kind]))
    return RecordBatch.from_arrays(arrays, schema=schema)


def _nulls(kind: ValueKind, n: int) -> Array:
    one: Any = Array([None], type=_ARROW_TYPE[kind])
    taken: Array = one.take(Array.from_numpy(np.zeros(n, dtype=np.uint32)))
    return taken


def decode_batch(payload: bytes) -> SampleBatch:
    """Decode what ``encode_batch`` made.

    Raises:
        BatchError: the bytes are not such a stream, miss a column, or break a limit.
    """
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise BatchError(f"batch has {len(payload)} bytes, limit {PAYLOAD_BYTES_MAX}")
    if not payload.endswith(_END):
        raise BatchError("the stream has no end: it is cut short")
    check_framing(payload)
    try:
        columns, is_historical = _record_batches(payload)
    except (BatchError, KeyboardInterrupt, SystemExit):
        raise
    # arro3 answers bad bytes with types of its own and of Python's, a panic (BaseException) too
    except BaseException as error:
        raise BatchError(f"not an Arrow IPC sample batch: {type(error).__name__}") from error
    kinds = [c.kind for c in columns]
    if len(set(kinds)) != len(kinds):
        raise BatchError("two record batches of one value kind")
    return SampleBatch(tuple(sorted(columns, key=lambda c: c.kind)), is_historical=is_historical)


def _record_batches(payload: bytes) -> tuple[list[SampleColumns], bool]:
    columns: list[SampleColumns] = []
    total = 0
    reader = read_ipc_stream(BytesIO(payload))
    is_historical = reader.schema.metadata.get(_ORIGIN) == _HISTORY
    for record in reader:
        total += record.num_rows
        if total > SAMPLES_MAX:
            raise BatchError(f"batch has over {SAMPLES_MAX} samples")
        if record.num_rows:
            columns.append(_columns(record))
    return columns, is_historical


def _columns(record: RecordBatch) -> SampleColumns:
    fixed: dict[str, Any] = {}
    for name, _, number in _FIXED_COLUMNS:
        array = record.column(name).to_numpy()
        if array.dtype != number:
            raise BatchError(f"column {name} is {array.dtype}, expected {np.dtype(number)}")
        fixed[name] = array
    kinds = fixed["kind"]
    if int(kinds[0]) not in set(ValueKind) or (kinds != kinds[0]).any():
        raise BatchError("record batch has a mixed or unknown value kind")
    kind = ValueKind(int(kinds[0]))
    return SampleColumns(
        kind, fixed["tag"], fixed["time_us"], fixed["status"], _value(record, kind)
    )


def _value(record: RecordBatch, kind: ValueKind) -> NDArray[Any] | list[Any] | None:
    if kind is ValueKind.NULL:
        return None
    array = record.column(VALUE_COLUMN[kind])
    if array.null_count:
        raise BatchError(f"column {VALUE_COLUMN[kind]} has nulls in its own record batch")
    if kind in NUMPY_TYPE:
        numbers: NDArray[Any] = array.to_numpy()
        if numbers.dtype != NUMPY_TYPE[kind]:
            raise BatchError(f"column {VALUE_COLUMN[kind]} is {numbers.dtype}")
        return numbers
    items: list[Any] = list(array.to_pylist())
    expected = str if kind is ValueKind.TEXT else bytes
    if items and not isinstance(items[0], expected):
        raise BatchError(f"column {VALUE_COLUMN[kind]} is not {expected.__name__}")
    return items


def chain_hash(previous: bytes, epoch: str, sequence: int, payload: bytes) -> bytes:
    """Return the SHA-256 that chains a journal row to the row before it.

    Args:
        previous: hash of row ``sequence - 1`` of the epoch, or ``FIRST_HASH``.
        epoch: the journal's epoch, 32 hex digits.
        sequence: the row's number, from 1.
        payload: the row's encoded batch.
    """
    assert len(previous) == HASH_BYTES
    digest = hashlib.sha256(previous)
    digest.update(epoch.encode("ascii"))
    digest.update(sequence.to_bytes(8, "big"))
    digest.update(payload)
    return digest.digest()
