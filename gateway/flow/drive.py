"""Keeps sources and sinks going: one session after another, with back-off in between.

A source or sink raises when its session is lost; everything it holds is closed by then. One that
fails in a way nobody foresaw is started again too (``runtime.tasks.supervise``), alone.
"""

from __future__ import annotations

from gateway.errors import SinkError, SinkMovedError, SourceError
from gateway.flow.outlet import JournalOutlet
from gateway.flow.port import IntakePort
from gateway.sinks.base import Sink
from gateway.sources.base import Source
from runtime.backoff import Backoff
from runtime.clock import Clock
from runtime.log import logger

STEADY_S = 10.0
"""A session that held this long was a success: the next attempt comes soon again."""
MOVE_PAUSE_S = 0.2
"""A sink that leaves its server on purpose comes back after this, without back-off."""


async def drive_source(source: Source, port: IntakePort, clock: Clock, backoff: Backoff) -> None:
    """Run a source's sessions for ever."""
    pause = _Pause(f"source {source.name}", clock, backoff)
    while True:
        pause.begin()
        try:
            await source.run_session(port)
        except SourceError as error:
            port.ended()
            await pause.after(error)
        finally:
            port.ended()


async def drive_sink(sink: Sink, outlet: JournalOutlet, clock: Clock, backoff: Backoff) -> None:
    """Run a sink's sessions for ever; what it took and did not confirm comes again."""
    pause = _Pause(f"sink {sink.name}", clock, backoff)
    while True:
        pause.begin()
        try:
            await sink.run_session(outlet)
        except SinkMovedError as error:
            outlet.end()
            await pause.between(error)
        except SinkError as error:
            outlet.end()
            if sink.report().state != "off":
                outlet.retries_count += 1
            await pause.after(error)
        finally:
            outlet.end()


class _Pause:
    """The wait between two sessions; says each reason once."""

    def __init__(self, what: str, clock: Clock, backoff: Backoff) -> None:
        self._what = what
        self._clock = clock
        self._backoff = backoff
        self._said = ""
        self._started_s = 0.0

    def begin(self) -> None:
        self._started_s = self._clock.monotonic_s()

    async def after(self, error: Exception) -> None:
        if self._clock.monotonic_s() - self._started_s > STEADY_S:
            self._backoff.succeed()
            self._said = ""
        self._say(error)
        await self._clock.sleep_s(self._backoff.next_delay_s())

    async def between(self, error: Exception) -> None:
        self._say(error)
        await self._clock.sleep_s(MOVE_PAUSE_S)

    def _say(self, error: Exception) -> None:
        if str(error) != self._said:
            logger().warning("flow.session_lost", what=self._what, reason=str(error))
        self._said = str(error)
