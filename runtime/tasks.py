"""Long-lived tasks: each has a name, a parent task group and a policy for failure.

``supervise`` is the one place that catches any exception: it logs, counts, waits and starts the
task again. Cancellation passes through.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from runtime.backoff import Backoff
from runtime.clock import Clock
from runtime.log import logger


class TaskHealth:
    """What supervision knows of one task, for status pages."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.restarts_count = 0
        self.last_error = ""


async def supervise(
    name: str,
    run: Callable[[], Awaitable[None]],
    clock: Clock,
    backoff: Backoff,
    health: TaskHealth | None = None,
) -> None:
    """Run for ever; start again after a failure with back-off; return when ``run`` returns.

    A run that lasted over a minute counts as a success: the next failure waits little again.
    """
    while True:
        started_s = clock.monotonic_s()
        try:
            await run()
        except Exception as error:  # noqa: BLE001 - the one place that keeps a process alive
            if clock.monotonic_s() - started_s > 60:
                backoff.succeed()
            delay_s = backoff.next_delay_s()
            if health is not None:
                health.restarts_count += 1
                health.last_error = f"{type(error).__name__}: {error}"
            logger().error("task.failed", task=name, retry_in_s=round(delay_s, 2), exc_info=error)
            await clock.sleep_s(delay_s)
        else:
            return
