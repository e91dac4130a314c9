"""A recording decodes to what was sent, through births, aliases and torn ends."""

import numpy as np

from bench.frames import HEADER, decode_recording
from sparkplug_b.sparkplug_b_pb2 import Payload


def frame(arrival_us, topic, payload):
    body = payload.SerializeToString()
    return HEADER.pack(arrival_us, len(topic), len(body)) + topic.encode() + body


def birth(names, values=None):
    payload = Payload(timestamp=5)
    for alias, name in names.items():
        metric = payload.metrics.add(name=name, alias=alias)
        if values and alias in values:
            metric.double_value = values[alias]
            metric.timestamp = 4
        else:
            metric.is_null = True
    return payload


def data(*rows, historical=False):
    payload = Payload(timestamp=9)
    for alias, value, time_ms in rows:
        metric = payload.metrics.add(alias=alias, double_value=value)
        if time_ms:
            metric.timestamp = time_ms
        if historical:
            metric.is_historical = True
    return payload


def decode(tmp_path, *frames):
    path = tmp_path / "frames"
    path.write_bytes(b"".join(frames))
    return decode_recording(path)


def test_values_come_with_their_tag_times_and_flags(tmp_path):
    recording = decode(
        tmp_path,
        frame(10, "spBv1.0/G/NBIRTH/N", birth({1: "bdSeq"})),
        frame(11, "spBv1.0/G/DBIRTH/N/Load", birth({7: "Load/T00001", 8: "T00002"}, {8: 41})),
        frame(12, "spBv1.0/G/DDATA/N/Load", data((7, 40, 3), (8, 42, None))),
        frame(13, "spBv1.0/G/DDATA/N/Load", data((7, 39, 2), historical=True)),
    )
    values = recording.values
    assert values.tag.tolist() == [2, 1, 2, 1]
    assert values.counter.tolist() == [41, 40, 42, 39]
    assert values.source_us.tolist() == [4000, 3000, 9000, 2000]
    assert values.arrival_us.tolist() == [11, 12, 12, 13]
    assert values.from_birth.tolist() == [True, False, False, False]
    assert values.is_historical.tolist() == [False, False, False, True]
    assert (recording.births, recording.data_messages, recording.unknown_alias) == (2, 2, 0)


def test_a_value_under_an_unknown_alias_is_counted_as_such(tmp_path):
    recording = decode(tmp_path, frame(1, "spBv1.0/G/DDATA/N/Load", data((7, 1, 1))))
    assert recording.unknown_alias == 1
    assert len(recording.values) == 0


def test_a_new_birth_may_give_an_alias_another_tag(tmp_path):
    recording = decode(
        tmp_path,
        frame(1, "spBv1.0/G/DBIRTH/N/Load", birth({7: "T00001"})),
        frame(2, "spBv1.0/G/DDATA/N/Load", data((7, 1, 1))),
        frame(3, "spBv1.0/G/DBIRTH/N/Load", birth({7: "T00002"})),
        frame(4, "spBv1.0/G/DDATA/N/Load", data((7, 1, 1))),
    )
    assert recording.values.tag.tolist() == [1, 2]


def test_a_torn_last_frame_is_left_out(tmp_path):
    whole = frame(1, "spBv1.0/G/DBIRTH/N/Load", birth({7: "T00001"}))
    value = frame(2, "spBv1.0/G/DDATA/N/Load", data((7, 1, 1)))
    for cut in range(len(value)):
        recording = decode(tmp_path, whole, value, value[:cut])
        assert np.array_equal(recording.values.counter, [1])
