"""A recording MQTT subscriber, cheap enough not to disturb what it measures.

One process, one blocking socket: MQTT 3.1.1, QoS 0, `spBv1.0/#`, a session that the
broker keeps while the sink is away. Messages go to a file undecoded (`frames`).
Reconnects for ever, every 20 ms. Prints `subscribed` once the first SUBACK is there.
Ends on SIGTERM, after what the broker still sends within 200 ms.
"""

import argparse
import contextlib
import signal
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from bench.frames import HEADER

TOPIC_FILTER = "spBv1.0/#"
CLIENT_ID = "bench-sink"
RETRY_S = 0.02
FLUSH_S = 0.5
_RECEIVE_BYTES = 1 << 18
_PUBLISH, _SUBACK = 3, 9


def connect_packet() -> bytes:
    """Return CONNECT: protocol level 4, session kept, no keep-alive (the socket tells)."""
    client = CLIENT_ID.encode()
    body = b"\x00\x04MQTT\x04\x00\x00\x00" + struct.pack(">H", len(client)) + client
    return b"\x10" + bytes([len(body)]) + body


def subscribe_packet() -> bytes:
    """Return SUBSCRIBE at QoS 0."""
    topic = TOPIC_FILTER.encode()
    body = struct.pack(">HH", 1, len(topic)) + topic + b"\x00"
    return b"\x82" + bytes([len(body)]) + body


class PacketReader:
    """Cuts a byte stream into MQTT packets and hands over the PUBLISH ones."""

    def __init__(
        self, on_publish: Callable[[bytes, bytes], None], on_suback: Callable[[], None]
    ) -> None:
        self._pending = b""
        self._on_publish = on_publish
        self._on_suback = on_suback

    def feed(self, data: bytes) -> None:
        """Take received bytes; call back for each whole packet."""
        data = self._pending + data if self._pending else data
        offset = 0
        while (found := _packet_at(data, offset)) is not None:
            start, end = found
            kind = data[offset] >> 4
            if kind == _PUBLISH:
                self._publish(data[offset] >> 1 & 3, data[start:end])
            elif kind == _SUBACK:
                self._on_suback()
            offset = end
        self._pending = data[offset:]

    def _publish(self, qos: int, body: bytes) -> None:
        (topic_bytes,) = struct.unpack_from(">H", body)
        payload_at = 2 + topic_bytes + (2 if qos else 0)
        self._on_publish(body[2 : 2 + topic_bytes], body[payload_at:])


def _packet_at(data: bytes, offset: int) -> tuple[int, int] | None:
    """Return (start, end) of the body of the packet at `offset`, None while it is torn."""
    length = 0
    for place in range(4):
        at = offset + 1 + place
        if at >= len(data):
            return None
        length |= (data[at] & 0x7F) << (7 * place)
        if data[at] < 0x80:
            end = at + 1 + length
            return (at + 1, end) if end <= len(data) else None
    raise ValueError("not MQTT: a remaining length of five bytes")


class Recorder:
    """Receives until told to stop, over as many connections as it takes."""

    def __init__(self, port: int, out: BinaryIO) -> None:
        self._port = port
        self._out = out
        self._stop = False
        self._arrival_us = 0
        self._flush_due_s = 0.0
        self._subscribed = False

    def request_stop(self, _number: int, _frame: FrameType | None) -> None:
        """End soon (a signal handler)."""
        self._stop = True

    def run(self) -> None:
        """Record until stopped."""
        while not self._stop:
            with contextlib.suppress(OSError):
                self._record_connection()
            self._out.flush()
            if not self._stop:
                time.sleep(RETRY_S)

    def _record_connection(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port), timeout=0.2) as link:
            link.sendall(connect_packet() + subscribe_packet())
            reader = PacketReader(self._record, self._note_suback)
            while True:
                try:
                    data = link.recv(_RECEIVE_BYTES)
                except TimeoutError:
                    self._out.flush()
                    if self._stop:
                        return
                    continue
                if not data:
                    return
                self._arrival_us = time.time_ns() // 1000
                reader.feed(data)
                self._flush_when_due()

    def _record(self, topic: bytes, payload: bytes) -> None:
        self._out.write(HEADER.pack(self._arrival_us, len(topic), len(payload)) + topic + payload)

    def _flush_when_due(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._flush_due_s:
            self._flush_due_s = now_s + FLUSH_S
            self._out.flush()

    def _note_suback(self) -> None:
        if not self._subscribed:
            self._subscribed = True
            print("subscribed", flush=True)


def main() -> None:
    """Parse the command line and record."""
    parser = argparse.ArgumentParser(prog="bench.sink")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with options.out.open("ab", buffering=1 << 20) as out:
        recorder = Recorder(options.port, out)
        signal.signal(signal.SIGTERM, recorder.request_stop)
        signal.signal(signal.SIGINT, recorder.request_stop)
        recorder.run()


if __name__ == "__main__":
    main()
