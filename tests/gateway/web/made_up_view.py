"""A gateway made of columns: implements ``GatewayView`` over values that tests set."""

import anyio

from contract.config import BrokerConfig, GatewayConfig, GatewayIdentity, SparkplugConfig
from contract.upload import Loss
from gateway.flow.command_audit import AuditedCommand
from gateway.web.views import (
    Cell,
    Counters,
    GatewayStatus,
    JournalStatus,
    LiveValue,
    SinkStatus,
    SourceStatus,
    Strip,
    TagPage,
    TagRow,
    TrendColumns,
)

SECRET = "broker-password-marker"


class MadeUpView:
    """Ten tags; ``values`` and ``asked`` are open to the tests."""

    def __init__(self):
        self.values = {
            i: LiveValue(index=i, value=float(i), status=0, time_us=1) for i in range(10)
        }
        self.asked = []
        self.explorers = {}
        self._asked_event = anyio.Event()
        self.big = ""

    def set_value(self, index, value, time_us):
        self.values[index] = LiveValue(index=index, value=value, status=0, time_us=time_us)

    async def asked_again(self, times):
        for _ in range(times):
            with anyio.fail_after(5):
                await self._asked_event.wait()

    def status(self):
        cell = Cell(state="OK", figure="1 value/s", acknowledged_age_s=0.1)
        return GatewayStatus(
            id="press-shop-1",
            site="Sheffield",
            version="0",
            time_us=1,
            uptime_s=2.5,
            strip=Strip(source=cell, buffer=cell, broker=cell, hub=Cell(state="Off", figure="")),
            counters=Counters(read=3, stored=2, filtered=1, dropped=0, in_flight=0),
            values_per_s=1.0,
            journal=JournalStatus(
                epoch="0" * 32,
                first_sequence=1,
                last_sequence=2,
                last_commit_age_s=None,
                commits=2,
                samples=2,
                payload_bytes=3,
                file_bytes=4,
                max_bytes=5,
                losses_count=0,
                write_errors=0,
            ),
            sources=[
                SourceStatus(
                    name="line1", kind="opcua", endpoint="opc.tcp://127.0.0.1:4840", state="up"
                )
            ],
            sinks={"sparkplug": SinkStatus(state="live")},
            enrolled=False,
        )

    def tags(self, search, offset, limit):
        names = [f"Press/T{i}" for i in range(10) if search in f"Press/T{i}"]
        rows = [
            TagRow(
                index=i,
                name=name,
                device="Press",
                source="line1",
                data_type="Double",
                unit="°C",
                address="nsu=urn:x;s=" + name,
                value=float(i),
                status=0,
                quality="good",
                time_us=1,
            )
            for i, name in enumerate(names)
        ]
        return TagPage(total=len(names), offset=offset, tags=rows[offset : offset + limit])

    def last_values(self, indexes):
        self.asked.append(list(indexes))
        self._asked_event.set()
        self._asked_event = anyio.Event()
        if self.big:
            return [
                LiveValue(index=i, value=self.big, status=0, time_us=len(self.asked))
                for i in indexes
            ]
        return [self.values[i] for i in indexes if i in self.values]

    async def trend(self, index, seconds, points_max):
        if index not in self.values:
            return None
        return TrendColumns(
            index=index,
            name=f"Press/T{index}",
            unit="°C",
            time_ms=[1.0, 2.0],
            value=[float(seconds), None],
            complete=points_max > 2,
        )

    def losses(self, limit):
        return [
            Loss(id=i, reason="gateway_down", first_time_us=1, last_time_us=2, recorded_time_us=3)
            for i in range(5, 0, -1)
        ][:limit]

    async def commands(self, limit):
        return [
            AuditedCommand(
                id=i, received_us=1, origin="mqtt://h", device="Press", name="p", value="1",
                outcome="refused", reason="not_writable",
            )
            for i in range(5, 0, -1)
        ][:limit]  # fmt: skip

    def config(self):
        return GatewayConfig(
            gateway=GatewayIdentity(id="press-shop-1"),
            sparkplug=SparkplugConfig(
                group="G",
                node="N",
                broker=BrokerConfig(url="mqtt://127.0.0.1", username="u", password=SECRET),
            ),
        )

    def explorer(self, source):
        return self.explorers.get(source)

    def metrics_text(self):
        return "factoryplus_read_total 3\n"
