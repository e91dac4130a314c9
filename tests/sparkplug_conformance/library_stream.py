"""A stream made by `sparkplug_b.EdgeNodeSession` alone: what the gateway does not (yet) send.

NDATA, data sets, templates, files, names instead of aliases, a seq that wraps, a restart at bdSeq
255. There is no broker: the session's messages stand in the stream as it gave them.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from sparkplug_b import (
    BirthMetric,
    DataSet,
    DataType,
    DeviceBirth,
    EdgeNodeSession,
    MetaData,
    Metric,
    MetricColumn,
    OutboundMessage,
    Parameter,
    Payload,
    PropertySet,
    PropertySetList,
    PropertyValue,
    Template,
    encode,
    encode_metrics,
    next_bd_seq,
)
from tests.sparkplug_conformance.made_stream import WATCHER, Script
from tests.sparkplug_conformance.stream import (
    Closed,
    Disconnect,
    Event,
    Publish,
    Will,
)

NODE = ("Lib", "Node")
SESSIONS = 258
"""So many CONNECTs that bdSeq goes from 255 to 0 and on."""

_SCALARS: dict[DataType, object] = {
    DataType.INT8: -128,
    DataType.INT16: -1,
    DataType.INT32: -(2**31),
    DataType.INT64: -(2**63),
    DataType.UINT8: 255,
    DataType.UINT16: 65_535,
    DataType.UINT32: 2**32 - 1,
    DataType.UINT64: 2**64 - 1,
    DataType.FLOAT: 1.5,
    DataType.DOUBLE: 0.1,
    DataType.BOOLEAN: False,
    DataType.STRING: "ä",
    DataType.DATETIME: 1_790_000_000_000,
    DataType.TEXT: "",
    DataType.UUID: "6f1c1f9e-3b0a-4a53-9c0e-0a3f5b1c2d3e",
    DataType.BYTES: b"\0\xff",
    DataType.INT8_ARRAY: (-1, 2),
    DataType.INT16_ARRAY: (-1, 2),
    DataType.INT32_ARRAY: (-1, 2),
    DataType.INT64_ARRAY: (-1, 2),
    DataType.UINT8_ARRAY: (1, 2),
    DataType.UINT16_ARRAY: (1, 2),
    DataType.UINT32_ARRAY: (1, 2),
    DataType.UINT64_ARRAY: (1, 2),
    DataType.FLOAT_ARRAY: (0.5,),
    DataType.DOUBLE_ARRAY: (0.5,),
    DataType.BOOLEAN_ARRAY: (True, False),
    DataType.STRING_ARRAY: ("a", ""),
    DataType.DATETIME_ARRAY: (1_790_000_000_000,),
}


def _properties() -> dict[str, PropertyValue]:
    inner = PropertySet(entries={"low": PropertyValue(data_type=DataType.DOUBLE, value=0.5)})
    return {
        "Quality": PropertyValue(data_type=DataType.INT32, value=500),
        "engUnit": PropertyValue(data_type=DataType.STRING, value="bar"),
        "range": PropertyValue(data_type=DataType.PROPERTY_SET, value=inner),
        "all": PropertyValue(
            data_type=DataType.PROPERTY_SET_LIST, value=PropertySetList(sets=(inner, inner))
        ),
    }


def _templates(now_ms: int) -> list[BirthMetric]:
    """Return a definition with a nested one, and an instance; definitions come first by time."""
    limit = Parameter(name="limit", data_type=DataType.DOUBLE, value=1.0)
    maker = Parameter(name="maker", data_type=DataType.STRING, value="M")
    wear = Metric(name="wear", data_type=DataType.DOUBLE, value=0.0)
    bearing = Template(is_definition=True, metrics=(wear,))
    worn = Template(is_definition=False, template_ref="Bearing", metrics=(wear,))
    members = (
        Metric(name="speed", data_type=DataType.INT16, value=-5),
        Metric(name="bearing", data_type=DataType.TEMPLATE, value=worn),
    )
    motor = Template(is_definition=True, version="1", metrics=members, parameters=(limit, maker))
    instance = Template(
        is_definition=False, template_ref="Motor", metrics=members, parameters=(limit,)
    )
    named = {"Bearing": bearing, "Motor": motor, "motor 1": instance}
    return [
        BirthMetric(name=name, data_type=DataType.TEMPLATE, value=value, time_ms=now_ms)
        for name, value in named.items()
    ]


def node_birth(now_ms: int) -> DeviceBirth:
    table = DataSet(
        columns=("a", "b"),
        types=(DataType.INT32, DataType.STRING),
        rows=((-1, "x"), (2, "")),
    )
    file = MetaData(file_name="a.pdf", file_type="pdf", size=4, content_type="application/pdf")
    metrics = [
        *_templates(now_ms),
        BirthMetric(name="table", data_type=DataType.DATASET, value=table, time_ms=now_ms),
        BirthMetric(
            name="file", data_type=DataType.FILE, value=b"%PDF", time_ms=now_ms, metadata=file
        ),
        BirthMetric(
            name="load",
            alias=1,
            data_type=DataType.DOUBLE,
            value=0.5,
            time_ms=now_ms,
            properties=_properties(),
        ),
        BirthMetric(name="speed", alias=2, data_type=DataType.INT16, time_ms=now_ms),
    ]
    return DeviceBirth(metrics=metrics)


def device_birth(device: str, now_ms: int, first_alias: int | None) -> DeviceBirth:
    """Return a birth with a metric of every type; by name where `first_alias` is None."""
    metrics = [
        BirthMetric(
            name=f"types/{data_type.name}",
            alias=None if first_alias is None else first_alias + number,
            data_type=data_type,
            value=value,  # type: ignore[arg-type]
            time_ms=now_ms,
        )
        for number, (data_type, value) in enumerate(_SCALARS.items())
    ]
    return DeviceBirth(device_id=device, metrics=metrics)


def _doubles(alias: int, first: float, now_ms: int, count: int = 3) -> bytes:
    times = np.arange(now_ms, now_ms + count, dtype=np.int64)
    values = first + np.arange(count, dtype=np.float64)
    aliases = np.full(count, alias, np.uint64)
    return encode_metrics(MetricColumn(DataType.DOUBLE, aliases, times, values, None, None)).body


def _by_name(now_ms: int, value: object) -> bytes:
    """Return DATA metrics by name, without datatype."""
    metric = Metric(
        name="types/DOUBLE",
        time_ms=now_ms,
        data_type=DataType.DOUBLE,
        value=value,  # type: ignore[arg-type]
    )
    return encode(Payload(metrics=(metric,)), with_data_types=False)


class LibraryScript(Script):
    """Plays an edge node of the library."""

    def send(self, messages: Iterable[OutboundMessage] | OutboundMessage) -> None:
        for one in [messages] if isinstance(messages, OutboundMessage) else messages:
            self.publish(one.topic, one.payload, one.qos, retain=one.retain)

    def open_session(self, bd_seq: int, level: int) -> EdgeNodeSession:
        session = EdgeNodeSession(*NODE, bd_seq=bd_seq)
        will = session.will(self.now_ms)
        told = Will(topic=will.topic, payload=will.payload, qos=will.qos, retain=will.retain)
        self.connect("library", told, level)
        # the session's own list, in place of none
        wanted = session.subscriptions()
        self.subscribe(wanted)
        session.connected()
        return session

    def births(self, session: EdgeNodeSession) -> None:
        now_ms = self.now_ms
        devices = [device_birth("ByAlias", now_ms, 100), device_birth("ByName", now_ms, None)]
        self.send(session.birth(node_birth(now_ms), devices, now_ms))

    def close(self) -> None:
        self.add(Closed())


def library_stream() -> list[Event]:
    script = LibraryScript()
    bd_seq = next_bd_seq(None)
    session = script.open_session(bd_seq, 4)
    will = session.will(script.now_ms)
    script.births(session)
    for number in range(300):  # past seq 255
        now_ms = script.now_ms
        script.send(session.data(None, _doubles(1, 10.0 * number, now_ms), now_ms))
        alias = 100 + list(_SCALARS).index(DataType.DOUBLE)
        script.send(session.data("ByAlias", _doubles(alias, 10.0 * number, now_ms), now_ms))
        script.send(session.data("ByName", _by_name(now_ms, float(number)), now_ms))
    script.births(session)  # as after a rebirth command
    now_ms = script.now_ms
    script.send(session.device_death("ByName", now_ms))
    script.send(session.device_birth(device_birth("ByName", now_ms, None), now_ms))
    script.send(session.data("ByName", _by_name(now_ms, 0.5), now_ms))
    session.disconnected()
    script.close()
    script.add(Publish(topic=will.topic, payload=will.payload), "broker", connection=WATCHER)
    for _ in range(SESSIONS):
        bd_seq = next_bd_seq(bd_seq)
        session = script.open_session(bd_seq, 4)
        script.births(session)
        script.send(session.death(script.now_ms))
        script.add(Disconnect())
        script.close()
    return script.events
