"""Ways to damage a stream, for the tests of the checker: small functions from events to events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from pysparkplug._protobuf import Payload

from tests.sparkplug_conformance.stream import Connect, Event, Packet, Publish

Events = list[Event]
Select = Callable[[Event], bool]
Damage = Callable[[Events], Events]


def sent(kind: str, device: str = "") -> Select:
    """A PUBLISH by the client under test of a message type."""

    def select(event: Event) -> bool:
        packet = event.packet
        if not isinstance(packet, Publish) or event.sender != "client":
            return False
        parts = packet.topic.split("/")
        return kind in parts[1:3] and (not device or parts[-1] == device)

    return select


def read(topic: str) -> Select:
    """A PUBLISH that the client under test was given."""
    return lambda e: (
        isinstance(e.packet, Publish) and e.sender == "broker" and e.packet.topic == topic
    )


def a(packet_type: type) -> Select:
    return lambda event: isinstance(event.packet, packet_type)


def at_level(level: int) -> Select:
    return lambda e: isinstance(e.packet, Connect) and e.packet.level == level


def nth(events: Events, select: Select, number: int = 0) -> int:
    return [place for place, event in enumerate(events) if select(event)][number]


def _put(events: Events, place: int, packet: Packet) -> Events:
    changed = msgspec.structs.replace(events[place], packet=packet)
    return [*events[:place], changed, *events[place + 1 :]]


def change(select: Select, number: int = 0, **fields: Any) -> Damage:
    """Replace fields of a packet."""

    def damage(events: Events) -> Events:
        place = nth(events, select, number)
        return _put(events, place, msgspec.structs.replace(events[place].packet, **fields))

    return damage


def will(number: int = 0, **fields: Any) -> Damage:
    """Replace fields of a CONNECT's Will."""

    def damage(events: Events) -> Events:
        place = nth(events, a(Connect), number)
        packet = events[place].packet
        fresh = msgspec.structs.replace(packet.will, **fields)
        return _put(events, place, msgspec.structs.replace(packet, will=fresh))

    return damage


def drop(select: Select, number: int = 0) -> Damage:
    def damage(events: Events) -> Events:
        place = nth(events, select, number)
        return [*events[:place], *events[place + 1 :]]

    return damage


def again(select: Select, number: int = 0, *, before: Select, before_number: int = 0) -> Damage:
    """Repeat a packet in front of another."""

    def damage(events: Events) -> Events:
        copy = events[nth(events, select, number)]
        place = nth(events, before, before_number)
        copy = msgspec.structs.replace(copy, connection=events[place].connection)
        return [*events[:place], copy, *events[place:]]

    return damage


def move(select: Select, number: int = 0, *, before: Select, before_number: int = 0) -> Damage:
    """Take a packet away and put it in front of another, which is counted without it."""

    def damage(events: Events) -> Events:
        place = nth(events, select, number)
        moved, rest = events[place], [*events[:place], *events[place + 1 :]]
        target = nth(rest, before, before_number)
        return [*rest[:target], moved, *rest[target:]]

    return damage


def edit(
    select: Select, changes: Callable[[Any], object], number: int = 0, *, more: bytes = b""
) -> Damage:
    """Change a payload by its Tahu object; `more`: raw bytes after it."""

    def damage(events: Events) -> Events:
        place = nth(events, select, number)
        packet = events[place].packet
        payload = Payload.FromString(packet.payload)
        changes(payload)
        body = payload.SerializeToString() + more
        return _put(events, place, msgspec.structs.replace(packet, payload=body))

    return damage


def edit_will(changes: Callable[[Any], object], number: int = 0) -> Damage:
    def damage(events: Events) -> Events:
        place = nth(events, a(Connect), number)
        packet = events[place].packet
        payload = Payload.FromString(packet.will.payload)
        changes(payload)
        fresh = msgspec.structs.replace(packet.will, payload=payload.SerializeToString())
        return _put(events, place, msgspec.structs.replace(packet, will=fresh))

    return damage


def put(path: str, value: object) -> Callable[[Any], None]:
    """Set a field of a Tahu object, by a path as ``metrics[2].template_value.version``."""
    *where, last = path.split(".")

    def changes(payload: Any) -> None:
        target = _walk(payload, where)
        setattr(target, last, value)

    return changes


def clear(path: str) -> Callable[[Any], None]:
    *where, last = path.split(".")
    return lambda payload: _walk(payload, where).ClearField(last)


def _walk(target: Any, where: list[str]) -> Any:
    for step in where:
        name, _, index = step.rstrip("]").partition("[")
        target = getattr(target, name)
        target = target[int(index)] if index else target
    return target
