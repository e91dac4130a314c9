"""Edge nodes for tests: our own ``EdgeNodeSession`` on a real MQTT connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
from msgspec.structs import replace

from contract.config import BrokerConfig
from runtime.clock import SystemClock
from runtime.mqtt import MqttConnection, connect
from sparkplug_b import (
    BirthMetric,
    DataType,
    DeviceBirth,
    EdgeNodeSession,
    Metric,
    Payload,
    decode,
    encode,
)

CLOCK = SystemClock()
DEADLINE_S = 20


def now_ms() -> int:
    return CLOCK.wall_us() // 1000


async def until(what: Callable[[], Any]) -> Any:
    """Ask until it is true, and return it; for what the hub does in its own time."""
    with anyio.fail_after(DEADLINE_S):
        while not (found := what()):  # noqa: ASYNC110 - another process tells by no event
            await anyio.sleep(0.02)
    return found


def read(client: httpx.Client, path: str, **params: Any) -> Any:
    answer = client.get(path, params=params)
    return answer.json() if answer.status_code == 200 else {}


def double(name: str, value: float | None = 1.5, **more: Any) -> BirthMetric:
    return BirthMetric(
        **({"name": name, "data_type": DataType.DOUBLE, "value": value, "time_ms": now_ms()} | more)
    )


class EdgeNode:
    """One session of an edge node; ``commands`` are the (topic, payload) that came."""

    def __init__(self, url: str, node: str, group: str = "Plant", bd_seq: int = 0) -> None:
        self.group, self.node, self.bd_seq = group, node, bd_seq
        self.commands: list[tuple[str, Payload]] = []
        self.session = EdgeNodeSession(group, node, bd_seq=bd_seq)
        self.own = DeviceBirth()
        self.devices: list[DeviceBirth] = []
        self.is_answering = True
        self._url = url
        self._connection: MqttConnection | None = None

    async def start(
        self, metrics: list[BirthMetric], devices: dict[str, list[BirthMetric]] | None = None
    ) -> EdgeNode:
        self.own = DeviceBirth(metrics=metrics)
        self.devices = [DeviceBirth(device_id=k, metrics=v) for k, v in (devices or {}).items()]
        will = self.session.will(now_ms())
        self._connection = await connect(
            BrokerConfig(url=self._url),
            f"{self.group}-{self.node}-{self.bd_seq}",
            (will.topic, will.payload, will.qos),
            CLOCK,
        )
        self.session.connected()
        self._connection.on_message = self._on_message
        for topic_filter, qos in self.session.subscriptions():
            await self._connection.subscribe(topic_filter, qos)
        self.birth()
        return self

    def _on_message(self, topic: str, payload: bytes, _retained: bool) -> None:
        body = decode(payload)
        self.commands.append((topic, body))
        is_rebirth = any(m.name == "Node Control/Rebirth" for m in body.metrics)
        if is_rebirth and self.is_answering:
            self.birth()

    def birth(self) -> None:
        for message in self.session.birth(self.own, self.devices, now_ms()):
            self.publish(message)

    def data(self, device: str | None, *metrics: Metric) -> None:
        """Send metrics as data is sent: with the birth's types, but without naming them."""
        born = (
            self.own if device is None else next(d for d in self.devices if d.device_id == device)
        )
        types = {m.name: m.data_type for m in born.metrics} | {
            m.alias: m.data_type for m in born.metrics if m.alias is not None
        }
        typed = tuple(
            m
            if m.data_type is not None
            else replace(m, data_type=types[m.name if m.alias is None else m.alias])
            for m in metrics
        )
        body = encode(Payload(metrics=typed), with_data_types=False)
        self.publish(self.session.data(device, body, now_ms()))

    def values(self, device: str | None, **values: Any) -> None:
        self.data(device, *(Metric(name=k, value=v, time_ms=now_ms()) for k, v in values.items()))

    def skip(self, device: str | None = None) -> Any:
        """Take a seq without sending."""
        metric = Metric(name="Speed", data_type=DataType.DOUBLE, value=0.0, time_ms=now_ms())
        return self.session.data(device, encode(Payload(metrics=(metric,))), now_ms())

    def publish(self, message: Any) -> None:
        assert self._connection is not None
        self._connection.publish(
            message.topic, message.payload, qos=message.qos, retain=message.retain
        )

    def raw(self, topic: str, payload: bytes) -> None:
        assert self._connection is not None
        self._connection.publish(topic, payload)

    async def stop(self) -> None:
        assert self._connection is not None
        self.publish(self.session.death(now_ms()))
        await self._connection.close()

    def cut(self) -> None:
        """Lose the connection, so that the broker publishes the Will."""
        assert self._connection is not None
        self._connection._abort()


@contextmanager
def document(directory: Path, *urls: str, **fields: Any) -> Iterator[Path]:
    path = directory / "sparkplug.json"
    path.write_text(
        json.dumps(
            {
                "host_id": "Hub",
                "servers": [{"url": url, "name": f"server{at}"} for at, url in enumerate(urls)],
                "store_linger_ms": 10,
                "rebirth_interval_ms": 100,
                "reorder_timeout_ms": 300,
            }
            | fields
        )
    )
    yield path
