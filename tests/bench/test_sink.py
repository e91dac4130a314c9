"""The sink records every message, also across a broker that stops or is killed."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.frames import read_frames
from bench.processes import Broker, Sink, running
from bench.sink import PacketReader


def packet(kind, body):
    length, left = b"", len(body)
    while True:
        left, low = divmod(left, 128)
        length += bytes([low | (128 if left else 0)])
        if not left:
            return bytes([kind]) + length + body


def publish(topic, payload, qos=0):
    identifier = struct.pack(">H", 5) if qos else b""
    body = struct.pack(">H", len(topic)) + topic + identifier + payload
    return packet(0x30 | qos << 1, body)


@given(
    payloads=st.lists(st.binary(max_size=300), max_size=8),
    cuts=st.lists(st.integers(0, 3000), max_size=12),
    qos=st.integers(0, 1),
)
def test_packets_are_found_however_the_stream_is_cut(payloads, cuts, qos):
    stream = packet(0x20, b"\0\0") + packet(0x90, b"\0\1\0")
    stream += b"".join(publish(b"t/x", payload, qos) for payload in payloads)
    seen, subacks = [], []
    reader = PacketReader(
        lambda topic, payload: seen.append((topic, payload)), lambda: subacks.append(1)
    )
    ends = sorted({min(cut, len(stream)) for cut in cuts} | {len(stream)})
    for start, end in zip([0, *ends], ends, strict=False):
        reader.feed(stream[start:end])
    assert seen == [(b"t/x", payload) for payload in payloads]
    assert subacks == [1]


def test_a_stream_that_is_not_mqtt_is_refused():
    reader = PacketReader(lambda *_: None, lambda: None)
    with pytest.raises(ValueError, match="not MQTT"):
        reader.feed(b"\x30\xff\xff\xff\xff\xff")


def send(port, *payloads):
    """Publish over a connection of its own, and return when the broker has read all of it."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
        link.sendall(packet(0x10, b"\0\4MQTT\4\2\0\0\0\4test"))
        for payload in payloads:
            link.sendall(publish(b"spBv1.0/G/DDATA/N/D", payload))
        link.sendall(b"\xc0\x00")  # PINGREQ: the answer comes after all before it was read
        answer = b""
        while not answer.endswith(b"\xd0\x00"):
            answer += link.recv(100)


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.parametrize("ending", ["stop", "kill"])
async def test_messages_right_after_a_broker_restart_are_recorded(tmp_path, ending):
    broker = Broker(tmp_path)
    sink = Sink(tmp_path, broker.port)
    async with running(broker), running(sink):
        broker.save_sessions()

        async def is_saved():
            store = tmp_path / "mosquitto-store" / "mosquitto.db"
            return store.exists() and b"bench-sink" in store.read_bytes()

        await broker.wait_until(is_saved, "saved session", 5)
        send(broker.port, b"1", b"2")
        await sink.wait_until(lambda: has_frames(sink, 2), "two frames", 10)
        await (broker.stop() if ending == "stop" else broker.kill())
        await broker.start()
        send(broker.port, b"3")
        await sink.wait_until(lambda: has_frames(sink, 3), "three frames", 10)
    assert [frame.payload for frame in read_frames(sink.path)] == [b"1", b"2", b"3"]


async def has_frames(sink, count):
    return len(list(read_frames(sink.path))) == count
