"""Publish responses as a server writes them: built and encoded with asyncua's own classes."""

import itertools
import struct
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary
from hypothesis import strategies as st

from gateway.sources.opcua.types import EPOCH_TICKS, hold
from gateway.sources.opcua.varied import HELD_TYPES
from tests.contract.batches import SPECIAL_BITS

VT = ua.VariantType
WIN_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


def moment(time_us):
    """A datetime from µs since 1601."""
    return WIN_EPOCH + timedelta(microseconds=time_us)


def integers(bits, *, signed):
    return (
        st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        if signed
        else st.integers(0, 2**bits - 1)
    )


DOUBLES = st.one_of(
    st.sampled_from(SPECIAL_BITS).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0]),
    st.floats(),
)
TIMES_US = st.integers(1, 11_000_000_000_000_000 + 11_644_473_600_000_000)  # to the year 2318
MOMENTS = TIMES_US.map(moment)
TEXTS = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=6))
SCALARS = {
    VT.Boolean: st.booleans(),
    VT.SByte: integers(8, signed=True),
    VT.Byte: integers(8, signed=False),
    VT.Int16: integers(16, signed=True),
    VT.UInt16: integers(16, signed=False),
    VT.Int32: integers(32, signed=True),
    VT.UInt32: integers(32, signed=False),
    VT.Int64: integers(64, signed=True),
    VT.UInt64: integers(64, signed=False),
    VT.Float: st.floats(width=32),
    VT.Double: DOUBLES,
    VT.DateTime: MOMENTS,
}
SLOW = {
    VT.String: TEXTS,
    VT.ByteString: st.one_of(st.none(), st.binary(max_size=6)),
    VT.Guid: st.uuids(),
    VT.StatusCode: st.integers(0, 2**32 - 1).map(ua.StatusCode),
    VT.LocalizedText: TEXTS.map(ua.LocalizedText),
    VT.NodeId: st.one_of(
        st.text("ab", min_size=1, max_size=3).map(lambda s: ua.NodeId(s, 2)),
        st.tuples(st.sampled_from([0, 255, 256, 70_000]), st.sampled_from([0, 3, 300])).map(
            lambda pair: ua.NodeId(*pair)
        ),
        st.uuids().map(lambda guid: ua.NodeId(guid, 1)),
    ),
    VT.ExpandedNodeId: st.sampled_from(
        [ua.ExpandedNodeId(5, 1), ua.ExpandedNodeId("x", 1, NamespaceUri="urn:a")]
    ),
    VT.QualifiedName: TEXTS.map(lambda text: ua.QualifiedName(text, 3)),
    VT.XmlElement: TEXTS.map(ua.XmlElement),
}


def _as_asyncua_can(mask):
    """Leave out what asyncua writes in another order than OPC 10000-6, 5.2.2.17 has it."""
    return mask if mask["server_us"] is None else mask | {"source_pico": None}


# hypothesis floats of width 32 are exact, and a Float's NaN is quiet on every machine
RUN_LENGTHS = st.sampled_from([1, 1, 2, 3, 14, 15, 16, 17, 33])
MASKS = st.fixed_dictionaries(
    {
        "status": st.one_of(st.none(), st.sampled_from([0, 0x80000000, 0x00000480, 0xFFFFFFFF])),
        "source_us": st.one_of(st.none(), TIMES_US),
        "server_us": st.one_of(st.none(), TIMES_US),
        "source_pico": st.one_of(st.none(), st.integers(0, 9999)),
        "server_pico": st.one_of(st.none(), st.integers(0, 9999)),
    }
).map(_as_asyncua_can)
KINDS = st.one_of(
    st.sampled_from(sorted(SCALARS, key=int)).map(lambda t: ("scalar", t)),
    st.sampled_from(sorted(SLOW, key=int)).map(lambda t: ("slow", t)),
    st.sampled_from([VT.Boolean, VT.Int16, VT.Double, VT.String]).map(lambda t: ("array", t)),
    st.sampled_from(["null", "valueless"]).map(lambda kind: (kind, VT.Null)),
)


@st.composite
def runs(draw):
    """A run of alike items: (kind, type, values, mask)."""
    kind, vtype = draw(KINDS)
    length = draw(RUN_LENGTHS if kind == "scalar" else st.integers(1, 3))
    mask = draw(MASKS)
    if kind == "scalar":
        values = draw(st.lists(SCALARS[vtype], min_size=1, max_size=3))
    elif kind == "slow":
        values = draw(st.lists(SLOW[vtype], min_size=1, max_size=2))
    elif kind == "array":
        element = (SCALARS | {VT.String: TEXTS})[vtype]
        values = draw(st.lists(st.lists(element, max_size=3), min_size=1, max_size=2))
    else:
        values = [None]
        length = draw(st.sampled_from([1, 2, 20]))
    return kind, vtype, list(itertools.islice(itertools.cycle(values), length)), mask


HANDLES_COUNT = 5


def data_value(kind, vtype, value, mask):
    """One DataValue with exactly the mask's fields."""
    found = ua.DataValue(
        ua.Variant(value, vtype, is_array=kind == "array"),
        StatusCode=None if mask["status"] is None else ua.StatusCode(mask["status"]),
        SourceTimestamp=None if mask["source_us"] is None else moment(mask["source_us"]),
        ServerTimestamp=None if mask["server_us"] is None else moment(mask["server_us"]),
        SourcePicoseconds=mask["source_pico"],
        ServerPicoseconds=mask["server_pico"],
    )
    if kind == "valueless":
        object.__setattr__(found, "Value", None)
    return found


def items_of(drawn):
    """Monitored item notifications of drawn runs, with handles in turn."""
    return [
        ua.MonitoredItemNotification(ClientHandle=number % HANDLES_COUNT, Value=data_value(*item))
        for number, item in enumerate(
            (kind, vtype, value, mask) for kind, vtype, values, mask in drawn for value in values
        )
    ]


def publish_response(items, *, sequence=1, subscription=7, available=(), results=(), parts=None):
    """The bytes of a publish response; ``parts`` replaces the one data change."""
    response = ua.PublishResponse()
    result = response.Parameters
    result.SubscriptionId = subscription
    result.AvailableSequenceNumbers = list(available)
    result.MoreNotifications = False
    result.Results = [ua.StatusCode(code) for code in results]
    result.NotificationMessage.SequenceNumber = sequence
    result.NotificationMessage.PublishTime = moment(12_000_000_000_000_000)
    if parts is None:
        change = ua.DataChangeNotification()
        change.MonitoredItems = list(items)
        parts = [change]
    result.NotificationMessage.NotificationData = parts
    return struct_to_binary(response)


def ticks_of(mask):
    """Source time, or server time, of an item in ticks; 0 for neither."""
    time_us = mask["source_us"] if mask["source_us"] is not None else mask["server_us"]
    return 0 if time_us is None else time_us * 10


def comparable(type_id, value):
    """A value so that equal means bit-equal, whichever decoder it came from."""
    if isinstance(value, datetime):
        return (value - WIN_EPOCH) // timedelta(microseconds=1)
    if isinstance(value, list):
        return [comparable(type_id, v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if type_id in HELD_TYPES:
        return hold(type_id, value, is_array=False)[1]
    return _of_type(type_id, value)


def _of_type(type_id, value):
    if type_id == 13:
        return int(value) // 10
    if type_id == 14 and isinstance(value, bytes):
        return UUID(bytes_le=value)
    if type_id in {10, 11} and isinstance(value, float):
        return struct.pack("<d", value)
    if type_id == 1 and isinstance(value, (bool, int)):
        return bool(value)
    return value.value if isinstance(value, ua.StatusCode) else value


def expected_rows(drawn):
    """(handle, type, is array) -> [(ticks, status, value)] of drawn runs, in order."""
    rows = {}
    number = 0
    for kind, vtype, values, mask in drawn:
        for value in values:
            key = (number % HANDLES_COUNT, vtype.value, kind == "array")
            status = mask["status"] or 0
            rows.setdefault(key, []).append(
                (ticks_of(mask), status, comparable(vtype.value, value))
            )
            number += 1
    return rows


def decoded_rows(segments):
    """The same of decoded segments."""
    rows = {}
    for segment in segments:
        assert (
            len(segment.handle) == len(segment.ticks) == len(segment.status) == len(segment.value)
        )
        values = list(segment.value)
        for handle, ticks, status, value in zip(
            segment.handle.tolist(),
            segment.ticks.tolist(),
            segment.status.tolist(),
            values,
            strict=True,
        ):
            key = (handle, segment.type_id, segment.is_array)
            rows.setdefault(key, []).append((ticks, status, comparable(segment.type_id, value)))
    return rows


def us_1970(time_us_1601):
    """µs since 1970 of µs since 1601."""
    return time_us_1601 - EPOCH_TICKS // 10
