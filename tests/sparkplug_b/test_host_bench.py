"""A host that is up and an edge node beside it, for the tests of the host."""

import json

import numpy as np

from sparkplug_b import (
    BirthMetric,
    CommandToSend,
    DataType,
    DeviceBirth,
    EdgeNodeSession,
    HostOptions,
    HostSession,
    MetricColumn,
    Payload,
    encode,
    encode_metrics,
)

T = 1_790_000_000_000
KEY = ("G", "N")


def metric(name, alias=None, **rest):
    rest = {"data_type": DataType.INT32, "value": 1, "time_ms": T} | rest
    return BirthMetric(name=name, alias=alias, **rest)


NODE = DeviceBirth(metrics=[metric("load", 1), metric("mode", data_type=DataType.STRING, value="")])
PRESS = DeviceBirth(device_id="Press", metrics=[metric("temp", 2)])


def body(alias, value, at=T):
    column = MetricColumn(
        DataType.INT32, np.array([alias], np.uint64), np.array([at]), np.array([value])
    )
    return encode_metrics(column).body


class Bench:
    """A host that is up, and an edge node whose messages it is given."""

    def __init__(self, *, bd_seq=7, is_up=True, **options):
        self.host = HostSession("H", options=HostOptions(**options))
        if is_up:
            self.host.will(T)
            self.host.connected()
            self.host.birth()
        self.connect(bd_seq)

    def connect(self, bd_seq):
        self.edge = EdgeNodeSession("G", "N", bd_seq=bd_seq)
        self.will = self.edge.will(T)
        self.edge.connected()

    def births(self, node=NODE, devices=(PRESS,), at=T):
        return list(self.edge.birth(node, devices, at))

    def give(self, *messages, at=T, retained=False):
        return [
            event
            for m in messages
            for event in self.host.on_message(m.topic, m.payload, retained=retained, now_ms=at)
        ]

    def born(self, at=T, **rest):
        self.give(*self.births(at=at, **rest), at=at)
        return self

    def send(self, kind, *metrics, seq=None, at=T):
        payload = encode(Payload(timestamp_ms=at, metrics=metrics, seq=seq))
        return self.host.on_message(f"spBv1.0/{kind}", payload, retained=False, now_ms=at)

    @property
    def node(self):
        return self.host.nodes[KEY]

    def value(self, name, device_id=None):
        scope = self.node.scope if device_id is None else self.node.devices[device_id]
        return scope.metrics[name].value


def kinds(events):
    return [type(event) for event in events]


def rebirths(events):
    return [e.message for e in events if isinstance(e, CommandToSend) and e.kind == "rebirth"]


def state(message):
    return json.loads(message.payload)


def test_the_edge_node_of_the_bench_is_seen_by_its_host():
    assert Bench().born().node.scope.is_online
