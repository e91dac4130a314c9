"""What can be said of an upload by itself: shape, limits, hashes, payloads. Pure.

An upload is taken whole or refused whole; a refusal names the row.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from central.errors import UploadMalformedError, UploadTooLargeError
from contract.batch import FIRST_HASH, HASH_BYTES, chain_hash, decode_batch
from contract.errors import BatchError
from contract.sample import SampleBatch
from contract.upload import (
    PROTOCOL,
    ROWS_MAX,
    TAGS_PER_UPLOAD_MAX,
    UPLOAD_BYTES_MAX,
    Upload,
    UploadRow,
)

LOSSES_PER_UPLOAD_MAX = 20_000
SAMPLES_PER_UPLOAD_MAX = 4_000_000
TIME_US_MIN = -62_135_596_800_000_000
TIME_US_MAX = 253_402_300_799_999_999
"""Source times from year 1 to 9999: what OPC UA can say (OPC 10000-6, 5.2.2.5) and more."""
SEQUENCE_MAX = 2**62
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True, eq=False)
class VerifiedRow:
    """A row whose hash and payload were checked."""

    sequence: int
    previous_hash: bytes
    hash: bytes
    first_time_us: int
    last_time_us: int
    tag_index_max: int
    payload: bytes
    batch: SampleBatch


def read_upload(body: bytes) -> Upload:
    """Decode a request's body.

    Raises:
        UploadTooLargeError: more bytes than the contract allows.
        UploadMalformedError: no msgpack ``Upload``.
    """
    if len(body) > UPLOAD_BYTES_MAX:
        raise UploadTooLargeError(f"an upload has at most {UPLOAD_BYTES_MAX} bytes")
    try:
        upload = _DECODER.decode(body)
    except msgspec.MsgspecError as error:
        raise UploadMalformedError("", str(error)) from error
    except RecursionError as error:
        raise UploadMalformedError("", "nested too deeply") from error
    check_shape(upload)
    return upload


_DECODER = msgspec.msgpack.Decoder(Upload)


def is_epoch(text: str) -> bool:
    """Say whether a text is an epoch: 32 lower-case hex digits."""
    return len(text) == 32 and set(text) <= _HEX


def check_shape(upload: Upload) -> None:
    """Check what needs no payload: protocol, epoch, counts, consecutive sequences.

    Raises:
        UploadMalformedError: names the row or field.
        UploadTooLargeError: over a limit.
    """
    if upload.protocol != PROTOCOL:
        raise UploadMalformedError("protocol", f"this hub speaks protocol {PROTOCOL}")
    if not is_epoch(upload.epoch):
        raise UploadMalformedError("epoch", "an epoch is 32 lower-case hex digits")
    if len(upload.previous_hash) != HASH_BYTES:
        raise UploadMalformedError("previous_hash", f"a hash has {HASH_BYTES} bytes")
    limits = (
        ("rows", len(upload.rows), ROWS_MAX),
        ("tags", len(upload.tags), TAGS_PER_UPLOAD_MAX),
        ("losses", len(upload.losses), LOSSES_PER_UPLOAD_MAX),
        ("samples", sum(max(r.samples_count, 0) for r in upload.rows), SAMPLES_PER_UPLOAD_MAX),
    )
    for name, count, limit in limits:
        if count > limit:
            raise UploadTooLargeError(f"an upload has at most {limit} {name}, this has {count}")
    for at, row in enumerate(upload.rows):
        expected = upload.rows[0].sequence + at
        if row.sequence != expected or not 0 < row.sequence < SEQUENCE_MAX:
            raise UploadMalformedError(f"rows[{at}]", "sequences are consecutive, from 1")
        if len(row.hash) != HASH_BYTES or row.samples_count < 1:
            raise UploadMalformedError(f"rows[{at}]", "no hash of 32 bytes, or no samples")
    if upload.rows and upload.rows[0].sequence == 1 and upload.previous_hash != FIRST_HASH:
        raise UploadMalformedError("previous_hash", "before row 1 it is 32 zero bytes")
    _check_numbering(upload)


def _check_numbering(upload: Upload) -> None:
    for at, tag in enumerate(upload.tags):
        if tag.index != upload.tags[0].index + at or not 0 <= tag.index < 2**31:
            raise UploadMalformedError(f"tags[{at}]", "tag indexes follow one another, from 0")
        if not 0 < len(tag.name) <= 500 or len(tag.device) > 200:
            raise UploadMalformedError(f"tags[{at}]", "a name has 1 to 500 characters")
    for at, loss in enumerate(upload.losses):
        if loss.id != upload.losses[0].id + at or not 0 < loss.id < 2**31:
            raise UploadMalformedError(f"losses[{at}]", "loss ids follow one another, from 1")
        if loss.closes is not None and not 0 < loss.closes < loss.id:
            raise UploadMalformedError(f"losses[{at}]", "an entry closes one before it")
        numbers = (
            loss.first_time_us,
            loss.last_time_us,
            loss.recorded_time_us,
            loss.count,
            loss.first_sequence,
            loss.last_sequence,
        )
        if any(n is not None and not -(2**63) <= n < 2**63 for n in numbers):
            raise UploadMalformedError(f"losses[{at}]", "a number has more than 64 bits")


def verify_rows(upload: Upload) -> list[VerifiedRow]:
    """Check the hash chain and decode every payload; CPU work for a worker thread.

    Raises:
        UploadMalformedError: names the first bad row.
    """
    verified: list[VerifiedRow] = []
    previous = upload.previous_hash
    for at, row in enumerate(upload.rows):
        path = f"rows[{at}]"
        if chain_hash(previous, upload.epoch, row.sequence, row.payload) != row.hash:
            raise UploadMalformedError(
                path, "the hash does not fit payload and chain", "ingest.hash_mismatch"
            )
        verified.append(_verified(path, row, previous))
        previous = row.hash
    return verified


def _verified(path: str, row: UploadRow, previous: bytes) -> VerifiedRow:
    try:
        batch = decode_batch(row.payload)
    except BatchError as error:
        raise UploadMalformedError(path, str(error), error.code) from error
    if len(batch) != row.samples_count:
        raise UploadMalformedError(
            path, f"samples_count says {row.samples_count}, the payload has {len(batch)}"
        )
    first_us, last_us = batch.time_range_us()
    if first_us < TIME_US_MIN or last_us > TIME_US_MAX:
        raise UploadMalformedError(
            path, "a source time is outside the years 1 to 9999", "ingest.time_out_of_range"
        )
    if (first_us, last_us) != (row.first_time_us, row.last_time_us):
        raise UploadMalformedError(path, "first_time_us and last_time_us do not fit the payload")
    return VerifiedRow(
        sequence=row.sequence,
        previous_hash=previous,
        hash=row.hash,
        first_time_us=first_us,
        last_time_us=last_us,
        tag_index_max=max(int(np.max(c.tag)) for c in batch.columns),
        payload=row.payload,
        batch=batch,
    )
