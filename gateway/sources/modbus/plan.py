"""Which blocks of registers or coils to read for which tags, and how a block becomes columns. Pure.

Tags of one unit, table and group that lie near each other are read in one request, as the protocol
allows 125 registers or 2,000 bits. Within a block, tags of one shape (type, orders) are taken out
together: an index matrix turns the block's words into a numpy column, with no step per tag.
Source: MODBUS Application Protocol 1.1b3, sections 6.1 to 6.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contract.config import ModbusTagConfig
from contract.config_modbus import REGISTERS_OF, ModbusTable, ModbusType
from contract.sample import ValueKind
from sparkplug_b.datatype import DataType

REGISTERS_MAX: Final = 125
BITS_MAX: Final = 2000
BIT_TABLES: Final = frozenset({"coil", "discrete_input"})

DATA_TYPE_OF: Final[dict[ModbusType, DataType]] = {
    "Boolean": DataType.BOOLEAN,
    "Int16": DataType.INT16,
    "UInt16": DataType.UINT16,
    "Int32": DataType.INT32,
    "UInt32": DataType.UINT32,
    "Int64": DataType.INT64,
    "UInt64": DataType.UINT64,
    "Float": DataType.FLOAT,
    "Double": DataType.DOUBLE,
    "String": DataType.STRING,
}
_NUMPY_OF: Final[dict[ModbusType, str]] = {
    "Boolean": ">u2",
    "Int16": ">i2",
    "UInt16": ">u2",
    "Int32": ">i4",
    "UInt32": ">u4",
    "Int64": ">i8",
    "UInt64": ">u8",
    "Float": ">f4",
    "Double": ">f8",
}


class _Shape(NamedTuple):
    type: ModbusType
    words: int
    is_word_little: bool
    is_byte_little: bool


@dataclass(slots=True)
class Member:
    """A tag in a block: its number in the source's list, and its configuration."""

    number: int
    config: ModbusTagConfig

    @property
    def words(self) -> int:
        """Registers, or bits, that it takes."""
        return words_of(self.config)


@dataclass(slots=True)
class Take:
    """Tags of one shape in a block.

    Attributes:
        shape: type and orders.
        numbers: int[n], the tags' numbers in the source's list.
        offsets: int[n, words], where their words stand in the block.
        bits: uint16[n], which bit of a register; None for whole registers, coils and inputs.
    """

    shape: _Shape
    numbers: NDArray[np.intp]
    offsets: NDArray[np.intp]
    bits: NDArray[np.uint16] | None


@dataclass(slots=True)
class Block:
    """One request: ``count`` registers or bits from ``start``."""

    unit_id: int
    table: ModbusTable
    start: int
    count: int
    members: list[Member] = field(default_factory=list)
    takes: list[Take] = field(default_factory=list)

    @property
    def is_bits(self) -> bool:
        """Whether it reads coils or discrete inputs."""
        return self.table in BIT_TABLES

    def parts(self) -> list[Block]:
        """Return one block for each tag: after a refusal, to find the tag that is refused."""
        return [_block(self.unit_id, self.table, [member]) for member in self.members]


def words_of(tag: ModbusTagConfig) -> int:
    """Return how many registers, or bits, a tag takes."""
    if tag.table in BIT_TABLES:
        return 1
    return tag.length_registers or 1 if tag.type == "String" else REGISTERS_OF[tag.type]


def plan_blocks(
    tags: Sequence[tuple[int, ModbusTagConfig]], unit_id: int, gap_registers_max: int
) -> list[Block]:
    """Plan the blocks of one group; tags are (number, configuration)."""
    by_place: dict[tuple[int, ModbusTable], list[Member]] = {}
    for number, tag in tags:
        unit = unit_id if tag.unit_id is None else tag.unit_id
        by_place.setdefault((unit, tag.table), []).append(Member(number, tag))
    return [
        _block(unit, table, run)
        for (unit, table), members in by_place.items()
        for run in _runs(sorted(members, key=lambda m: m.config.address), gap_registers_max)
    ]


def _runs(members: Sequence[Member], gap_max: int) -> Iterator[list[Member]]:
    run: list[Member] = []
    start = end = 0
    for member in members:
        address = member.config.address
        is_bits = member.config.table in BIT_TABLES
        size_max = BITS_MAX if is_bits else REGISTERS_MAX
        # a bit costs a sixteenth of a register
        gap = gap_max * (16 if is_bits else 1)
        fits = address <= end + gap and max(end, address + member.words) - start <= size_max
        if run and not fits:
            yield run
            run = []
        if not run:
            start = end = address
        run.append(member)
        end = max(end, address + member.words)
    if run:
        yield run


def _block(unit_id: int, table: ModbusTable, members: list[Member]) -> Block:
    start = min(m.config.address for m in members)
    count = max(m.config.address + m.words for m in members) - start
    block = Block(unit_id, table, start, count, members)
    block.takes = list(_takes(block))
    return block


def _takes(block: Block) -> Iterator[Take]:
    by_shape: dict[tuple[_Shape, bool], list[Member]] = {}
    for member in block.members:
        tag = member.config
        shape = _Shape(
            "Boolean" if block.is_bits else tag.type,
            member.words,
            tag.word_order == "little",
            tag.byte_order == "little",
        )
        by_shape.setdefault((shape, tag.bit is not None), []).append(member)
    for (shape, has_bit), members in by_shape.items():
        starts = np.array([m.config.address - block.start for m in members], dtype=np.intp)
        yield Take(
            shape,
            np.array([m.number for m in members], dtype=np.intp),
            starts[:, None] + np.arange(shape.words, dtype=np.intp),
            np.array([m.config.bit or 0 for m in members], dtype=np.uint16) if has_bit else None,
        )


def take_values(
    take: Take, words: NDArray[np.uint16]
) -> tuple[ValueKind, NDArray[Any] | list[str]]:
    """Take the values of one shape out of a block's registers (or bits, as 0 and 1)."""
    taken = words[take.offsets]
    if take.shape.is_byte_little:
        taken = taken.byteswap()
    if take.shape.is_word_little:
        taken = taken[:, ::-1]
    raw = np.ascontiguousarray(taken.astype(">u2"))
    if take.shape.type == "String":
        return ValueKind.TEXT, [_text(row.tobytes()) for row in raw]
    values = raw.view(_NUMPY_OF[take.shape.type])[:, 0]
    if take.shape.type == "Boolean":
        bits = values if take.bits is None else values >> take.bits & 1
        return ValueKind.INT, (bits != 0).astype(np.int64)
    if take.shape.type in {"Float", "Double"}:
        return ValueKind.DOUBLE, values.astype(np.float64)
    if take.shape.type == "UInt64":
        return ValueKind.UINT, values.astype(np.uint64)
    return ValueKind.INT, values.astype(np.int64)


def _text(data: bytes) -> str:
    """Read a string's registers: padded at its end; what is no UTF-8 stands as Latin-1."""
    stripped = data.rstrip(b"\0 ")
    try:
        return stripped.decode()
    except UnicodeDecodeError:
        return stripped.decode("latin-1")
