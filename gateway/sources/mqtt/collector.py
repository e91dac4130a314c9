"""Messages in, batches out: values gather in columns until the source hands them over.

One JSON decode per message, whatever the number of its tags. What a message cannot give is counted
and said per tag; its other tags go on. Limit: ``SAMPLES_MAX`` waiting samples; beyond it a message
that the broker would send again is not taken, any other is dropped and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from contract.config import MqttSourceConfig, MqttTagConfig
from contract.sample import EMPTY_BATCH, SampleBatch, ValueKind, columns_of, concatenate
from contract.upload import LossReason
from gateway.sources.base import TagTrouble
from gateway.sources.mqtt.reading import (
    DATA_TYPE_OF,
    AbsentError,
    MisfitError,
    find,
    held,
    parse_pointer,
    time_us,
)
from sparkplug_b.datatype import DataType

SAMPLES_MAX = 50_000
STATUS_NO_DATA = 0x809B0000
"""BadNoData, for null. Source: OPC 10000-6, annex A."""


@dataclass(slots=True)
class _Reader:
    """How one tag is read out of a message."""

    number: int
    config: MqttTagConfig
    data_type: DataType
    pointer: tuple[str, ...]
    time: tuple[str, ...] | None


@dataclass(slots=True)
class _Columns:
    tag: list[int] = field(default_factory=list)
    time_us: list[int] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    value: list[Any] = field(default_factory=list)


class Collector:
    """Gathers samples. ``take`` gives what has gathered, and what to acknowledge for it.

    Attributes:
        drops: values that could not be taken since the last ``take_drops``, by reason.
        troubles: by tag number: why its last message gave no value.
        values_count: samples gathered since the start.
    """

    def __init__(self, config: MqttSourceConfig) -> None:
        self.drops: dict[LossReason, int] = {}
        self.troubles: dict[int, TagTrouble] = {}
        self.values_count = 0
        self.indexes: Sequence[int] = ()
        self._readers: dict[str, list[_Reader]] = {}
        for number, tag in enumerate(config.tags):
            reader = _Reader(
                number,
                tag,
                DATA_TYPE_OF[tag.type],
                parse_pointer(tag.value),
                None if tag.time is None else parse_pointer(tag.time),
            )
            self._readers.setdefault(tag.topic, []).append(reader)
        self._rows: dict[ValueKind, _Columns] = {}
        self._count = 0
        self._only_here_count = 0  # of those: what nobody sends again
        self._acknowledge: list[Callable[[], None]] = []

    @property
    def topics(self) -> list[str]:
        """Topics to subscribe."""
        return list(self._readers)

    @property
    def waiting_count(self) -> int:
        """Samples that have gathered."""
        return self._count

    @property
    def has_work(self) -> bool:
        """Whether there is something to store or to acknowledge."""
        return bool(self._count or self._acknowledge)

    def message(
        self,
        topic: str,
        payload: bytes,
        now_us: int,
        acknowledge: Callable[[], None] | None = None,
    ) -> bool:
        """Take a message; ``acknowledge`` is given back with the batch that holds its values.

        Returns False for a message that is not taken, and has to come again: the bound is reached.
        """
        readers = self._readers.get(topic, [])
        if self._count >= SAMPLES_MAX:
            if acknowledge is None:
                self._drop("intake_full", len(readers))
            return acknowledge is None
        held_before = self._count
        if acknowledge is not None:
            self._acknowledge.append(acknowledge)
        try:
            document = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._drop("decode_failed", len(readers))
            for reader in readers:
                self._trouble(reader, "mqtt.not_json", "the last message of its topic is not JSON")
            return True
        for reader in readers:
            self._read(reader, document, now_us)
        if acknowledge is None:
            self._only_here_count += self._count - held_before
        return True

    def take(self) -> tuple[SampleBatch, list[Callable[[], None]]]:
        """Return what has gathered, and whom to tell once it is durable."""
        rows, self._rows = self._rows, {}
        acknowledge, self._acknowledge = self._acknowledge, []
        self._count = self._only_here_count = 0
        if not rows:
            return EMPTY_BATCH, acknowledge
        parts = [
            SampleBatch((columns_of(kind, c.tag, c.time_us, c.status, _values(kind, c)),))
            for kind, c in rows.items()
        ]
        return concatenate(parts), acknowledge

    def discard(self) -> int:
        """Let go of what has gathered; return how many samples of it nobody sends again."""
        lost_count = self._only_here_count
        self.take()
        return lost_count

    def take_drops(self) -> dict[LossReason, int]:
        """Return the values dropped since the last call, by reason."""
        drops, self.drops = self.drops, {}
        return drops

    def _read(self, reader: _Reader, document: Any, now_us: int) -> None:  # noqa: ANN401
        tag = reader.config
        try:
            raw = find(document, reader.pointer)
            kind, value = held(reader.data_type, raw)
            at_us = now_us
            if reader.time is not None:
                at_us = time_us(find(document, reader.time), tag.time_format)
        except AbsentError:
            where = tag.value if tag.time is None else f"{tag.value} or {tag.time}"
            self._trouble(reader, "mqtt.absent", f"the last message has nothing at {where or '/'}")
            return
        except MisfitError as error:
            self._drop("type_changed", 1)
            self._trouble(reader, "mqtt.misfit", f"{error}; check type, value and time of the tag")
            return
        self.troubles.pop(reader.number, None)
        if tag.scale is not None and kind in {ValueKind.INT, ValueKind.UINT, ValueKind.DOUBLE}:
            kind, value = ValueKind.DOUBLE, value * tag.scale.gain + tag.scale.offset
        columns = self._rows.setdefault(kind, _Columns())
        columns.tag.append(self.indexes[reader.number])
        columns.time_us.append(at_us)
        columns.status.append(STATUS_NO_DATA if kind is ValueKind.NULL else 0)
        columns.value.append(value)
        self._count += 1
        self.values_count += 1

    def _drop(self, reason: LossReason, count: int) -> None:
        self.drops[reason] = self.drops.get(reason, 0) + count

    def _trouble(self, reader: _Reader, code: str, message: str) -> None:
        tag = reader.config
        self.troubles[reader.number] = TagTrouble(
            tag=tag.name, address=address_of(tag), code=code, message=message
        )


def _values(kind: ValueKind, columns: _Columns) -> list[Any] | None:
    return None if kind is ValueKind.NULL else columns.value


def address_of(tag: MqttTagConfig) -> str:
    """Return a tag's address as it stands in its definition: ``topic#/pointer``."""
    return f"{tag.topic}#{tag.value}"
