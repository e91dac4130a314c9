"""Browse, BrowseNext, Read and Translate in parts that the server takes.

Promise: one result for each thing asked, in order. A part is at most what the server's
OperationLimits allow (read once) and ``PART_MAX``; where the server refuses a part whole, it is
asked again in halves, down to single nodes, and the smaller size is kept; a single node that is
refused has its own bad result. Between requests it rests as long as the last one took, at most
``REST_S_MAX``: the publish loop on the same session goes on meanwhile.

Raises SourceError when the connection or the session is lost, or the answer cannot be read.
Source: OPC 10000-5, 6.3.11 (OperationLimitsType); OPC 10000-4, 5.8 (View), 5.10.2 (Read).
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from asyncua import ua
from asyncua.ua.uaerrors import UaError

from gateway.errors import SourceError
from gateway.sources.opcua.decode import DecodeError
from gateway.sources.opcua.fallback import decode_struct
from gateway.sources.opcua.session import Session
from runtime.clock import Clock

PART_MAX = 500
REST_S_MAX = 0.05
REFERENCES_PER_ANSWER_MAX = 1000
_LIMITS = {"read": 11705, "browse": 11710, "translate": 11712}
"""Nodes of namespace 0: MaxNodesPerRead, -Browse, -TranslateBrowsePathsToNodeIds."""
_LOST = frozenset(
    {
        "BadSessionClosed", "BadSessionIdInvalid", "BadSessionNotActivated",
        "BadSecureChannelClosed", "BadSecureChannelIdInvalid", "BadConnectionClosed",
        "BadCommunicationError", "BadServerHalted", "BadShutdown", "BadSecureChannelTokenUnknown",
    }
)  # fmt: skip
"""The session is gone: asking in smaller parts would not help. Source: OPC 10000-4, 7.39."""
_COUNT = struct.Struct("<i")

A = TypeVar("A")
R = TypeVar("R")


class Requests:
    """Asks one session's server; made anew for each session.

    Attributes:
        limits: largest part per service, as the server tells and as it was found.
        requests_count: requests sent.
        refused_parts: parts that the server refused whole and that were asked again in halves.
    """

    def __init__(self, session: Session, clock: Clock | None = None) -> None:
        self.session = session
        self.limits: dict[str, int] = dict(session.part_limits)
        self.requests_count = 0
        self.refused_parts = 0
        self._clock = clock
        self._limits_are_read = False

    async def read(self, node_ids: Sequence[Any], attribute: ua.AttributeIds) -> list[Any]:
        """Read one attribute of many nodes; a DataValue each."""
        await self._read_limits()
        return await self._in_parts(
            "read", list(node_ids), lambda part: self._read(part, attribute), _bad_value
        )

    async def browse(
        self, descriptions: Sequence[Any], *, references_max: int = REFERENCES_PER_ANSWER_MAX
    ) -> list[Any]:
        """Browse many nodes; a BrowseResult each, with at most ``references_max`` references."""
        await self._read_limits()

        async def ask(part: Sequence[Any]) -> list[Any]:
            request = ua.BrowseRequest()
            request.Parameters.View.Timestamp = ua.get_win_epoch()
            request.Parameters.RequestedMaxReferencesPerNode = references_max
            request.Parameters.NodesToBrowse = list(part)
            response = await self._call(request, ua.BrowseResponse)
            return list(response.Results or [])

        return await self._in_parts("browse", list(descriptions), ask, _bad_browse)

    async def browse_next(self, points: Sequence[bytes], *, release: bool = False) -> list[Any]:
        """Follow continuation points, or give them back; a BrowseResult each.

        A server that answers neither way (BadServiceUnsupported, ...) gives bad results.
        """

        async def ask(part: Sequence[bytes]) -> list[Any]:
            request = ua.BrowseNextRequest()
            request.Parameters.ReleaseContinuationPoints = release
            request.Parameters.ContinuationPoints = list(part)
            response = await self._call(request, ua.BrowseNextResponse)
            results = list(response.Parameters.Results or [])
            return results or [ua.BrowseResult() for _ in part] if release else results

        return await self._in_parts("browse", list(points), ask, _bad_browse)

    async def translate(self, paths: Sequence[Any]) -> list[Any]:
        """Translate browse paths; a BrowsePathResult each."""
        await self._read_limits()

        async def ask(part: Sequence[Any]) -> list[Any]:
            request = ua.TranslateBrowsePathsToNodeIdsRequest()
            request.Parameters.BrowsePaths = list(part)
            response = await self._call(request, ua.TranslateBrowsePathsToNodeIdsResponse)
            return list(response.Results or [])

        return await self._in_parts("translate", list(paths), ask, _bad_path)

    async def _read_limits(self) -> None:
        if self._limits_are_read:
            return
        self._limits_are_read = True
        names = list(_LIMITS)
        values = await self._in_parts(
            "read",
            [ua.NodeId(_LIMITS[name]) for name in names],
            lambda part: self._read(part, ua.AttributeIds.Value),
            _bad_value,
        )
        for name, value in zip(names, values, strict=True):
            told = value.Value.Value if value.Value is not None else None
            if isinstance(told, int) and 0 < told < self.limits.get(name, PART_MAX):
                self.limits[name] = told

    async def _in_parts(
        self,
        service: str,
        items: list[A],
        ask: Callable[[Sequence[A]], Awaitable[list[R]]],
        refused: Callable[[Any], R],
    ) -> list[R]:
        results: list[R] = []
        while len(results) < len(items):
            size = self.limits.get(service, PART_MAX)
            part = items[len(results) : len(results) + size]
            try:
                answer = await ask(part)
            except UaError as error:
                if type(error).__name__ in _LOST:
                    raise SourceError(f"the session was lost: {type(error).__name__}") from error
                if len(part) == 1:
                    results.append(refused(error))
                    continue
                self.limits[service] = max(1, len(part) // 2)
                self.refused_parts += 1
                continue
            if len(answer) != len(part):
                raise SourceError(
                    f"the server answered {len(answer)} results for {len(part)} nodes ({service})"
                )
            results.extend(answer)
        return results

    async def _read(self, part: Sequence[Any], attribute: ua.AttributeIds) -> list[Any]:
        request = ua.ReadRequest()
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        for node_id in part:
            wanted = ua.ReadValueId()
            wanted.NodeId = node_id
            wanted.AttributeId = attribute
            request.Parameters.NodesToRead.append(wanted)
        data, at = await self._send(request)
        _, at = _decoded(ua.NodeId, data, at)
        header, at = _decoded(ua.ResponseHeader, data, at)
        header.ServiceResult.check()
        if at + 4 > len(data):
            raise SourceError("the answer to Read ends early")
        (count,) = _COUNT.unpack_from(data, at)
        at += 4
        if count > len(part):
            raise SourceError(f"the server answered {count} values for {len(part)} nodes")
        values = []
        for _ in range(max(count, 0)):
            if data[at : at + 1] and data[at] & 1 and data[at + 1 : at + 2]:
                _refuse_endless(data[at + 1])
            value, at = _decoded(ua.DataValue, data, at)
            values.append(value)
        return values

    async def _call(self, request: Any, response_type: Any) -> Any:
        data, at = await self._send(request)
        response, _ = _decoded(response_type, data, at)
        response.ResponseHeader.ServiceResult.check()
        return response

    async def _send(self, request: Any) -> tuple[bytes, int]:
        """Send, rest, and return the answer's bytes. Raises UaError for a service fault."""
        self.requests_count += 1
        started_s = self._clock.monotonic_s() if self._clock is not None else 0.0
        try:
            answer = await self.session.client.uaclient._send_request(request)  # noqa: SLF001
        except (OSError, TimeoutError) as error:
            name = type(request).__name__.removesuffix("Request")
            raise SourceError(f"{name} failed: {type(error).__name__} {error}") from error
        if self._clock is not None:
            took_s = self._clock.monotonic_s() - started_s
            await self._clock.sleep_s(min(took_s, REST_S_MAX))
        return answer._data, answer.cur_pos  # noqa: SLF001 - pinned, contract-tested


def _decoded(kind: Any, data: bytes, at: int) -> tuple[Any, int]:
    try:
        return decode_struct(kind, data, at)
    except DecodeError as error:
        raise SourceError(f"the server's answer cannot be read: {error}") from error


def _refuse_endless(variant: int) -> None:
    if variant & 0xBF == 0x80:
        raise SourceError("the server's answer cannot be read: an array of nothing")


def _code(error: UaError) -> ua.StatusCode:
    return ua.StatusCode(getattr(error, "code", None) or ua.StatusCodes.BadUnexpectedError)


def _bad_value(error: UaError) -> Any:
    return ua.DataValue(StatusCode=_code(error))


def _bad_browse(error: UaError) -> Any:
    result = ua.BrowseResult()
    result.StatusCode = _code(error)
    return result


def _bad_path(error: UaError) -> Any:
    result = ua.BrowsePathResult()
    result.StatusCode = _code(error)
    return result
