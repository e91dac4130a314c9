"""What arrived, held against what the plant wrote and what the loss ledger names.

A value is *due* when the plant wrote it in the scans judged. One that is missing is *explained*
when a ledger entry's range of source time holds the moment of its scan (and the entry's tag, where
it names one). Everything else missing is a broken promise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench import counting
from bench.counting import Ints
from bench.frames import HEADER, Decoder, Frame, Recording, Values
from contract.upload import NO_LOSS, Loss


@dataclass(frozen=True, kw_only=True)
class Scans:
    """Scans `first` to `last` (both included) of `tags` load tags; `times_us` from scan 1 on."""

    tags: int
    first: int
    last: int
    times_us: Ints

    @property
    def offered(self) -> int:
        return self.tags * (self.last - self.first + 1)

    @property
    def range_us(self) -> tuple[int, int]:
        return int(self.times_us[self.first - 1]), int(self.times_us[self.last - 1])


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one receiver lacks of some scans."""

    where: str
    offered: int
    explained: int
    duplicated: int
    unexplained: list[str] = field(default_factory=list)
    unexplained_count: int = 0

    @property
    def is_whole(self) -> bool:
        return self.unexplained_count == 0

    def __str__(self) -> str:
        return (
            f"{self.where}: {self.offered} values due, {self.explained} in ledger gaps,"
            f" {self.unexplained_count} lost, {self.duplicated} duplicated"
            f" {' '.join(self.unexplained)}"
        )


class SinkRecording:
    """The recording of a sink that goes on recording; read on from where the last look ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._decoder = Decoder()

    def read(self) -> Recording:
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        at = 0
        while at + HEADER.size <= len(data):
            arrival_us, topic_bytes, payload_bytes = HEADER.unpack_from(data, at)
            start = at + HEADER.size
            end = start + topic_bytes + payload_bytes
            if end > len(data):
                break
            topic = data[start : start + topic_bytes].decode()
            self._decoder.take(Frame(arrival_us, topic, data[start + topic_bytes : end]))
            at = end
        self._offset += at
        return self._decoder.recording()


def judge_sink(values: Values, scans: Scans, ledger: Sequence[Loss]) -> Finding:
    """At least once: say what of the scans never came. Births count as seen."""
    return _judge("sink", _by_tag(values), scans, ledger, duplicated=0)


def judge_hub(counters: dict[int, Ints], scans: Scans, ledger: Sequence[Loss]) -> Finding:
    """Exactly once: say what of the scans is not stored, and what is stored twice."""
    due = {t: c[(c >= scans.first) & (c <= scans.last)] for t, c in counters.items()}
    duplicated = sum(len(c) - len(np.unique(c)) for c in due.values())
    return _judge("hub", due, scans, ledger, duplicated=duplicated)


def _by_tag(values: Values) -> dict[int, Ints]:
    return {int(t): values.counter[values.tag == t] for t in np.unique(values.tag)}


def _judge(
    where: str, seen: dict[int, Ints], scans: Scans, ledger: Sequence[Loss], *, duplicated: int
) -> Finding:
    due = np.arange(scans.first, scans.last + 1)
    tags: list[Ints] = []
    lacking: list[Ints] = []
    for number in range(1, scans.tags + 1):
        missing = np.setdiff1d(due, seen.get(number, due[:0]))
        tags.append(np.full(len(missing), number))
        lacking.append(missing)
    tag, counter = np.concatenate(tags), np.concatenate(lacking)
    explained = _explained(tag, scans.times_us[counter - 1], ledger)
    lost = counting.Missing(tag=tag[~explained], counter=counter[~explained])
    ranges = counting.missing_ranges(lost)
    return Finding(
        where=where,
        offered=scans.offered,
        explained=int(explained.sum()),
        duplicated=duplicated,
        unexplained_count=len(lost),
        unexplained=[
            f"T{r.tag}:{r.first}..{r.last}"
            f"[{scans.times_us[r.first - 1]}..{scans.times_us[r.last - 1]}]"
            for r in ranges[:8]
        ],
    )


def _explained(tag: Ints, written_us: Ints, ledger: Sequence[Loss]) -> np.ndarray:
    explained = np.zeros(len(tag), bool)
    closed = {loss.closes for loss in ledger if loss.closes is not None}
    for loss in ledger:
        if loss.reason in NO_LOSS or loss.id in closed:
            continue  # nothing is missing for it, or what was is there now
        covered = (written_us >= loss.first_time_us) & (written_us <= loss.last_time_us)
        # the load rule registers T1, T2, ... in order: tag index n is load tag n + 1
        explained |= covered if loss.tag is None else covered & (tag == loss.tag + 1)
    return explained


def out_of_order(values: Values, *, is_historical: bool) -> int:
    """Count values of one lane that came after a greater one of their tag."""
    lane = values.where(~values.from_birth & (values.is_historical == is_historical))
    verdict = counting.check(lane)
    return verdict.reordered_historical if is_historical else verdict.reordered
