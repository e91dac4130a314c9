"""Modbus blocks: what is read together, and that a block gives each tag its own value."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.config import ModbusTagConfig
from contract.sample import ValueKind
from gateway.sources.modbus.plan import BITS_MAX, REGISTERS_MAX, plan_blocks, take_values

CODES = {"Int16": "h", "UInt16": "H", "Int32": "i", "UInt32": "I", "Int64": "q", "UInt64": "Q"}
CODES |= {"Float": "f", "Double": "d"}


def tag(address, kind="UInt16", **rest):
    return ModbusTagConfig(name=f"t{address}", group="g", address=address, type=kind, **rest)


def plan(*tags, gap=8):
    return plan_blocks(list(enumerate(tags)), 1, gap)


def spans(blocks):
    return [(block.start, block.count) for block in blocks]


def test_neighbours_are_read_in_one_request():
    assert spans(plan(tag(0), tag(1), tag(2, "Double"))) == [(0, 6)]


def test_a_wide_gap_makes_two_requests():
    assert spans(plan(tag(0), tag(9), tag(30))) == [(0, 10), (30, 1)]


def test_units_and_tables_are_read_apart():
    blocks = plan(tag(0), tag(1, unit_id=7), tag(0, table="input_register"))
    assert sorted((b.unit_id, b.table) for b in blocks) == [
        (1, "holding_register"),
        (1, "input_register"),
        (7, "holding_register"),
    ]


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=200))
def test_every_tag_is_in_one_block_and_no_block_is_too_large(addresses):
    kinds = ["UInt16", "Double", "Float"]
    tags = [tag(a, kinds[n % 3]) for n, a in enumerate(addresses)]
    blocks = plan(*tags)
    assert sorted(m.number for b in blocks for m in b.members) == list(range(len(tags)))
    assert all(block.count <= REGISTERS_MAX for block in blocks)
    bits = plan(*(tag(a, "Boolean", table="coil") for a in addresses))
    assert all(block.count <= BITS_MAX for block in bits)


@given(st.data())
def test_a_block_gives_each_tag_its_value_in_any_order_of_words_and_bytes(data):
    tags, expected, words = [], [], []
    for _ in range(data.draw(st.integers(1, 8))):
        kind = data.draw(st.sampled_from(sorted(CODES)))
        size = struct.calcsize(CODES[kind])
        raw = data.draw(st.binary(min_size=size, max_size=size))
        word_order = data.draw(st.sampled_from(["big", "little"]))
        byte_order = data.draw(st.sampled_from(["big", "little"]))
        tags.append(tag(len(words), kind, word_order=word_order, byte_order=byte_order))
        expected.append(struct.unpack(f">{CODES[kind]}", raw)[0])
        sent = list(struct.unpack(f">{size // 2}H", raw))
        sent = sent[::-1] if word_order == "little" else sent
        words += [w >> 8 | (w & 0xFF) << 8 for w in sent] if byte_order == "little" else sent
    [block] = plan(*tags)
    found = {}
    for take in block.takes:
        _, values = take_values(take, np.array(words, dtype=np.uint16))
        found |= dict(zip(take.numbers.tolist(), values.tolist(), strict=True))
    for number, value in enumerate(expected):
        np.testing.assert_equal(found[number], value)


def test_bits_of_a_register_and_coils_are_booleans():
    tags = [tag(0, "Boolean", bit=n) for n in (0, 1, 15)]
    [block] = plan(*tags)
    [take] = block.takes
    kind, values = take_values(take, np.array([0x8001], dtype=np.uint16))
    assert (kind, values.tolist()) == (ValueKind.INT, [1, 0, 1])
    [coils] = plan(tag(5, "Boolean", table="coil"), tag(6, "Boolean", table="coil"))
    _, values = take_values(coils.takes[0], np.array([0, 1], dtype=np.uint16))
    assert values.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("content", "text"), [(b"AB12\0\0", "AB12"), (b"A\xe9    ", "A\xe9"), (b"\0" * 6, "")]
)
def test_a_string_ends_at_its_padding(content, text):
    [block] = plan(tag(0, "String", length_registers=3))
    words = np.frombuffer(content, dtype=">u2").astype(np.uint16)
    assert take_values(block.takes[0], words) == (ValueKind.TEXT, [text])
