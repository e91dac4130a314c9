"""What people ask of OPC UA beside the running sources: check, discover, judge certificates.

Nothing here touches a running source; a check has a connection of its own. At most ``CHECKS_MAX``
checks and discoveries run at once, for each waits on somebody else's machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from contract.config import OpcUaSourceConfig, SourceConfig
from gateway.errors import BusyError
from gateway.sources.opcua.access import Access, Pki, Target, target_of
from gateway.sources.opcua.connect_check import CheckReport, ConnectCheck
from gateway.sources.opcua.endpoints import DiscoveryReport, discover_server

CHECKS_MAX = 4


class OpcUaTools:
    """The gateway's OPC UA beside its sources."""

    def __init__(self, pki: Pki, sources: Sequence[SourceConfig]) -> None:
        self.pki = pki
        self._sources = {s.name: s for s in sources if isinstance(s, OpcUaSourceConfig)}
        self._running = 0

    def target(self, source: str) -> Target | None:
        """Return the connection of a configured source; None when there is no such."""
        config = self._sources.get(source)
        return target_of(config) if config is not None else None

    async def check(self, target: Target) -> CheckReport:
        """Check a connection step by step.

        Raises:
            BusyError: too many run already.
        """
        with self._one_more():
            return await ConnectCheck(Access(target, self.pki), self.pki.clock).run()

    async def discover(self, url: str) -> DiscoveryReport:
        """Ask what is at an address.

        Raises:
            SourceError: nobody answers, or with something else than OPC UA.
            BusyError: too many run already.
        """
        with self._one_more():
            return await discover_server(url)

    @contextmanager
    def _one_more(self) -> Iterator[None]:
        if self._running >= CHECKS_MAX:
            raise BusyError(f"{CHECKS_MAX} checks run already: wait for one to end")
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
