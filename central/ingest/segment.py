"""A spool record as bytes, and reading a segment back; docs/formats/spool.md is the page.

A segment is ``MAGIC`` followed by records: length and CRC-32 of the body (big-endian uint32 each),
then the body. Reading stops at the first record that is short or whose CRC differs: a torn tail,
which was never acknowledged.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from contract.batch import HASH_BYTES

MAGIC = b"FPSPOOL1"
_FRAME = struct.Struct(">II")
_BODY = struct.Struct(f">IIQIqq{HASH_BYTES}s{HASH_BYTES}s")
BODY_BYTES_MAX = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SpoolRecord:
    """One acknowledged journal row.

    Attributes:
        gateway: the gateway's number.
        epoch: the epoch's id inside the hub.
        sequence: the row's number.
        samples_count: samples in ``payload``.
        first_time_us: earliest source time.
        last_time_us: latest source time.
        previous_hash: hash of row ``sequence - 1``.
        hash: the row's own hash.
        payload: the batch as the gateway encoded it.
    """

    gateway: int
    epoch: int
    sequence: int
    samples_count: int
    first_time_us: int
    last_time_us: int
    previous_hash: bytes
    hash: bytes
    payload: bytes


def encode_record(record: SpoolRecord) -> bytes:
    """Encode a record with its frame."""
    head = _BODY.pack(
        record.gateway,
        record.epoch,
        record.sequence,
        record.samples_count,
        record.first_time_us,
        record.last_time_us,
        record.previous_hash,
        record.hash,
    )
    crc = zlib.crc32(record.payload, zlib.crc32(head))
    return b"".join((_FRAME.pack(len(head) + len(record.payload), crc), head, record.payload))


def read_segment(path: Path) -> Iterator[tuple[SpoolRecord, int]]:
    """Yield each whole record with the offset behind it; stop silently at a torn tail.

    Raises:
        ValueError: the file is no segment of ours.
    """
    with path.open("rb") as file:
        magic = file.read(len(MAGIC))
        if magic != MAGIC:
            if MAGIC.startswith(magic):
                return
            raise ValueError(f"{path.name} is not a spool segment")
        offset = len(MAGIC)
        while len(frame := file.read(_FRAME.size)) == _FRAME.size:
            length, crc = _FRAME.unpack(frame)
            if not _BODY.size <= length <= BODY_BYTES_MAX:
                return
            body = file.read(length)
            if len(body) != length or zlib.crc32(body) != crc:
                return
            offset += _FRAME.size + length
            yield _record(body), offset


def _record(body: bytes) -> SpoolRecord:
    gateway, epoch, sequence, count, first_us, last_us, previous, own = _BODY.unpack_from(body)
    payload = body[_BODY.size :]
    return SpoolRecord(gateway, epoch, sequence, count, first_us, last_us, previous, own, payload)
