"""A real OPC UA server on asyncua, a TCP proxy that cuts, and a port that plays the engine."""

import asyncio
import contextlib
import logging
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import numpy as np
from asyncua import ua
from asyncua.server.server import Server
from asyncua.ua.attribute_ids import AttributeIds

from contract.config import GroupConfig, OpcUaSourceConfig, SecurityConfig
from gateway.errors import SourceError
from gateway.flow import port as port_module
from gateway.flow.ledger import LossNote, OpenLosses, number
from gateway.sources.opcua.access import Access, Pki, target_of
from gateway.sources.opcua.explorer import short_session
from plant.ports import free_port
from runtime.clock import SystemClock
from tests.contract.batches import rows_of

URI = "urn:test:plc"
OTHER_URI = "urn:test:other"
DEADLINE_S = 30
VT = ua.VariantType
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Plc:
    """A server with folders and variables, by string id in the namespace ``URI``."""

    def __init__(self, port=0):
        self.port = port or free_port()
        self.endpoint = f"opc.tcp://127.0.0.1:{self.port}"
        self.server = None
        self.index = 0

    async def start(self, *, shift=False, fill=None):
        """Start; ``shift`` registers another namespace first, so that ours gets another index.

        ``fill`` adds nodes before anybody can connect.
        """
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)
        self.server = Server()
        await self.server.init()
        self.server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        self.server.set_endpoint(self.endpoint)
        if shift:
            await self.server.register_namespace(OTHER_URI)
        self.index = await self.server.register_namespace(URI)
        if fill is not None:
            await fill(self)
        await self.server.start()

    async def stop(self):
        with anyio.CancelScope(shield=True), anyio.move_on_after(5):
            await self.server.stop()

    def node_id(self, name):
        return ua.NodeId(ua.String(name), ua.Int16(self.index))

    async def folder(self, name, parent=None):
        parent = parent or self.server.nodes.objects
        return await parent.add_folder(self.node_id(name), ua.QualifiedName(name, self.index))

    async def variable(self, name, value=0.0, vtype=VT.Double, *, parent=None, browse_name=None):
        parent = parent or self.server.nodes.objects
        own = ua.QualifiedName(browse_name or name, self.index)
        is_array = isinstance(value, list)
        variant = ua.Variant(value, vtype, is_array=is_array)
        node = await parent.add_variable(self.node_id(name), own, variant)
        # before any time that a test writes: source time goes on, it does not jump back
        first = ua.DataValue(variant, ua.StatusCode(0), SourceTimestamp=EPOCH)
        await self.server.iserver.aspace.write_attribute_value(
            node.nodeid, AttributeIds.Value, first
        )
        return node

    async def write(self, name, value, *, vtype=VT.Double, time_us=1_000_000, status=0):
        stamp = EPOCH + timedelta(microseconds=time_us)
        done = await self.server.iserver.aspace.write_attribute_value(
            self.node_id(name),
            AttributeIds.Value,
            ua.DataValue(ua.Variant(value, vtype), ua.StatusCode(status), SourceTimestamp=stamp),
        )
        done.check()

    async def remove(self, name):
        await self.server.delete_nodes([self.server.get_node(self.node_id(name))])

    @property
    def subscriptions(self):
        """The subscriptions of clients."""
        found = self.server.iserver.subscription_service.subscriptions
        return [s for s in found.values() if s.pub_request_callback is not None]

    def unacknowledged(self):
        """Sequence numbers of notifications sent and held for Republish."""
        return sorted(n for s in self.subscriptions for n in s._not_acknowledged_results)


class Proxy:
    """Forwards TCP to a port; ``cut`` drops all connections."""

    def __init__(self, target):
        self.target = target
        self.port = free_port()
        self.endpoint = f"opc.tcp://127.0.0.1:{self.port}"
        self.is_open = True
        self._writers = set()

    async def _handle(self, reader, writer):
        if not self.is_open:
            writer.close()
            return
        with contextlib.suppress(OSError):
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers |= {writer, to_writer}
            await asyncio.gather(_pump(reader, to_writer), _pump(to_reader, writer))

    def cut(self):
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    @contextlib.asynccontextmanager
    async def serving(self):
        server = await asyncio.start_server(self._handle, "127.0.0.1", self.port)
        try:
            yield self
        finally:
            server.close()
            self.cut()
            await server.wait_closed()


async def _pump(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


class Port:
    """Plays the engine: keeps batches, tells ``stored`` at once or when asked to."""

    def __init__(self, *, store=True):
        self.specs = []
        self.batches = []
        self.losses = []
        self.dropped = {}
        self.durable_marks = {}
        self.store = store
        self.is_up = False
        self.waiting = []
        self.history = []
        self.ledger = []
        self.entries = OpenLosses()
        self._last_us = None
        self._last_values = {}

    def register(self, specs):
        return [self._index(spec) for spec in specs]

    add = register

    def _index(self, spec):
        if spec not in self.specs:
            self.specs.append(spec)
        return self.specs.index(spec)

    async def put(self, batch, marks, stored):
        self.up()
        self.batches.append(batch)
        self.waiting.append((batch, marks, stored))
        if self.store:
            self.store_all()

    def store_all(self):
        """Make everything durable that waits."""
        for batch, marks, stored in self.waiting:
            self.durable_marks |= {mark.key: mark.position for mark in marks}
            if len(batch):
                self._last_us = max(self._last_us or 0, batch.time_range_us()[1])
                self._last_values |= {
                    int(part.tag[i]): part.value[i]
                    for part in batch.columns
                    for i in range(len(part))
                    if part.value is not None
                }
            stored()
        self.waiting.clear()

    def last_value(self, tag):
        return self._last_values.get(tag)

    def open_losses(self):
        return self.entries.open("line1")

    def fillings(self):
        return self.entries.filled("line1")

    async def held(self, _loss, tags, first_us, last_us):
        rows = [
            (tag, time_us)
            for batch in self.batches + self.history
            for _, tag, time_us, *_ in rows_of(batch)
            if tag in tags and first_us <= time_us <= last_us
        ]
        return (
            np.array([tag for tag, _ in rows], dtype=np.uint32),
            np.array([time_us for _, time_us in rows], dtype=np.int64),
        )

    async def put_history(self, batch, marks, fillings):
        if len(batch):
            assert batch.is_historical
            self.history.append(batch)
        self.durable_marks |= {mark.key: mark.position for mark in marks}
        for filling in fillings:
            note = port_module._closing("line1", filling)
            self._enter(note)

    def _enter(self, note):
        (loss,) = number([note], len(self.ledger), time.time_ns() // 1000)
        self.ledger.append(loss)
        self.entries.take([loss])

    def drop(self, reason, count):
        self.dropped[reason] = self.dropped.get(reason, 0) + count

    def lose(self, reason, first_time_us, last_time_us, **rest):
        self.losses.append((reason, first_time_us, last_time_us, rest))
        note = LossNote(
            reason=reason,
            source="line1",
            first_time_us=first_time_us,
            last_time_us=last_time_us,
            **rest,
        )
        self._enter(note)

    def up(self):
        self.is_up = True

    def marks(self):
        return dict(self.durable_marks)

    def last_stored_time_us(self):
        return self._last_us

    def tag(self, name):
        return next(n for n, spec in enumerate(self.specs) if spec.name == name)

    def rows(self, name, batches=None):
        """Samples of a tag by its newest number of that name: (value, time_us, status)."""
        numbers = {n for n, spec in enumerate(self.specs) if spec.name == name}
        return [
            (part.value[i] if part.value is not None else None, int(part.time_us[i]),
             int(part.status[i]))
            for batch in (self.batches if batches is None else batches)
            for part in batch.columns
            for i in range(len(part))
            if int(part.tag[i]) in numbers
        ]  # fmt: skip

    def values(self, name):
        return [None if v is None else v for v, *_ in self.rows(name)]

    def count(self):
        return sum(len(rows_of(batch)) for batch in self.batches)

    def reasons(self):
        return [reason for reason, *_ in self.losses]


def config(endpoint, *, tags=(), rules=(), **changed):
    group = {"name": "g", "sampling_interval_ms": 20, "publishing_interval_ms": 20}
    fields = {
        "name": "line1",
        "endpoint": endpoint,
        "security": SecurityConfig(policy="None", mode="None", allow_insecure=True),
        "groups": [GroupConfig(**group, queue_size=1000)],
        "tags": list(tags),
        "rules": list(rules),
    }
    return OpcUaSourceConfig(**fields | changed)


def access_of(wanted):
    """What it takes to reach an unsecured server."""
    return Access(target_of(wanted), Pki(Path(tempfile.gettempdir()) / "unused", SystemClock()))


def opened(wanted):
    """A session of its own at the server that a configuration names."""
    return short_session(access_of(wanted))


async def until(condition):
    """Wait for something that nobody tells of."""
    with anyio.fail_after(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.01)


async def drive(source, port):
    """Run sessions for ever, as the engine does."""
    while True:
        with contextlib.suppress(SourceError):
            await source.run_session(port)
        await anyio.sleep(0.02)


@contextlib.asynccontextmanager
async def driven(source, port):
    """Drive a source in the background; at the end it is cancelled, as at a stop."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drive, source, port)
        yield
        tasks.cancel_scope.cancel()
