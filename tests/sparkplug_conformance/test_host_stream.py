"""A host application keeps every rule: the hub at two real servers, and the library's session.

Both streams have to keep each rule, and have to have given occasion to judge it.
"""

import pytest

from tests.sparkplug_conformance import hub_scene as hub
from tests.sparkplug_conformance.checker import check_host
from tests.sparkplug_conformance.library_host_stream import HOST_ID, library_host_stream
from tests.sparkplug_conformance.report import RULES

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture(scope="module")
def reports(hub_scene):
    return {
        "hub": check_host(hub_scene.events, hub.HOST_ID),
        "library": check_host(library_host_stream(), HOST_ID),
    }


def test_no_rule_is_broken(reports):
    found = {name: [str(one) for one in r.violations] for name, r in reports.items()}
    assert found == {"hub": [], "library": []}


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(
            "host_clean_311",
            marks=pytest.mark.sparkplug("tck-id-message-flow-phid-sparkplug-clean-session-311"),
        ),
        pytest.param(
            "host_clean_50",
            marks=pytest.mark.sparkplug("tck-id-message-flow-phid-sparkplug-clean-session-50"),
        ),
    ],
)
def test_the_hub_s_connections_keep_the_rule(reports, rule):
    """The CONNECT is the hub's: the library makes none."""
    assert reports["hub"].broken(rule) == [], RULES[rule]


@pytest.mark.parametrize(
    "rule",
    [
        # --- the Will
        pytest.param(
            "state_will",
            marks=pytest.mark.sparkplug(
                "tck-id-host-topic-phid-death-required",
                "tck-id-operational-behavior-host-application-connect-will",
                "tck-id-payloads-state-will-message",
            ),
        ),
        pytest.param(
            "state_will_topic",
            marks=pytest.mark.sparkplug(
                "tck-id-host-topic-phid-death-topic",
                "tck-id-operational-behavior-host-application-connect-will-topic",
                "tck-id-payloads-state-will-message",
            ),
        ),
        pytest.param(
            "state_will_qos",
            marks=pytest.mark.sparkplug(
                "tck-id-host-topic-phid-death-qos",
                "tck-id-operational-behavior-host-application-connect-will-qos",
                "tck-id-payloads-state-will-message-qos",
            ),
        ),
        pytest.param(
            "state_will_retain",
            marks=pytest.mark.sparkplug(
                "tck-id-host-topic-phid-death-retain",
                "tck-id-operational-behavior-host-application-connect-will-retained",
                "tck-id-payloads-state-will-message-retain",
            ),
        ),
        pytest.param(
            "state_will_payload",
            marks=pytest.mark.sparkplug(
                "tck-id-host-topic-phid-death-payload",
                "tck-id-host-topic-phid-death-payload-timestamp-connect",
                "tck-id-operational-behavior-host-application-connect-will-payload",
                "tck-id-payloads-state-will-message-payload",
            ),
        ),
        # --- the birth
        pytest.param(
            "state_subscribed",
            marks=pytest.mark.sparkplug(
                "tck-id-host-topic-phid-birth-sub-required",
                "tck-id-message-flow-phid-sparkplug-subscription",
                "tck-id-payloads-state-subscribe",
            ),
        ),
        pytest.param(
            "state_first",
            marks=pytest.mark.sparkplug(
                "tck-id-intro-sparkplug-host-state",
                "tck-id-principles-birth-certificates-order",
                "tck-id-host-topic-phid-birth-message",
                "tck-id-host-topic-phid-birth-required",
                "tck-id-message-flow-phid-sparkplug-state-publish",
                "tck-id-operational-behavior-host-application-connect-birth",
                "tck-id-operational-behavior-primary-application-state-with-multiple-servers-state-subs",
                "tck-id-operational-behavior-primary-application-state-with-multiple-servers-state",
                "tck-id-payloads-state-birth",
            ),
        ),
        pytest.param(
            "state_topic",
            marks=pytest.mark.sparkplug(
                "tck-id-components-ph-state",
                "tck-id-conformance-primary-host",
                "tck-id-host-topic-phid-birth-topic",
                "tck-id-operational-behavior-host-application-connect-birth-topic",
            ),
        ),
        pytest.param(
            "state_qos",
            marks=pytest.mark.sparkplug(
                "tck-id-host-topic-phid-birth-qos",
                "tck-id-operational-behavior-host-application-connect-birth-qos",
                "tck-id-payloads-state-birth",
            ),
        ),
        pytest.param(
            "state_retain",
            marks=pytest.mark.sparkplug(
                "tck-id-host-topic-phid-birth-retain",
                "tck-id-operational-behavior-host-application-connect-birth-retained",
                "tck-id-payloads-state-birth",
            ),
        ),
        pytest.param(
            "state_payload",
            marks=pytest.mark.sparkplug(
                "tck-id-host-topic-phid-birth-payload",
                "tck-id-message-flow-phid-sparkplug-state-publish-payload",
                "tck-id-operational-behavior-host-application-connect-birth-payload",
                "tck-id-payloads-state-birth-payload",
            ),
        ),
        pytest.param(
            "state_timestamp",
            marks=pytest.mark.sparkplug(
                "tck-id-host-topic-phid-birth-payload-timestamp",
                "tck-id-message-flow-phid-sparkplug-state-publish-payload",
                "tck-id-message-flow-phid-sparkplug-state-publish-payload-timestamp",
                "tck-id-operational-behavior-host-application-connect-birth-payload",
                "tck-id-payloads-state-birth-payload",
            ),
        ),
        pytest.param(
            "state_answer",
            marks=pytest.mark.sparkplug(
                "tck-id-message-flow-hid-sparkplug-state-message-delivered"
            ),
        ),
        # --- the death
        pytest.param(
            "state_death",
            marks=pytest.mark.sparkplug(
                "tck-id-host-topic-phid-death-payload-timestamp-disconnect-clean",
                "tck-id-operational-behavior-host-application-termination",
            ),
        ),
        pytest.param(
            "state_death_topic",
            marks=pytest.mark.sparkplug("tck-id-operational-behavior-host-application-death-topic"),
        ),
        pytest.param(
            "state_death_qos",
            marks=pytest.mark.sparkplug("tck-id-operational-behavior-host-application-death-qos"),
        ),
        pytest.param(
            "state_death_retain",
            marks=pytest.mark.sparkplug(
                "tck-id-operational-behavior-host-application-death-retained"
            ),
        ),
        pytest.param(
            "state_death_payload",
            marks=pytest.mark.sparkplug(
                "tck-id-host-topic-phid-death-payload-timestamp-disconnect-clean",
                "tck-id-operational-behavior-host-application-death-payload",
            ),
        ),
        # --- commands
        pytest.param(
            "ncmd_topic",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-ncmd-topic",
                "tck-id-operational-behavior-data-commands-ncmd-verb",
            ),
        ),
        pytest.param(
            "ncmd_qos",
            marks=pytest.mark.sparkplug("tck-id-topics-ncmd-mqtt", "tck-id-payloads-ncmd-qos"),
        ),
        pytest.param(
            "ncmd_retain",
            marks=pytest.mark.sparkplug("tck-id-topics-ncmd-mqtt", "tck-id-payloads-ncmd-retain"),
        ),
        pytest.param(
            "ncmd_timestamp",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-ncmd-timestamp", "tck-id-payloads-ncmd-timestamp"
            ),
        ),
        pytest.param("ncmd_no_seq", marks=pytest.mark.sparkplug("tck-id-payloads-ncmd-seq")),
        pytest.param(
            "ncmd_metrics",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-ncmd-payload",
                "tck-id-operational-behavior-data-commands-ncmd-metric-name",
            ),
        ),
        pytest.param(
            "ncmd_value",
            marks=pytest.mark.sparkplug(
                "tck-id-operational-behavior-data-commands-ncmd-metric-value"
            ),
        ),
        pytest.param(
            "dcmd_topic",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-dcmd-topic",
                "tck-id-operational-behavior-data-commands-dcmd-verb",
            ),
        ),
        pytest.param(
            "dcmd_qos",
            marks=pytest.mark.sparkplug("tck-id-topics-dcmd-mqtt", "tck-id-payloads-dcmd-qos"),
        ),
        pytest.param(
            "dcmd_retain",
            marks=pytest.mark.sparkplug("tck-id-topics-dcmd-mqtt", "tck-id-payloads-dcmd-retain"),
        ),
        pytest.param(
            "dcmd_timestamp",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-dcmd-timestamp", "tck-id-payloads-dcmd-timestamp"
            ),
        ),
        pytest.param("dcmd_no_seq", marks=pytest.mark.sparkplug("tck-id-payloads-dcmd-seq")),
        pytest.param(
            "dcmd_metrics",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-dcmd-payload",
                "tck-id-operational-behavior-data-commands-dcmd-metric-name",
            ),
        ),
        pytest.param(
            "dcmd_value",
            marks=pytest.mark.sparkplug(
                "tck-id-operational-behavior-data-commands-dcmd-metric-value"
            ),
        ),
        pytest.param(
            "rebirth_request",
            marks=pytest.mark.sparkplug(
                "tck-id-operational-behavior-data-commands-ncmd-rebirth-verb",
                "tck-id-operational-behavior-data-commands-ncmd-rebirth-name",
                "tck-id-operational-behavior-data-commands-ncmd-rebirth-value",
            ),
        ),
    ],
)
def test_the_host_s_messages_keep_the_rule(reports, rule):
    found = {name: report.broken(rule) for name, report in reports.items()}
    assert found == {"hub": [], "library": []}, RULES[rule]
