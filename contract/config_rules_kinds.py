"""What the types of MQTT and Modbus sources cannot say: topics, pointers, addresses, groups."""

from __future__ import annotations

import math
from collections.abc import Iterator

from contract.config import (
    Deadband,
    ModbusSourceConfig,
    ModbusTagConfig,
    MqttSourceConfig,
    MqttTagConfig,
    Scale,
)
from contract.config_modbus import REGISTERS_OF
from contract.config_names import fault_of_id, fault_of_metric, fault_of_url
from contract.config_rules_sparkplug import broker_faults
from contract.config_shape import joined, nearest, shown
from contract.errors import Fault


def mqtt_faults(source: MqttSourceConfig, path: str) -> Iterator[Fault]:
    """Find all that is wrong in an MQTT source beyond types."""
    yield from broker_faults(source.broker, joined(path, "broker"))
    if source.client_id is not None:
        yield from _given(fault_of_id(source.client_id, joined(path, "client_id"), "client"))
    for index, tag in enumerate(source.tags):
        yield from _mqtt_tag(tag, f"{path}.tags[{index}]")


def modbus_faults(source: ModbusSourceConfig, path: str) -> Iterator[Fault]:
    """Find all that is wrong in a Modbus source beyond types."""
    yield from _given(fault_of_url(source.endpoint, joined(path, "endpoint"), ("modbus",)))
    groups: set[str] = set()
    for index, group in enumerate(source.groups):
        if group.name in groups:
            yield Fault(
                code="config.duplicate_group",
                path=f"{path}.groups[{index}].name",
                message=f"the group name {shown(group.name)} stands twice",
                remedy="give each group a name of its own",
            )
        groups.add(group.name)
    for index, tag in enumerate(source.tags):
        yield from _modbus_tag(tag, f"{path}.tags[{index}]", groups)


def _mqtt_tag(tag: MqttTagConfig, path: str) -> Iterator[Fault]:
    yield from _tag(tag, path)
    if any(char in tag.topic for char in "+#\0") or tag.topic.startswith("$share/"):
        yield Fault(
            code="config.bad_topic",
            path=joined(path, "topic"),
            message=f"the topic {shown(tag.topic)} holds a wildcard or is shared",
            remedy="name one topic for each tag",
        )
    for key in ("value", "time"):
        pointer = getattr(tag, key)
        if pointer and not pointer.startswith("/"):
            yield Fault(
                code="config.bad_pointer",
                path=joined(path, key),
                message=f"{shown(pointer)} is no JSON pointer",
                remedy=f"write /{pointer.replace('.', '/')}",
            )


def _modbus_tag(tag: ModbusTagConfig, path: str, groups: set[str]) -> Iterator[Fault]:
    yield from _tag(tag, path)
    if tag.group not in groups:
        yield Fault(
            code="config.unknown_group",
            path=joined(path, "group"),
            message=f"the source has no group {shown(tag.group)}",
            remedy=nearest(tag.group, groups) or "add the group, or name one that exists",
        )
    is_bits = tag.table in {"coil", "discrete_input"}
    if is_bits and tag.type not in {"Boolean", "UInt16"}:
        yield _conflict(joined(path, "type"), f"a {tag.table} is Boolean, not {tag.type}")
    if is_bits and tag.bit is not None:
        yield _conflict(joined(path, "bit"), f"a {tag.table} has no bits: leave bit out")
    elif tag.bit is not None and tag.type != "Boolean":
        yield _conflict(joined(path, "bit"), f"one bit is Boolean, not {tag.type}")
    if (tag.length_registers is not None) != (tag.type == "String"):
        yield _conflict(
            joined(path, "length_registers"), "a String needs it, and no other type takes it"
        )
    words = 1 if is_bits else tag.length_registers or REGISTERS_OF[tag.type]
    if tag.address + words > 65_536:
        yield _conflict(joined(path, "address"), f"{words} registers from there end beyond 65535")
    if tag.scale is not None and (is_bits or tag.type in {"Boolean", "String"}):
        yield _conflict(joined(path, "scale"), "only numbers can be scaled")


def _tag(tag: MqttTagConfig | ModbusTagConfig, path: str) -> Iterator[Fault]:
    yield from _given(fault_of_metric(tag.name, joined(path, "name")))
    if tag.device is not None:
        yield from _given(fault_of_id(tag.device, joined(path, "device"), "device"))
    if tag.scale is not None:
        yield from _scale(tag.scale, joined(path, "scale"))
    if tag.deadband is not None:
        yield from _deadband(tag.deadband, joined(path, "deadband"))


def _scale(scale: Scale, path: str) -> Iterator[Fault]:
    for key in ("gain", "offset"):
        if not math.isfinite(getattr(scale, key)):
            yield _out_of_range(joined(path, key), "has to be a finite number")
    if scale.gain == 0:
        yield _out_of_range(joined(path, "gain"), "a gain of 0 turns every value into the offset")


def _deadband(deadband: Deadband, path: str) -> Iterator[Fault]:
    if not math.isfinite(deadband.absolute):
        yield _out_of_range(joined(path, "absolute"), "has to be a finite number")


def _out_of_range(path: str, message: str) -> Fault:
    return Fault(code="config.out_of_range", path=path, message=message)


def _conflict(path: str, message: str) -> Fault:
    return Fault(code="config.conflict", path=path, message=message)


def _given(fault: Fault | None) -> Iterator[Fault]:
    if fault is not None:
        yield fault
