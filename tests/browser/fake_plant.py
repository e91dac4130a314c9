"""The formulas behind the fake gateway: tags, their values at a time, states and counters."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from contract.config import BrokerConfig, GatewayConfig, GatewayIdentity, SparkplugConfig
from contract.upload import Loss
from gateway.web.views import (
    Cell,
    Counters,
    GatewayStatus,
    JournalStatus,
    LiveValue,
    SinkStatus,
    SourceStatus,
    Strip,
    TagFault,
    TagPage,
    TagRow,
    TrendColumns,
)

EPOCH = "5f0e6a7719c84c0db1f2a93e4f7708aa"
BAD_SENSOR, UNCERTAIN, GOOD = 0x808D0000, 0x40900000, 0
LINES = ("Blanking", "Press", "Weld", "Paint", "Assembly")
# name, data type, unit, middle, swing, period in seconds
SIGNALS = (
    ("Temperature", "DOUBLE", "°C", 78.0, 9.0, 47.0),
    ("Hydraulics/Pressure", "FLOAT", "bar", 182.0, 14.0, 23.0),
    ("Drive/Speed", "INT16", "1/min", 1450.0, 45.0, 31.0),
    ("Drive/Power", "DOUBLE", "kW", 36.0, 11.0, 61.0),
    ("Slide/Position", "DOUBLE", "mm", 320.0, 310.0, 7.0),
    ("Counter/Strokes", "UINT32", "", 0.0, 0.0, 1.3),
    ("State", "STRING", "", 0.0, 0.0, 20.0),
    ("Running", "BOOLEAN", "", 0.0, 0.0, 26.0),
    ("Vibration/RMS", "FLOAT", "mm/s", 2.4, 0.9, 13.0),
    ("Recipe/Name", "STRING", "", 0.0, 0.0, 1.0),
)
STATES = ("Producing", "Starved", "Blocked", "Tool change")

Value = float | int | bool | str | None


def _name(index: int) -> tuple[str, str, str]:
    signal = SIGNALS[index % len(SIGNALS)]
    machine = index // len(SIGNALS)
    line = LINES[machine % len(LINES)]
    number = machine // len(LINES) + 1
    return f"{line}{number:02d}", f"{line}{number:02d}/{signal[0]}", signal[1]


def _status(index: int, at_s: float) -> int:
    if index % 97 == 13:
        return BAD_SENSOR
    if index % 61 == 8:
        return UNCERTAIN
    # one watched signal has a gap of 12 s every two minutes
    return BAD_SENSOR if index % 40 == 1 and at_s % 120 < 12 else GOOD


def _value(index: int, at_s: float) -> Value:
    name, kind, _, middle, swing, period_s = SIGNALS[index % len(SIGNALS)]
    phase = at_s * 2 * math.pi / period_s + index
    if kind == "BOOLEAN":
        return math.sin(phase) > -0.6
    if name == "State":
        return STATES[int(at_s / period_s + index * 0.37) % len(STATES)]
    if kind == "STRING":
        return f"R-{2000 + index % 87} Door outer left"
    if kind == "UINT32":
        return int((at_s + index * 991) / period_s) % 1_000_000
    value = middle + swing * (0.8 * math.sin(phase) + 0.2 * math.sin(phase * 5.3))
    return round(value) if kind.startswith("INT") else round(value, 3)


class FakePlant:
    """Scenes: normal, trouble (broker, losses, mismatch, a silent source), empty, unclaimed."""

    def __init__(self, scene: str, tags_count: int) -> None:
        self.scene = scene
        self.tags_count = 0 if scene == "empty" else tags_count
        self.started_s = time.monotonic()
        self._names = [_name(index)[1].lower() for index in range(self.tags_count)]
        self._sorted = sorted(range(self.tags_count), key=self._names.__getitem__)

    def now_us(self) -> int:
        """Return the wall clock."""
        return time.time_ns() // 1000

    def row(self, index: int) -> TagRow:
        """Return one line of the table."""
        device, name, kind = _name(index)
        last = self.last_value(index)
        quality = "bad" if last.status & 0x80000000 else "good"
        if last.status & 0x40000000:
            quality = "uncertain"
        if index % 211 == 24:
            quality = "never"
        return TagRow(
            index=index,
            name=name,
            device=device,
            source=self._source_name(index),
            data_type=kind,
            unit=SIGNALS[index % len(SIGNALS)][2],
            address=f"nsu=urn:example:plant;s={name.replace('/', '.')}",
            value=None if quality == "never" else last.value,
            status=last.status,
            quality=quality,
            time_us=0 if quality == "never" else last.time_us,
        )

    def last_value(self, index: int) -> LiveValue:
        """Return the value of now; a silent source's are of two minutes before the start."""
        at_s = time.time_ns() / 1e9
        if self._source_name(index) == "line2":
            at_s = self._started_wall_s() - 120
        else:
            at_s -= at_s % 0.25
        return LiveValue(
            index=index,
            value=_value(index, at_s),
            status=_status(index, at_s),
            time_us=int(at_s * 1e6),
        )

    def _source_name(self, index: int) -> str:
        return "line2" if self.scene == "trouble" and index % len(SIGNALS) == 9 else "line1"

    def _started_wall_s(self) -> float:
        return time.time_ns() / 1e9 - (time.monotonic() - self.started_s)

    def last_values(self, indexes: Sequence[int]) -> list[LiveValue]:
        """Return the last values of tags that exist and have one."""
        return [
            self.last_value(index)
            for index in indexes
            if 0 <= index < self.tags_count and index % 211 != 24
        ]

    def tags(self, search: str, offset: int, limit: int) -> TagPage:
        """Return a part of the table."""
        wanted = search.lower()
        found = [i for i in self._sorted if wanted in self._names[i]]
        page = [self.row(index) for index in found[offset : offset + limit]]
        return TagPage(total=len(found), offset=offset, tags=page)

    async def trend(self, index: int, seconds: float, points_max: int) -> TrendColumns | None:
        if not 0 <= index < self.tags_count:
            return None
        row = self.row(index)
        now_s = time.time_ns() / 1e9
        count = int(min(points_max, seconds * 4))
        times = [now_s - seconds + seconds * i / count for i in range(count)]
        values: list[float | None] = []
        for at_s in times:
            value = _value(index, at_s)
            bad = bool(_status(index, at_s) & 0x80000000) or isinstance(value, str)
            values.append(None if bad or value is None else float(value))
        return TrendColumns(
            index=index,
            name=row.name,
            unit=row.unit,
            time_ms=[at_s * 1000 for at_s in times],
            value=values,
            complete=index % 2 == 0,
        )

    async def commands(self, limit):
        return [][:limit]

    def config(self) -> GatewayConfig:
        broker = BrokerConfig(url="mqtt://192.168.40.2:1883")
        return GatewayConfig(
            gateway=GatewayIdentity(id="press-shop-1", site="Sheffield"),
            sparkplug=SparkplugConfig(group="Plant1", node="PressShop1", broker=broker),
        )

    def metrics_text(self) -> str:
        return ""

    def losses(self, limit: int) -> list[Loss]:
        """Return the ledger: empty unless there is trouble."""
        if self.scene != "trouble":
            return []
        now_us = self.now_us()
        gap = Loss(
            id=1,
            reason="session_gap",
            source="line1",
            first_time_us=now_us - 5_400_000_000,
            last_time_us=now_us - 5_388_000_000,
            count=None,
            recorded_time_us=now_us - 5_388_000_000,
            detail="session lost: BadConnectionClosed",
        )
        overflow = Loss(
            id=2,
            reason="server_overflow",
            source="line1",
            tag=41,
            first_time_us=now_us - 600_000_000,
            last_time_us=now_us - 599_100_000,
            count=37,
            recorded_time_us=now_us - 599_000_000,
            detail="queue size 10 at 100 ms is too small",
        )
        full = Loss(
            id=3,
            reason="journal_full",
            first_time_us=now_us - 90_000_000,
            last_time_us=now_us - 60_000_000,
            count=1_236_000,
            first_sequence=88_120,
            last_sequence=88_269,
            recorded_time_us=now_us - 55_000_000,
            detail="the size limit dropped rows that the broker had not confirmed",
        )
        return [full, overflow, gap][:limit]

    def status(self) -> GatewayStatus:
        """Return all counters and states."""
        trouble, empty = self.scene == "trouble", self.scene == "empty"
        uptime_s = time.monotonic() - self.started_s
        rate = 0.0 if empty else 412.0 + 9 * math.sin(uptime_s / 3)
        read = 0 if empty else 1_482_903_118 + int(uptime_s * 412)
        filtered = read // 21
        dropped = 1_273 if trouble else 0
        in_flight = 0 if empty else 82
        stored = read - filtered - dropped - in_flight - (12 if trouble else 0)
        last_sequence = 0 if empty else 88_420 + int(uptime_s * 5)
        return GatewayStatus(
            id="press-shop-1",
            site="Sheffield",
            version="0.1.0",
            time_us=self.now_us(),
            uptime_s=uptime_s + 266_400,
            strip=self._strip(),
            counters=Counters(
                read=read,
                stored=stored,
                filtered=filtered,
                dropped=dropped,
                in_flight=in_flight,
                filtered_by_reason={
                    "deadband": filtered // 3,
                    "unchanged": filtered - filtered // 3,
                },
                dropped_by_reason={"decode_failed": 0, "intake_full": dropped},
            ),
            values_per_s=rate,
            journal=JournalStatus(
                epoch=EPOCH,
                first_sequence=0 if empty else 1,
                last_sequence=last_sequence,
                last_commit_age_s=None if empty else (uptime_s % 0.2),
                commits=last_sequence,
                samples=stored,
                payload_bytes=stored * 6,
                file_bytes=1_900_000_000 if trouble else 412_876_800,
                max_bytes=2_000_000_000,
                losses_count=3 if trouble else 0,
                write_errors=0,
            ),
            sources=self._sources(),
            sinks=self._sinks(stored, last_sequence),
            enrolled=not empty,
            hub_url="" if empty else "https://hub.example:8443",
            rss_bytes=148_000_000,
        )

    def _sources(self) -> list[SourceStatus]:
        if self.scene == "empty":
            return []
        silent = SourceStatus(
            name="line2",
            kind="opcua",
            endpoint="opc.tcp://192.168.40.13:4840",
            state="waiting",
            reason="BadConnectionClosed, next try in 8 s",
            last_value_age_s=120.0,
        )
        return [self._source(), silent] if self.scene == "trouble" else [self._source()]

    def _source(self) -> SourceStatus:
        faults = [
            TagFault(
                tag=_name(index)[1],
                address=f"nsu=urn:example:plant;s={_name(index)[1].replace('/', '.')}",
                code="BadNodeIdUnknown",
                message="the server has no such node; its program may have been changed",
            )
            for index in range(24, min(self.tags_count, 450), 211)
        ]
        return SourceStatus(
            name="line1",
            kind="opcua",
            endpoint="opc.tcp://192.168.40.12:4840",
            state="up",
            tags_total=self.tags_count,
            tags_good=self.tags_count - 16 - len(faults),
            tags_faulted=len(faults),
            values=1_482_903_118,
            last_value_age_s=0.1,
            sessions=1,
            faults=faults,
        )

    def _sinks(self, stored: int, last_sequence: int) -> dict[str, SinkStatus]:
        hub = SinkStatus(
            state="live",
            target="https://hub.example:8443",
            sent=stored,
            confirmed=stored - 410,
            backlog_rows=2,
            backlog_samples=410,
            lag_s=0.4,
            confirmed_sequence=last_sequence - 2,
            acknowledged_age_s=0.3,
            in_flight=2,
            connects=1,
        )
        broker = SinkStatus(
            state="live",
            target="mqtt://192.168.40.2:1883",
            sent=stored,
            confirmed=stored - 205,
            backlog_rows=1,
            backlog_samples=205,
            lag_s=0.2,
            confirmed_sequence=last_sequence - 1,
            acknowledged_age_s=0.2,
            in_flight=1,
            connects=1,
        )
        if self.scene == "trouble":
            broker = SinkStatus(
                state="waiting",
                reason="not authorised (MQTT reason 0x87)",
                target="mqtt://192.168.40.2:1883",
                sent=stored - 2_360_120,
                confirmed=stored - 2_360_120,
                backlog_rows=28_640,
                backlog_samples=2_360_120,
                lag_s=5_728.0,
                confirmed_sequence=last_sequence - 28_640,
                acknowledged_age_s=5_731.0,
                connects=3,
                retries=12,
            )
        if self.scene == "empty":
            broker, hub = SinkStatus(state="connecting"), SinkStatus(state="off")
        return {"sparkplug": broker, "hub": hub}

    def _strip(self) -> Strip:
        since = self.now_us() - 7_200_000_000
        if self.scene == "empty":
            return Strip(
                source=Cell(state="Off", figure="no source", reason="no source is configured yet"),
                buffer=Cell(state="OK", figure="0 rows waiting", since_us=since),
                broker=Cell(state="Attention", figure="never answered", reason="connecting"),
                hub=Cell(state="Off", figure="not enrolled", reason="not enrolled at a hub"),
            )
        source = Cell(state="OK", figure="412 values/s", since_us=since, acknowledged_age_s=0.1)
        hub = Cell(
            state="OK", figure="confirmed to row 88,420", since_us=since, acknowledged_age_s=0.3
        )
        if self.scene != "trouble":
            return Strip(
                source=source,
                buffer=Cell(
                    state="OK", figure="2 rows waiting", since_us=since, acknowledged_age_s=0.1
                ),
                broker=Cell(
                    state="OK", figure="answered 0.2 s ago", since_us=since, acknowledged_age_s=0.2
                ),
                hub=hub,
            )
        return Strip(
            source=source,
            buffer=Cell(
                state="Attention",
                figure="28,640 rows waiting",
                reason="the oldest row waits for 5728 s",
                since_us=since,
                acknowledged_age_s=0.1,
            ),
            broker=Cell(
                state="Fault",
                figure="answered 5731.0 s ago",
                reason="not authorised (MQTT reason 0x87), 12 tries, next in 30 s. Data is safe: "
                "41 h of buffer left.",
                since_us=since + 1_469_000_000,
                acknowledged_age_s=5_731.0,
            ),
            hub=hub,
        )
