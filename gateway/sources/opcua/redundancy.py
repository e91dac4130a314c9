"""A redundant set of servers, cold or warm: which of them to read, and when to leave it.

The one with the highest ServiceLevel is read; below ``HEALTHY`` another one is asked for, and taken
when it offers more. With one endpoint there is nothing to choose. Source: OPC 10000-4, 6.6.2
(redundancy in the server; ServiceLevel sub-ranges: 200 to 255 is healthy).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from asyncua import ua
from asyncua.ua.uaerrors import UaError

from gateway.errors import SourceError
from gateway.sources.opcua.session import Session
from runtime.clock import Clock
from runtime.log import logger

HEALTHY = 200
LOOK_S = 5.0
_UNKNOWN = 255
"""A server that tells no ServiceLevel is taken as healthy: OPC 10000-5, 6.3.1."""


class Opener(Protocol):
    """Opens a session of its own for a question, and closes it."""

    def __call__(self, endpoint: str) -> AbstractAsyncContextManager[Session]:
        """Return the session as a block. Raises SourceError."""
        ...


class RedundantSet:
    """The servers of one source. ``endpoint`` is the one that is read."""

    def __init__(self, endpoints: Sequence[str], clock: Clock) -> None:
        self._endpoints = list(dict.fromkeys(endpoints))
        self._clock = clock
        self.endpoint = self._endpoints[0]
        self.levels: dict[str, int | None] = {}

    @property
    def is_single(self) -> bool:
        """Tell whether there is nothing to choose."""
        return len(self._endpoints) == 1

    async def choose(self, opener: Opener) -> str:
        """Return the endpoint to read now: of the best, the one that was read; else the first.

        Where none answers it is the next one, so that each gets its turn and its reason is told.
        """
        if self.is_single:
            return self.endpoint
        self.levels = {
            endpoint: await self._level(opener, endpoint) for endpoint in self._endpoints
        }
        answering = [e for e in self._endpoints if self.levels[e] is not None]
        if not answering:
            following = self._endpoints.index(self.endpoint) + 1
            self._move(self._endpoints[following % len(self._endpoints)])
            return self.endpoint
        best = max(self.levels[e] or 0 for e in answering)
        if self.levels[self.endpoint] != best:
            self._move(next(e for e in answering if self.levels[e] == best))
        return self.endpoint

    def _move(self, endpoint: str) -> None:
        if endpoint != self.endpoint:
            logger().info("opcua.server_chosen", endpoint=endpoint, levels=self.levels)
        self.endpoint = endpoint

    async def _level(self, opener: Opener, endpoint: str) -> int | None:
        """Return a server's ServiceLevel; None where it does not answer."""
        try:
            async with opener(endpoint) as session:
                return await read_level(session)
        except SourceError as error:
            logger().debug("opcua.server_not_answering", endpoint=endpoint, reason=str(error))
            return None

    async def watch(self, session: Session, opener: Opener) -> None:
        """Watch the server that is read, for as long as the session holds.

        Raises:
            SourceError: another server of the set is better now.
        """
        while True:
            await self._clock.sleep_s(LOOK_S)
            level = await read_level(session)
            self.levels[self.endpoint] = level
            if level >= HEALTHY:
                continue
            others = [e for e in self._endpoints if e != self.endpoint]
            for endpoint in others:
                self.levels[endpoint] = await self._level(opener, endpoint)
            best = max((self.levels[e] or 0 for e in others), default=0)
            if best > level:
                raise SourceError(
                    f"the ServiceLevel of {self.endpoint} fell to {level}, another server of the"
                    f" set has {best}: changing over"
                )


async def read_level(session: Session) -> int:
    """Return a server's ServiceLevel, 0 to 255. Raises SourceError: the session is lost."""
    node_id = ua.NodeId(ua.ObjectIds.Server_ServiceLevel)
    try:
        value = (await session.read([node_id], ua.AttributeIds.Value))[0].Value
    except (OSError, TimeoutError, UaError) as error:
        raise SourceError(f"the server did not tell its ServiceLevel: {error}") from error
    told = value.Value if value is not None else None
    return int(told) if isinstance(told, int) else _UNKNOWN
