"""Items of fixed size: how they lie in the bytes, by DataValue mask and variant type.

Source: OPC 10000-6, 5.2.2.16 (Variant), 5.2.2.17 (DataValue).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

HAS_VALUE, HAS_STATUS, HAS_SOURCE_TIME, HAS_SERVER_TIME = 0x01, 0x02, 0x04, 0x08
HAS_SOURCE_PICO, HAS_SERVER_PICO = 0x10, 0x20

SCALARS: dict[int, str] = {
    1: "u1",  # Boolean
    2: "i1",  # SByte
    3: "u1",  # Byte
    4: "<i2",
    5: "<u2",
    6: "<i4",
    7: "<u4",
    8: "<i8",
    9: "<u8",
    10: "<f4",
    11: "<f8",
    13: "<i8",  # DateTime, 100 ns since 1601
    14: "V16",  # Guid, its bytes as they lie
    19: "<u4",  # StatusCode
}
_STRUCT_CODE = {
    "u1": "B", "i1": "b", "<i2": "h", "<u2": "H", "<i4": "i", "<u4": "I", "<i8": "q", "<u8": "Q",
    "<f4": "f", "<f8": "d", "V16": "16s",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """How an item of one (mask, type) lies in the bytes."""

    type_id: int
    key: bytes
    stride: int
    dtype: np.dtype[Any]
    unpack: struct.Struct
    status_at: int
    ticks_at: int


@cache
def shape_of(mask: int, type_byte: int) -> Shape | None:
    """Return the fixed shape of items with this mask and variant byte; None if there is none."""
    code = SCALARS.get(type_byte)
    if code is None or not mask & HAS_VALUE or mask & ~0x3F:
        return None
    fields: list[tuple[str, str]] = [
        ("handle", "<u4"),
        ("key", "<u2"),
        ("value", code),
    ]
    for bit, name, kind in (
        (HAS_STATUS, "status", "<u4"),
        (HAS_SOURCE_TIME, "source", "<i8"),
        (HAS_SOURCE_PICO, "source_pico", "<u2"),
        (HAS_SERVER_TIME, "server", "<i8"),
        (HAS_SERVER_PICO, "server_pico", "<u2"),
    ):
        if mask & bit:
            fields.append((name, kind))
    names = [name for name, _ in fields]
    ticks = "source" if "source" in names else "server"
    return Shape(
        type_id=type_byte,
        key=bytes((mask, type_byte)),
        stride=np.dtype(fields).itemsize,
        dtype=np.dtype(fields),
        unpack=struct.Struct("<" + "".join(_STRUCT_CODE[kind] for _, kind in fields)),
        status_at=names.index("status") if "status" in names else -1,
        ticks_at=names.index(ticks) if ticks in names else -1,
    )
