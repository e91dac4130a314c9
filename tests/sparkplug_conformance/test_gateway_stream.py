"""The gateway's own stream, through start, rebirth, losses and its kill, keeps every rule.

One test per rule, so that each requirement in the matrix has a result of its own. A rule that the
stream gave no occasion to judge fails as well. That each rule can fail shows `test_checker.py`.
"""

import pytest

from tests.sparkplug_conformance.checker import check_node
from tests.sparkplug_conformance.report import RULES
from tests.sparkplug_conformance.scenario import HOST_ID, MACHINES, NODE
from tests.sparkplug_conformance.stream import Disconnect

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture(scope="module")
def report(scene):
    return check_node(scene.events, NODE, host_id=HOST_ID)


def test_the_gateway_breaks_no_rule(report):
    """All rules in one: also those that no requirement of the list stands behind."""
    assert [str(one) for one in report.violations] == []


@pytest.mark.sparkplug("tck-id-operational-behavior-device-ddeath")
def test_a_lost_source_is_the_death_of_its_devices_and_they_are_born_again(scene):
    dead = scene.sent("DDEATH", scene.marks["source loss"])
    born = scene.sent("DBIRTH", scene.marks["source back"])
    wanted = set(MACHINES)
    assert {p.topic.rsplit("/")[-1] for p in dead[: len(wanted)]} == wanted
    assert {p.topic.rsplit("/")[-1] for p in born[: len(wanted)]} == wanted


@pytest.mark.sparkplug(
    "tck-id-topics-dbirth-metric-reqs",
    "tck-id-operational-behavior-data-publish-dbirth",
)
def test_the_births_name_what_the_host_then_reads(scene):
    """The independent host finds values of all types of the plant, by the births alone."""
    births = scene.host.of("DBIRTH")
    types = {m["type"] for b in births for m in b["payload"]["metrics"] if m["value"] is not None}
    assert types >= {"Boolean", "Int16", "Int32", "Int64", "UInt32", "UInt64", "Float", "Double"}
    assert types >= {"String", "DateTime", "Int8", "UInt8"}
    assert scene.host.of("DDATA")


@pytest.mark.sparkplug("tck-id-payloads-ndeath-will-message-publisher-disconnect-mqtt50")
def test_every_disconnect_of_the_second_life_was_mqtt_5(scene):
    """So that the rule about the reason code was judged on MQTT 5, and the other on 3.1.1."""
    codes = [
        e.packet.code
        for e in scene.events[scene.marks["kill"] :]
        if isinstance(e.packet, Disconnect) and e.sender == "client"
    ]
    assert len(codes) >= 2
    assert set(codes) == {4}


@pytest.mark.parametrize(
    "rule",
    [
        # --- the connection and its Will
        pytest.param(
            "will",
            marks=pytest.mark.sparkplug(
                "tck-id-message-flow-edge-node-birth-publish-will-message",
                "tck-id-payloads-ndeath-will-message",
            ),
        ),
        pytest.param(
            "will_topic",
            marks=pytest.mark.sparkplug(
                "tck-id-message-flow-edge-node-birth-publish-will-message-topic",
                "tck-id-topics-ndeath-topic",
            ),
        ),
        pytest.param(
            "will_payload",
            marks=pytest.mark.sparkplug(
                "tck-id-message-flow-edge-node-birth-publish-will-message-payload"
            ),
        ),
        pytest.param(
            "will_qos",
            marks=pytest.mark.sparkplug(
                "tck-id-message-flow-edge-node-birth-publish-will-message-qos",
                "tck-id-payloads-ndeath-will-message-qos",
            ),
        ),
        pytest.param(
            "will_retain",
            marks=pytest.mark.sparkplug(
                "tck-id-message-flow-edge-node-birth-publish-will-message-will-retained",
                "tck-id-payloads-ndeath-will-message-retain",
            ),
        ),
        "will_delay",
        "will_delivered",
        pytest.param(
            "bdseq_type",
            marks=pytest.mark.sparkplug(
                "tck-id-message-flow-edge-node-birth-publish-will-message-payload-bdSeq",
                "tck-id-message-flow-edge-node-birth-publish-nbirth-payload-bdSeq",
            ),
        ),
        pytest.param(
            "bdseq_increments",
            marks=pytest.mark.sparkplug(
                "tck-id-message-flow-edge-node-birth-publish-will-message-payload-bdSeq",
                "tck-id-topics-nbirth-bdseq-increment",
            ),
        ),
        pytest.param(
            "clean_311",
            marks=pytest.mark.sparkplug("tck-id-principles-persistence-clean-session-311"),
        ),
        pytest.param(
            "clean_50",
            marks=pytest.mark.sparkplug("tck-id-principles-persistence-clean-session-50"),
        ),
        pytest.param(
            "one_server",
            marks=pytest.mark.sparkplug(
                "tck-id-operational-behavior-primary-application-state-with-multiple-servers-single-server"
            ),
        ),
        pytest.param(
            "ncmd_subscription",
            marks=pytest.mark.sparkplug("tck-id-message-flow-edge-node-ncmd-subscribe"),
        ),
        pytest.param(
            "dcmd_subscription",
            marks=pytest.mark.sparkplug("tck-id-message-flow-device-dcmd-subscribe"),
        ),
        pytest.param(
            "state_subscription",
            marks=pytest.mark.sparkplug(
                "tck-id-operational-behavior-primary-application-state-with-multiple-servers-state-subs"
            ),
        ),
        pytest.param(
            "after_connack",
            marks=pytest.mark.sparkplug("tck-id-message-flow-edge-node-birth-publish-connect"),
        ),
        pytest.param(
            "birth_first",
            marks=pytest.mark.sparkplug("tck-id-principles-birth-certificates-order"),
        ),
        # --- the end of a session
        pytest.param("ndeath_metric", marks=pytest.mark.sparkplug("tck-id-topics-ndeath-payload")),
        pytest.param(
            "ndeath_no_seq",
            marks=pytest.mark.sparkplug("tck-id-topics-ndeath-seq", "tck-id-payloads-ndeath-seq"),
        ),
        pytest.param("ndeath_bdseq", marks=pytest.mark.sparkplug("tck-id-payloads-ndeath-bdseq")),
        "ndeath_qos",
        "ndeath_last",
        pytest.param(
            "ndeath_before_disconnect",
            marks=pytest.mark.sparkplug(
                "tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath",
                "tck-id-payloads-ndeath-will-message-publisher",
                "tck-id-payloads-ndeath-will-message-publisher-disconnect-mqtt311",
            ),
        ),
        pytest.param(
            "disconnect_code",
            marks=pytest.mark.sparkplug(
                "tck-id-payloads-ndeath-will-message-publisher-disconnect-mqtt50"
            ),
        ),
        # --- the primary host
        pytest.param(
            "host_wait",
            marks=pytest.mark.sparkplug(
                "tck-id-message-flow-edge-node-birth-publish-phid-wait",
                "tck-id-operational-behavior-edge-node-birth-sequence-wait",
            ),
        ),
        pytest.param(
            "host_wait_id",
            marks=pytest.mark.sparkplug("tck-id-message-flow-edge-node-birth-publish-phid-wait-id"),
        ),
        pytest.param(
            "host_wait_online",
            marks=pytest.mark.sparkplug(
                "tck-id-message-flow-edge-node-birth-publish-phid-wait-online"
            ),
        ),
        pytest.param(
            "host_wait_timestamp",
            marks=pytest.mark.sparkplug(
                "tck-id-message-flow-edge-node-birth-publish-phid-wait-timestamp"
            ),
        ),
        pytest.param(
            "host_offline",
            marks=pytest.mark.sparkplug(
                "tck-id-message-flow-edge-node-birth-publish-phid-offline",
                "tck-id-operational-behavior-edge-node-termination-host-offline",
            ),
        ),
        pytest.param(
            "host_offline_old",
            marks=pytest.mark.sparkplug(
                "tck-id-operational-behavior-edge-node-termination-host-offline-timestamp"
            ),
        ),
        # --- rebirth
        pytest.param(
            "rebirth_stops_data",
            marks=pytest.mark.sparkplug(
                "tck-id-operational-behavior-data-commands-rebirth-action-1"
            ),
        ),
        pytest.param(
            "rebirth_answered",
            marks=pytest.mark.sparkplug(
                "tck-id-operational-behavior-data-commands-rebirth-action-2"
            ),
        ),
        pytest.param(
            "rebirth_bdseq",
            marks=pytest.mark.sparkplug(
                "tck-id-operational-behavior-data-commands-rebirth-action-3"
            ),
        ),
    ],
)
def test_the_gateway_s_sessions_keep_the_rule(report, rule):
    assert report.broken(rule) == [], RULES[rule]


@pytest.mark.parametrize(
    "rule",
    [
        # --- topics
        pytest.param(
            "topic_structure",
            marks=pytest.mark.sparkplug(
                "tck-id-topic-structure", "tck-id-topic-structure-namespace-a"
            ),
        ),
        pytest.param(
            "device_token",
            marks=pytest.mark.sparkplug(
                "tck-id-topic-structure-namespace-device-id-associated-message-types",
                "tck-id-topic-structure-namespace-device-id-non-associated-message-types",
            ),
        ),
        # --- NBIRTH
        pytest.param(
            "nbirth_topic",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-nbirth-topic",
                "tck-id-message-flow-edge-node-birth-publish-nbirth-topic",
            ),
        ),
        pytest.param(
            "nbirth_payload",
            marks=pytest.mark.sparkplug(
                "tck-id-message-flow-edge-node-birth-publish-nbirth-payload"
            ),
        ),
        pytest.param(
            "nbirth_qos",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-nbirth-mqtt",
                "tck-id-message-flow-edge-node-birth-publish-nbirth-qos",
                "tck-id-payloads-nbirth-qos",
            ),
        ),
        pytest.param(
            "nbirth_retain",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-nbirth-mqtt",
                "tck-id-message-flow-edge-node-birth-publish-nbirth-retained",
                "tck-id-payloads-nbirth-retain",
            ),
        ),
        pytest.param(
            "nbirth_timestamp",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-nbirth-timestamp", "tck-id-payloads-nbirth-timestamp"
            ),
        ),
        pytest.param(
            "nbirth_seq",
            marks=pytest.mark.sparkplug(
                "tck-id-message-flow-edge-node-birth-publish-nbirth-payload-seq",
                "tck-id-payloads-sequence-num-always-included",
                "tck-id-payloads-sequence-num-req-nbirth",
                "tck-id-payloads-nbirth-seq",
            ),
        ),
        pytest.param(
            "nbirth_seq_next", marks=pytest.mark.sparkplug("tck-id-topics-nbirth-seq-num")
        ),
        pytest.param("nbirth_metrics", marks=pytest.mark.sparkplug("tck-id-topics-nbirth-metrics")),
        pytest.param(
            "nbirth_values",
            marks=pytest.mark.sparkplug("tck-id-operational-behavior-data-publish-nbirth-values"),
        ),
        pytest.param(
            "n_order",
            marks=pytest.mark.sparkplug("tck-id-operational-behavior-data-publish-nbirth-order"),
        ),
        pytest.param(
            "bdseq_included",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-nbirth-bdseq-included", "tck-id-payloads-nbirth-bdseq"
            ),
        ),
        pytest.param(
            "bdseq_matches",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-nbirth-bdseq-matching",
                "tck-id-message-flow-edge-node-birth-publish-nbirth-payload-bdSeq",
                "tck-id-payloads-nbirth-bdseq-repeat",
            ),
        ),
        pytest.param(
            "rebirth_included",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-nbirth-rebirth-metric",
                "tck-id-operational-behavior-data-commands-rebirth-name",
                "tck-id-payloads-nbirth-rebirth-req",
            ),
        ),
        pytest.param(
            "rebirth_type",
            marks=pytest.mark.sparkplug(
                "tck-id-operational-behavior-data-commands-rebirth-datatype",
                "tck-id-payloads-nbirth-rebirth-req",
            ),
        ),
        pytest.param(
            "rebirth_value",
            marks=pytest.mark.sparkplug(
                "tck-id-operational-behavior-data-commands-rebirth-value",
                "tck-id-payloads-nbirth-rebirth-req",
            ),
        ),
        pytest.param(
            "rebirth_no_alias",
            marks=pytest.mark.sparkplug(
                "tck-id-operational-behavior-data-commands-rebirth-name-aliases"
            ),
        ),
    ],
)
def test_the_gateway_s_node_births_keep_the_rule(report, rule):
    assert report.broken(rule) == [], RULES[rule]
