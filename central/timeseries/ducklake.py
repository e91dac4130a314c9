"""The lake: DuckLake embedded, a local catalog file and Parquet on local disk.

Two places, one answer: ``recent`` is a table in memory that ``append`` fills, ``lake.samples`` is
what ``flush`` moves it to. A query reads both in one transaction that touches memory first and
then the lake; ``generation`` against ``lake.flushes`` drops what both have. So no sample is seen
twice or missed while a flush commits.

Durability: the Parquet files of a flush (and of a merge) are synced before the catalog commits;
the catalog's own log is synced by DuckDB. Files are partitioned by ``day`` and sorted by
(tag, time). Writes go through one owner at a time; queries use cursors of their own.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
import duckdb
import numpy as np
from arro3.core import Array, DataType, Table

from central.errors import LakeError, QueryError
from central.timeseries import statements as sql
from central.timeseries.columns import KindColumns, columns_by_kind, join_ranges, range_of
from central.timeseries.files import NewFiles
from central.timeseries.queries import in_transaction, read_buckets, read_raw
from central.timeseries.store import (
    BucketColumns,
    FlushResult,
    JournalRow,
    RawColumns,
    ReceivedRange,
)
from contract.batch import VALUE_COLUMN
from contract.sample import ValueKind
from runtime.clock import Clock

QUERY_TIMEOUT_S = 20.0
QUERIES_AT_ONCE = 2
MEMORY_LIMIT = "400MB"
RECEIVED_RANGES_MAX = 2_000
"""Maintenance joins the ranges when there are more: each flush adds one per epoch."""
_T = TypeVar("_T")


class DuckLakeStore:
    """The one implementation of ``TimeSeriesStore`` so far."""

    def __init__(
        self, directory: Path, clock: Clock, ranges_max: int = RECEIVED_RANGES_MAX
    ) -> None:
        self._ranges_max = ranges_max
        self._directory = directory
        self._clock = clock
        self._owner = anyio.CapacityLimiter(1)
        self._readers = anyio.CapacityLimiter(QUERIES_AT_ONCE)
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._generation = 1
        self._pending: list[ReceivedRange] = []
        self._new_files = NewFiles(directory / "data")
        self._pending_samples = 0

    async def open(self) -> None:
        """Open the lake, or make it.

        Raises:
            LakeError: the catalog is damaged, locked by another process, or of another version.
        """
        await self._own(self._open)

    async def close(self) -> None:
        """Close the lake."""
        if self._connection is not None:
            await self._own(self._connection.close)
            self._connection = None

    async def received(self) -> list[ReceivedRange]:
        """List the durable ranges."""
        return await self._own(
            lambda: [ReceivedRange(*row) for row in self._con.execute(sql.RECEIVED).fetchall()]
        )

    async def append(self, rows: Sequence[JournalRow]) -> int:
        """Put rows into ``recent``; return the samples waiting for a flush."""
        await self._own(lambda: self._append(rows))
        return self._pending_samples

    async def flush(self) -> FlushResult:
        """Move what was appended into the lake."""
        return await self._own(self._flush)

    async def maintain(self) -> None:
        """Merge small files, forget old snapshots, delete unreferenced files."""
        await self._own(self._maintain)

    async def raw(self, tag_id: int, start_us: int, end_us: int, limit: int) -> RawColumns:
        """Return samples of a tag in source order."""
        return await self._query(lambda c: read_raw(c, tag_id, start_us, end_us, limit))

    async def buckets(
        self, tag_id: int, start_us: int, end_us: int, buckets_count: int
    ) -> BucketColumns:
        """Sum up a tag in equal buckets of time."""
        return await self._query(lambda c: read_buckets(c, tag_id, start_us, end_us, buckets_count))

    @property
    def _con(self) -> duckdb.DuckDBPyConnection:
        assert self._connection is not None, "open() first"
        return self._connection

    async def _own(self, work: Callable[[], _T]) -> _T:
        """Run in a worker thread, one at a time, to its end."""
        try:
            with anyio.CancelScope(shield=True):
                result = await anyio.to_thread.run_sync(work, limiter=self._owner)
        except duckdb.Error as error:
            raise LakeError(f"{type(error).__name__}: {error}") from error
        return result

    async def _query(self, work: Callable[[duckdb.DuckDBPyConnection], _T]) -> _T:
        """Run on a cursor of its own; interrupted after ``QUERY_TIMEOUT_S``."""
        async with self._readers:
            cursor = self._con.cursor()
            try:
                with anyio.fail_after(QUERY_TIMEOUT_S):
                    answer = await anyio.to_thread.run_sync(
                        in_transaction, cursor, work, abandon_on_cancel=True
                    )
            except duckdb.Error as error:
                raise LakeError(f"{type(error).__name__}: {error}") from error
            except TimeoutError as error:
                cursor.interrupt()
                raise QueryError("the query took too long; ask for a shorter range") from error
        return answer

    def _open(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings: dict[str, str | bool | int | float | list[str]] = {
            "threads": 2,
            "memory_limit": MEMORY_LIMIT,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "temp_directory": str(self._directory / "temporary"),
        }
        self._connection = duckdb.connect(":memory:", config=settings)
        self._con.execute(f"LOAD '{_quoted(_extension_path())}'")
        catalog, data = self._directory / "catalog.ducklake", self._directory / "data"
        self._con.execute(sql.ATTACH.format(catalog=_quoted(catalog), data=_quoted(data)))
        for statement in sql.CREATE:
            self._con.execute(statement)
        if not self._con.execute(sql.IS_PARTITIONED).fetchone():
            for statement in sql.LAYOUT:
                self._con.execute(statement)
        row = self._con.execute(sql.LAST_FLUSH).fetchone()
        assert row is not None
        self._generation = int(row[0]) + 1

    def _append(self, rows: Sequence[JournalRow]) -> None:
        self._con.execute("BEGIN")
        try:
            for columns in columns_by_kind(rows):
                self._insert(columns)
        except BaseException:
            self._con.execute("ROLLBACK")
            raise
        self._con.execute("COMMIT")
        self._pending.extend(range_of(r) for r in rows)
        self._pending_samples += sum(len(r.batch) for r in rows)

    def _insert(self, columns: KindColumns) -> None:
        names = ["gateway", "tag", "time_us", "status", "epoch", "sequence", "ordinal"]
        arrays = {name: Array.from_numpy(getattr(columns, name)) for name in names}
        value_name = ""
        if columns.kind is not ValueKind.NULL:
            value_name = VALUE_COLUMN[columns.kind]
            arrays["value"] = _value_array(columns)
        self._execute_with(arrays, sql.insert_recent(value_name), [self._generation])

    def _execute_with(
        self, arrays: dict[str, Array], statement: str, parameters: list[int] | None = None
    ) -> None:
        """Run a statement that reads Arrow columns by the name ``incoming``, without a copy."""
        self._con.register("incoming", Table.from_arrays([*arrays.values()], names=[*arrays]))
        try:
            self._con.execute(statement, parameters)
        finally:
            self._con.unregister("incoming")

    def _flush(self) -> FlushResult:
        started_s = self._clock.monotonic_s()
        rows, samples = self._pending, self._pending_samples
        if not rows:
            return FlushResult(samples_count=0, ranges_count=0, took_ms=0.0)
        ranges = join_ranges(rows)
        generation = self._generation

        def move() -> None:
            self._con.execute(sql.FLUSH, [self._clock.wall_us(), generation])
            self._execute_with(_range_arrays(ranges), sql.INSERT_RECEIVED)
            self._con.execute(sql.INSERT_FLUSH, [generation])

        self._synced(move)
        self._generation += 1
        self._pending, self._pending_samples = [], 0
        self._con.execute(sql.FORGET_RECENT, [generation])
        took_ms = (self._clock.monotonic_s() - started_s) * 1000
        return FlushResult(samples_count=samples, ranges_count=len(ranges), took_ms=took_ms)

    def _maintain(self) -> None:
        self._synced(lambda: self._con.execute(sql.FLUSH_INLINED))
        self._synced(lambda: self._con.execute(sql.MERGE))
        self._synced(self._join_received)
        self._con.execute(sql.FORGET_FLUSHES, [self._generation - 1])
        for statement in sql.CLEAN:
            self._con.execute(statement)

    def _synced(self, work: Callable[[], object]) -> None:
        """Run in one transaction; sync the files it wrote before it commits."""
        self._con.execute("BEGIN")
        try:
            work()
            self._new_files.sync()
        except BaseException:
            self._con.execute("ROLLBACK")
            raise
        self._con.execute("COMMIT")

    def _join_received(self) -> None:
        ranges = [ReceivedRange(*row) for row in self._con.execute(sql.RECEIVED).fetchall()]
        if len(ranges) > self._ranges_max:
            self._con.execute(sql.FORGET_RECEIVED)
            self._execute_with(_range_arrays(join_ranges(ranges)), sql.INSERT_RECEIVED)


def _value_array(columns: KindColumns) -> Array:
    if isinstance(columns.value, np.ndarray):
        return Array.from_numpy(columns.value)
    arrow = DataType.utf8() if columns.kind is ValueKind.TEXT else DataType.binary()
    return Array(columns.value or [], type=arrow)


def _range_arrays(ranges: Sequence[ReceivedRange]) -> dict[str, Array]:
    types = {"previous_hash": DataType.binary(), "last_hash": DataType.binary()}
    return {
        name: Array([getattr(r, name) for r in ranges], type=types.get(name, DataType.int64()))
        for name in ReceivedRange.__struct_fields__
    }


def _extension_path() -> Path:
    """Return the DuckLake extension that the wheel brings, so that nothing is downloaded."""
    spec = importlib.util.find_spec("duckdb_extension_ducklake")
    if spec is None or spec.origin is None:
        raise LakeError("the package duckdb-extension-ducklake is not installed")
    path = Path(spec.origin).parent / "extensions" / f"v{duckdb.__version__}"
    return path / "ducklake.duckdb_extension"


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
