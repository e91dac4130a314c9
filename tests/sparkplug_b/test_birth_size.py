"""Births against the broker's greatest packet: measured before anything is sent."""

import pytest

from sparkplug_b import (
    BirthFit,
    BirthMetric,
    DataType,
    DeviceBirth,
    EdgeNodeSession,
    EdgeOptions,
    EncodeError,
    MetaData,
    PacketTooLargeError,
    PropertyValue,
    decode,
)
from sparkplug_b.birth_size import packet_bytes

T = 1_790_000_000_000


def text(value):
    return PropertyValue(data_type=DataType.STRING, value=value)


def metrics(count, **properties):
    return [
        BirthMetric(
            name=f"Hall/Line {n % 7}/value {n}",
            alias=n + 1,
            data_type=DataType.DOUBLE,
            value=n / 8,
            time_ms=T,
            properties=properties or None,
        )
        for n in range(count)
    ]


def device(count, **properties):
    return DeviceBirth(device_id="Press", metrics=metrics(count, **properties))


def session(limit=None, connack=None, **rest):
    edge = EdgeNodeSession("G", "N", bd_seq=0, options=EdgeOptions(packet_bytes_max=limit), **rest)
    edge.connected(packet_bytes_max=connack)
    return edge


@pytest.mark.parametrize("limits", [(2_000, None), (None, 2_000), (9_999, 2_000), (2_000, 9_999)])
def test_a_birth_beyond_the_limit_is_refused_before_anything_is_sent(limits):
    edge = session(*limits)
    with pytest.raises(PacketTooLargeError) as caught:
        edge.birth(
            DeviceBirth(), [device(2), DeviceBirth(device_id="Big", metrics=metrics(90)[2:])], T
        )
    error = caught.value
    assert (error.message, error.device_id, error.packet_bytes_max) == ("DBIRTH", "Big", 2_000)
    assert error.packet_bytes > 2_000
    assert "device 'Big' takes" in str(error)
    assert (edge.state, edge.seq) == ("connected", 0)
    messages = list(edge.birth(DeviceBirth(), [device(2)], T))  # and what fits can be born yet
    assert [decode(m.payload).seq for m in messages] == [0, 1]
    assert edge.state == "born"


def test_the_nodes_own_birth_and_later_devices_and_data_have_the_limit_too():
    edge = session(1_000)
    with pytest.raises(PacketTooLargeError, match="NBIRTH of the edge node"):
        edge.birth(DeviceBirth(metrics=metrics(50)), [], T)
    list(edge.birth(DeviceBirth(), [], T))
    with pytest.raises(PacketTooLargeError, match="DBIRTH of device 'Press'"):
        edge.device_birth(device(50), T)
    with pytest.raises(PacketTooLargeError, match="NDATA of the edge node"):
        edge.data(None, bytes(1_000), T)
    assert edge.seq == 1
    edge.device_birth(device(3), T)
    assert edge.seq == 2


def test_births_of_the_very_size_are_sent():
    birth = device(100)
    (_, dbirth) = session().birth(DeviceBirth(), [birth], T)
    size = packet_bytes(dbirth.topic, dbirth.payload)
    assert len(list(session(size).birth(DeviceBirth(), [birth], T))) == 2
    with pytest.raises(PacketTooLargeError):
        session(size - 1).birth(DeviceBirth(), [birth], T)


@pytest.mark.parametrize("unit", ["ms", "ns"])
def test_a_size_that_is_foretold_is_a_close_upper_bound(unit):
    fit = BirthFit("G", "N", 10_000, payload_uuid="u" * 36, timestamp_unit=unit)
    edge = EdgeNodeSession(
        "G", "N", bd_seq=255, payload_uuid="u" * 36, options=EdgeOptions(timestamp_unit=unit)
    )
    edge.connected()
    node, press = DeviceBirth(metrics=metrics(20)), device(0)
    births = (node, press)
    for birth, message in zip(births, edge.birth(node, [press], T), strict=True):
        size = packet_bytes(message.topic, message.payload)
        assert size <= fit.packet_bytes(birth) <= size + 64


def test_a_split_device_keeps_all_metrics_in_order_and_every_part_fits():
    birth = device(1_000, engUnit=text("mm"))
    parts = BirthFit("G", "N", 9_000).split(birth, taken_ids={"Press-2"})
    assert [part.device_id for part in parts][:3] == ["Press", "Press-3", "Press-4"]
    assert [m for part in parts for m in part.metrics] == birth.metrics
    messages = list(session(9_000).birth(DeviceBirth(), parts, T))
    sizes = [packet_bytes(m.topic, m.payload) for m in messages[1:]]
    assert min(sizes[:-1]) > 8_900  # none is left half empty


def test_what_fits_is_neither_split_nor_slimmed():
    fit, birth = BirthFit("G", "N", 9_000), device(10, Documentation=text("x"))
    assert fit.split(birth) == [birth]
    assert fit.slim(birth) == (birth, ())


def test_documentation_is_left_out_first_units_last_and_quality_never():
    quality = PropertyValue(data_type=DataType.INT32, value=0)
    birth = device(
        20,
        engUnit=text("mm"),
        Quality=quality,
        Vendor=text("v" * 20),
        Documentation=text("d" * 100),
        engHigh=PropertyValue(data_type=DataType.DOUBLE, value=1.0),
    )
    sizes, order = [], ()
    for limit in (5_200, 2_800, 2_100, 1_300):
        slim, order = BirthFit("G", "N", limit).slim(birth)
        sizes.append(len(order))
        assert BirthFit("G", "N", limit).packet_bytes(slim) <= limit
        assert all(m.properties["Quality"] == quality for m in slim.metrics)
    assert order == ("Documentation", "Vendor", "engHigh", "engUnit")
    assert sizes == [0, 1, 2, 4]


def test_the_description_of_the_metadata_goes_with_the_documentation():
    metadata = MetaData(content_type="image/png", description="d" * 500)
    one = BirthMetric(name="a", data_type=DataType.FILE, value=b"x", time_ms=T, metadata=metadata)
    birth = DeviceBirth(device_id="D", metrics=[one])
    slim, left_out = BirthFit("G", "N", 300).slim(birth)
    assert left_out == ("Description",)
    assert slim.metrics[0].metadata == MetaData(content_type="image/png")


def test_what_cannot_be_made_to_fit_is_said():
    fit = BirthFit("G", "N", 300)
    huge = BirthMetric(name="h", data_type=DataType.STRING, value="x" * 400, time_ms=T)
    with pytest.raises(PacketTooLargeError, match="DBIRTH of device 'Press'"):
        fit.split(DeviceBirth(device_id="Press", metrics=[*metrics(2), huge]))
    with pytest.raises(PacketTooLargeError, match="NBIRTH of the edge node"):
        fit.split(DeviceBirth(metrics=metrics(20)))
    with pytest.raises(PacketTooLargeError):
        fit.slim(device(20))


@pytest.mark.parametrize("name", ["a\0", "tab\t", "\x1b[0m"])
def test_a_metric_name_with_control_characters_is_not_born(name):
    one = BirthMetric(name=name, data_type=DataType.INT8, value=1, time_ms=T)
    with pytest.raises(EncodeError, match="control characters") as caught:
        session().birth(DeviceBirth(metrics=[one]), [], T)
    assert caught.value.field == name
