"""The gateway's own alerts, worked out from what its parts report. Pure but for the clock.

A source counts as down once a session failed, until one delivers again; a first connecting is no
alert. Losses raise theirs for ``LOST_ACTIVE_S`` after the newest entry of the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from contract.factoryplus import ALERT_CONNECTION, ALERT_SAMPLES_LOST, ALERT_TAG_TROUBLES
from gateway.sinks.sparkplug.factoryplus import Alert
from gateway.sources.base import Source
from runtime.clock import Clock

LOST_ACTIVE_S: Final = 600.0


class GatewayAlerts:
    """Which alerts there are, one per source and two for all, and which of them are active."""

    def __init__(
        self, sources: Sequence[Source], losses_count: Callable[[], int], clock: Clock
    ) -> None:
        self._sources = sources
        self._losses_count = losses_count
        self._clock = clock
        self._is_down: dict[str, bool] = {}
        self._losses_seen = losses_count()
        self._lost_s: float | None = None

    def __call__(self) -> list[Alert]:
        """Return all alerts as they are now; always the same ones, in the same order."""
        found: list[Alert] = []
        has_troubles = False
        for source in self._sources:
            report = source.status()
            has_troubles = has_troubles or report.troubles_count > 0
            if report.state in {"up", "waiting", "stopped"}:
                self._is_down[source.name] = report.state != "up"
            found.append(
                Alert(
                    name=f"Connection_{source.name}",
                    type_uuid=ALERT_CONNECTION,
                    active=self._is_down.get(source.name, False),
                )
            )
        lost = Alert(name="Samples_Lost", type_uuid=ALERT_SAMPLES_LOST, active=self._lost())
        return [
            *found,
            lost,
            Alert(name="Tag_Troubles", type_uuid=ALERT_TAG_TROUBLES, active=has_troubles),
        ]

    def _lost(self) -> bool:
        count, now_s = self._losses_count(), self._clock.monotonic_s()
        if count > self._losses_seen:
            self._losses_seen, self._lost_s = count, now_s
        return self._lost_s is not None and now_s - self._lost_s < LOST_ACTIVE_S
