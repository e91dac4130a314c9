"""Values of varying length, read from bytes as they are held: text, byte strings, no value.

Promise: the same as asyncua's decoder and ``types.hold`` would give. A reader takes the bytes, a
position and the end, and returns the value and the position behind it, or None for a form that it
leaves to asyncua. Raises ``LengthError`` for lengths that lie.
Source: OPC 10000-6, 5.2.2.4 (String), 5.2.2.9 (NodeId), 5.2.2.13 (QualifiedName), 5.2.2.14
(LocalizedText).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache

Held = str | bytes | None
Reader = Callable[[bytes, int, int], tuple[Held, int] | None]

HELD_TYPES = frozenset({12, 15, 16, 17, 18, 20, 21})
"""Built-in types whose decoded values are held already: str, bytes, or None for no value."""
VALUE, STATUS, SOURCE_TIME, SERVER_TIME = 0x01, 0x02, 0x04, 0x08
SOURCE_PICO, SERVER_PICO = 0x10, 0x20

_i32 = struct.Struct("<i").unpack_from
_NODE_NUMBERS = {0: struct.Struct("<B"), 1: struct.Struct("<BH"), 2: struct.Struct("<HI")}


class LengthError(Exception):
    """Raised when a value names a length that its message does not have."""


def _text(data: bytes, at: int, end: int) -> tuple[str | None, int]:
    first = at + 4
    if first > end:
        raise LengthError("a text ends early")
    (length,) = _i32(data, at)
    behind = first + length
    if length < 0:
        if length != -1:
            raise LengthError(f"a text of {length} bytes")
        return None, first
    if behind > end:
        raise LengthError(f"a text of {length} bytes runs past the message's end")
    return data[first:behind].decode("utf-8", "replace"), behind


def _xml(data: bytes, at: int, end: int) -> tuple[str, int]:
    text, behind = _text(data, at, end)
    return text or "", behind


def _bytes(data: bytes, at: int, end: int) -> tuple[bytes, int]:
    first = at + 4
    if first > end:
        raise LengthError("a byte string ends early")
    (length,) = _i32(data, at)
    behind = first + max(length, 0)
    if length < -1 or behind > end:
        raise LengthError(f"a byte string of {length} bytes")
    return data[first:behind], behind


def _localized(data: bytes, at: int, end: int) -> tuple[str, int]:
    if at >= end:
        raise LengthError("a localized text ends early")
    mask = data[at]
    at += 1
    if mask & 0x01:
        _, at = _text(data, at, end)
    if not mask & 0x02:
        return "", at
    text, at = _text(data, at, end)
    return text or "", at


def _qualified(data: bytes, at: int, end: int) -> tuple[str, int]:
    text, behind = _text(data, at + 2, end)
    return text or "", behind


def _node_id(data: bytes, at: int, end: int) -> tuple[str, int] | None:
    """Read a node id of a number or a text; others, and those with a URI, are left to asyncua."""
    if at >= end:
        raise LengthError("a node id ends early")
    encoding = data[at]
    at += 1
    if encoding == 3:
        if at + 2 > end:
            raise LengthError("a node id ends early")
        namespace = data[at] | data[at + 1] << 8
        text, behind = _text(data, at + 2, end)
        return (f"ns={namespace};s={text}" if namespace else f"s={text}"), behind
    shape = _NODE_NUMBERS.get(encoding)
    if shape is None:
        return None
    behind = at + shape.size
    if behind > end:
        raise LengthError("a node id ends early")
    *before, number = shape.unpack_from(data, at)
    return (f"ns={before[0]};i={number}" if before and before[0] else f"i={number}"), behind


def _nothing(_data: bytes, at: int, _end: int) -> tuple[None, int]:
    return None, at


_READERS: dict[int, Reader] = {
    0: _nothing,
    12: _text,
    15: _bytes,
    16: _xml,
    17: _node_id,
    18: _node_id,
    20: _qualified,
    21: _localized,
}


@cache
def reader_of(mask: int, type_byte: int) -> tuple[Reader, int, int] | None:
    """Return (reader, built-in type, bytes before the value) for an item; None if there is none.

    ``mask`` is the DataValue's, ``type_byte`` the byte behind it.
    """
    if mask & ~0x3F:
        return None
    if not mask & VALUE:
        return _nothing, 0, 5
    reader = _READERS.get(type_byte)
    return None if reader is None else (reader, type_byte, 6)


@cache
def tail_of(mask: int) -> tuple[struct.Struct, int, int]:
    """Return what follows a value: its shape, and where in it status and time stand (-1: nowhere).

    The source's time, or the server's where the source gives none.
    """
    codes, names = "<", []
    for bit, code, name in (
        (STATUS, "I", "status"),
        (SOURCE_TIME, "q", "source"),
        (SOURCE_PICO, "H", "source_pico"),
        (SERVER_TIME, "q", "server"),
        (SERVER_PICO, "H", "server_pico"),
    ):
        if mask & bit:
            codes += code
            names.append(name)
    times = [names.index(name) for name in ("source", "server") if name in names]
    status_at = names.index("status") if "status" in names else -1
    return struct.Struct(codes), status_at, times[0] if times else -1
