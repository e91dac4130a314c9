"""What the document says of writing, methods, conditions and events; off where it says nothing."""

import copy

import pytest

from contract.config_acting import ConditionsConfig, WriteConfig
from contract.config_check import check_config
from tests.contract.documents import GOOD
from tests.contract.test_config_check import SOURCE, TAG, faults_of, only_fault


def changed(document, path, value):
    """Return a document with one place changed; the path is keys and indexes."""
    document = copy.deepcopy(document)
    at = document
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return document


METHOD = {"name": "start", "object": "nsu=urn:x;s=Mixer", "method": "nsu=urn:x;s=Mixer.Start"}
EVENTS = {"name": "Alarms", "group": "fast"}


def test_without_a_word_nothing_may_be_done():
    source = check_config(GOOD).sources[0]
    assert not any(tag.writable or tag.write for tag in source.tags)
    assert source.methods == []
    assert source.events == []
    assert source.conditions == ConditionsConfig(acknowledge=False)
    assert source.profile is None


def test_what_may_be_done_is_said_at_its_place():
    document = changed(GOOD, (*TAG, "writable"), True)
    document = changed(document, (*TAG, "write"), {"low": 0, "high": 100.0})
    document = changed(document, (*SOURCE, "methods"), [METHOD])
    document = changed(document, (*SOURCE, "conditions"), {"acknowledge": True})
    document = changed(document, (*SOURCE, "events"), [EVENTS])
    document = changed(document, (*SOURCE, "profile"), "s7-1500")
    source = check_config(document).sources[0]
    assert source.tags[0].write == WriteConfig(low=0.0, high=100.0, read_back_ms=1000)
    assert source.methods[0].name == "start"
    assert source.conditions.acknowledge
    assert source.events[0].node == "ns=0;i=2253"
    assert source.events[0].severity_min == 1


@pytest.mark.parametrize(
    ("write", "writable", "code", "key"),
    [
        ({"low": 1}, False, "config.conflict", "write"),
        ({"low": 2, "high": 1}, True, "config.out_of_range", "write.low"),
        ({"high": float("inf")}, True, "config.out_of_range", "write.high"),
        ({"read_back_ms": 60_000}, True, "config.out_of_range", "write.read_back_ms"),
        ({"min": 1}, True, "config.unknown_key", "write.min"),
    ],
)
def test_limits_that_say_nothing_or_everything_are_faults(write, writable, code, key):
    document = changed(changed(GOOD, (*TAG, "writable"), writable), (*TAG, "write"), write)
    fault = only_fault(document)
    assert (fault.code, fault.path) == (code, f"sources[0].tags[0].{key}")


@pytest.mark.parametrize(
    ("events", "code", "key"),
    [
        ({"group": "none"}, "config.unknown_group", "group"),
        ({"node": "i=2253"}, "config.bad_node", "node"),
        ({"types": ["ns=0;i=2130", "ns=3;i=1"]}, "config.bad_node", "types[1]"),
        ({"severity_min": 0}, "config.out_of_range", "severity_min"),
        ({"name": "Press/Temperature", "device": "Press"}, "config.duplicate_metric", "name"),
        ({"severity": 5}, "config.unknown_key", "severity"),
    ],
)
def test_a_stream_that_cannot_be_is_named(events, code, key):
    document = changed(GOOD, (*SOURCE, "events"), [EVENTS | events])
    found = {(fault.code, fault.path) for fault in faults_of(document)}
    assert found == {(code, f"sources[0].events[0].{key}")}


def test_events_do_not_come_in_a_polled_group():
    document = changed(GOOD, (*SOURCE, "events"), [EVENTS])
    document = changed(document, (*SOURCE, "groups", 0, "mode"), "poll")
    (fault,) = (f for f in faults_of(document) if "events" in f.path)
    assert fault.code == "config.conflict"
    assert "subscribe" in fault.remedy


def test_methods_have_names_of_their_own_and_nodes_that_last():
    document = changed(GOOD, (*SOURCE, "methods"), [METHOD, METHOD | {"object": "ns=2;s=Mixer"}])
    assert [(f.code, f.path) for f in faults_of(document)] == [
        ("config.bad_node", "sources[0].methods[1].object"),
        ("config.duplicate_method", "sources[0].methods[1].name"),
    ]
