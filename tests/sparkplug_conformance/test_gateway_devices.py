"""The device messages of the gateway's stream, and the metrics in them; see test_gateway_stream."""

import pytest

from tests.sparkplug_conformance.checker import check_node
from tests.sparkplug_conformance.report import RULES
from tests.sparkplug_conformance.scenario import HOST_ID, NODE

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture(scope="module")
def report(scene):
    return check_node(scene.events, NODE, host_id=HOST_ID)


@pytest.mark.parametrize(
    "rule",
    [
        # --- DBIRTH
        pytest.param(
            "dbirth_topic",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-dbirth-topic",
                "tck-id-message-flow-device-birth-publish-dbirth-topic",
                "tck-id-message-flow-device-birth-publish-dbirth-match-edge-node-topic",
            ),
        ),
        pytest.param(
            "dbirth_payload",
            marks=pytest.mark.sparkplug("tck-id-message-flow-device-birth-publish-dbirth-payload"),
        ),
        pytest.param(
            "dbirth_qos",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-dbirth-mqtt",
                "tck-id-message-flow-device-birth-publish-dbirth-qos",
                "tck-id-payloads-dbirth-qos",
            ),
        ),
        pytest.param(
            "dbirth_retain",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-dbirth-mqtt",
                "tck-id-message-flow-device-birth-publish-dbirth-retained",
                "tck-id-payloads-dbirth-retain",
            ),
        ),
        pytest.param(
            "dbirth_timestamp",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-dbirth-timestamp", "tck-id-payloads-dbirth-timestamp"
            ),
        ),
        pytest.param(
            "dbirth_seq",
            marks=pytest.mark.sparkplug(
                "tck-id-message-flow-device-birth-publish-dbirth-payload-seq",
                "tck-id-payloads-sequence-num-always-included",
                "tck-id-payloads-dbirth-seq",
            ),
        ),
        pytest.param(
            "dbirth_seq_next",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-dbirth-seq",
                "tck-id-message-flow-device-birth-publish-dbirth-payload-seq",
                "tck-id-payloads-sequence-num-incrementing",
                "tck-id-payloads-dbirth-seq-inc",
            ),
        ),
        pytest.param("dbirth_metrics", marks=pytest.mark.sparkplug("tck-id-topics-dbirth-metrics")),
        pytest.param(
            "dbirth_values",
            marks=pytest.mark.sparkplug("tck-id-operational-behavior-data-publish-dbirth-values"),
        ),
        pytest.param(
            "d_order",
            marks=pytest.mark.sparkplug("tck-id-operational-behavior-data-publish-dbirth-order"),
        ),
        pytest.param(
            "dbirth_complete",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-dbirth-metric-reqs",
                "tck-id-operational-behavior-data-publish-dbirth",
            ),
        ),
        pytest.param(
            "dbirth_after_nbirth",
            marks=pytest.mark.sparkplug("tck-id-message-flow-device-birth-publish-nbirth-wait"),
        ),
        pytest.param(
            "dbirth_once",
            marks=pytest.mark.sparkplug("tck-id-topic-structure-namespace-unique-device-id"),
        ),
        pytest.param(
            "dbirth_before_data", marks=pytest.mark.sparkplug("tck-id-payloads-dbirth-order")
        ),
        # --- DDATA
        pytest.param("ddata_topic", marks=pytest.mark.sparkplug("tck-id-topics-ddata-topic")),
        "ddata_payload",
        pytest.param(
            "ddata_qos",
            marks=pytest.mark.sparkplug("tck-id-topics-ddata-mqtt", "tck-id-payloads-ddata-qos"),
        ),
        pytest.param(
            "ddata_retain",
            marks=pytest.mark.sparkplug("tck-id-topics-ddata-mqtt", "tck-id-payloads-ddata-retain"),
        ),
        pytest.param(
            "ddata_timestamp",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-ddata-timestamp", "tck-id-payloads-ddata-timestamp"
            ),
        ),
        pytest.param(
            "ddata_seq",
            marks=pytest.mark.sparkplug(
                "tck-id-payloads-sequence-num-always-included", "tck-id-payloads-ddata-seq"
            ),
        ),
        pytest.param(
            "ddata_seq_next",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-ddata-seq-num",
                "tck-id-payloads-sequence-num-incrementing",
                "tck-id-payloads-ddata-seq-inc",
            ),
        ),
        pytest.param(
            "ddata_after_births", marks=pytest.mark.sparkplug("tck-id-payloads-ddata-order")
        ),
        pytest.param(
            "ddata_changed",
            marks=pytest.mark.sparkplug(
                "tck-id-principles-rbe-recommended",
                "tck-id-operational-behavior-data-publish-dbirth-change",
            ),
        ),
        # --- DDEATH
        pytest.param("ddeath_topic", marks=pytest.mark.sparkplug("tck-id-topics-ddeath-topic")),
        "ddeath_payload",
        pytest.param("ddeath_qos", marks=pytest.mark.sparkplug("tck-id-topics-ddeath-mqtt")),
        pytest.param("ddeath_retain", marks=pytest.mark.sparkplug("tck-id-topics-ddeath-mqtt")),
        pytest.param(
            "ddeath_timestamp", marks=pytest.mark.sparkplug("tck-id-payloads-ddeath-timestamp")
        ),
        pytest.param(
            "ddeath_seq",
            marks=pytest.mark.sparkplug(
                "tck-id-payloads-sequence-num-always-included",
                "tck-id-payloads-ddeath-seq",
                "tck-id-payloads-ddeath-seq-number",
            ),
        ),
        pytest.param(
            "ddeath_seq_next",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-ddeath-seq-num",
                "tck-id-payloads-sequence-num-incrementing",
                "tck-id-payloads-ddeath-seq-inc",
            ),
        ),
        "ddeath_of_born",
    ],
)
def test_the_gateway_s_devices_keep_the_rule(report, rule):
    assert report.broken(rule) == [], RULES[rule]


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param("ndata_topic", marks=pytest.mark.sparkplug("tck-id-topics-ndata-topic")),
        pytest.param(
            "ndata_qos",
            marks=pytest.mark.sparkplug("tck-id-topics-ndata-mqtt", "tck-id-payloads-ndata-qos"),
        ),
        pytest.param(
            "ndata_retain",
            marks=pytest.mark.sparkplug("tck-id-topics-ndata-mqtt", "tck-id-payloads-ndata-retain"),
        ),
        pytest.param(
            "ndata_timestamp",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-ndata-timestamp", "tck-id-payloads-ndata-timestamp"
            ),
        ),
        pytest.param("ndata_seq", marks=pytest.mark.sparkplug("tck-id-payloads-ndata-seq")),
        pytest.param(
            "ndata_seq_next",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-ndata-seq-num", "tck-id-payloads-ndata-seq-inc"
            ),
        ),
        pytest.param(
            "ndata_after_births", marks=pytest.mark.sparkplug("tck-id-payloads-ndata-order")
        ),
        pytest.param(
            "nbirth_complete",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-nbirth-metric-reqs",
                "tck-id-operational-behavior-data-publish-nbirth",
            ),
        ),
        pytest.param(
            "ndata_changed",
            marks=pytest.mark.sparkplug("tck-id-operational-behavior-data-publish-nbirth-change"),
        ),
    ],
)
def test_the_gateway_s_node_data_keep_the_rule(report, rule):
    """Alerts of the Factory+ conventions are what the gateway tells of itself by NDATA."""
    assert report.broken(rule) == [], RULES[rule]


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(
            "schema",
            marks=pytest.mark.sparkplug(
                "tck-id-payloads-metric-datatype-value-type",
                "tck-id-payloads-metric-propertyvalue-type-type",
            ),
        ),
        pytest.param(
            "payload_utc", marks=pytest.mark.sparkplug("tck-id-payloads-timestamp-in-UTC")
        ),
        pytest.param(
            "metric_name", marks=pytest.mark.sparkplug("tck-id-payloads-name-requirement")
        ),
        pytest.param(
            "alias_unique", marks=pytest.mark.sparkplug("tck-id-payloads-alias-uniqueness")
        ),
        pytest.param(
            "alias_birth", marks=pytest.mark.sparkplug("tck-id-payloads-alias-birth-requirement")
        ),
        pytest.param(
            "alias_data", marks=pytest.mark.sparkplug("tck-id-payloads-alias-data-cmd-requirement")
        ),
        pytest.param(
            "metric_timestamp",
            marks=pytest.mark.sparkplug("tck-id-payloads-name-birth-data-requirement"),
        ),
        pytest.param(
            "metric_utc", marks=pytest.mark.sparkplug("tck-id-payloads-metric-timestamp-in-UTC")
        ),
        pytest.param(
            "datatype_number", marks=pytest.mark.sparkplug("tck-id-payloads-metric-datatype-value")
        ),
        pytest.param(
            "datatype_birth", marks=pytest.mark.sparkplug("tck-id-payloads-metric-datatype-req")
        ),
        pytest.param(
            "datatype_data", marks=pytest.mark.sparkplug("tck-id-payloads-metric-datatype-not-req")
        ),
        "value_field",
        pytest.param(
            "property_sizes",
            marks=pytest.mark.sparkplug(
                "tck-id-payloads-propertyset-keys-array-size",
                "tck-id-payloads-propertyset-values-array-size",
            ),
        ),
        pytest.param(
            "property_type",
            marks=pytest.mark.sparkplug("tck-id-payloads-metric-propertyvalue-type-value"),
        ),
        pytest.param(
            "property_type_birth",
            marks=pytest.mark.sparkplug("tck-id-payloads-metric-propertyvalue-type-req"),
        ),
        pytest.param(
            "quality_type",
            marks=pytest.mark.sparkplug("tck-id-payloads-propertyset-quality-value-type"),
        ),
        pytest.param(
            "quality_value",
            marks=pytest.mark.sparkplug("tck-id-payloads-propertyset-quality-value-value"),
        ),
    ],
)
def test_the_gateway_s_metrics_keep_the_rule(report, rule):
    assert report.broken(rule) == [], RULES[rule]
