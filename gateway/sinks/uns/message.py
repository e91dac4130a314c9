"""What the mirror writes: a tag's topic, its user properties, and a value as JSON. Pure.

Source: shared/reference/acs.md, 1 (uns-ingester-sparkplug): the topic ends at the deepest ISA-95
level given; the UUID paths go from the device inwards, with ``:`` behind the device's also where
nothing follows.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec
import numpy as np

from contract.factoryplus import DeviceIdentity
from contract.mapping import QUALITY_GOOD, metric_value, quality_of
from contract.upload import TagDefinition
from gateway.sinks.base import LastValue
from sparkplug_b.datatype import DataType, unpack_array
from sparkplug_b.errors import DecodeError

ROOT: Final = "UNS/v1"
TOPIC_BYTES_MAX: Final = 65_535
_NOT_IN_TOPICS: Final = str.maketrans({"+": "_", "#": "_", "\0": "_"})
_ENCODER: Final = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tag's values go, and what goes with each."""

    topic: str
    properties: tuple[tuple[str, str], ...]
    data_type: DataType


def place_of(definition: TagDefinition, device: DeviceIdentity) -> Place | None:
    """Return where a tag goes; None when no topic can hold its name."""
    levels = "/".join(device.levels)
    topic = f"{ROOT}/{levels}/Edge/{definition.device}/{definition.name}".translate(_NOT_IN_TOPICS)
    if len(topic.encode()) > TOPIC_BYTES_MAX:
        return None
    top, *inner = device.around(definition.name)
    data_type = DataType(definition.data_type)
    is_transient = not (definition.record and device.is_recorded)
    properties = (
        ("InstanceUUID", top.instance_uuid),
        ("SchemaUUID", top.schema_uuid),
        ("Transient", "true" if is_transient else "false"),
        ("Unit", definition.unit),
        ("Type", type_word(data_type)),
        ("InstanceUUIDPath", f"{top.instance_uuid}:{':'.join(p.instance_uuid for p in inner)}"),
        ("SchemaUUIDPath", f"{top.schema_uuid}:{':'.join(p.schema_uuid for p in inner)}"),
    )
    return Place(topic, properties, data_type)


def type_word(data_type: DataType) -> str:
    """Return a data type's name as Sparkplug writes it: ``UInt16``, ``DateTime``, ``UUID``."""
    if data_type is DataType.UUID:
        return "UUID"
    word = "".join(part.capitalize() for part in data_type.name.split("_"))
    return word.replace("Uint", "UInt").replace("Datetime", "DateTime")


def quality_property(status: int) -> tuple[tuple[str, str], ...]:
    """Return the ``Quality`` of a value that is not good; nothing for a good one.

    Ours: ACS mirrors no quality, and a reader that knows none would take the value as good.
    """
    if status == 0:
        return ()
    quality = int(quality_of(np.array([status], dtype=np.uint32))[0])
    return () if quality == QUALITY_GOOD else (("Quality", str(quality)),)


def json_of(data_type: DataType, last: LastValue) -> bytes:
    """Return ``{"timestamp", "value"}``; null where there is no value or no number for it."""
    return _ENCODER.encode({"timestamp": iso(last.time_us), "value": _shown(data_type, last.value)})


def iso(time_us: int) -> str:
    """Return a time with nine digits behind the second, as ``2026-11-25T01:02:03.000001000Z``."""
    second, us = divmod(time_us, 1_000_000)
    return f"{_second(second)}.{us:06d}000Z"


@lru_cache(maxsize=256)
def _second(second: int) -> str:
    at = time.gmtime(second)
    return (
        f"{at.tm_year:04d}-{at.tm_mon:02d}-{at.tm_mday:02d}"
        f"T{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d}"
    )


def _shown(data_type: DataType, held: Any) -> Any:  # noqa: ANN401 - a value of any kind
    if data_type is DataType.DATETIME:
        return None if held is None else iso(held)
    if data_type >= DataType.INT8_ARRAY and isinstance(held, bytes):
        try:
            return unpack_array(data_type, held)
        except DecodeError:
            return None
    value = metric_value(data_type, held)
    return None if isinstance(value, float) and not math.isfinite(value) else value
