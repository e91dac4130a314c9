"""HistoryRead of raw values: which nodes have history, how far it reaches, a range of it.

Promise: a range comes whole or not at all; continuation points are followed, and given back where
they are not. Bounding values are not asked for, and what lies outside of the range is left out. At
most ``VALUES_PER_ANSWER`` values an answer and a rest of ``PAUSE_S`` after each: the publish loop
on the same session goes on meanwhile. Source: OPC 10000-4, 5.11.3; OPC 10000-11, 6.5.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncua import ua
from asyncua.ua.uaerrors import UaError

from contract.sample import SampleBatch
from gateway.errors import SourceError
from gateway.sources.opcua.convert import TagColumns, to_batch
from gateway.sources.opcua.decode import DecodeError
from gateway.sources.opcua.fallback import decode_struct, from_asyncua
from gateway.sources.opcua.limits import CallLimits
from gateway.sources.opcua.session import Session
from gateway.sources.opcua.types import micros
from runtime.clock import Clock

VALUES_PER_ANSWER = 2_000
ANSWERS_PER_NODE_MAX = 10_000
PAUSE_S = 0.05
_HISTORY_READ = 0x04
"""The bit of AccessLevel. Source: OPC 10000-3, 8.57."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TRANSIENT = frozenset(
    {
        "BadTimeout",
        "BadTooManyOperations",
        "BadResourceUnavailable",
        "BadOutOfMemory",
        "BadNoContinuationPoints",
        "BadContinuationPointInvalid",
        "BadServerTooBusy",
        "BadTooManyMatches",
    }
)
"""What a server says that may answer later."""

Node = tuple[int, Any]
"""Tag index and node id."""


class HistoryBusyError(Exception):
    """Raised when the server cannot answer now: ask again later."""


class History:
    """Reads the history of one session's server."""

    def __init__(self, session: Session, limits: CallLimits, clock: Clock) -> None:
        self._session = session
        self._at_once = limits.nodes_per_history_read
        self._nodes_per_read = limits.nodes_per_read
        self._clock = clock

    async def historized(self, nodes: Sequence[Node]) -> list[Node]:
        """Return the nodes whose history may be read: their AccessLevel says so."""
        found: list[Node] = []
        for start in range(0, len(nodes), self._nodes_per_read):
            part = nodes[start : start + self._nodes_per_read]
            try:
                levels = await self._session.read(
                    [node_id for _, node_id in part], ua.AttributeIds.UserAccessLevel
                )
            except UaError as error:
                raise HistoryBusyError(str(error)) from error
            for node, level in zip(part, levels, strict=True):
                held = level.Value.Value if level.Value is not None else None
                if isinstance(held, int) and held & _HISTORY_READ:
                    found.append(node)
        return found

    async def newest(self, nodes: Sequence[Node], at_us: int) -> dict[int, int]:
        """Return the newest source time at or before a moment that history has, by tag.

        Tags without are left out: their history begins later, or there is none. Raises
        HistoryBusyError, SourceError.
        """
        details = _details(None, at_us, 1)
        found: dict[int, int] = {}
        for start in range(0, len(nodes), self._at_once):
            part = nodes[start : start + self._at_once]
            results = await self._ask(details, [(node_id, None) for _, node_id in part])
            await self._give_back(details, part, results)
            for (tag, _), result in zip(part, results, strict=True):
                for time_us in (source_time_us(value) for value in _values(result)[:1]):
                    if time_us is not None and time_us <= at_us:
                        found[tag] = time_us
        return found

    async def read(
        self, nodes: Sequence[Node], first_us: int, last_us: int, samples_max: int
    ) -> tuple[list[tuple[int, Any]], set[int]] | None:
        """Read a range, both ends included: (tag, DataValue) in order per tag, and who refused.

        None when there are more than ``samples_max``. Raises HistoryBusyError, SourceError.
        """
        found: list[tuple[int, Any]] = []
        refused: set[int] = set()
        for start in range(0, len(nodes), self._at_once):
            part = nodes[start : start + self._at_once]
            room = samples_max - len(found)
            if not await self._read_part(part, (first_us, last_us), room, (found, refused)):
                return None
        return found, refused

    async def _read_part(
        self,
        nodes: Sequence[Node],
        range_us: tuple[int, int],
        room: int,
        into: tuple[list[tuple[int, Any]], set[int]],
    ) -> bool:
        """Read a range of few nodes; False when there is more than there is room for."""
        found, refused = into
        limit = len(found) + room
        # the end of a range is not part of it (OPC 10000-11, 4.4): ask for a little more
        details = _details(range_us[0], range_us[1] + 1000, _per_node(len(nodes)))
        asked: list[tuple[Node, bytes | None]] = [(node, None) for node in nodes]
        for _ in range(ANSWERS_PER_NODE_MAX):
            results = await self._ask(details, [(node[1], point) for node, point in asked])
            again: list[tuple[Node, bytes | None]] = []
            for (node, point), result in zip(asked, results, strict=True):
                if not result.StatusCode.is_good():
                    refused.add(node[0])
                    continue
                for value in _values(result):
                    time_us = source_time_us(value)
                    if time_us is not None and range_us[0] <= time_us <= range_us[1]:
                        found.append((node[0], value))
                following = result.ContinuationPoint
                if following and following != point:
                    again.append((node, following))
            if len(found) > limit:
                await self._release(details, again)
                return False
            if not again:
                return True
            asked = again
        raise HistoryBusyError("the server's continuation points have no end")

    async def _give_back(self, details: Any, nodes: Sequence[Node], results: Sequence[Any]) -> None:
        left = [
            (node, result.ContinuationPoint)
            for node, result in zip(nodes, results, strict=True)
            if result.ContinuationPoint
        ]
        await self._release(details, left)

    async def _release(self, details: Any, left: Sequence[tuple[Node, bytes | None]]) -> None:
        """Give continuation points back: a server has few of them."""
        if left:
            wanted = [(node[1], point) for node, point in left]
            await self._ask(details, wanted, release=True)

    async def _ask(
        self, details: Any, wanted: Sequence[tuple[Any, bytes | None]], *, release: bool = False
    ) -> list[Any]:
        request = ua.HistoryReadRequest()
        request.Parameters.HistoryReadDetails = details
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Source
        request.Parameters.ReleaseContinuationPoints = release
        for node_id, point in wanted:
            value = ua.HistoryReadValueId()
            value.NodeId = node_id
            value.ContinuationPoint = point
            request.Parameters.NodesToRead.append(value)
        results = await self._send(request)
        await self._clock.sleep_s(PAUSE_S)
        if not release:
            if len(results) != len(wanted):
                raise SourceError(
                    f"HistoryRead gave {len(results)} results for {len(wanted)} nodes"
                )
            for result in results:
                if str(result.StatusCode.name) in _TRANSIENT:
                    raise HistoryBusyError(str(result.StatusCode.name))
        return results

    async def _send(self, request: Any) -> list[Any]:
        try:
            data = await self._session.client.uaclient._send_request(request)  # noqa: SLF001
            response, _ = decode_struct(ua.HistoryReadResponse, data._data, data.cur_pos)  # noqa: SLF001
            response.ResponseHeader.ServiceResult.check()
        except DecodeError as error:
            raise SourceError(f"the answer to HistoryRead cannot be read: {error}") from error
        except (OSError, TimeoutError) as error:
            raise SourceError(f"HistoryRead failed: {type(error).__name__} {error}") from error
        except UaError as error:
            raise HistoryBusyError(f"HistoryRead: {error}") from error
        return list(response.Results or [])


def history_batch(
    values: Sequence[tuple[int, Any]], tags: TagColumns, now_us: int
) -> tuple[SampleBatch, int]:
    """Return historical samples of (tag, DataValue), and how many do not fit their tag's type."""
    items = []
    for tag, value in values:
        item = ua.MonitoredItemNotification()
        item.ClientHandle = tag
        item.Value = value
        items.append(item)
    change = ua.DataChangeNotification()
    change.MonitoredItems = items
    message = ua.NotificationMessage()
    message.NotificationData = [change]
    batch, misfits = to_batch(from_asyncua(0, message).segments, tags, now_us)
    return SampleBatch(batch.columns, is_historical=True), len(misfits)


def _details(first_us: int | None, last_us: int, per_node: int) -> Any:
    details = ua.ReadRawModifiedDetails()
    details.IsReadModified = False
    # no start: backwards from the end (OPC 10000-11, 6.5.3.2)
    details.StartTime = ua.get_win_epoch() if first_us is None else _moment(first_us)
    details.EndTime = _moment(last_us)
    details.NumValuesPerNode = per_node
    details.ReturnBounds = False
    return details


def _per_node(nodes: int) -> int:
    return max(1, VALUES_PER_ANSWER // max(1, nodes))


def _moment(time_us: int) -> datetime:
    return (_EPOCH + timedelta(microseconds=time_us)).replace(tzinfo=None)


def _values(result: Any) -> list[Any]:
    if not result.StatusCode.is_good() or result.HistoryData is None:
        return []
    return [v for v in getattr(result.HistoryData, "DataValues", None) or [] if v is not None]


def source_time_us(value: Any) -> int | None:
    """Return a DataValue's source time in µs since 1970; None where it has none."""
    return None if value.SourceTimestamp is None else micros(value.SourceTimestamp)
