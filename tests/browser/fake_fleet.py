"""The formulas behind the fake hub: three gateways, their tags and their past."""

from __future__ import annotations

import math
import time

from central.ingest.completeness import EpochCompleteness, Hole, LossInfo, RangeWord
from central.ingest.last import LastValue
from central.ingest.tags import TagInfo
from central.web.gateways import (
    CompletenessAnswer,
    GatewayAnswer,
    LossesAnswer,
    OverviewAnswer,
    StateWord,
    TagAnswer,
    TagsAnswer,
)
from central.web.status import StatusAnswer
from central.web.timeseries import BucketsAnswer, RangeCompleteness

DAY_US = 86_400_000_000
SIGNALS = (("Temperature", "°C", 10), ("Pressure", "bar", 9), ("State", "", 12), ("Count", "", 8))
TAGS_COUNT = 640
EPOCHS = ("5f0e6a7719c84c0db1f2a93e4f7708aa", "a1b2c3d4e5f60718293a4b5c6d7e8f90")


def _value(tag_id: int, at_s: float) -> float:
    return 60 + tag_id % 50 + 12 * math.sin(at_s / 40 + tag_id) + 3 * math.sin(at_s / 7)


class FakeFleet:
    """Scenes: normal (one of three in trouble), empty, unclaimed."""

    def __init__(self, scene: str) -> None:
        self.scene = scene
        self.started_s = time.monotonic()

    def _now_us(self) -> int:
        return time.time_ns() // 1000

    def _uptime_s(self) -> float:
        return time.monotonic() - self.started_s

    def overview(self) -> OverviewAnswer:
        """Return three gateways, or none."""
        gateways = [] if self.scene == "empty" else self._gateways()
        return OverviewAnswer(
            now_us=self._now_us(),
            samples_count=sum(gateway.samples_count for gateway in gateways),
            samples_per_s=sum(gateway.samples_per_s for gateway in gateways),
            waiting_samples_count=0 if self.scene == "empty" else 24_310,
            gateways=gateways,
        )

    def _gateways(self) -> list[GatewayAnswer]:
        now_us, more = self._now_us(), int(self._uptime_s() * 5)

        def one(
            name: str, state: StateWord, reason: str, silence_s: float, lag_rows: int, holes: int
        ) -> GatewayAnswer:
            return GatewayAnswer(
                id=name,
                name=name,
                site="Sheffield" if "shop" in name else "Rotherham",
                version="0.1.0",
                state=state,
                state_reason=reason,
                enrolled_us=now_us - 40 * DAY_US,
                certificate_expires_us=now_us + (12 if holes else 71) * DAY_US,
                last_contact_us=now_us - int(silence_s * 1e6),
                lag_rows=lag_rows,
                lag_s=silence_s,
                samples_count=412_903_118 + more * 82,
                samples_per_s=0.0 if silence_s > 900 else 412.4,
                unexplained_holes_count=holes,
                losses_count=2 if holes else 0,
                forks_count=0,
            )

        fine = "all rows up to the gateway's newest are here or on their way"
        return [
            one("press-shop-1", "OK", fine, 0.4, 2, 0),
            one("paint-shop-2", "Fault", "3 holes that nothing explains", 0.7, 3, 3),
            one("warehouse", "Fault", "behind or silent for 4520 s", 4520, 22_600, 0),
        ]

    def status(self) -> StatusAnswer:
        """Return the hub's own figures."""
        now_us = self._now_us()
        return StatusAnswer(
            started_us=now_us - DAY_US,
            now_us=now_us,
            public_url="https://hub.example:8443",
            rows_received=88_420,
            samples_received=412_903_118,
            duplicates_received=1_240,
            spool_bytes=18_400_000,
            spool_bytes_max=8_000_000_000,
            spool_commits=88_000,
            spool_refused_full=0,
            spool_write_errors=0,
            waiting_samples=24_310,
            flushes=2_900,
            flushed_samples=412_878_808,
            last_flush_ms=184.2,
            resident_bytes_max=310_000_000,
        )

    def completeness(self, gateway: str) -> CompletenessAnswer:
        """Return two epochs; one gateway has holes."""
        holed = gateway == "paint-shop-2"
        head = 88_420 + int(self._uptime_s() * 5)
        holes = [
            Hole(first=41_200, last=41_260, reason="journal_full"),
            Hole(first=52_001, last=52_001),
            Hole(first=60_110, last=60_140),
            Hole(first=60_200, last=60_204),
        ]
        newest = EpochCompleteness(
            epoch=EPOCHS[0],
            complete_to=52_000 if holed else head - 2,
            complete_to_time_us=self._now_us() - (7_200_000_000 if holed else 400_000),
            contiguous_to=41_199 if holed else head - 2,
            received_to=head - 2,
            head=head,
            holes=holes if holed else [],
            unexplained_count=3 if holed else 0,
            losses_count=2 if holed else 0,
            forks_count=0,
            is_chain_verified=not holed,
            samples_count=7_120_440,
        )
        before = EpochCompleteness(
            epoch=EPOCHS[1],
            complete_to=412_003,
            complete_to_time_us=self._now_us() - 3 * DAY_US,
            contiguous_to=412_003,
            received_to=412_003,
            head=412_003,
            holes=[],
            unexplained_count=0,
            losses_count=0,
            forks_count=0,
            is_chain_verified=True,
            samples_count=33_900_212,
        )
        return CompletenessAnswer(gateway=gateway, is_complete=not holed, epochs=[before, newest])

    def _tag(self, tag_id: int) -> TagAnswer:
        signal, unit, data_type = SIGNALS[tag_id % len(SIGNALS)]
        machine = f"Press{tag_id // len(SIGNALS) + 1:03d}"
        at_s = time.time()  # noqa: TID251
        value = "Producing" if signal == "State" else round(_value(tag_id, at_s), 2)
        return TagAnswer(
            tag=TagInfo(
                id=tag_id,
                device=machine,
                name=f"{machine}/{signal}",
                data_type=data_type,
                unit=unit,
                low=None,
                high=None,
                description="",
                source="line1",
                address=f"nsu=urn:example:plant;s={machine}.{signal}",
            ),
            last=LastValue(self._now_us() - 300_000, 0, value),
        )

    def tags(self, gateway: str, search: str, offset: int, limit: int) -> TagsAnswer:
        """Return a part of the tags."""
        del gateway
        every = (self._tag(tag_id) for tag_id in range(1, TAGS_COUNT + 1))
        found = [tag for tag in every if search.lower() in tag.tag.name.lower()]
        return TagsAnswer(total=len(found), tags=found[offset : offset + limit])

    def losses(self, gateway: str, limit: int) -> LossesAnswer:
        """Return the ledger of the gateway that has one."""
        if gateway != "paint-shop-2":
            return LossesAnswer(losses=[])
        now_us = self._now_us()

        def one(number: int, reason: str, count: int | None, detail: str) -> LossInfo:
            return LossInfo(
                epoch=EPOCHS[0],
                id=number,
                reason=reason,
                source="line1",
                tag_id=None,
                first_time_us=now_us - 9_000_000_000,
                last_time_us=now_us - 8_988_000_000,
                count=count,
                first_sequence=41_200 if count else None,
                last_sequence=41_260 if count else None,
                recorded_time_us=now_us - 8_980_000_000,
                detail=detail,
            )

        entries = [
            one(2, "journal_full", 5_002, "the size limit dropped rows that the hub had not"),
            one(1, "session_gap", None, "session lost: BadConnectionClosed"),
        ]
        return LossesAnswer(losses=entries[:limit])

    def buckets(
        self, gateway: str, tag: int, range_ms: tuple[float, float], buckets: int
    ) -> BucketsAnswer:
        """Compute a past in which ten minutes have no good value, half an hour ago."""
        start_ms, end_ms = range_ms
        now_s = self._now_us() / 1e6
        width_ms = (end_ms - start_ms) / buckets
        times = [start_ms + i * width_ms for i in range(buckets)]
        mean: list[float | None] = []
        low: list[float | None] = []
        high: list[float | None] = []
        for time_ms in times:
            if SIGNALS[tag % len(SIGNALS)][0] == "State" or 1800 < now_s - time_ms / 1000 < 2400:
                value = None
            else:
                value = _value(tag, time_ms / 1000)
            mean.append(value)
            low.append(None if value is None else value - 3)
            high.append(None if value is None else value + 4)
        word: RangeWord = "incomplete" if gateway == "paint-shop-2" else "complete"
        return BucketsAnswer(
            gateway=gateway,
            tag=tag,
            width_ms=width_ms,
            time_ms=times,
            min=low,
            max=high,
            mean=mean,
            count=[10] * buckets,
            good_count=[10 if value is not None else 0 for value in mean],
            completeness=RangeCompleteness(word=word, missing_count=3 if word != "complete" else 0),
        )
