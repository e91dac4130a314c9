"""What the births say: every tag in use with type, last value, quality, unit and range.

What Factory+ adds comes from ``Conventions``; None adds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from contract.mapping import QUALITY_BAD, QUALITY_STALE, metric_value, quality_of
from contract.upload import TagDefinition
from gateway.sinks.base import TagView
from gateway.sinks.sparkplug.encode import ALIAS_OF_FIRST_TAG
from gateway.sinks.sparkplug.factoryplus import Conventions
from sparkplug_b.birth import BirthMetric, DeviceBirth
from sparkplug_b.datatype import INTEGER_RANGE, DataType
from sparkplug_b.payload import PropertyValue
from sparkplug_b.scalar import FLOAT32_OVERFLOW

NEXT_SERVER = "Node Control/Next Server"
GATEWAY_ID = "Properties/Gateway Id"
"""Tells the hub's Sparkplug host that these values come by uplink too: it stores them once."""


def node_birth(
    version: str,
    now_ms: int,
    *,
    has_next_server: bool = False,
    conventions: Conventions | None = None,
    gateway_id: str = "",
) -> DeviceBirth:
    """Return the edge node's own metrics; bdSeq and Rebirth are added by the session.

    ``gateway_id`` is the hub's id of this gateway, "" before it is enrolled.

    Next Server is a control only where there is one (Sparkplug 3.0, 6.4.19).
    """
    facts = {
        "Properties/Hardware Make": "Factory+ Edge",
        "Properties/Software Version": version,
    }
    if gateway_id:
        facts[GATEWAY_ID] = gateway_id
    metrics = [
        BirthMetric(name=name, data_type=DataType.STRING, value=value, time_ms=now_ms)
        for name, value in facts.items()
    ]
    if has_next_server:
        control = BirthMetric(
            name=NEXT_SERVER, data_type=DataType.BOOLEAN, value=False, time_ms=now_ms
        )
        metrics.append(control)
    if conventions is not None:
        metrics += conventions.node_metrics(now_ms)
    return DeviceBirth(metrics=metrics)


def device_births(
    definitions: Sequence[TagDefinition],
    tags: TagView,
    now_ms: int,
    conventions: Conventions | None = None,
) -> list[DeviceBirth]:
    """Return one birth per device, in order of name."""
    by_device: dict[str, list[BirthMetric]] = {}
    for definition in definitions:
        is_transient = not definition.record
        if conventions is not None:
            is_transient = conventions.is_transient(definition)
        metric = _metric(definition, tags, now_ms, is_transient=is_transient)
        by_device.setdefault(definition.device, []).append(metric)
    if conventions is not None:
        for device in by_device:
            by_device[device] += conventions.device_metrics(device, now_ms)
    return [
        DeviceBirth(device_id=device, metrics=by_device[device]) for device in sorted(by_device)
    ]


def _metric(
    definition: TagDefinition, tags: TagView, now_ms: int, *, is_transient: bool
) -> BirthMetric:
    data_type = DataType(definition.data_type)
    last = tags.last(definition.index)
    value = None if last is None else metric_value(data_type, last.value)
    quality = QUALITY_STALE
    if isinstance(value, (int, float)) and not _fits(data_type, value):
        value, quality = None, QUALITY_BAD
    elif last is not None:
        quality = int(quality_of(np.array([last.status], dtype=np.uint32))[0])
    if not tags.source_is_up(definition.source):
        quality = QUALITY_STALE
    properties: dict[str, PropertyValue] = {}
    if definition.unit:
        properties["engUnit"] = PropertyValue(data_type=DataType.STRING, value=definition.unit)
    if definition.low is not None:
        properties["engLow"] = PropertyValue(data_type=DataType.DOUBLE, value=definition.low)
    if definition.high is not None:
        properties["engHigh"] = PropertyValue(data_type=DataType.DOUBLE, value=definition.high)
    if definition.description:
        properties["Documentation"] = PropertyValue(
            data_type=DataType.STRING, value=definition.description
        )
    properties["readOnly"] = PropertyValue(
        data_type=DataType.BOOLEAN, value=not tags.is_writable(definition.index)
    )
    # Sparkplug says to leave Quality out when good; the issue asks for it in every DBIRTH
    properties["Quality"] = PropertyValue(data_type=DataType.INT32, value=quality)
    return BirthMetric(
        name=definition.name,
        alias=definition.index + ALIAS_OF_FIRST_TAG,
        data_type=data_type,
        value=value,
        time_ms=max(last.time_us // 1000, 0) if last is not None else now_ms,
        properties=properties,
        is_transient=is_transient,
    )


def _fits(data_type: DataType, value: float) -> bool:
    """Tell whether a birth may carry a number: one that its server let outgrow its type may not."""
    if data_type is DataType.FLOAT:
        return not FLOAT32_OVERFLOW <= abs(value) < math.inf
    low, high = INTEGER_RANGE.get(data_type, (-math.inf, math.inf))
    return low <= value <= high or math.isnan(value)
