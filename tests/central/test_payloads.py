"""Hostile batches: nothing that a gateway can send may abort or stall the hub."""

from __future__ import annotations

import contextlib
import time

import numpy as np
import pytest

from contract.batch import decode_batch, encode_batch
from contract.errors import BatchError
from contract.sample import SampleBatch, ValueKind, columns_of


def _payload() -> bytes:
    times = list(range(200))
    return encode_batch(
        SampleBatch(
            (
                columns_of(ValueKind.DOUBLE, [1] * 200, times, [0] * 200, times),
                columns_of(ValueKind.TEXT, [2], [3], [0], ["text"]),
                columns_of(ValueKind.NULL, [3], [3], [0x80000000], None),
            )
        )
    )


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits_decode_or_are_refused_quickly(seed: int) -> None:
    """Found by this: a changed row count aborted the process inside the decoder."""
    payload, random = _payload(), np.random.default_rng(seed)
    for _ in range(1000):
        damaged = bytearray(payload)
        for _ in range(int(random.integers(1, 4))):
            damaged[int(random.integers(0, len(damaged)))] ^= 1 << int(random.integers(0, 8))
        started_s = time.monotonic()
        with contextlib.suppress(BatchError):
            decode_batch(bytes(damaged))
        assert time.monotonic() - started_s < 1


def test_every_cut_is_refused_or_ends_at_a_message() -> None:
    payload = _payload()
    whole = len(decode_batch(payload))
    for end in range(0, len(payload), 7):
        with contextlib.suppress(BatchError):
            assert len(decode_batch(payload[:end])) <= whole


def test_a_claimed_length_costs_no_memory() -> None:
    started_s = time.monotonic()
    with pytest.raises(BatchError):
        decode_batch(b"\xff\xff\xff\xff" + b"\x00\x00\x00\x7f" + bytes(100))
    with pytest.raises(BatchError):
        decode_batch(b"junk")
    assert time.monotonic() - started_s < 0.1
