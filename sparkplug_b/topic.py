"""Topics, ids and metric names: building, parsing, checking.

Source: Sparkplug 3.0, section 4 (topics) and 6.4.6 (metric names).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from sparkplug_b.errors import TopicError

NAMESPACE: Final = "spBv1.0"
STATE: Final = "STATE"
NODE_MESSAGES: Final = ("NBIRTH", "NDEATH", "NDATA", "NCMD")
DEVICE_MESSAGES: Final = ("DBIRTH", "DDEATH", "DDATA", "DCMD")

NodeMessage = Literal["NBIRTH", "NDEATH", "NDATA", "NCMD"]
DeviceMessage = Literal["DBIRTH", "DDEATH", "DDATA", "DCMD"]

_TOPIC_BYTES_MAX: Final = 65_535  # MQTT: a UTF-8 string has a 16-bit length
_NAME_DISCOURAGED: Final = frozenset(".,\\@#$%^&*()[]{}|!`~:;'\"<>?")


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """Topic of a node's or device's message; `device_id` is None for the N messages.

    Source: Sparkplug 3.0, tck-id-topic-structure, -structure-namespace-a,
    -structure-namespace-device-id-associated-message-types,
    -structure-namespace-device-id-non-associated-message-types.
    """

    group_id: str
    message: NodeMessage | DeviceMessage
    node_id: str
    device_id: str | None = None


class StateTopic(msgspec.Struct, frozen=True, kw_only=True):
    """Topic of a host application's STATE."""

    host_id: str


def has_control_character(text: str) -> bool:
    """Say whether a text holds a C0 or C1 control character or DEL.

    Source: MQTT 5.0, 1.5.4: they should not stand in a UTF-8 string, and a receiver may refuse it.
    """
    return not text.isprintable() and any(
        ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in text
    )


def check_id(text: str, *, what: str = "id") -> None:
    """Check a group, edge node, device or host id.

    Source: Sparkplug 3.0, tck-id-topic-structure-namespace-valid-group-id, -valid-edge-node-id,
    -valid-device-id; tck-id-intro-group-id-string, -group-id-chars, -edge-node-id-string,
    -edge-node-id-chars, -device-id-string, -device-id-chars.

    Raises:
        TopicError: sparkplug.topic, when it is empty, holds + / # or a control character, or is not
            UTF-8.
    """
    if not text:
        raise TopicError(text, f"{what} is empty")
    for char in "+/#":
        if char in text:
            raise TopicError(text, f"{what} must not contain {char!r}")
    if has_control_character(text):
        raise TopicError(text, f"{what} must not contain control characters")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise TopicError(text, f"{what} is not UTF-8") from None
    if size > _TOPIC_BYTES_MAX:
        raise TopicError(text[:40], f"{what} is longer than a topic may be")


def node_topic(group_id: str, message: NodeMessage, node_id: str) -> str:
    """Build the topic of a node's message.

    Raises:
        TopicError: sparkplug.topic.
    """
    if message not in NODE_MESSAGES:
        raise TopicError(message, "not a message of an edge node")
    check_id(group_id, what="group id")
    check_id(node_id, what="edge node id")
    return f"{NAMESPACE}/{group_id}/{message}/{node_id}"


def device_topic(group_id: str, message: DeviceMessage, node_id: str, device_id: str) -> str:
    """Build the topic of a device's message.

    Raises:
        TopicError: sparkplug.topic.
    """
    if message not in DEVICE_MESSAGES:
        raise TopicError(message, "not a message of a device")
    check_id(group_id, what="group id")
    check_id(node_id, what="edge node id")
    check_id(device_id, what="device id")
    return f"{NAMESPACE}/{group_id}/{message}/{node_id}/{device_id}"


def state_topic(host_id: str) -> str:
    """Build the STATE topic of a host application.

    Raises:
        TopicError: sparkplug.topic.
    """
    check_id(host_id, what="host id")
    return f"{NAMESPACE}/{STATE}/{host_id}"


def parse_topic(text: str) -> Topic | StateTopic:
    """Take a topic apart.

    Raises:
        TopicError: sparkplug.topic, when it is not a topic of this namespace.
    """
    if len(text) > _TOPIC_BYTES_MAX:
        raise TopicError(text[:40], "longer than a topic may be")
    parts = text.split("/")
    if parts[0] != NAMESPACE:
        raise TopicError(text, f"not in {NAMESPACE}")
    if len(parts) == 3 and parts[1] == STATE:
        check_id(parts[2], what="host id")
        return StateTopic(host_id=parts[2])
    if len(parts) not in {4, 5}:
        raise TopicError(text, f"{len(parts)} levels")
    allowed = NODE_MESSAGES if len(parts) == 4 else DEVICE_MESSAGES
    if parts[2] not in allowed:
        raise TopicError(text, f"message {parts[2]!r} with {len(parts)} levels")
    for part, what in zip(parts[1::2], ("group id", "edge node id"), strict=False):
        check_id(part, what=what)
    device_id = parts[4] if len(parts) == 5 else None
    if device_id is not None:
        check_id(device_id, what="device id")
    message: NodeMessage | DeviceMessage = parts[2]  # type: ignore[assignment]
    return Topic(group_id=parts[1], message=message, node_id=parts[3], device_id=device_id)


def check_metric_name(name: str) -> str | None:
    """Say what makes a metric name unusable, or None when it can be used."""
    if not name:
        return "a metric name must not be empty"
    if has_control_character(name):
        return "a metric name must not contain control characters (NUL, line breaks, ...)"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "a metric name must be valid UTF-8"
    if any(not folder for folder in name.split("/")):
        return "a metric name must not begin or end with '/', nor have an empty folder ('//')"
    return None


def advise_metric_name(name: str) -> str | None:
    """Say which characters of a usable name hosts may dislike, or None.

    Source: Sparkplug 3.0, 6.4.6: these characters are allowed, but should not be used.
    """
    found = sorted(_NAME_DISCOURAGED.intersection(name))
    if not found:
        return None
    return f"some hosts dislike {' '.join(found)} in metric names; use letters, digits, _ - and /"


def check_metric_names(names: Iterable[str]) -> list[str]:
    """Say what is wrong with the metric names of one node or device, as a set.

    Names that differ only in case are refused, and a name that is also the folder of another.

    Source: Sparkplug 3.0, tck-id-case-sensitivity-metric-names.
    """
    faults: list[str] = []
    seen: dict[str, str] = {}
    folders: dict[str, str] = {}
    for name in names:
        fault = check_metric_name(name)
        if fault is not None:
            faults.append(f"{name!r}: {fault}")
            continue
        twin = seen.get(name.casefold())
        if twin is None:
            seen[name.casefold()] = name
        elif twin == name:
            faults.append(f"{name!r}: stands twice")
        else:
            faults.append(f"{name!r}: differs only in case from {twin!r}")
        parts = name.split("/")
        for depth in range(1, len(parts)):
            folders.setdefault("/".join(parts[:depth]), name)
    faults += [
        f"{name!r}: is also a folder of {folders[name]!r}"
        for name in seen.values()
        if name in folders
    ]
    return faults
