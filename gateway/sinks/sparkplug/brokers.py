"""The brokers of an edge node: which one is tried, and what is known of the primary host at each.

A node is connected to one broker at a time (Sparkplug 3.0, tck-id-operational-behavior-primary-
application-state-with-multiple-servers-single-server) and walks the list in its order, round and
round. What was heard of the primary host is kept per broker and over reconnects: an old STATE must
not be believed after one. Pure.
"""

from __future__ import annotations

from contract.config import BrokerConfig, SparkplugConfig
from sparkplug_b.state import PrimaryHost


class BrokerWalk:
    """Where the node is in its list of brokers."""

    def __init__(self, config: SparkplugConfig) -> None:
        self._brokers = config.brokers
        self._hosts = [
            PrimaryHost(config.primary_host) if config.primary_host else None for _ in self._brokers
        ]
        self._at = 0

    @property
    def is_several(self) -> bool:
        """There is a next broker."""
        return len(self._brokers) > 1

    @property
    def broker(self) -> BrokerConfig:
        """The broker whose turn it is."""
        return self._brokers[self._at]

    @property
    def host(self) -> PrimaryHost | None:
        """The primary host as seen at this broker; None when none is configured."""
        return self._hosts[self._at]

    def move(self) -> None:
        """Go to the next broker; with a single one, stay."""
        self._at = (self._at + 1) % len(self._brokers)
