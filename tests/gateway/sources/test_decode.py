"""The columnar decoder gives what the server encoded, and hostile bytes only its own errors."""

import struct

import numpy as np
import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sources.opcua import decode
from gateway.sources.opcua.decode import DecodeError, NotFastError, decode_publish_response
from gateway.sources.opcua.fallback import decode_item, from_asyncua
from gateway.sources.opcua.shapes import SCALARS
from tests.gateway.sources.notifications import (
    VT,
    data_value,
    decoded_rows,
    expected_rows,
    items_of,
    publish_response,
    runs,
)

PLAIN = {
    "status": None,
    "source_us": 10**16,
    "server_us": None,
    "source_pico": None,
    "server_pico": None,
}
DRAWN = [
    ("scalar", VT.Double, [1.5] * 20, PLAIN),
    ("slow", VT.String, ["a", None], PLAIN),
    ("scalar", VT.Int32, [-1, 2, 3], PLAIN | {"status": 0x80000000}),
    ("array", VT.Int16, [[1, 2]], PLAIN),
    ("null", VT.Null, [None], PLAIN | {"status": 0x80AB0000, "source_us": None}),
    ("scalar", VT.Boolean, [True] * 17, PLAIN | {"server_us": 5}),
]
RESPONSE = publish_response(items_of(DRAWN), sequence=9, available=[8, 9], results=[0])


def decoded(data):
    return decode_publish_response(data, 0, decode_item)


@given(st.lists(runs(), max_size=6), st.integers(0, 3))
@settings(max_examples=150)
def test_any_notification_is_decoded_as_it_was_encoded(drawn, offset):
    data = publish_response(items_of(drawn), sequence=4, available=[3, 4], results=[0, 0x807A0000])
    notification = decode_publish_response(b"?" * offset + data, offset, decode_item)
    assert decoded_rows(notification.segments) == expected_rows(drawn)
    assert notification.items_count == sum(len(values) for _, _, values, _ in drawn)
    assert (notification.subscription_id, notification.sequence_number) == (7, 4)
    assert notification.available == [3, 4]
    assert notification.acknowledge_results == [0, 0x807A0000]
    assert not notification.is_keep_alive


@given(st.lists(runs(), min_size=1, max_size=5))
@settings(max_examples=60)
def test_the_fast_way_and_asyncuas_decoder_agree(drawn):
    data = publish_response(items_of(drawn))
    response = struct_from_binary(ua.PublishResponse, Buffer(data))
    slow = from_asyncua(7, response.Parameters.NotificationMessage)
    assert decoded_rows(decoded(data).segments) == decoded_rows(slow.segments)


def test_picoseconds_lie_where_the_specification_has_them_not_where_asyncua_writes_them():
    change = struct.pack("<IBBdqHqH", 3, 0x3D, 11, 1.5, 40, 7, 80, 9)  # OPC 10000-6, 5.2.2.17
    items = change * 20
    body = struct.pack("<i", 20) + items + struct.pack("<i", -1)
    data = RESPONSE[: COUNT_AT - 4] + struct.pack("<i", len(body)) + body + b"\0" * 8
    (segment,) = decoded(data).segments
    assert set(segment.ticks.tolist()) == {40}
    assert segment.value.tolist() == [1.5] * 20


def test_several_data_changes_in_one_message_are_all_read():
    parts = []
    for value in (1.0, 2.0):
        change = ua.DataChangeNotification()
        change.MonitoredItems = items_of([("scalar", VT.Double, [value], PLAIN)])
        parts.append(change)
    found = decoded(publish_response([], parts=parts))
    assert [s.value.tolist() for s in found.segments] == [[1.0], [2.0]]


def test_more_items_of_one_shape_than_one_window_are_one_segment():
    found = decoded(publish_response(items_of([("scalar", VT.Float, [0.5] * 700, PLAIN)])))
    assert [len(s.handle) for s in found.segments] == [700]


def test_a_run_ends_where_the_shape_changes():
    drawn = [
        ("scalar", VT.Double, [1.0] * 200, PLAIN),
        ("scalar", VT.Double, [2.0] * 3, PLAIN | {"status": 0x40000000}),
        ("scalar", VT.Double, [3.0] * 50, PLAIN),
    ]
    found = decoded(publish_response(items_of(drawn)))
    assert decoded_rows(found.segments) == expected_rows(drawn)
    assert (
        np.concatenate([s.value for s in found.segments]).tolist()
        == [1.0] * 200 + [2.0] * 3 + [3.0] * 50
    )


def test_a_message_without_data_is_a_keep_alive():
    for parts in ([], None):
        if parts is None:
            data = publish_response([], parts=[])
            # asyncua writes an empty array; others write a null one
            at = data.rindex(struct.pack("<i", 0) + struct.pack("<i", 0))
            data = data[:at] + struct.pack("<i", -1) + data[at + 4 :]
        else:
            data = publish_response([], parts=parts, sequence=12)
        assert decoded(data).is_keep_alive


def test_a_status_change_is_left_to_asyncua():
    change = ua.StatusChangeNotification()
    change.Status = ua.StatusCode(0x800A0000)
    data = publish_response([], parts=[change])
    with pytest.raises(NotFastError):
        decoded(data)
    response = struct_from_binary(ua.PublishResponse, Buffer(data))
    slow = from_asyncua(7, response.Parameters.NotificationMessage)
    assert slow.status_change == 0x800A0000


def test_a_bad_service_result_is_left_to_asyncua():
    data = bytearray(RESPONSE)
    data[4 + 8 + 4 + 3] = 0x80
    with pytest.raises(NotFastError):
        decoded(bytes(data))


# -- hostile bytes ---


def only_own_errors(data):
    try:
        found = decoded(data)
    except (DecodeError, NotFastError):
        return
    for segment in found.segments:
        assert len(segment.handle) == len(segment.value)


def test_every_truncation_is_refused():
    diagnostics = 4  # at the end, and not read
    for end in range(len(RESPONSE) - diagnostics):
        with pytest.raises((DecodeError, NotFastError)):
            decoded(RESPONSE[:end])


@given(at=st.integers(0, len(RESPONSE) - 1), mask=st.integers(1, 255))
@settings(max_examples=400)
def test_a_flipped_byte_gives_a_notification_or_an_own_error(at, mask):
    data = bytearray(RESPONSE)
    data[at] ^= mask
    only_own_errors(bytes(data))


@pytest.mark.slow
@pytest.mark.parametrize("mask", [0x01, 0x40, 0x80, 0xFF])
def test_each_byte_flipped_gives_a_notification_or_an_own_error(mask):
    for at in range(len(RESPONSE)):
        data = bytearray(RESPONSE)
        data[at] ^= mask
        only_own_errors(bytes(data))


@given(st.binary(max_size=80))
@settings(max_examples=300)
def test_random_items_behind_a_good_header_give_an_own_error(items):
    body = struct.pack("<i", 3) + items
    header = RESPONSE[: RESPONSE.index(b"\x01\x00\x2b\x03\x01")]
    data = header + b"\x01\x00\x2b\x03\x01" + struct.pack("<i", len(body)) + body + b"\0" * 8
    only_own_errors(data)


COUNT_AT = RESPONSE.index(b"\x01\x00\x2b\x03\x01") + 5 + 4


@pytest.mark.parametrize("count", [-(2**31), -2, 43, 45, 10**8, 2**31 - 1])
def test_a_lying_item_count_is_refused_or_reads_within_its_bytes(count):
    data = bytearray(RESPONSE)
    struct.pack_into("<i", data, COUNT_AT, count)
    if count > 44:
        with pytest.raises(DecodeError):
            decoded(bytes(data))
    else:
        only_own_errors(bytes(data))


@pytest.mark.parametrize("length", [-1, 0, 3, 2**31 - 1])
def test_a_lying_notification_length_is_refused(length):
    data = bytearray(RESPONSE)
    struct.pack_into("<i", data, COUNT_AT - 4, length)
    with pytest.raises(DecodeError):
        decoded(bytes(data))


def item(variant):
    """One item: handle 1, mask HAS_VALUE, and the bytes of its variant."""
    return struct.pack("<IB", 1, 1) + variant


@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(b"\x8b" + struct.pack("<i", 10**8), id="array of 10**8 Doubles"),
        pytest.param(b"\x8c" + struct.pack("<i", 10**8), id="array of 10**8 Strings"),
        pytest.param(b"\x8c" + struct.pack("<i", -5), id="negative array length"),
        pytest.param(b"\x0c" + struct.pack("<i", -5), id="negative string length"),
        pytest.param(b"\x0c" + struct.pack("<i", 2**31 - 1), id="string of 2 GB"),
        pytest.param(b"\x18" * 3000, id="variant in variant, 3000 deep"),
        pytest.param(
            b"\x98" + struct.pack("<i", 1) + (b"\x98\x01\0\0\0" * 500), id="arrays nested"
        ),
        pytest.param(b"\x17\x01" * 3000, id="data value in variant, deep"),
        pytest.param(b"\x19\x40" * 3000, id="diagnostic info, deep"),
        pytest.param(b"\x3f", id="unknown type"),
        pytest.param(b"\x80" + struct.pack("<i", 2**31 - 1), id="array of 2**31 nothings"),
        pytest.param(b"\x8f" + struct.pack("<ii", 10**8, -4), id="array that stands still"),
        pytest.param(
            b"\x16\x01\x00\xff\xff\x01" + struct.pack("<i", 4) + b"abcd", id="unknown struct"
        ),
        pytest.param(
            b"\xcb" + struct.pack("<idiii", 1, 1.0, 2, 50_000, 50_000), id="huge dimensions"
        ),
        pytest.param(b"\xcb" + struct.pack("<idii", 1, 1.0, 1, -3), id="negative dimension"),
        pytest.param(b"\xcb" + struct.pack("<idi", 1, 1.0, 0), id="no dimension"),
        pytest.param(b"\x0c" + struct.pack("<i", 2) + b"\xff\xfe", id="string that is not UTF-8"),
        pytest.param(b"\x0d" + struct.pack("<q", -(2**63)), id="earliest DateTime"),
        pytest.param(b"\x8d" + struct.pack("<iq", 1, 2**63 - 1), id="latest DateTime in an array"),
    ],
)
def test_a_hostile_value_gives_a_value_or_a_decode_error(variant):
    try:
        next_position, handle, *_ = decode_item(item(variant), 0)
    except DecodeError:
        return
    assert handle == 1
    assert next_position <= len(item(variant))


def test_hostile_values_do_not_slip_through_the_whole_decoder():
    for variant in (b"\x18" * 3000, b"\x8b" + struct.pack("<i", 10**8), b"\x3f"):
        body = struct.pack("<i", 1) + item(variant) + struct.pack("<i", -1)
        header = RESPONSE[: COUNT_AT - 4]
        only_own_errors(header + struct.pack("<i", len(body)) + body + b"\0" * 8)


# -- what the pinned asyncua has to keep ---


def test_the_numbers_written_here_are_asyncuas():
    ids = ua.ObjectIds
    four_byte = struct.Struct("<BBH")
    assert four_byte.pack(1, 0, ids.PublishResponse_Encoding_DefaultBinary) == (
        decode._PUBLISH_RESPONSE
    )
    assert decode._DATA_CHANGE[:4] == four_byte.pack(
        1, 0, ids.DataChangeNotification_Encoding_DefaultBinary
    )
    assert {t.value for t in VT if t.value in SCALARS} == set(SCALARS)


def test_a_buffer_of_asyncua_says_where_it_stands():
    buffer = Buffer(b"abcdef", 2)
    assert (buffer._data, buffer.cur_pos) == (b"abcdef", 2)
    buffer.read(1)
    assert buffer.cur_pos == 3
    assert data_value("scalar", VT.Int32, 1, PLAIN).Value.Value == 1
