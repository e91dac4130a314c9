"""A journal with tags, and one sink at work on it: the way out of a gateway, for tests."""

import contextlib
from pathlib import Path

import anyio

from gateway.flow.drive import drive_sink
from gateway.flow.tags import TagTable
from gateway.flow.view import TagBook
from tests.contract.batches import doubles
from tests.gateway.flow.parts import Middle, backoff
from tests.gateway.sinks.broker_host import until


class Line:
    def __init__(self, directory, specs):
        self.directory = directory
        self.middle = Middle(directory)
        self.clock = self.middle.clock
        self.tags = TagTable([])
        self.tags.register("s", specs)
        self.middle.intake.set_deadbands([(tag, 0.0) for tag in range(len(specs) + 10)])
        self.middle.intake.take_definitions = self.tags.take_unsaved
        self.book = TagBook(self.tags, self.middle.last)
        self.sink = self.outlet = self._tasks = None

    def attach(self, sink, *, is_live_only=False):
        self.sink = sink
        self.outlet = self.middle.outlet(name=sink.name)
        self.outlet.is_live_only = is_live_only

    def start(self):
        self._tasks.start_soon(drive_sink, self.sink, self.outlet, self.clock, backoff())

    def stop(self):
        self._tasks.cancel_scope.cancel()

    async def put(self, *samples):
        await self.put_batch(doubles(*samples))

    async def put_batch(self, batch):
        """Commit one row and wait until it is durable."""
        before = len(self.middle.stored)
        await self.middle.put("row", batch)
        await self.middle.until(lambda: len(self.middle.stored) > before)

    async def confirmed(self):
        await until(lambda: self.outlet.lanes.pending_rows == 0)


@contextlib.asynccontextmanager
async def line_at(directory, *specs):
    """A line whose intake runs; ``attach`` a sink, then ``start`` it."""
    directory = Path(directory) / "gateway"
    directory.mkdir()
    line = Line(directory, specs)
    try:
        async with line.middle.running(), anyio.create_task_group() as line._tasks:
            yield line
            line.stop()
    finally:
        if line.outlet is not None:
            line.outlet.close()
        line.middle.close()
