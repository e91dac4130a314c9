"""An MQTT 5 client for tests, down to its packets: it says what a broker's refusals were.

It does nothing by itself: no keep-alive, no reconnecting.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import anyio
from anyio.abc import SocketStream

from tests.sparkplug_conformance import wire
from tests.sparkplug_conformance.stream import Connack, Packet, Puback, Publish, Suback, Will

DEADLINE_S = 15
NOT_AUTHORIZED = 0x87


@dataclass
class RawClient:
    stream: SocketStream
    received: list[Publish] = field(default_factory=list)
    _answers: list[Packet] = field(default_factory=list)
    _cutter: wire.PacketCutter = field(default_factory=wire.PacketCutter)
    _packet_id: int = 0

    async def _answer(self, kind: type[Packet]) -> Packet:
        """Read until an answer of a kind is there; messages are put by."""
        with anyio.fail_after(DEADLINE_S):
            while True:
                for place, packet in enumerate(self._answers):
                    if isinstance(packet, kind):
                        return self._answers.pop(place)
                for number, flags, body in self._cutter.feed(await self.stream.receive()):
                    packet = wire.read(number, flags, body, 5)
                    if isinstance(packet, Publish):
                        self.received.append(packet)
                    elif packet is not None:
                        self._answers.append(packet)

    async def connect(self, name: str, login: tuple[str, str] | None, will: Will | None) -> int:
        """Return the CONNACK's reason code; 0 is success."""
        await self.stream.send(wire.connect_bytes(name, login=login, will=will))
        answer = await self._answer(Connack)
        assert isinstance(answer, Connack)
        return answer.code

    async def subscribe(self, topic_filter: str) -> int:
        self._packet_id += 1
        await self.stream.send(wire.subscribe_bytes(self._packet_id, topic_filter, 1))
        answer = await self._answer(Suback)
        assert isinstance(answer, Suback)
        return answer.codes[0]

    async def publish(self, topic: str, payload: bytes = b"x", *, retain: bool = False) -> int:
        """Publish at QoS 1; return the PUBACK's reason code, below 0x80 when it was taken."""
        self._packet_id += 1
        message = Publish(
            topic=topic, payload=payload, qos=1, retain=retain, packet_id=self._packet_id
        )
        await self.stream.send(wire.publish_bytes(message))
        answer = await self._answer(Puback)
        assert isinstance(answer, Puback)
        return answer.code

    async def fence(self, topic: str) -> None:
        """Publish to a topic that the client reads, and wait for it: all before it has come."""
        await self.publish(topic, b"fence")
        await self.until(lambda: any(m.payload == b"fence" for m in self.received))

    async def until(self, holds) -> None:
        with anyio.fail_after(DEADLINE_S):
            while not holds():
                for number, flags, body in self._cutter.feed(await self.stream.receive()):
                    packet = wire.read(number, flags, body, 5)
                    if isinstance(packet, Publish):
                        self.received.append(packet)

    @property
    def topics(self) -> list[str]:
        return [message.topic for message in self.received if message.payload != b"fence"]


@contextlib.asynccontextmanager
async def raw_client(port: int) -> AsyncIterator[RawClient]:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        yield RawClient(stream)


@contextlib.asynccontextmanager
async def signed_in(port: int, user: str, password: str) -> AsyncIterator[RawClient]:
    """Connect as a user, who has to be taken."""
    async with raw_client(port) as client:
        code = await client.connect(f"raw-{user}", (user, password), None)
        assert code == 0, f"the broker refuses {user}: {code:#x}"
        yield client
