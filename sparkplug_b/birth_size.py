"""How large a birth is as an MQTT packet, and what to do when the broker takes no such packet.

A birth cannot be split: one NBIRTH or DBIRTH names all metrics of its node or device. What can be
done is to say less about each metric (`slim`), or to spread a device's metrics over several devices
(`split`). Both are proposals: pure, and for the caller to take or leave.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

import msgspec

from sparkplug_b.birth import BirthMetric, DeviceBirth, metric_of
from sparkplug_b.codec import encode
from sparkplug_b.errors import PacketTooLargeError
from sparkplug_b.payload import Payload
from sparkplug_b.timestamp import TimestampUnit
from sparkplug_b.topic import device_topic, node_topic

#: What a metric can go without, first to last; `Quality` is never left out.
EXPENDABLE_PROPERTIES: Final = (
    "Documentation",
    "Description",
    "Desc",
    "Tooltip",
    "engLow",
    "engHigh",
    "engUnit",
)
_QUALITY: Final = "Quality"
_PACKET_FRAME_BYTES: Final = 1 + 4 + 2 + 1  # type, greatest length, length of topic, no properties
_PAYLOAD_FRAME_BYTES: Final = 11 + 3  # timestamp, seq
_SESSION_METRICS_BYTES: Final = 96  # bdSeq and Node Control/Rebirth


def packet_bytes(topic: str, payload: bytes) -> int:
    """Return the size of the PUBLISH packet at most: QoS 0, MQTT 5 without properties."""
    return _PACKET_FRAME_BYTES + len(topic.encode()) + len(payload)


class BirthFit:
    """Fits births of one edge node into packets of a given size.

    Sizes are upper bounds, a few bytes above what is sent.
    """

    def __init__(
        self,
        group_id: str,
        node_id: str,
        packet_bytes_max: int,
        *,
        payload_uuid: str | None = None,
        timestamp_unit: TimestampUnit = "ms",
    ) -> None:
        self.packet_bytes_max: Final = packet_bytes_max
        self._group_id = group_id
        self._node_id = node_id
        self._uuid = payload_uuid
        self._unit: Final = timestamp_unit

    def packet_bytes(self, birth: DeviceBirth) -> int:
        """Return how large the packet of a birth is at most.

        Raises:
            EncodeError: sparkplug.encode, when a value does not fit its data type.
        """
        return self._frame_bytes(birth.device_id) + sum(self._sizes(birth.metrics))

    def slim(self, birth: DeviceBirth) -> tuple[DeviceBirth, tuple[str, ...]]:
        """Leave out properties, one name after the other, until the birth fits.

        First the documentation (the description of the metadata with it), then what is not known
        here, ranges and units last. Quality stays.

        Returns:
            The birth, and the names of the properties that are left out, in order.

        Raises:
            PacketTooLargeError: sparkplug.packet_too_large, when it does not fit even so.
        """
        left_out: list[str] = []
        remaining = self._expendable(birth)
        while (size := self.packet_bytes(birth)) > self.packet_bytes_max:
            if not remaining:
                raise self._too_large(birth, size)
            name = remaining.pop(0)
            left_out.append(name)
            birth = _without(birth, name)
        return birth, tuple(left_out)

    def split(self, birth: DeviceBirth, taken_ids: Collection[str] = ()) -> list[DeviceBirth]:
        """Spread a device's metrics, in order, over as many devices as it takes.

        The first keeps the id, the others are named `id-2`, `id-3`, ...

        Args:
            birth: of a device, or of the node, which cannot be split.
            taken_ids: ids of other devices of the node.

        Raises:
            PacketTooLargeError: sparkplug.packet_too_large, when one metric alone does not fit, or
                the node's own metrics do not.
        """
        sizes = self._sizes(birth.metrics)
        whole = self._frame_bytes(birth.device_id) + sum(sizes)
        if whole <= self.packet_bytes_max:
            return [birth]
        if birth.device_id is None:
            raise self._too_large(birth, whole)
        ids = _free_ids(birth.device_id, taken_ids)
        births: list[DeviceBirth] = []
        start = 0
        while start < len(sizes):
            device_id = next(ids)
            size, end = self._frame_bytes(device_id), start
            while end < len(sizes) and size + sizes[end] <= self.packet_bytes_max:
                size += sizes[end]
                end += 1
            if end == start:
                raise self._too_large(birth, size + sizes[start])
            births.append(DeviceBirth(device_id=device_id, metrics=birth.metrics[start:end]))
            start = end
        return births

    def _sizes(self, metrics: Sequence[BirthMetric]) -> list[int]:
        return [
            len(encode(Payload(metrics=(metric_of(metric),)), timestamp_unit=self._unit))
            for metric in metrics
        ]

    def _frame_bytes(self, device_id: str | None) -> int:
        if device_id is None:
            topic = node_topic(self._group_id, "NBIRTH", self._node_id)
        else:
            topic = device_topic(self._group_id, "DBIRTH", self._node_id, device_id)
        own = _SESSION_METRICS_BYTES if device_id is None else 0
        uuid = 0 if self._uuid is None else len(self._uuid.encode()) + 4
        return packet_bytes(topic, b"") + _PAYLOAD_FRAME_BYTES + own + uuid

    def _expendable(self, birth: DeviceBirth) -> list[str]:
        used: dict[str, None] = {}
        for metric in birth.metrics:
            used |= dict.fromkeys(metric.properties or ())
            if metric.metadata is not None and metric.metadata.description is not None:
                used["Description"] = None
        used.pop(_QUALITY, None)
        rank = {name: place for place, name in enumerate(EXPENDABLE_PROPERTIES)}
        unknown_rank = rank["engLow"] - 0.5
        return sorted(used, key=lambda name: rank.get(name, unknown_rank))

    def _too_large(self, birth: DeviceBirth, size: int) -> PacketTooLargeError:
        message = "NBIRTH" if birth.device_id is None else "DBIRTH"
        return PacketTooLargeError(message, birth.device_id, size, self.packet_bytes_max)


def _free_ids(device_id: str, taken_ids: Collection[str]) -> Iterator[str]:
    yield device_id
    number = 2
    while True:
        candidate = f"{device_id}-{number}"
        if candidate not in taken_ids:
            yield candidate
        number += 1


def _without(birth: DeviceBirth, name: str) -> DeviceBirth:
    metrics: list[BirthMetric] = []
    for metric in birth.metrics:
        slim = metric
        if metric.properties is not None and name in metric.properties:
            kept = {key: one for key, one in metric.properties.items() if key != name}
            slim = msgspec.structs.replace(slim, properties=kept or None)
        if name == "Description" and slim.metadata is not None:
            metadata = msgspec.structs.replace(slim.metadata, description=None)
            slim = msgspec.structs.replace(slim, metadata=metadata)
        metrics.append(slim)
    return DeviceBirth(device_id=birth.device_id, metrics=metrics)
