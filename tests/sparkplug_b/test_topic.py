import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkplug_b import (
    StateTopic,
    Topic,
    TopicError,
    advise_metric_name,
    check_metric_name,
    check_metric_names,
    device_topic,
    node_topic,
    parse_topic,
    state_topic,
)
from sparkplug_b.topic import DEVICE_MESSAGES, NODE_MESSAGES

IDS = st.text(
    st.characters(exclude_characters="+/#", exclude_categories=["Cc"], codec="utf-8"),
    min_size=1,
    max_size=20,
)


@pytest.mark.sparkplug(
    "tck-id-intro-group-id-string",
    "tck-id-intro-edge-node-id-string",
    "tck-id-topic-structure-namespace-valid-group-id",
    "tck-id-topic-structure-namespace-valid-edge-node-id",
)
@given(IDS, st.sampled_from(NODE_MESSAGES), IDS)
def test_node_topics_come_back(group_id, message, node_id):
    found = parse_topic(node_topic(group_id, message, node_id))
    assert found == Topic(group_id=group_id, message=message, node_id=node_id)


@pytest.mark.sparkplug(
    "tck-id-intro-device-id-string",
    "tck-id-topic-structure-namespace-valid-device-id",
)
@given(IDS, st.sampled_from(DEVICE_MESSAGES), IDS, IDS)
def test_device_topics_come_back(group_id, message, node_id, device_id):
    found = parse_topic(device_topic(group_id, message, node_id, device_id))
    assert found == Topic(group_id=group_id, message=message, node_id=node_id, device_id=device_id)


@given(IDS)
def test_state_topics_come_back(host_id):
    assert parse_topic(state_topic(host_id)) == StateTopic(host_id=host_id)


def test_topics_have_the_form_of_the_specification():
    assert node_topic("G", "NBIRTH", "N") == "spBv1.0/G/NBIRTH/N"
    assert device_topic("G", "DDATA", "N", "D") == "spBv1.0/G/DDATA/N/D"
    assert state_topic("H") == "spBv1.0/STATE/H"


def test_a_group_named_state_is_not_a_state_topic():
    assert parse_topic("spBv1.0/STATE/NDATA/N") == Topic(
        group_id="STATE", message="NDATA", node_id="N"
    )


@pytest.mark.sparkplug(
    "tck-id-topic-structure",
    "tck-id-topic-structure-namespace-a",
    "tck-id-topic-structure-namespace-device-id-associated-message-types",
    "tck-id-topic-structure-namespace-device-id-non-associated-message-types",
)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "spBv1.0",
        "spAv1.0/G/NDATA/N",
        "SPBV1.0/G/NDATA/N",
        "spBv1.0/G/NDATA",
        "spBv1.0/STATE/",
        "spBv1.0/state/H",
        "spBv1.0/G/NDATA/N/D",
        "spBv1.0/G/DDATA/N",
        "spBv1.0/G/DDATA/N/D/E",
        "spBv1.0/G/ndata/N",
        "spBv1.0/G/XDATA/N",
        "spBv1.0//NDATA/N",
        "spBv1.0/G/NDATA/",
        "spBv1.0/G/DDATA/N/",
        "spBv1.0/+/NDATA/N",
        "spBv1.0/G/NDATA/#",
        "spBv1.0/G/NDATA/N\0",
        "/spBv1.0/G/NDATA/N",
        "spBv1.0/G/NDATA/" + "n" * 70_000,
    ],
)
def test_other_topics_are_refused(text):
    with pytest.raises(TopicError):
        parse_topic(text)


@given(st.text(max_size=40))
def test_no_text_raises_anything_but_topic_error(text):
    for candidate in (text, f"spBv1.0/{text}", f"spBv1.0/G/NDATA/{text}"):
        try:
            assert parse_topic(candidate)
        except TopicError:
            continue


@pytest.mark.sparkplug(
    "tck-id-intro-group-id-chars",
    "tck-id-intro-edge-node-id-chars",
    "tck-id-intro-device-id-chars",
    "tck-id-topic-structure-namespace-valid-group-id",
    "tck-id-topic-structure-namespace-valid-edge-node-id",
    "tck-id-topic-structure-namespace-valid-device-id",
)
@pytest.mark.parametrize("bad", ["", "a/b", "+", "a#", "a\0b", "a\n", "\x7f", "\x85", "\ud800"])
def test_bad_ids_are_refused_everywhere(bad):
    for build in (
        lambda: node_topic(bad, "NDATA", "N"),
        lambda: node_topic("G", "NDATA", bad),
        lambda: device_topic("G", "DDATA", "N", bad),
        lambda: device_topic(bad, "DDATA", "N", "D"),
        lambda: state_topic(bad),
    ):
        with pytest.raises(TopicError):
            build()


def test_a_message_of_the_other_kind_is_refused():
    with pytest.raises(TopicError):
        node_topic("G", "DDATA", "N")
    with pytest.raises(TopicError):
        device_topic("G", "NDATA", "N", "D")


@pytest.mark.parametrize("name", ["a", "Press 1/Temp", "bdSeq", "größe", "温度"])
def test_usable_names_have_no_fault(name):
    assert check_metric_name(name) is None


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("", "empty"),
        ("a\0", "control characters"),
        ("a\tb", "control characters"),
        ("\ud800", "UTF-8"),
        ("/a", "'/'"),
        ("a/", "'/'"),
        ("a//b", "'//'"),
    ],
)
def test_unusable_names_say_why(name, word):
    assert word in check_metric_name(name)


def test_names_with_characters_that_hosts_dislike_get_advice_only():
    assert check_metric_name("a.b") is None
    assert "." in advise_metric_name("a.b")
    assert advise_metric_name("a_b-c/d 1") is None


@pytest.mark.sparkplug(
    "tck-id-case-sensitivity-metric-names",
)
def test_names_of_one_birth_are_checked_together():
    assert check_metric_names(["a/b", "a/c", "d"]) == []
    assert check_metric_names(["a", "a"]) == ["'a': stands twice"]
    assert check_metric_names(["a", "A"]) == ["'A': differs only in case from 'a'"]
    assert check_metric_names(["a/b", "a"]) == ["'a': is also a folder of 'a/b'"]
    assert len(check_metric_names(["", "x//y"])) == 2
