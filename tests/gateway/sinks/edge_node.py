"""An edge node for tests: a real journal, tags in two devices, and a Sparkplug sink."""

import contextlib
from pathlib import Path

import anyio

from contract.config import BrokerConfig, SparkplugConfig
from gateway.flow.command_audit import CommandAudit
from gateway.flow.commands import CommandDesk
from gateway.flow.drive import drive_sink
from gateway.flow.liveness import SourceLiveness
from gateway.flow.tags import TagTable
from gateway.flow.view import TagBook
from gateway.sinks.sparkplug.sink import SparkplugSink
from gateway.sources.base import TagSpec
from sparkplug_b import DataType
from tests.contract.batches import doubles
from tests.gateway.flow.parts import Middle, backoff
from tests.gateway.sinks.broker_host import until


def spec(name, device, **changed):
    fields = {"data_type": DataType.DOUBLE, "address": f"nsu=u;s={name}"} | changed
    return TagSpec(name=name, device=device, **fields)


class Node:
    """A journal, tags 0 and 1 in devices Press and Oven, and a Sparkplug sink.

    With ``death_delay_s`` its sources are down until ``sources.up`` is told; without, always up.
    """

    def __init__(self, directory, broker, *, death_delay_s=None, sources=(), **config):
        self.middle = Middle(directory)
        self.tags = TagTable([])
        self.tags.register("s", [spec("p", "Press"), spec("o", "Oven")])
        self.middle.intake.take_definitions = self.tags.take_unsaved
        self.outlet = self.middle.outlet(name="sparkplug")
        clock = self.middle.clock
        self.sources = None
        if death_delay_s is not None:
            self.sources = SourceLiveness(clock, death_delay_s)
            self.sources.listeners.append(self.outlet.wake)
        if not isinstance(broker, BrokerConfig):
            broker = BrokerConfig(url=broker.url)
        self.sink = SparkplugSink(
            SparkplugConfig(group="G", node="N", broker=broker, **config),
            TagBook(self.tags, self.middle.last, self.sources),
            directory,
            "1.0",
            clock,
        )
        self.desk = CommandDesk(self.tags, sources, CommandAudit(directory), clock)
        self.sink.take_commands(self.desk)

    async def drive(self):
        await drive_sink(self.sink, self.outlet, self.middle.clock, backoff())

    async def put(self, *samples):
        """Commit one row of (tag, value) and wait until it is durable."""
        before = len(self.middle.stored)
        await self.middle.put(samples, doubles(*samples))
        await self.middle.until(lambda: len(self.middle.stored) > before)

    @property
    def pending(self):
        return self.outlet.lanes.pending_rows


@contextlib.asynccontextmanager
async def node_at(directory, broker, **config):
    """A node whose intake and sink run."""
    directory = Path(directory) / "gateway"
    directory.mkdir(exist_ok=True)
    node = Node(directory, broker, **config)
    try:
        async with node.middle.running(), anyio.create_task_group() as tasks:
            node.start = lambda: tasks.start_soon(node.drive)
            node.tasks = tasks
            tasks.start_soon(node.desk.run)
            yield node
            tasks.cancel_scope.cancel()
    finally:
        node.outlet.close()
        node.desk.close()
        node.middle.close()


async def born(host, start=0, devices=2):
    await host.until(lambda: len(host.of("DBIRTH", start=start)) == devices)


async def confirmed(node, count=0):
    await until(lambda: node.pending <= count)


def forget_retained(directory):
    for path in (directory / "mosquitto-store").iterdir():
        path.unlink()
