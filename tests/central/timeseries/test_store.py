"""The suite that every ``TimeSeriesStore`` passes; today there is DuckLake."""

from __future__ import annotations

import math
import shutil
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from central.timeseries.ducklake import DuckLakeStore
from central.timeseries.store import JournalRow, TimeSeriesStore
from contract.sample import SampleBatch, SampleColumns, ValueKind, columns_of
from runtime.clock import SystemClock

NOW_US = SystemClock().wall_us() // 1_000_000 * 1_000_000
ALL = (-62_135_596_800_000_000, 253_402_300_800_000_000)


def row(sequence: int, batch: SampleBatch, epoch: int = 1, tags: int = 100) -> JournalRow:
    first_us, last_us = batch.time_range_us()
    return JournalRow(
        gateway=7,
        epoch=epoch,
        sequence=sequence,
        previous_hash=bytes([(sequence - 1) % 256]) * 32,
        hash=bytes([sequence % 256]) * 32,
        first_time_us=first_us,
        last_time_us=last_us,
        batch=batch,
        tag_ids=np.arange(tags, dtype=np.int64) + 1,
    )


def numbers(kind: ValueKind, tag: int, time_us: list[int], value: list[Any]) -> SampleBatch:
    return SampleBatch((columns_of(kind, [tag] * len(value), time_us, [0] * len(value), value),))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def reopen(tmp_path: Path) -> Callable[[], TimeSeriesStore]:
    return lambda: DuckLakeStore(tmp_path / "lake", SystemClock())


@pytest.fixture
async def store(reopen: Callable[[], TimeSeriesStore]) -> AsyncIterator[TimeSeriesStore]:
    store = reopen()
    await store.open()
    yield store
    await store.close()


def bits(value: object) -> object:
    return struct.pack("<d", value) if isinstance(value, float) else value


async def test_values_of_every_kind_come_back_bit_equal(store: TimeSeriesStore) -> None:
    samples: dict[int, tuple[ValueKind, list[Any]]] = {
        0: (ValueKind.DOUBLE, [math.nan, -0.0, math.inf, -math.inf, 5e-324, 0.1]),
        1: (ValueKind.INT, [-(2**63), 2**63 - 1, 0, 1, -1, 2**53 + 1]),
        2: (ValueKind.UINT, [0, 2**64 - 1, 2**63, 1, 2, 3]),
        3: (ValueKind.TEXT, ["", "a\0b", "é€😀", "'; DROP TABLE x", "\n", "x" * 5000]),
        4: (ValueKind.BYTES, [b"", b"\0", b"\xff\xfe", b"\x80" * 3000, b"a", b"b"]),
    }
    times = [ALL[0], 0, 1, NOW_US, NOW_US + 1, ALL[1] - 1]
    status = [0, 0x40900000, 0x80340000, 0xFFFFFFFF, 1, 2]
    columns = [
        columns_of(kind, [tag] * 6, times, status, values)
        for tag, (kind, values) in samples.items()
    ]
    columns.append(columns_of(ValueKind.NULL, [5] * 6, times, status, None))
    await store.append([row(1, SampleBatch(tuple(columns)))])
    samples[5] = (ValueKind.NULL, [None] * 6)
    for _ in range(3):
        for tag, (_, values) in samples.items():
            found = await store.raw(tag + 1, *ALL, 100)
            assert found.time_us.tolist() == times
            assert found.status.tolist() == status
            assert [bits(v) for v in found.value] == [bits(v) for v in values]
        await store.flush()
        await store.maintain()


async def test_source_order_survives_equal_times_and_many_rows(store: TimeSeriesStore) -> None:
    random = np.random.default_rng(3)
    expected: dict[int, list[int]] = {1: [], 2: [], 3: []}
    counter = 0
    for sequence in range(1, 40):
        tags = random.integers(0, 3, 50)
        times = NOW_US + sequence // 3 + np.zeros(50, dtype=np.int64)
        values = np.arange(counter, counter + 50)
        counter += 50
        columns = SampleColumns(
            ValueKind.INT, tags.astype(np.uint32), times, np.zeros(50, np.uint32), values
        )
        for tag, value in zip(tags.tolist(), values.tolist(), strict=True):
            expected[tag + 1].append(value)
        await store.append([row(sequence, SampleBatch((columns,)))])
        if sequence in {10, 25}:
            await store.flush()
    await store.flush()
    await store.maintain()
    for tag, values in expected.items():
        assert (await store.raw(tag, *ALL, 10_000)).value == values


async def test_buckets_agree_with_numpy(store: TimeSeriesStore) -> None:
    random = np.random.default_rng(4)
    count = 5000
    times = NOW_US + np.sort(random.integers(0, 3_600_000_000, count))
    values = random.normal(20, 5, count)
    values[::97] = np.nan
    status = np.where(random.random(count) < 0.1, 0x80000000, 0).astype(np.uint32)
    columns = SampleColumns(ValueKind.DOUBLE, np.zeros(count, np.uint32), times, status, values)
    await store.append([row(1, SampleBatch((columns.take(times < NOW_US + 10**9),)))])
    await store.flush()
    await store.append([row(2, SampleBatch((columns.take(times >= NOW_US + 10**9),)))])
    start, end, buckets_count = NOW_US + 5, NOW_US + 3_000_000_011, 77
    found = await store.buckets(1, start, end, buckets_count)
    inside = (times >= start) & (times < end)
    bucket = (times - start) // found.width_us
    assert found.width_us * buckets_count >= end - start
    numbers_of = sorted(set(bucket[inside].tolist()))
    assert ((found.time_us - start) // found.width_us).tolist() == numbers_of
    for at, number in enumerate(numbers_of):
        chosen = inside & (bucket == number)
        usable = values[chosen & (status == 0) & np.isfinite(values)]
        assert found.count[at] == chosen.sum()
        assert found.good_count[at] == (chosen & (status == 0)).sum()
        assert found.minimum[at] == usable.min()
        assert found.maximum[at] == usable.max()
        assert found.mean[at] == pytest.approx(usable.mean())


async def test_a_bucket_without_numbers_has_none(store: TimeSeriesStore) -> None:
    await store.append([row(1, numbers(ValueKind.TEXT, 0, [NOW_US], ["on"]))])
    found = await store.buckets(1, NOW_US, NOW_US + 10, 1)
    assert (found.count.tolist(), found.good_count.tolist()) == ([1], [1])
    assert math.isnan(found.minimum[0])
    empty = await store.buckets(2, NOW_US, NOW_US + 10, 5)
    assert empty.count.tolist() == []


async def test_a_limit_is_kept_and_told(store: TimeSeriesStore) -> None:
    times = list(range(NOW_US, NOW_US + 10))
    await store.append([row(1, numbers(ValueKind.INT, 0, times, list(range(10))))])
    cut, whole = await store.raw(1, *ALL, 4), await store.raw(1, *ALL, 10)
    assert (cut.value, cut.is_cut) == ([0, 1, 2, 3], True)
    assert (len(whole.value), whole.is_cut) == (10, False)
    assert (await store.raw(1, times[3], times[5], 10)).value == [3, 4], "the end is excluded"


async def test_only_what_was_flushed_survives_and_its_ranges_say_so(
    store: TimeSeriesStore, reopen: Callable[[], TimeSeriesStore]
) -> None:
    for sequence in (1, 2, 3, 5):
        batch = numbers(ValueKind.INT, 0, [NOW_US + sequence], [sequence])
        await store.append([row(sequence, batch)])
    await store.append([row(1, numbers(ValueKind.INT, 0, [NOW_US + 9], [9]), epoch=2)])
    await store.flush()
    await store.append([row(6, numbers(ValueKind.INT, 0, [NOW_US + 6], [6]))])
    await store.close()
    again = reopen()
    await again.open()
    ranges = await again.received()
    assert [(r.epoch, r.first, r.last, r.samples_count) for r in ranges] == [
        (1, 1, 3, 3),
        (1, 5, 5, 1),
        (2, 1, 1, 1),
    ]
    assert ranges[0].last_hash == bytes([3]) * 32
    assert ranges[1].previous_hash == bytes([4]) * 32
    assert (await again.raw(1, *ALL, 10)).value == [1, 2, 3, 5, 9]
    await again.append([row(6, numbers(ValueKind.INT, 0, [NOW_US + 6], [6]))])
    await again.flush()
    assert (await again.raw(1, *ALL, 10)).value == [1, 2, 3, 5, 6, 9]
    await again.close()


async def test_a_flush_of_nothing_is_nothing(store: TimeSeriesStore) -> None:
    assert (await store.flush()).samples_count == 0


async def test_many_small_flushes_do_not_stay_many_files(
    store: TimeSeriesStore, tmp_path: Path
) -> None:
    for sequence in range(1, 31):
        times = [NOW_US + sequence * 10_000 + i for i in range(20)]
        await store.append([row(sequence, numbers(ValueKind.INT, 0, times, times))])
        await store.flush()
    await store.maintain()
    files = list((tmp_path / "lake" / "data").rglob("*samples*/**/*.parquet"))
    assert len(files) <= 2
    assert len((await store.raw(1, *ALL, 1000)).value) == 600


async def test_many_ranges_are_joined_and_say_the_same(tmp_path: Path) -> None:
    store = DuckLakeStore(tmp_path / "ranges", SystemClock(), ranges_max=5)
    await store.open()
    for sequence in (*range(1, 8), 10, 11):
        batch = numbers(ValueKind.INT, 0, [NOW_US + sequence], [sequence])
        await store.append([row(sequence, batch)])
        await store.flush()
    assert len(await store.received()) == 9
    await store.maintain()
    ranges = [(r.first, r.last, r.samples_count) for r in await store.received()]
    assert ranges == [(1, 7, 7), (10, 11, 2)]
    await store.close()


async def test_odd_source_clocks_do_not_make_a_folder_a_day(
    store: TimeSeriesStore, tmp_path: Path
) -> None:
    random = np.random.default_rng(5)
    times = np.sort(random.integers(ALL[0], ALL[1], 3000)).tolist()
    await store.append([row(1, numbers(ValueKind.INT, 0, times, times))])
    await store.flush()
    folders = list((tmp_path / "lake" / "data").rglob("day=*"))
    assert len(folders) <= 140
    assert (await store.raw(1, *ALL, 5000)).value == times


async def test_a_lake_can_be_moved(store: TimeSeriesStore, tmp_path: Path) -> None:
    times = list(range(NOW_US, NOW_US + 3000))
    await store.append([row(1, numbers(ValueKind.INT, 0, times, times))])
    await store.flush()
    await store.close()
    shutil.move(tmp_path / "lake", tmp_path / "elsewhere")
    moved = DuckLakeStore(tmp_path / "elsewhere", SystemClock())
    await moved.open()
    assert len((await moved.raw(1, *ALL, 5000)).value) == 3000
    await moved.close()
    await store.open()
