"""A small OPC UA to Sparkplug publisher that stands in for the gateway in tests of the bench.

Takes the gateway's command line. It is lossless at small loads but for one value, the
tenth, of each tag in FAULT_OF_TAG, so that the bench can be held to what it must find.
It buffers nothing: what it reads while the broker is away is lost, and entered in a
ledger that a restart forgets.
"""

import asyncio
import contextlib
import json
import struct
import sys
import time
from pathlib import Path

from asyncua import Client

from sparkplug_b.sparkplug_b_pb2 import Payload

SPOILED_VALUE = 10
FAULT_OF_TAG = {1: "lose", 2: "repeat", 3: "swap"}


class StandIn:
    def __init__(self, config, http_port, ledger):
        self.config = config
        self.ledger = ledger
        self.http_port = http_port
        self.received: dict[int, int] = {}
        self.held: dict[int, tuple[int, float, int]] = {}
        self.sent = 0
        self.tags = []
        self.writer = None
        self.losses = []

    async def run(self):
        await asyncio.start_server(self.answer, "127.0.0.1", self.http_port)
        source = self.config["sources"][0]
        async with Client(source["endpoint"]) as client:
            index = await client.get_namespace_index("urn:example:plant")
            self.tags = await client.get_node(f"ns={index};s=Load").get_children()
            interval_ms = source["groups"][0]["publishing_interval_ms"]
            subscription = await client.create_subscription(interval_ms, self)
            await subscription.subscribe_data_change(self.tags, queuesize=10, sampling_interval=50)
            await self.stay_connected()

    async def stay_connected(self):
        port = int(self.config["sparkplug"]["broker"]["url"].rpartition(":")[2])
        away_us = time.time_ns() // 1000
        while True:
            try:
                reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            self.writer.write(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04test")
            self.birth()
            self.note_loss(away_us)
            with contextlib.suppress(ConnectionError):
                while await reader.read(100):
                    pass
            self.writer = None
            away_us = time.time_ns() // 1000

    def note_loss(self, away_us):
        now_us = time.time_ns() // 1000
        self.losses.append(
            {
                "id": len(self.losses) + 1,
                "reason": "intake_full",
                "first_time_us": away_us - 500_000,
                "last_time_us": now_us,
                "recorded_time_us": now_us,
            }
        )
        self.ledger.write_text(json.dumps(self.losses))

    def birth(self):
        payload = Payload(timestamp=time.time_ns() // 1_000_000, seq=0)
        for tag in self.tags:
            number = tag.nodeid.Identifier
            payload.metrics.add(name=f"T{number:05d}", alias=number, datatype=10, is_null=True)
        self.publish("DBIRTH", payload)

    def datachange_notification(self, node, value, data):
        number = node.nodeid.Identifier
        source = data.monitored_item.Value.SourceTimestamp
        time_ms = round(source.timestamp() * 1000)
        self.received[number] = self.received.get(number, 0) + 1
        row = (number, value, time_ms)
        is_spoiled = self.received[number] == SPOILED_VALUE
        fault = FAULT_OF_TAG.get(number) if is_spoiled else None
        if fault == "lose":
            return
        if fault == "swap":
            self.held[number] = row
            return
        if fault == "repeat":
            self.send(row)
        self.send(row)
        if number in self.held:
            self.send(self.held.pop(number))

    def send(self, row):
        payload = Payload(timestamp=row[2])
        payload.metrics.add(alias=row[0], timestamp=row[2], double_value=row[1])
        self.publish("DDATA", payload)
        self.sent += 1

    def publish(self, kind, payload):
        if self.writer is None:
            return
        topic = f"spBv1.0/Bench/{kind}/Bench/Load".encode()
        body = struct.pack(">H", len(topic)) + topic + payload.SerializeToString()
        length = b""
        left = len(body)
        while True:
            left, low = divmod(left, 128)
            length += bytes([low | (128 if left else 0)])
            if not left:
                break
        self.writer.write(b"\x30" + length + body)

    async def answer(self, reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        status = {
            "counters": {},
            "journal": {"commits": 1, "samples": self.sent, "payload_bytes": 5 * self.sent},
            "sinks": {"sparkplug": {"state": "live", "backlog_rows": 0}},
        }
        body = json.dumps(status).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()


def main():
    command = sys.argv[2]
    data_dir = Path(sys.argv[sys.argv.index("--data-dir") + 1])
    ledger = data_dir / "losses.json"
    if command == "losses":
        sys.stdout.write(ledger.read_text())
        return
    config = json.loads(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
    http_port = int(sys.argv[sys.argv.index("--http") + 1].rpartition(":")[2])
    asyncio.run(StandIn(config, http_port, ledger).run())


if __name__ == "__main__":
    main()
