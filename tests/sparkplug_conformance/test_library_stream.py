"""What `sparkplug_b` can say and the gateway does not yet keeps the rules too; see its stream."""

import pytest

from tests.sparkplug_conformance.checker import check_node
from tests.sparkplug_conformance.library_stream import NODE, library_stream
from tests.sparkplug_conformance.report import RULES


@pytest.fixture(scope="module")
def report():
    return check_node(library_stream(), NODE)


def test_the_library_breaks_no_rule(report):
    assert [str(one) for one in report.violations] == []


@pytest.mark.sparkplug(
    "tck-id-topics-nbirth-bdseq-increment",
    "tck-id-message-flow-edge-node-birth-publish-will-message-payload-bdSeq",
)
def test_bd_seq_goes_past_255_and_on(report):
    assert report.judged["bdseq_increments"] > 256
    assert report.broken("bdseq_increments") == []


@pytest.mark.sparkplug("tck-id-payloads-sequence-num-incrementing")
def test_seq_goes_past_255_and_on(report):
    assert report.judged["ddata_seq_next"] > 256
    assert report.broken("ddata_seq_next") == []


@pytest.mark.parametrize(
    "rule",
    [
        # --- NDATA
        pytest.param("ndata_topic", marks=pytest.mark.sparkplug("tck-id-topics-ndata-topic")),
        "ndata_payload",
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
        pytest.param(
            "ndata_seq",
            marks=pytest.mark.sparkplug(
                "tck-id-payloads-sequence-num-always-included", "tck-id-payloads-ndata-seq"
            ),
        ),
        pytest.param(
            "ndata_seq_next",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-ndata-seq-num",
                "tck-id-payloads-sequence-num-incrementing",
                "tck-id-payloads-ndata-seq-inc",
            ),
        ),
        pytest.param(
            "ndata_after_births", marks=pytest.mark.sparkplug("tck-id-payloads-ndata-order")
        ),
        pytest.param(
            "ndata_changed",
            marks=pytest.mark.sparkplug("tck-id-operational-behavior-data-publish-nbirth-change"),
        ),
        pytest.param(
            "nbirth_complete",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-nbirth-metric-reqs",
                "tck-id-operational-behavior-data-publish-nbirth",
            ),
        ),
        # --- every type in the field that is its own
        pytest.param(
            "schema",
            marks=pytest.mark.sparkplug(
                "tck-id-payloads-metric-datatype-value-type",
                "tck-id-payloads-metric-propertyvalue-type-type",
                "tck-id-payloads-dataset-column-size",
                "tck-id-payloads-dataset-types-type",
                "tck-id-payloads-template-parameter-value-type",
                "tck-id-payloads-template-parameter-name-type",
                "tck-id-payloads-template-version",
            ),
        ),
        "value_field",
        "property_type",
        # --- data sets
        pytest.param(
            "dataset_columns", marks=pytest.mark.sparkplug("tck-id-payloads-dataset-column-size")
        ),
        pytest.param(
            "dataset_types",
            marks=pytest.mark.sparkplug(
                "tck-id-payloads-dataset-column-num-headers",
                "tck-id-payloads-dataset-types-def",
                "tck-id-payloads-dataset-types-num",
                "tck-id-payloads-dataset-parameter-type-req",
            ),
        ),
        pytest.param(
            "dataset_type_number",
            marks=pytest.mark.sparkplug(
                "tck-id-payloads-dataset-types-def", "tck-id-payloads-dataset-types-value"
            ),
        ),
        pytest.param(
            "dataset_value", marks=pytest.mark.sparkplug("tck-id-payloads-template-dataset-value")
        ),
        # --- templates
        pytest.param(
            "template_flag", marks=pytest.mark.sparkplug("tck-id-payloads-template-is-definition")
        ),
        pytest.param(
            "template_definition_place",
            marks=pytest.mark.sparkplug("tck-id-payloads-template-definition-nbirth-only"),
        ),
        pytest.param(
            "template_definition_flag",
            marks=pytest.mark.sparkplug(
                "tck-id-payloads-template-definition-is-definition",
                "tck-id-payloads-template-is-definition-definition",
            ),
        ),
        pytest.param(
            "template_definition_ref",
            marks=pytest.mark.sparkplug(
                "tck-id-payloads-template-definition-ref",
                "tck-id-payloads-template-ref-definition",
            ),
        ),
        pytest.param(
            "template_instance_flag",
            marks=pytest.mark.sparkplug(
                "tck-id-payloads-template-instance-is-definition",
                "tck-id-payloads-template-is-definition-instance",
            ),
        ),
        pytest.param(
            "template_instance_ref",
            marks=pytest.mark.sparkplug(
                "tck-id-topics-nbirth-templates",
                "tck-id-payloads-template-definition-nbirth",
                "tck-id-payloads-template-instance-ref",
                "tck-id-payloads-template-ref-instance",
            ),
        ),
        pytest.param(
            "template_members",
            marks=pytest.mark.sparkplug(
                "tck-id-payloads-template-definition-members",
                "tck-id-payloads-template-instance-members",
            ),
        ),
        pytest.param(
            "template_members_birth",
            marks=pytest.mark.sparkplug("tck-id-payloads-template-instance-members-birth"),
        ),
        pytest.param(
            "template_parameters",
            marks=pytest.mark.sparkplug("tck-id-payloads-template-definition-parameters"),
        ),
        pytest.param(
            "template_version", marks=pytest.mark.sparkplug("tck-id-payloads-template-version")
        ),
        pytest.param(
            "parameter_name",
            marks=pytest.mark.sparkplug("tck-id-payloads-template-parameter-name-required"),
        ),
        pytest.param(
            "parameter_type",
            marks=pytest.mark.sparkplug("tck-id-payloads-template-parameter-type-value"),
        ),
        pytest.param(
            "parameter_type_birth",
            marks=pytest.mark.sparkplug("tck-id-payloads-template-parameter-type-req"),
        ),
        pytest.param(
            "parameter_value",
            marks=pytest.mark.sparkplug("tck-id-payloads-template-parameter-value"),
        ),
    ],
)
def test_the_library_s_messages_keep_the_rule(report, rule):
    assert report.broken(rule) == [], RULES[rule]
