"""Fuzz everything that reads bytes from outside, coverage-guided: `make fuzz`.

Needs the dependency group `fuzz` (atheris). Crashes on any exception but those that are promised,
and where the column decoder says something else than `decode`. A crash leaves its input in a file
`crash-...`, which `python tests/sparkplug_b/fuzz.py FILE` repeats.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sparkplug_b"]):
    from sparkplug_b import (
        BirthMetric,
        DataType,
        DecodeError,
        DeviceBirth,
        EdgeNodeSession,
        HostSession,
        Limits,
        Metric,
        Payload,
        TopicError,
        compressed,
        decode,
        decode_columns,
        encode,
        parse_state,
        parse_topic,
    )

T = 1_790_000_000_000
LIMITS = Limits(payload_bytes_max=64 * 1024, metrics_count_max=5_000, items_count_max=50_000)
COLUMN_BYTES = 4_000  # what makes the column decoder look at a payload
TYPES: dict[int | str, DataType] = {
    n: list(DataType)[n % len(DataType)] for n in range(len(DataType))
} | {"m": DataType.INT8, "": DataType.DOUBLE}
MESSAGES = ("NBIRTH/N", "NDEATH/N", "NDATA/N", "DBIRTH/N/D", "DDATA/N/D", "DDEATH/N/D", "NCMD/N")


def outcome(read, data: bytes, **options: object) -> str:
    try:
        found = read(data, types=TYPES, limits=LIMITS, **options)
    except DecodeError as error:
        return error.cause
    return repr(found if isinstance(found, Payload) else found.payload())


def both_decoders(data: bytes) -> None:
    """Hold `decode_columns` to what `decode` says, also of many metrics of this kind."""
    many = data * (COLUMN_BYTES // max(len(data), 1) + 1)
    for one in (data, many, b"\x08\x01" + many + b"\x18\x05"):
        options = {"normalise": len(data) % 2 == 0, "inflate": len(data) % 3 == 0}
        assert outcome(decode, one, **options) == outcome(decode_columns, one, **options)


def host(data: bytes) -> None:
    """Give a host messages cut from the bytes; nothing may be raised, notes stay bounded."""
    session = HostSession("H")
    session.will(T)
    session.connected()
    session.birth()
    now_ms = T
    while data:
        kind, size, data = data[0], data[1] if len(data) > 1 else 0, data[2:]
        body, data = data[: size or 200], data[size or 200 :]
        topic = f"spBv1.0/G/{MESSAGES[kind % len(MESSAGES)]}"
        session.on_message(topic, body, retained=kind > 250, now_ms=now_ms)
        now_ms += kind * 10
        session.on_timer(now_ms)
    assert len(session.take_drops()) < 100


def edge(data: bytes) -> None:
    session = EdgeNodeSession("G", "N", bd_seq=0)
    session.connected()
    metrics = [
        BirthMetric(name=f"m{kind}", alias=kind, data_type=kind, value=None, time_ms=T)
        for kind in DataType
        if kind not in {DataType.UNKNOWN, DataType.PROPERTY_SET, DataType.PROPERTY_SET_LIST}
    ]
    list(session.birth(DeviceBirth(metrics=metrics), [], T))
    session.on_command("spBv1.0/G/NCMD/N", data, retained=False)


def texts(data: bytes) -> None:
    parse_state(data)
    with contextlib.suppress(TopicError):
        parse_topic("spBv1.0/" + data.decode(errors="surrogateescape"))


TARGETS = (both_decoders, both_decoders, host, edge, texts)


def fuzz_one(data: bytes) -> None:
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:])


def seeds() -> list[bytes]:
    """Return inputs that reach deep from the first moment."""
    rows = [
        Metric(alias=n, time_ms=T, data_type=kind, value=1, is_historical=n % 2 == 0)
        for n, kind in enumerate(
            (DataType.INT8, DataType.INT32, DataType.UINT64, DataType.DATETIME)
        )
    ] + [Metric(name="m", time_ms=T, data_type=DataType.DOUBLE, value=1.5)]
    payloads = [
        encode(Payload(timestamp_ms=T, seq=1, metrics=(row,)), with_data_types=typed)
        for row in rows
        for typed in (True, False)
    ]
    bd_seq = Metric(name="bdSeq", data_type=DataType.INT64, value=1)
    payloads.append(encode(Payload(seq=0, metrics=(bd_seq, *rows))))
    payloads.append(encode(compressed(payloads[-1])))
    return [bytes((target,)) + one for one in payloads for target in range(len(TARGETS))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("inputs", nargs="*", help="inputs to repeat, or a corpus folder to keep")
    options = parser.parse_args()
    corpus = options.inputs
    if not corpus:
        folder = Path(tempfile.mkdtemp(prefix="sparkplug-fuzz-"))
        for number, seed in enumerate(seeds()):
            (folder / f"seed-{number}").write_bytes(seed)
        corpus = [os.fspath(folder)]
    flags = [f"-max_total_time={options.seconds}", "-max_len=4096", "-timeout=10"]
    atheris.Setup([sys.argv[0], *flags, *corpus], fuzz_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
