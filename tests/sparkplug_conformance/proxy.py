"""A recording MQTT proxy: clients connect to it, it connects to the broker, nothing is changed.

A packet is recorded before it is passed on, so the order of the record is a possible order of
cause and effect. One `Recorder` may stand before several brokers.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable

import anyio
from anyio.abc import ByteStream, SocketStream

from plant.ports import free_port
from runtime.clock import SystemClock
from tests.sparkplug_conformance import wire
from tests.sparkplug_conformance.stream import Closed, Connect, Event, Packet

CHUNK_BYTES = 1 << 16
DEADLINE_S = 90
"""Generous: the machine may be busy with other work."""


class Recorder:
    """Holds the events; `until` waits for something to be among them."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._clock = SystemClock()
        self._changed = anyio.Event()
        self.numbers = itertools.count(1)

    def add(self, connection: int, sender: str, packet: Packet) -> None:
        time_ms = self._clock.wall_us() // 1000
        self.events.append(
            Event(connection=connection, sender=sender, time_ms=time_ms, packet=packet)
        )
        self._changed.set()
        self._changed = anyio.Event()

    async def until(
        self, what: str, holds: Callable[[], bool], deadline_s: float = DEADLINE_S
    ) -> None:
        with anyio.move_on_after(deadline_s):
            while not holds():
                await self._changed.wait()
            return
        last = [f"{e.connection} {e.sender} {e.packet!r:.160}" for e in self.events[-12:]]
        raise AssertionError(f"not within {deadline_s} s: {what}; last events:\n" + "\n".join(last))


class Proxy:
    """One door; see the module. Made by `open_proxy`."""

    def __init__(self, recorder: Recorder, broker_port: int) -> None:
        self.recorder = recorder
        self.port = free_port()
        self._broker_port = broker_port

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    async def serve(self, client: SocketStream) -> None:
        number = next(self.recorder.numbers)
        async with client:
            try:
                broker = await anyio.connect_tcp("127.0.0.1", self._broker_port)
            except OSError:
                return  # the broker is away: so is the door
            async with broker:
                await self._pass_on(number, client, broker)

    async def _pass_on(self, number: int, client: ByteStream, broker: ByteStream) -> None:
        level = [4]
        ended: list[str] = []
        async with anyio.create_task_group() as tasks:

            async def pump(sender: str, source: ByteStream, target: ByteStream) -> None:
                cutter = wire.PacketCutter()
                with contextlib.suppress(
                    anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError
                ):
                    while True:
                        data = await source.receive(CHUNK_BYTES)
                        for kind, flags, body in cutter.feed(data):
                            found = wire.read(kind, flags, body, level[0])
                            if isinstance(found, Connect):
                                level[0] = found.level
                            if found is not None:
                                self.recorder.add(number, sender, found)
                        await target.send(data)
                ended.append(sender)
                tasks.cancel_scope.cancel()

            tasks.start_soon(pump, "client", client, broker)
            tasks.start_soon(pump, "broker", broker, client)
        self.recorder.add(number, ended[0] if ended else "broker", Closed())


@contextlib.asynccontextmanager
async def open_proxy(recorder: Recorder, broker_port: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(recorder, broker_port)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=proxy.port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, proxy.serve)
        yield proxy
        tasks.cancel_scope.cancel()
