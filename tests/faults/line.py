"""The line under test: plant, broker, recording sink, gateway and hub, each a real process.

`Line.until` is the one way to wait: it polls `GET /api/status` until a condition holds and fails
with the last answer. `Line.settle` waits until all that was written has had its chance to arrive,
without a pause of guessed length: no backlog at the gateway, and then a later live value at the
sink, which the broker forwards behind everything before it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx
import msgspec
import numpy as np

from bench.processes import Broker, Gateway, Plant, Sink
from bench.rig import Load, gateway_document
from contract.upload import Loss
from gateway.journal.ledger_file import read_ledger
from gateway.web.views import GatewayStatus
from plant.model import NAMESPACE_URI, load_name
from tests.faults.evidence import Finding, Scans, SinkRecording, judge_hub, judge_sink
from tests.faults.hub import HubReader

POLL_S = 0.1
RECOVER_S = 90.0
"""Generous: the machine may be busy with other work."""

Document = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class LineOptions:
    """What differs between the lines of the tests.

    Attributes:
        load: what to count.
        reader: a signed-in view of a hub; None: the gateway does without.
        data_dir: of the gateway; default: in the line's directory.
        more: sections or keys to put over the gateway's document, by section.
        tags: single tags beside the load rule.
        groups: over 1: the load tags one by one, spread over so many groups, in place of the rule.
        is_broker_late: the broker is down when the gateway starts, and its start is the test's. It
            knows the sink's session from before, so that the sink misses nothing by coming later.
    """

    load: Load
    reader: HubReader | None = None
    data_dir: Path | None = None
    more: dict[str, Document] = field(default_factory=dict)
    tags: Sequence[Document] = ()
    groups: int = 1
    is_broker_late: bool = False


class Line:
    """See the module. Made by `open_line`."""

    def __init__(self, directory: Path, options: LineOptions) -> None:
        self.directory = directory
        self.load = options.load
        self.reader = options.reader
        self.broker = Broker(directory)
        self.sink = Sink(directory, self.broker.port)
        self.plant = make_plant(directory, options.load)
        document = _document(self.plant.endpoint, self.broker.url, options)
        self.gateway = Gateway(directory, document, data_dir=options.data_dir)
        self.recording = SinkRecording(self.sink.path)
        self.gateway_id = ""
        self._client = httpx.AsyncClient(base_url=self.gateway.url, timeout=5, trust_env=False)

    # -- looking ----------------------------------------------------------------------------------

    async def status(self) -> GatewayStatus | None:
        """Return `GET /api/status`; None while nobody answers."""
        try:
            answer = await self._client.get("/api/status")
        except httpx.HTTPError:
            return None
        assert answer.status_code == 200, answer.text[:500]
        return msgspec.json.decode(answer.content, type=GatewayStatus)

    async def until(
        self, what: str, holds: Callable[[GatewayStatus], bool], deadline_s: float = RECOVER_S
    ) -> float:
        """Poll until the status is as wanted; return the seconds that took."""
        began_s = time.monotonic()
        last: GatewayStatus | None = None
        while time.monotonic() - began_s < deadline_s:
            last = await self.status() or last
            if last is not None and holds(last):
                return time.monotonic() - began_s
            await anyio.sleep(POLL_S)
        text = "nothing" if last is None else msgspec.json.encode(last).decode()
        raise AssertionError(
            f"not within {deadline_s:.0f} s: {what}; last status: {text}\n"
            f"{self.gateway.log_path}:\n{self.gateway.log_tail()}"
        )

    async def until_healthy(self, deadline_s: float = RECOVER_S) -> float:
        """Wait until every cell that is in use says OK."""
        return await self.until("all cells OK", _is_healthy, deadline_s)

    def scans_count(self) -> int:
        """Return how many scans the plant has written."""
        return self.plant.scan_log.stat().st_size // 8

    def scans(self, first: int, last: int) -> Scans:
        times_us = np.fromfile(self.plant.scan_log, dtype="<i8").astype(np.int64)
        return Scans(tags=self.load.tags, first=first, last=last, times_us=times_us)

    def ledger(self) -> list[Loss]:
        """Return the loss ledger, newest entry first."""
        return read_ledger(self.gateway.data_dir / "journal", 100_000)

    # -- waiting and judging ----------------------------------------------------------------------

    async def until_at_sink(self, counter: int, deadline_s: float = RECOVER_S) -> None:
        """Wait until every load tag has reached a value at the sink, live or not."""

        def has() -> bool:
            values = self.recording.read().values
            newest = np.zeros(self.load.tags + 1, np.int64)
            np.maximum.at(newest, values.tag, values.counter)
            return bool((newest[1:] >= counter).all())

        await self._poll(f"value {counter} of every tag at the sink", has, deadline_s)

    async def until_written(self, scan: int, deadline_s: float = RECOVER_S) -> None:
        """Wait until the plant has written a scan."""
        await self._poll(f"scan {scan}", lambda: self.scans_count() >= scan, deadline_s)

    async def _poll(self, what: str, holds: Callable[[], bool], deadline_s: float) -> None:
        began_s = time.monotonic()
        while not holds():
            if time.monotonic() - began_s > deadline_s:
                raise AssertionError(
                    f"not within {deadline_s:.0f} s: {what};"
                    f" {self.gateway.log_path}:\n{self.gateway.log_tail()}"
                )
            await anyio.sleep(POLL_S)

    async def settle(self, deadline_s: float = RECOVER_S) -> int:
        """Wait until what is written by now has arrived; return its last scan."""
        last = self.scans_count() - 1  # the newest may still be on its way to the tags
        # every tag has passed the last scan at the sink, so it is in the journal ...
        await self.until_at_sink(last, deadline_s)
        before = await self._head()
        # ... then everything up to there is confirmed by both consumers ...
        await self.until(
            f"row {before} confirmed",
            lambda s: all(
                k.confirmed_sequence >= before for k in s.sinks.values() if k.state != "off"
            ),
            deadline_s,
        )
        # ... and a value sent after that has come: all before it has come too.
        await self.until_at_sink(self.scans_count() + 1, deadline_s)
        return last

    async def _head(self) -> int:
        status = await self.status()
        assert status is not None
        return status.journal.last_sequence

    async def judge(self, first: int, last: int) -> list[Finding]:
        """Judge sink and hub over scans; assert nothing."""
        ledger = self.ledger()
        scans = self.scans(first, last)
        findings = [judge_sink(self.recording.read().values, scans, ledger)]
        if self.reader is not None:
            findings.append(await self._judge_hub(scans, ledger))
        return findings

    async def _judge_hub(self, scans: Scans, ledger: Sequence[Loss]) -> Finding:
        """The hub shows rows a moment after it acknowledged them: ask until they are whole."""
        assert self.reader is not None
        began_s = time.monotonic()
        while True:
            counters = await self.reader.counters(self.gateway_id, *scans.range_us)
            finding = judge_hub(counters, scans, ledger)
            if finding.is_whole or time.monotonic() - began_s > 15:
                return finding
            await anyio.sleep(POLL_S)

    async def prove(self, first: int, last: int) -> list[Finding]:
        """Assert that nothing of the scans is missing without a ledger entry, or twice at the hub.

        And that the hub proves it by itself: one epoch, without holes, every hash checked.
        """
        findings = await self.judge(first, last)
        for finding in findings:
            assert finding.is_whole, f"{finding}\nledger: {self.ledger()}"
            assert finding.duplicated == 0, str(finding)
        if self.reader is not None:
            await self._prove_completeness()
        return findings

    async def _prove_completeness(self) -> None:
        assert self.reader is not None
        report = await self.reader.completeness(self.gateway_id)
        assert len(report["epochs"]) == 1, report
        epoch = report["epochs"][0]
        status = await self.status()
        assert status is not None
        assert epoch["epoch"] == status.journal.epoch
        assert epoch["holes"] == [], report
        assert epoch["forks_count"] == 0
        assert epoch["is_chain_verified"] is True

    async def aclose(self) -> None:
        await self._client.aclose()


def make_plant(directory: Path, load: Load, *more: str, port: int = 0) -> Plant:
    """Make a plant process that counts; `more` are options of `factoryplus plant`."""
    options = ("--tags", str(load.tags), "--period-ms", str(load.period_ms))
    return Plant(directory, *options, "--engine", load.engine, *more, port=port)


@contextlib.asynccontextmanager
async def open_line(directory: Path, options: LineOptions) -> AsyncIterator[Line]:
    """Start a line and wait until its first values are at the sink; stop it whatever happens.

    Everything is killed at the end: nothing is judged after it, and it is quick.
    """
    line = Line(directory, options)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(line.aclose)
        stack.push_async_callback(line.sink.kill)
        stack.push_async_callback(line.broker.kill)
        await line.broker.start()
        await line.sink.start()
        line.broker.save_sessions()
        if options.is_broker_late:
            await line.broker.stop()
        if options.reader is not None:
            line.gateway_id = await options.reader.enrol(line.gateway.data_dir, directory.name)
        await line.plant.start()
        stack.push_async_callback(_kill_plant, line)
        stack.push_async_callback(line.gateway.kill)
        await line.gateway.start()
        await line.until("source up", lambda s: all(r.state == "up" for r in s.sources))
        if not options.is_broker_late:
            await line.until_at_sink(1)
        yield line


async def restart(line: Line) -> float:
    """Start a gateway that was killed; return the seconds until it reads again."""
    began_s = time.monotonic()
    await line.gateway.start()
    await line.until(
        "source up again",
        lambda s: all(r.state == "up" and r.last_value_age_s is not None for r in s.sources),
    )
    return time.monotonic() - began_s


async def restart_plant(line: Line, *more: str) -> None:
    """Start a plant that has ended again, at its address; the tags count on."""
    resumed = ("--start-at", str(line.scans_count()), *more)
    line.plant = make_plant(line.directory, line.load, *resumed, port=line.plant.port)
    await line.plant.start()


async def _kill_plant(line: Line) -> None:
    await line.plant.kill()  # of the plants that the line had one after the other, the last


def _is_healthy(status: GatewayStatus) -> bool:
    strip = status.strip
    cells = [strip.source, strip.buffer, strip.broker, strip.hub]
    return all(cell.state in {"OK", "Off"} for cell in cells)


def _document(endpoint: str, broker_url: str, options: LineOptions) -> Document:
    document = gateway_document(options.load, endpoint, broker_url)
    document["hub"] = {"enabled": options.reader is not None}
    sources = document["sources"]
    assert isinstance(sources, list)
    source = sources[0]
    if options.groups > 1:
        source["groups"] = [source["groups"][0] | {"name": f"g{n}"} for n in range(options.groups)]
        # the first group publishes while the others are still being made
        source["groups"][0]["publishing_interval_ms"] = 10
        source["rules"] = []
    source["tags"] = [*options.tags, *_spread_tags(options)]
    for section, keys in options.more.items():
        held = document.setdefault(section, {})
        assert isinstance(held, dict)
        held.update(keys)
    return document


def _spread_tags(options: LineOptions) -> list[Document]:
    if options.groups == 1:
        return []
    tags = options.load.tags
    return [
        {
            "name": load_name(number),
            "device": "Load",
            "node": f"nsu={NAMESPACE_URI};i={number}",
            "group": f"g{(number - 1) * options.groups // tags}",
        }
        for number in range(1, tags + 1)
    ]
