"""What passed between clients and a broker, as data: one `Event` per MQTT packet, in order.

A stream is a list of events. It can be kept as a file of JSON lines (`save`, `load`), so that one
that broke a rule can be looked at and judged again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec


class Will(msgspec.Struct, frozen=True, kw_only=True):
    topic: str
    payload: bytes
    qos: int
    retain: bool
    delay_s: int = 0


class Connect(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """`level`: 4 is MQTT 3.1.1, 5 is MQTT 5.0; `expiry_s` 0 also where it was left out."""

    level: int
    client_id: str
    is_clean: bool
    keep_alive_s: int
    username: str | None = None
    expiry_s: int = 0
    will: Will | None = None


class Connack(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    code: int


class Publish(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    packet_id: int = 0


class Puback(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    packet_id: int
    code: int = 0


class Subscribe(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    packet_id: int
    filters: tuple[tuple[str, int], ...]


class Suback(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    packet_id: int
    codes: tuple[int, ...]


class Disconnect(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    code: int = 0


class Closed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The TCP connection ended; the event's sender is who ended it."""


Packet = Connect | Connack | Publish | Puback | Subscribe | Suback | Disconnect | Closed


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One packet at the broker's door.

    Attributes:
        connection: number of the TCP connection.
        sender: who sent it.
        time_ms: when the proxy had it, ms since 1970 UTC.
    """

    connection: int
    sender: Literal["client", "broker"]
    time_ms: int
    packet: Packet


def save(events: Iterable[Event], path: Path) -> None:
    path.write_bytes(b"\n".join(msgspec.json.encode(event) for event in events))


def load(path: Path) -> list[Event]:
    return [msgspec.json.decode(line, type=Event) for line in path.read_bytes().splitlines()]
