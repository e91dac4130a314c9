"""The PyPI package pysparkplug 0.6.1 as edge node and as reading client.

Its known defects, and what is done about each here:
- its Will has QoS 0, and the NDEATH that it publishes on purpose carries the *next* bdSeq, which a
  host has to ignore: `PyEdgeNode.drop` breaks the socket, so that the broker publishes the Will;
- it does not answer a rebirth command, it only hands it on: `commands` shows that it was read;
- it reads a negative Int8 or Int16 only at 8 or 16 bits, and raises for a sign extended to 32 bits
  as Tahu in Java and we write it (the text only says uint32): `reading` masks it;
- its network thread dies of a command without payload timestamp: ours have one;
- it knows neither DataSet nor Template: births with those are not given to it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from pysparkplug import (
    Client,
    DataType,
    Device,
    EdgeNode,
    Message,
    Metric,
    QoS,
    Topic,
    get_current_timestamp,
)
from pysparkplug._datatype import _decoders

VALUES: dict[DataType, object] = {
    DataType.INT8: -128,
    DataType.INT16: -32_768,
    DataType.INT32: -(2**31),
    DataType.INT64: -(2**63),
    DataType.UINT8: 255,
    DataType.UINT16: 65_535,
    DataType.UINT32: 2**32 - 1,
    DataType.UINT64: 2**64 - 1,
    DataType.FLOAT: 1.5,
    DataType.DOUBLE: 0.1,
    DataType.BOOLEAN: False,
    DataType.STRING: "größe",
    DataType.TEXT: "",
    DataType.INT16_ARRAY: (-1, 2),
    DataType.DOUBLE_ARRAY: (0.5, -2.0),
    DataType.BOOLEAN_ARRAY: (True, False, True),
    DataType.STRING_ARRAY: ("a", ""),
}
"""A metric of each type that it can write, named like the type."""


def metrics(**changed: object) -> list[Metric]:
    now_ms = get_current_timestamp()
    return [
        Metric(now_ms, data_type.name, data_type, value=changed.get(data_type.name, value))
        for data_type, value in VALUES.items()
        if not changed or data_type.name in changed
    ]


class PyEdgeNode:
    """An edge node with one device, both with a metric of every type."""

    def __init__(self, group: str, node: str, device: str) -> None:
        self.commands: list[Message] = []
        self.device = device
        self._client = Client(client_id=f"py-{group}-{node}")
        take = self._take
        self.node = EdgeNode(group, node, metrics(), client=self._client, cmd_callback=take)
        self.node.register(Device(device, metrics(), cmd_callback=take))

    def _take(self, _node: EdgeNode, message: Message) -> None:
        self.commands.append(message)

    def connect(self, port: int) -> None:
        self.node.connect("127.0.0.1", port=port)

    def say(self, **values: object) -> None:
        """Send NDATA and DDATA with changed values."""
        self.node.update(metrics(**values))
        self.node.update_device(self.device, metrics(**values))

    def drop(self) -> None:
        """Break the connection for good: no DISCONNECT, no NDEATH of its own."""
        paho = self._client._client
        link = paho.socket()
        paho.loop_stop(force=True) if link is None else self._break(link)

    def _break(self, link: socket.socket) -> None:
        paho = self._client._client
        paho.reconnect_delay_set(3600, 3600)  # it would come back in the middle of the test
        with contextlib.suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)


class PyReader:
    """Its raw client, subscribed to a group: what a host made with it would read."""

    def __init__(self, client_id: str, username: str, password: str) -> None:
        self._client = Client(client_id=client_id, username=username, password=password)
        self._lock = threading.Lock()
        self._messages: list[Message] = []

    def connect(self, port: int, group: str) -> None:
        for kind in ("NBIRTH", "NDEATH", "NDATA"):
            self._subscribe(f"spBv1.0/{group}/{kind}/+")
        for kind in ("DBIRTH", "DDEATH", "DDATA"):
            self._subscribe(f"spBv1.0/{group}/{kind}/+/+")
        self._client.connect("127.0.0.1", port=port)

    def _subscribe(self, topic_filter: str) -> None:
        self._client.subscribe(Topic.from_str(topic_filter), QoS.AT_LEAST_ONCE, self._take)

    def _take(self, _client: Client, message: Message) -> None:
        with self._lock:
            self._messages.append(message)

    def messages(self, kind: str) -> list[Message]:
        with self._lock:
            return [m for m in self._messages if m.topic.message_type == kind]

    def disconnect(self) -> None:
        self._client.disconnect()


def _masked(data_type: DataType, bits: int) -> Callable[[int], object]:
    read = _decoders[data_type]
    return lambda value: read(value & (1 << bits) - 1)


@contextlib.contextmanager
def reading(client_id: str, login: tuple[str, str], port: int, group: str) -> Iterator[PyReader]:
    reader = PyReader(client_id, *login)
    with pytest.MonkeyPatch.context() as patch:
        for data_type, bits in ((DataType.INT8, 8), (DataType.INT16, 16)):
            patch.setitem(_decoders, data_type, _masked(data_type, bits))
        reader.connect(port, group)
        yield reader
        reader.disconnect()
