"""MQTT 3.1.1 and 5.0 packets as bytes: cutting a byte stream, reading packets, making a few.

Written for the conformance tests alone, from the MQTT specifications: the client under test (gmqtt)
is not asked what it sent.
"""

from __future__ import annotations

import struct

from tests.sparkplug_conformance.stream import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Will,
)

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, DISCONNECT = 1, 2, 3, 4, 8, 9, 14

# MQTT 5.0, 2.2.2.2: bytes of each property's value; 0 is one string or binary, -1 two strings
_PROPERTY_SIZE = {
    **dict.fromkeys((1, 23, 25, 36, 37, 40, 41, 42), 1),
    **dict.fromkeys((19, 33, 34, 35), 2),
    **dict.fromkeys((2, 17, 24, 39), 4),
    **dict.fromkeys((3, 8, 9, 18, 21, 22, 26, 28, 31), 0),
    38: -1,
}
_SESSION_EXPIRY, _WILL_DELAY = 17, 24


class _Reader:
    """Walks through the body of one packet."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0

    def take(self, count: int) -> bytes:
        found = self.body[self.at : self.at + count]
        assert len(found) == count, "a packet ends too early"
        self.at += count
        return found

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def blob(self) -> bytes:
        return self.take(self.number(2))

    def text(self) -> str:
        return self.blob().decode()

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def rest(self) -> bytes:
        return self.take(len(self.body) - self.at)

    @property
    def is_at_end(self) -> bool:
        return self.at == len(self.body)

    def properties(self) -> dict[int, int]:
        """Read MQTT 5 properties; only those that are numbers are kept."""
        end = self.varint() + self.at
        found: dict[int, int] = {}
        while self.at < end:
            number = self.varint()
            size = _PROPERTY_SIZE.get(number)
            if size is None:  # 11, the subscription identifier, is a varint
                assert number == 11, f"unknown MQTT 5 property {number}"
                found[number] = self.varint()
            elif size > 0:
                found[number] = self.number(size)
            else:
                for _ in range(1 - size):
                    self.blob()
        assert self.at == end
        return found


class PacketCutter:
    """Cuts the bytes of one direction of a connection into packets: (kind, flags, body)."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        self._held += data
        found = []
        while (packet := self._next()) is not None:
            found.append(packet)
        return found

    def _next(self) -> tuple[int, int, bytes] | None:
        length = 0
        for place in range(1, min(5, len(self._held))):
            byte = self._held[place]
            length |= (byte & 0x7F) << 7 * (place - 1)
            if byte < 0x80:
                end = place + 1 + length
                if len(self._held) < end:
                    return None
                head, body = self._held[0], self._held[place + 1 : end]
                self._held = self._held[end:]
                return head >> 4, head & 0x0F, body
        return None


def read(kind: int, flags: int, body: bytes, level: int) -> Packet | None:
    """Read a packet; None for those that no rule is about (PINGREQ and the like).

    `level` is that of the connection's CONNECT; for the CONNECT itself it does not matter.
    """
    reading = _READINGS.get(kind)
    return None if reading is None else reading(_Reader(body), flags, level == 5)


def _connack(reader: _Reader, _flags: int, _is_v5: bool) -> Connack:
    reader.number(1)
    return Connack(code=reader.number(1))


def _puback(reader: _Reader, _flags: int, _is_v5: bool) -> Puback:
    return Puback(packet_id=reader.number(2), code=_code(reader))


def _suback(reader: _Reader, _flags: int, is_v5: bool) -> Suback:
    packet_id = reader.number(2)
    if is_v5:
        reader.properties()
    return Suback(packet_id=packet_id, codes=tuple(reader.rest()))


def _disconnect(reader: _Reader, _flags: int, _is_v5: bool) -> Disconnect:
    return Disconnect(code=_code(reader))


def _code(reader: _Reader) -> int:
    return 0 if reader.is_at_end else reader.number(1)


def _connect(reader: _Reader, _flags: int, _is_v5: bool) -> Connect:
    assert reader.text() == "MQTT"
    level, flags, keep_alive_s = reader.number(1), reader.number(1), reader.number(2)
    expiry_s = reader.properties().get(_SESSION_EXPIRY, 0) if level == 5 else 0
    client_id = reader.text()
    will = None
    if flags & 4:
        delay_s = reader.properties().get(_WILL_DELAY, 0) if level == 5 else 0
        will = Will(
            topic=reader.text(),
            payload=reader.blob(),
            qos=flags >> 3 & 3,
            retain=bool(flags & 0x20),
            delay_s=delay_s,
        )
    return Connect(
        level=level,
        client_id=client_id,
        is_clean=bool(flags & 2),
        keep_alive_s=keep_alive_s,
        expiry_s=expiry_s,
        will=will,
        username=reader.text() if flags & 0x80 else None,
    )


def _publish(reader: _Reader, flags: int, is_v5: bool) -> Publish:
    topic, qos = reader.text(), flags >> 1 & 3
    packet_id = reader.number(2) if qos else 0
    if is_v5:
        reader.properties()
    return Publish(
        topic=topic, payload=reader.rest(), qos=qos, retain=bool(flags & 1), packet_id=packet_id
    )


def _subscribe(reader: _Reader, _flags: int, is_v5: bool) -> Subscribe:
    packet_id = reader.number(2)
    if is_v5:
        reader.properties()
    filters = []
    while not reader.is_at_end:
        filters.append((reader.text(), reader.number(1) & 3))
    return Subscribe(packet_id=packet_id, filters=tuple(filters))


_READINGS = {
    CONNECT: _connect,
    CONNACK: _connack,
    PUBLISH: _publish,
    PUBACK: _puback,
    SUBSCRIBE: _subscribe,
    SUBACK: _suback,
    DISCONNECT: _disconnect,
}


# --- making packets -------------------------------------------------------------------------------


def packet(head: int, body: bytes) -> bytes:
    """Put the fixed header before a body; `head` is kind and flags."""
    length, left = bytearray(), len(body)
    while True:
        left, low = divmod(left, 128)
        length.append(low | (128 if left else 0))
        if not left:
            return bytes([head]) + bytes(length) + body


def text(value: str) -> bytes:
    return blob(value.encode())


def blob(value: bytes) -> bytes:
    return struct.pack(">H", len(value)) + value


def connect_bytes(
    client_id: str, *, login: tuple[str, str] | None = None, will: Will | None = None
) -> bytes:
    """A CONNECT of MQTT 5 with Clean Start: its answers carry reasons."""
    flags, body = 2, text(client_id)
    if will is not None:
        flags |= 4 | will.qos << 3 | will.retain << 5
        body += b"\0" + text(will.topic) + blob(will.payload)
    if login is not None:
        flags |= 0xC0
        body += text(login[0]) + text(login[1])
    return packet(0x10, text("MQTT") + bytes([5, flags, 0, 60, 0]) + body)


def publish_bytes(message: Publish) -> bytes:
    head = 0x30 | message.qos << 1 | message.retain
    number = struct.pack(">H", message.packet_id) if message.qos else b""
    return packet(head, text(message.topic) + number + b"\0" + message.payload)


def subscribe_bytes(packet_id: int, topic_filter: str, qos: int) -> bytes:
    return packet(0x82, struct.pack(">H", packet_id) + b"\0" + text(topic_filter) + bytes([qos]))
