"""A Sparkplug host for tests: a raw MQTT connection that records everything and can publish."""

import contextlib
import struct

import anyio

from bench.sink import PacketReader
from sparkplug_b import DataType, Metric, Payload, decode, encode

DEADLINE_S = 15


def packet(kind, body):
    length, left = b"", len(body)
    while True:
        left, low = divmod(left, 128)
        length += bytes([low | (128 if left else 0)])
        if not left:
            return bytes([kind]) + length + body


class Message:
    """One message as the host saw it; aliases are resolved by the births before it."""

    def __init__(self, topic, payload, types):
        self.topic = topic
        parts = topic.split("/")
        self.kind = "STATE" if parts[1] == "STATE" else parts[2]
        self.device = parts[4] if len(parts) > 4 else ""
        self.raw = payload
        is_read = self.kind not in {"STATE", "NCMD", "DCMD"}
        self.payload = decode(payload, types=types, inflate=True) if is_read else None
        self.size_bytes = len(payload)

    @property
    def values(self):
        return [metric.value for metric in self.payload.metrics]

    @property
    def seq(self):
        return self.payload.seq

    @property
    def bd_seq(self):
        return next(m.value for m in self.payload.metrics if m.name == "bdSeq")

    @property
    def qualities(self):
        """The Quality of each metric that has one."""
        return [
            m.properties.entries["Quality"].value
            for m in self.payload.metrics
            if m.properties and "Quality" in m.properties.entries
        ]

    def __repr__(self):
        return f"{self.kind}/{self.device}"


class Host:
    """Records; ``until`` waits for something to be there."""

    def __init__(self):
        self.messages = []
        self.types = {}
        self._changed = anyio.Event()
        self._stream = None

    async def _run(self, port, ready):
        async with await anyio.connect_tcp("127.0.0.1", port) as self._stream:
            await self._record(ready)

    async def _record(self, ready):
        hello = b"\x00\x04MQTT\x04\x02\x00\x00\x00\x04host"
        topic = b"spBv1.0/#"
        subscribe = struct.pack(">HH", 1, len(topic)) + topic + b"\x00"
        await self._stream.send(packet(0x10, hello) + packet(0x82, subscribe))
        reader = PacketReader(self._take, ready.set)
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                reader.feed(await self._stream.receive())

    def _take(self, topic, payload):
        message = Message(topic.decode(), payload, self.types)
        if message.kind in {"NBIRTH", "DBIRTH"}:
            self.types |= {m.alias: m.data_type for m in message.payload.metrics if m.alias}
        self.messages.append(message)
        self._changed.set()
        self._changed = anyio.Event()

    def kinds(self, start=0):
        return [message.kind for message in self.messages[start:]]

    def of(self, *kinds, start=0):
        return [message for message in self.messages[start:] if message.kind in kinds]

    def data(self, start=0):
        """(value, is historical) of all DATA metrics, in order."""
        return [
            (metric.value, metric.is_historical)
            for message in self.of("NDATA", "DDATA", start=start)
            for metric in message.payload.metrics
        ]

    async def until(self, condition):
        with anyio.fail_after(DEADLINE_S):
            while not condition():
                await self._changed.wait()

    async def publish(self, topic, payload, *, retain=False):
        body = struct.pack(">H", len(topic)) + topic.encode() + payload
        await self._stream.send(packet(0x31 if retain else 0x30, body))

    async def command(self, metrics, *, device=None, sent_ms=None, retain=False):
        """Publish a command of (name or alias, data type, value) each."""
        found = tuple(
            Metric(
                name=key if isinstance(key, str) else None,
                alias=None if isinstance(key, str) else key,
                data_type=data_type,
                value=value,
                is_null=value is None,
            )
            for key, data_type, value in metrics
        )
        topic = "spBv1.0/G/NCMD/N" if device is None else f"spBv1.0/G/DCMD/N/{device}"
        by_name = all(metric.name is not None for metric in found)
        payload = Payload(timestamp_ms=sent_ms, metrics=found)
        await self.publish(topic, encode(payload, with_data_types=by_name), retain=retain)

    async def ask_rebirth(self, group="G", node="N"):
        metric = Metric(
            name="Node Control/Rebirth", time_ms=1, data_type=DataType.BOOLEAN, value=True
        )
        payload = encode(Payload(timestamp_ms=1, metrics=(metric,)))
        await self.publish(f"spBv1.0/{group}/NCMD/{node}", payload)

    async def say_state(self, timestamp, *, online, host="scada"):
        body = f'{{"online":{str(online).lower()},"timestamp":{timestamp}}}'.encode()
        await self.publish(f"spBv1.0/STATE/{host}", body, retain=True)


async def until(condition):
    """Wait for something that nobody tells of."""
    with anyio.fail_after(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.01)


@contextlib.asynccontextmanager
async def hosting(port):
    """Connect a host, subscribed to everything."""
    host, ready = Host(), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(host._run, port, ready)
        with anyio.fail_after(DEADLINE_S):
            await ready.wait()
        yield host
        tasks.cancel_scope.cancel()
