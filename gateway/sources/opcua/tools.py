"""What all OPC UA sources share, and what people ask beside them: check, discover, judge.

Nothing that people ask touches a running source; a check has a connection of its own. At most
``CHECKS_MAX`` checks and discoveries run at once, for each waits on somebody else's machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from contract.config import OpcUaSourceConfig, SourceConfig
from gateway.errors import BusyError
from gateway.sources.opcua.access import Access, Pki, Target, target_of
from gateway.sources.opcua.connect_check import CheckReport, ConnectCheck
from gateway.sources.opcua.endpoints import DiscoveryReport, discover_server
from gateway.sources.opcua.reverse import Doors
from runtime.clock import Clock

CHECKS_MAX = 4


class OpcUaTools:
    """One for the whole gateway: its certificates, its doors, its checks."""

    def __init__(self, pki_dir: Path, sources: Sequence[SourceConfig], clock: Clock) -> None:
        self.pki = Pki(pki_dir, clock)
        self._doors = Doors()
        self._sources = {s.name: s for s in sources if isinstance(s, OpcUaSourceConfig)}
        self._running = 0

    def access(self, config: OpcUaSourceConfig) -> Access:
        """Return the way to the server of a source."""
        return Access(target_of(config), self.pki, self._doors)

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
