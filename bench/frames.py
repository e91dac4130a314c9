"""The sink's recording: every MQTT message with its arrival time, to be decoded after the run.

File: frames, one after the other, little-endian:

    | arrival_us int64 | topic bytes uint16 | payload bytes uint32 | topic | payload |

A torn last frame (the sink was killed) is ignored.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from sparkplug_b.sparkplug_b_pb2 import Payload

HEADER = struct.Struct("<qHI")
_LOAD_TAG = re.compile(r"(?:^|/)T(\d{5,})$")


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One message. `arrival_us` is µs since 1970, UTC."""

    arrival_us: int
    topic: str
    payload: bytes


class Values(msgspec.Struct, frozen=True, kw_only=True):
    """Values of the load tags in order of arrival: parallel columns, one row per value.

    Attributes:
        tag: number of the load tag, from 1.
        counter: the value, which is the tag's own count.
        source_us: metric timestamp (ms on the wire), µs.
        arrival_us: when the sink had it.
        from_birth: it came in a birth, as the last known value.
        is_historical: the metric was flagged so.
    """

    tag: NDArray[np.int64]
    counter: NDArray[np.int64]
    source_us: NDArray[np.int64]
    arrival_us: NDArray[np.int64]
    from_birth: NDArray[np.bool_]
    is_historical: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.tag)

    def where(self, chosen: NDArray[np.bool_]) -> "Values":
        """Return the chosen rows."""
        return Values(**{name: getattr(self, name)[chosen] for name in self.__struct_fields__})


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """What the sink saw.

    Attributes:
        values: the load tags' values.
        data_payload_bytes: bytes of the DATA payloads (topic and MQTT header not counted).
        data_messages: number of DATA messages.
        births: number of NBIRTH and DBIRTH messages.
        unknown_alias: DATA metrics whose alias no birth before them had named.
    """

    values: Values
    data_payload_bytes: int
    data_messages: int
    births: int
    unknown_alias: int


def read_frames(path: Path) -> Iterator[Frame]:
    """Yield the frames of a recording."""
    data = path.read_bytes()
    offset = 0
    while offset + HEADER.size <= len(data):
        arrival_us, topic_bytes, payload_bytes = HEADER.unpack_from(data, offset)
        offset += HEADER.size
        end = offset + topic_bytes + payload_bytes
        if end > len(data):
            return
        topic = data[offset : offset + topic_bytes].decode()
        yield Frame(arrival_us, topic, data[offset + topic_bytes : end])
        offset = end


class Decoder:
    """Turns frames into columns; knows aliases by edge node, from the births."""

    def __init__(self) -> None:
        self._tag_of_alias: dict[str, dict[int, int]] = {}
        self._rows: list[NDArray[np.int64]] = []
        self._data_payload_bytes = 0
        self._data_messages = 0
        self._births = 0
        self._unknown_alias = 0

    def take(self, frame: Frame) -> None:
        """Take one frame, in order of arrival."""
        parts = frame.topic.split("/")
        if len(parts) < 4:
            return
        kind = parts[2]
        node = f"{parts[1]}/{parts[3]}"
        if kind in {"NBIRTH", "DBIRTH"}:
            self._births += 1
            self._take_metrics(frame, node, "birth")
        elif kind in {"NDATA", "DDATA"}:
            self._data_messages += 1
            self._data_payload_bytes += len(frame.payload)
            self._take_metrics(frame, node, "data")

    def recording(self) -> Recording:
        """Return what was taken."""
        rows = np.concatenate(self._rows) if self._rows else np.empty((0, 6), np.int64)
        return Recording(
            values=Values(
                tag=rows[:, 0],
                counter=rows[:, 1],
                source_us=rows[:, 2],
                arrival_us=rows[:, 3],
                from_birth=rows[:, 4].astype(bool),
                is_historical=rows[:, 5].astype(bool),
            ),
            data_payload_bytes=self._data_payload_bytes,
            data_messages=self._data_messages,
            births=self._births,
            unknown_alias=self._unknown_alias,
        )

    def _take_metrics(self, frame: Frame, node: str, kind: Literal["birth", "data"]) -> None:
        payload = Payload.FromString(frame.payload)
        tags = self._tag_of_alias.setdefault(node, {})
        rows: list[tuple[int, int, int, int, int, int]] = []
        for metric in payload.metrics:
            if kind == "birth":
                found = _LOAD_TAG.search(metric.name)
                if found is not None:
                    tags[metric.alias] = int(found[1])
            tag = tags.get(metric.alias)
            if tag is None:
                self._unknown_alias += kind == "data"
                continue
            if metric.is_null:
                continue
            source_ms = metric.timestamp or payload.timestamp
            rows.append(
                (
                    tag,
                    int(metric.double_value),
                    source_ms * 1000,
                    frame.arrival_us,
                    kind == "birth",
                    metric.is_historical,
                )
            )
        if rows:
            self._rows.append(np.array(rows, np.int64))


def decode_recording(path: Path) -> Recording:
    """Decode a whole recording."""
    decoder = Decoder()
    for frame in read_frames(path):
        decoder.take(frame)
    return decoder.recording()
