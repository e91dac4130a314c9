"""`bench decode`: CPU time per value from a publish response's bytes to a sample batch, by type.

The messages are made here, byte by byte, so that no library's encoder is measured. Each holds
`items` items of one type with status and source time, as servers send them; `mixed` alternates
six types, so that no run is long.
"""

import struct
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from bench.processes import HarnessError
from bench.results import Figures
from contract.mapping import KIND_OF
from gateway.sources.opcua.convert import TagColumns, to_batch
from gateway.sources.opcua.decode import decode_publish_response
from gateway.sources.opcua.fallback import decode_item
from gateway.sources.opcua.types import EPOCH_TICKS, data_type_of

_MASK = 0x01 | 0x04  # a value and the source's time
_TICKS = EPOCH_TICKS + 17_000_000_000_000_000


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<i", len(data)) + data


VALUES: dict[str, tuple[int, bytes]] = {
    "boolean": (1, b"\x01"),
    "sbyte": (2, b"\xff"),
    "byte": (3, b"\xff"),
    "int16": (4, struct.pack("<h", -2)),
    "uint16": (5, struct.pack("<H", 2)),
    "int32": (6, struct.pack("<i", -3)),
    "uint32": (7, struct.pack("<I", 3)),
    "int64": (8, struct.pack("<q", -4)),
    "uint64": (9, struct.pack("<Q", 4)),
    "float": (10, struct.pack("<f", 1.5)),
    "double": (11, struct.pack("<d", 2.5)),
    "datetime": (13, struct.pack("<q", _TICKS)),
    "guid": (14, UUID(int=0x0123456789ABCDEF0123456789ABCDEF).bytes_le),
    "statuscode": (19, struct.pack("<I", 0x80AB0000)),
    "string": (12, _string("Station 4: waiting for part")),
    "bytestring": (15, _string("0123456789abcdef")),
    "xmlelement": (16, _string("<a><b/></a>")),
    "nodeid": (17, b"\x03\x02\x00" + _string("Press.State")),
    "expandednodeid": (18, b"\x01\x02" + struct.pack("<H", 1234)),
    "qualifiedname": (20, b"\x02\x00" + _string("Temperature")),
    "localizedtext": (21, b"\x03" + _string("en") + _string("running")),
    "no_value": (0, b""),
}
MIXED = ("double", "boolean", "int32", "float", "datetime", "uint16")


@dataclass(frozen=True, kw_only=True)
class DecodeLoad:
    """What is decoded.

    Attributes:
        items: Items in a message.
        seconds: CPU time spent on each type.
    """

    items: int = 1000
    seconds: float = 0.3


async def run_decode(load: DecodeLoad, _directory: Path) -> Figures:
    """Measure once: µs CPU per value, decoded and converted, for each type."""
    figures: Figures = {"items": load.items}
    for name in VALUES:
        figures[f"{name}_us"] = _cost_us([name] * load.items, load.seconds)
    turns = [MIXED[n % len(MIXED)] for n in range(load.items)]
    figures["mixed_us"] = _cost_us(turns, load.seconds)
    return figures


def _cost_us(names: list[str], seconds: float) -> float:
    data = _message(names)
    tags = TagColumns()
    tags.set(
        [
            (n, KIND_OF[data_type_of(VALUES[name][0], is_array=False)], 1.0, 0.0)
            for n, name in enumerate(names)
        ]
    )
    best, spent = float("inf"), 0.0
    while spent < seconds:
        before = time.process_time()
        notification = decode_publish_response(data, 0, decode_item)
        batch, misfits = to_batch(notification.segments, tags, 0)
        took = time.process_time() - before
        if len(batch) != len(names) or len(misfits):
            raise HarnessError(f"{names[0]}: {len(batch)} of {len(names)} values came out")
        best, spent = min(best, took), spent + took
    return round(best * 1e6 / len(names), 3)


def _message(names: list[str]) -> bytes:
    items = b"".join(
        struct.pack("<IBB", n, _MASK, VALUES[name][0]) + VALUES[name][1] + struct.pack("<q", _TICKS)
        for n, name in enumerate(names)
    )
    change = struct.pack("<i", len(names)) + items + struct.pack("<i", -1)
    return (
        b"\x01\x00\x3d\x03"
        + struct.pack("<qIIB", _TICKS, 1, 0, 0)
        + struct.pack("<i", -1)
        + b"\x00\x00\x00"
        + struct.pack("<Ii", 7, -1)
        + struct.pack("<BIqi", 0, 1, _TICKS, 1)
        + b"\x01\x00\x2b\x03\x01"
        + struct.pack("<i", len(change))
        + change
        + struct.pack("<ii", -1, -1)
    )
