"""The broker that the demo brings where mosquitto is not installed."""

from __future__ import annotations

import sys

import anyio
import pytest

from contract.config import BrokerConfig
from factoryplus.demo import _free_port
from runtime.clock import SystemClock
from runtime.mqtt import connect

pytestmark = pytest.mark.slow


async def test_the_embedded_broker_delivers_and_answers_a_fence():
    port = _free_port()
    command = [sys.executable, "-m", "factoryplus.demo_broker", str(port)]
    async with await anyio.open_process(command) as process:
        try:
            with anyio.fail_after(30):
                assert b"broker listening" in await process.stdout.receive()
                broker = BrokerConfig(url=f"mqtt://127.0.0.1:{port}")
                connection = await connect(broker, "test", ("will", b"", 1), SystemClock())
                came, passed = anyio.Event(), anyio.Event()
                received = []

                def take(topic, payload, _retained):
                    received.append((topic, payload))
                    came.set()

                connection.on_message = take
                await connection.subscribe("spBv1.0/#", 0)
                connection.publish("spBv1.0/G/NDATA/N", b"\x01")
                connection.fence(passed.set)
                await came.wait()
                await passed.wait()
                await connection.close()
        finally:
            process.kill()
    assert received == [("spBv1.0/G/NDATA/N", b"\x01")]
