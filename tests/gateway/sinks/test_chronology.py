"""Live metrics of one message stand in order of time; history may come as it is."""

from itertools import groupby, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sinks.sparkplug.encode import TagPlaces, encode_rows
from sparkplug_b import DataType
from sparkplug_b import sparkplug_b_pb2 as pb
from tests.gateway.sinks.tags import definition, row
from tests.gateway.sinks.test_encode import TAGS, TYPES, batch_of

T_MS = 1_700_000_000_000
DOUBLE, INT32 = TYPES.index(DataType.DOUBLE), TYPES.index(DataType.INT32)


def messages_of(samples, *, is_historical=False):
    """[(alias, time_ms) in order] per message, of samples (tag, time_ms)."""
    rows = [(tag, time_ms * 1000, 0, 1 if tag == INT32 else 1.0) for tag, time_ms in samples]
    tags = [definition(d.index, d.data_type, device="d") for d in TAGS]
    found, left_out = encode_rows(
        [row(batch_of(rows))], TagPlaces(tags), is_historical=is_historical
    )
    assert left_out == 0
    bodies = [pb.Payload.FromString(data.body) for data in found]
    return [[(m.alias, m.timestamp) for m in body.metrics] for body in bodies]


@pytest.mark.sparkplug("tck-id-operational-behavior-data-publish-dbirth-order")
@given(st.lists(st.tuples(st.sampled_from([DOUBLE, INT32]), st.integers(0, 40)), min_size=1))
@settings(max_examples=200, deadline=None)
def test_times_never_go_back_within_a_message_and_a_tag_s_samples_keep_their_order(samples):
    messages = messages_of([(tag, T_MS + after) for tag, after in samples])
    for message in messages:
        times = [time for _, time in message]
        assert times == sorted(times)
    sent = [metric for message in messages for metric in message]
    for tag in (DOUBLE, INT32):
        wanted = [T_MS + after for t, after in samples if t == tag]
        assert [time for alias, time in sent if alias == tag + 1] == wanted


def test_one_scan_of_all_types_is_one_message():
    assert len(messages_of([(DOUBLE, T_MS), (INT32, T_MS)])) == 1


def test_several_samples_of_tags_of_one_type_are_one_message():
    queued = [(DOUBLE, T_MS + n) for n in range(9)]
    assert len(messages_of(queued)) == 1


def test_history_is_not_sorted_and_not_cut():
    samples = [(INT32, T_MS + 5), (INT32, T_MS), (DOUBLE, T_MS + 9), (DOUBLE, T_MS)]
    [message] = messages_of(samples, is_historical=True)
    by_alias = {
        alias: [time for _, time in group] for alias, group in groupby(message, lambda m: m[0])
    }
    assert by_alias[INT32 + 1] == [T_MS + 5, T_MS]
    assert any(later < earlier for (_, earlier), (_, later) in pairwise(message))
