"""The Modbus TCP part of the configuration document: one device or gateway, its groups and tags."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from contract.config_group import IntervalMs
from contract.config_id import Id
from contract.config_opcua import Deadband, Scale

ModbusTable = Literal["coil", "discrete_input", "input_register", "holding_register"]
ModbusType = Literal[
    "Boolean",
    "Int16",
    "UInt16",
    "Int32",
    "UInt32",
    "Int64",
    "UInt64",
    "Float",
    "Double",
    "String",
]
UnitId = Annotated[int, Meta(ge=0, le=255)]

REGISTERS_OF: dict[ModbusType, int] = {
    "Boolean": 1,
    "Int16": 1,
    "UInt16": 1,
    "Int32": 2,
    "UInt32": 2,
    "Int64": 4,
    "UInt64": 4,
    "Float": 2,
    "Double": 4,
    "String": 1,
}
"""Registers that a value takes; a String takes ``length_registers``."""


class ModbusGroupConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tags that are read together, every so often."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    interval_ms: IntervalMs = 1000


class ModbusTagConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tag.

    Attributes:
        address: as in the protocol, from 0: the 40001 of a manual is holding register 0.
        type: how the registers are read; coils and discrete inputs are Boolean.
        bit: of a register, 0 the least significant; for Boolean in a register.
        length_registers: of a String, two characters each, padded with NUL or space.
        word_order: big: the first register holds the high word.
        byte_order: of each register; big is the protocol's own.
        unit_id: overrides the source's.
        unit: engineering unit.
        record: False: Sparkplug historians are told not to keep it.
    """

    name: Annotated[str, Meta(min_length=1, max_length=1024)]
    group: Annotated[str, Meta(min_length=1, max_length=64)]
    address: Annotated[int, Meta(ge=0, le=65_535)]
    table: ModbusTable = "holding_register"
    type: ModbusType = "UInt16"
    bit: Annotated[int, Meta(ge=0, le=15)] | None = None
    length_registers: Annotated[int, Meta(ge=1, le=120)] | None = None
    word_order: Literal["big", "little"] = "big"
    byte_order: Literal["big", "little"] = "big"
    unit_id: UnitId | None = None
    device: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    unit: Annotated[str, Meta(max_length=64)] = ""
    description: Annotated[str, Meta(max_length=1024)] = ""
    deadband: Deadband | None = None
    scale: Scale | None = None
    record: bool = True


class ModbusSourceConfig(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="modbus",
):
    """A Modbus TCP device.

    Attributes:
        endpoint: ``modbus://HOST:502``.
        timeout_ms: how long an answer may take; one that takes longer ends the connection.
        gap_registers_max: registers between two tags that are read along, to save a request.
    """

    name: Id
    endpoint: Annotated[str, Meta(min_length=1, max_length=512)]
    unit_id: UnitId = 1
    timeout_ms: Annotated[int, Meta(ge=50, le=60_000)] = 2000
    gap_registers_max: Annotated[int, Meta(ge=0, le=100)] = 8
    groups: Annotated[list[ModbusGroupConfig], Meta(min_length=1, max_length=100)]
    tags: Annotated[list[ModbusTagConfig], Meta(min_length=1, max_length=50_000)]
    enabled: bool = True
