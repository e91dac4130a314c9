"""``/api/timeseries``: one tag over a range of time, raw or summed up; columns, not rows."""

from __future__ import annotations

import base64
import math
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter
from numpy.typing import NDArray

from central.errors import QueryError
from central.ingest.completeness import RangeWord
from central.ingest.last import Value
from central.ingest.verify import TIME_US_MAX, TIME_US_MIN
from central.web.guard import DATA_READ
from central.web.parts import Parts
from runtime.http import permit

RAW_MAX = 100_000
BUCKETS_MAX = 5_000

Moment = Annotated[
    str,
    QueryParameter(max_length=40, description="ms since 1970 UTC, or ISO 8601 (UTC by default)"),
]


class RangeCompleteness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether all of the range is here.

    ``pending``: the gateway's data does not reach the range's end yet. ``incomplete``:
    ``missing_count`` holes or losses touch it.
    """

    word: RangeWord
    missing_count: int


class RawAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Samples in source order as parallel columns; ``is_cut``: there are more than the limit.

    Values: numbers, text, base64 of bytes, or null (no value, NaN and infinities included).
    """

    gateway: str
    tag: int
    time_ms: list[float]
    value: list[Value]
    status: list[int]
    is_cut: bool
    completeness: RangeCompleteness


class BucketsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Equal buckets as parallel columns; buckets without samples are left out.

    ``time_ms`` is a bucket's start. ``min``, ``max`` and ``mean`` are null where a bucket has no
    finite number of good or uncertain quality.
    """

    gateway: str
    tag: int
    width_ms: float
    time_ms: list[float]
    min: list[float | None]
    max: list[float | None]
    mean: list[float | None]
    count: list[int]
    good_count: list[int]
    completeness: RangeCompleteness


@get("/api/timeseries/raw", opt=permit(DATA_READ), tags=["timeseries"], operation_id="readRaw")
async def read_raw(
    parts: NamedDependency[Parts],
    gateway: FromQuery[str],
    tag: FromQuery[int],
    start: Moment,
    end: Moment,
    limit: Annotated[int, QueryParameter(ge=1, le=RAW_MAX)] = 10_000,
) -> RawAnswer:
    """Return the samples of a tag with ``start <= time < end``."""
    start_us, end_us = _range(start, end)
    number = await _check_tag(parts, gateway, tag)
    columns = await parts.store.raw(tag, start_us, end_us, limit)
    return RawAnswer(
        gateway=gateway,
        tag=tag,
        time_ms=(columns.time_us / 1000).tolist(),
        value=[_shown(v) for v in columns.value],
        status=columns.status.tolist(),
        is_cut=columns.is_cut,
        completeness=await _completeness(parts, number, tag, (start_us, end_us)),
    )


@get(
    "/api/timeseries/buckets",
    opt=permit(DATA_READ),
    tags=["timeseries"],
    operation_id="readBuckets",
)
async def read_buckets(
    parts: NamedDependency[Parts],
    gateway: FromQuery[str],
    tag: FromQuery[int],
    start: Moment,
    end: Moment,
    buckets: Annotated[int, QueryParameter(ge=1, le=BUCKETS_MAX)] = 500,
) -> BucketsAnswer:
    """Sum up a tag's samples with ``start <= time < end`` in equal buckets."""
    start_us, end_us = _range(start, end)
    number = await _check_tag(parts, gateway, tag)
    columns = await parts.store.buckets(tag, start_us, end_us, buckets)
    return BucketsAnswer(
        gateway=gateway,
        tag=tag,
        width_ms=columns.width_us / 1000,
        time_ms=(columns.time_us / 1000).tolist(),
        min=_numbers(columns.minimum),
        max=_numbers(columns.maximum),
        mean=_numbers(columns.mean),
        count=columns.count.tolist(),
        good_count=columns.good_count.tolist(),
        completeness=await _completeness(parts, number, tag, (start_us, end_us)),
    )


async def _check_tag(parts: Parts, gateway_id: str, tag_id: int) -> int:
    member = await parts.registry.member(gateway_id)
    if not 0 < tag_id < 2**31 or await parts.tags.one(member.number, tag_id) is None:
        raise QueryError("this gateway has no such tag")
    return member.number


async def _completeness(
    parts: Parts, gateway: int, tag_id: int, range_us: tuple[int, int]
) -> RangeCompleteness:
    word, missing = await parts.completeness.of_range(gateway, tag_id, *range_us)
    return RangeCompleteness(word=word, missing_count=missing)


def _range(start: str, end: str) -> tuple[int, int]:
    start_us, end_us = _moment_us(start), _moment_us(end)
    if start_us >= end_us:
        raise QueryError("start has to be before end")
    return start_us, end_us


def _moment_us(text: str) -> int:
    try:
        moment_us = round(float(text) * 1000)
    except (ValueError, OverflowError):
        try:
            moment = datetime.fromisoformat(text)
            at = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            moment_us = round(at.timestamp() * 1e6)
        except (ValueError, OverflowError) as error:
            raise QueryError("a time is ms since 1970 or ISO 8601") from error
    if not TIME_US_MIN <= moment_us <= TIME_US_MAX + 1:
        raise QueryError("a time lies in the years 1 to 9999")
    return moment_us


def _shown(value: Any) -> Value:  # noqa: ANN401 - what the store holds
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    shown: Value = value
    return shown


def _numbers(column: NDArray[Any]) -> list[float | None]:
    return [v if math.isfinite(v) else None for v in column.tolist()]


HANDLERS: list[Any] = [read_raw, read_buckets]
