import copy

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.config import GatewayConfig
from contract.config_check import check_config
from contract.config_shape import FAULTS_MAX
from contract.errors import ConfigError
from tests.contract.documents import GOOD, changed, without

SOURCE = ("sources", 0)
TAG = (*SOURCE, "tags", 0)


def faults_of(document):
    with pytest.raises(ConfigError) as caught:
        check_config(document)
    return caught.value.faults


def faults_or_none(document):
    try:
        check_config(document)
    except ConfigError as error:
        return error.faults
    return None


def only_fault(document):
    faults = faults_of(document)
    assert len(faults) == 1, faults
    return faults[0]


def test_the_document_of_the_contract_is_good():
    config = check_config(GOOD)
    assert config.gateway.id == "press-shop-1"
    assert config.sources[0].tags[0].scale.gain == 1.0
    assert config.sources[0].tags[1].name is None


def test_an_empty_document_is_an_empty_configuration():
    assert check_config(None) == check_config({}) == GatewayConfig()


@pytest.mark.parametrize("document", [[], "text", 7, True, [GOOD]])
def test_a_document_that_is_no_mapping_is_one_fault(document):
    assert only_fault(document).code == "config.wrong_type"


@pytest.mark.parametrize(
    ("path", "key", "hint"),
    [
        (("gateway",), "sitte", "did you mean 'site'?"),
        ((), "Sources", "did you mean 'sources'?"),
        ((*SOURCE, "groups", 0), "sampling_interval", "did you mean 'sampling_interval_ms'?"),
        (TAG, "device_id", "did you mean 'device'?"),
        ((*TAG, "deadband"), "percent", "known: absolute"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(path, key, hint):
    fault = only_fault(changed((*path, key), 1))
    assert fault.code == "config.unknown_key"
    assert fault.path.endswith(key)
    assert fault.remedy == hint


@pytest.mark.parametrize(
    ("document", "code", "path"),
    [
        (without(("sparkplug", "group")), "config.missing_key", "sparkplug.group"),
        (without((*SOURCE, "endpoint")), "config.missing_key", "sources[0].endpoint"),
        (changed((*SOURCE, "kind"), "serial"), "config.not_allowed", "sources[0].kind"),
        (changed(("gateway", "id"), 7), "config.wrong_type", "gateway.id"),
        (changed(("gateway", "id"), "a b"), "config.out_of_range", "gateway.id"),
        (changed(("hub", "enabled"), "yes"), "config.wrong_type", "hub.enabled"),
        (changed((*SOURCE, "tags"), {}), "config.wrong_type", "sources[0].tags"),
        (changed((*SOURCE, "groups"), []), "config.too_few", "sources[0].groups"),
        (
            changed((*SOURCE, "groups", 0, "queue_size"), 0),
            "config.out_of_range",
            "sources[0].groups[0].queue_size",
        ),
        (
            changed((*SOURCE, "security", "policy"), "Basic512"),
            "config.not_allowed",
            "sources[0].security.policy",
        ),
        (
            changed(("journal", "commit_interval_ms"), "200"),
            "config.wrong_type",
            "journal.commit_interval_ms",
        ),
        (
            changed(("journal", "retention_hours"), float("nan")),
            "config.out_of_range",
            "journal.retention_hours",
        ),
        (changed(("journal",), None), "config.wrong_type", "journal"),
    ],
)
def test_what_does_not_fit_its_type_is_named_with_its_path(document, code, path):
    fault = only_fault(document)
    assert (fault.code, fault.path) == (code, path)


@pytest.mark.parametrize(
    ("path", "value", "code", "at"),
    [
        (("sparkplug", "group"), "a/b", "config.illegal_name", "sparkplug.group"),
        (("sparkplug", "group"), "STATE", "config.illegal_name", "sparkplug.group"),
        (("sparkplug", "node"), "n+", "config.illegal_name", "sparkplug.node"),
        (("sparkplug", "node"), " ", "config.illegal_name", "sparkplug.node"),
        (("sparkplug", "primary_host"), "#", "config.illegal_name", "sparkplug.primary_host"),
        ((*TAG, "device"), "a\x00b", "config.illegal_name", "sources[0].tags[0].device"),
        ((*TAG, "device"), "a\u202eb", "config.illegal_name", "sources[0].tags[0].device"),
        ((*TAG, "name"), "a\nb", "config.illegal_name", "sources[0].tags[0].name"),
        ((*TAG, "name"), " Temp", "config.illegal_name", "sources[0].tags[0].name"),
        ((*TAG, "name"), "Node Control/x", "config.illegal_name", "sources[0].tags[0].name"),
        ((*TAG, "node"), "ns=2;s=Press", "config.bad_node", "sources[0].tags[0].node"),
        ((*TAG, "node"), "i=85", "config.bad_node", "sources[0].tags[0].node"),
        ((*TAG, "node"), "nsu=urn:x;i=abc", "config.bad_node", "sources[0].tags[0].node"),
        ((*TAG, "node"), "nsu=urn:x;g=12", "config.bad_node", "sources[0].tags[0].node"),
        ((*TAG, "node"), "ns=0;i=4294967296", "config.bad_node", "sources[0].tags[0].node"),
        ((*TAG, "node"), "nsu=;s=x", "config.bad_node", "sources[0].tags[0].node"),
        ((*TAG, "group"), "fats", "config.unknown_group", "sources[0].tags[0].group"),
        ((*TAG, "scale", "gain"), 0, "config.out_of_range", "sources[0].tags[0].scale.gain"),
        (
            (*TAG, "scale", "gain"),
            float("inf"),
            "config.out_of_range",
            "sources[0].tags[0].scale.gain",
        ),
        (
            (*TAG, "scale", "offset"),
            float("nan"),
            "config.out_of_range",
            "sources[0].tags[0].scale.offset",
        ),
        (
            (*TAG, "deadband", "absolute"),
            float("inf"),
            "config.out_of_range",
            "sources[0].tags[0].deadband.absolute",
        ),
        (
            (*SOURCE, "groups", 0, "deadband"),
            {"absolute": 1.0, "percent": 5.0},
            "config.conflict",
            "sources[0].groups[0].deadband",
        ),
        (
            (*SOURCE, "groups", 0, "deadband"),
            {},
            "config.conflict",
            "sources[0].groups[0].deadband",
        ),
        (
            (*SOURCE, "groups", 0, "deadband"),
            {"absolute": float("inf")},
            "config.out_of_range",
            "sources[0].groups[0].deadband.absolute",
        ),
        ((*SOURCE, "endpoints"), ["http://h:1"], "config.bad_url", "sources[0].endpoints[0]"),
        ((*SOURCE, "endpoint"), "http://h:1", "config.bad_url", "sources[0].endpoint"),
        ((*SOURCE, "endpoint"), "opc.tcp://h:99999", "config.bad_url", "sources[0].endpoint"),
        ((*SOURCE, "endpoint"), "opc.tcp:h", "config.bad_url", "sources[0].endpoint"),
        (
            (*SOURCE, "endpoint"),
            "opc.tcp://u:p@h:1",
            "config.secret_in_url",
            "sources[0].endpoint",
        ),
        (("sparkplug", "broker", "url"), "tcp://h", "config.bad_url", "sparkplug.broker.url"),
        (
            ("sparkplug", "broker", "url"),
            "mqtt://h/topic",
            "config.bad_url",
            "sparkplug.broker.url",
        ),
        (
            ("sparkplug", "broker", "ca_file"),
            "/ca.pem",
            "config.conflict",
            "sparkplug.broker.ca_file",
        ),
        (
            (*SOURCE, "security", "allow_insecure"),
            False,
            "config.insecure",
            "sources[0].security.policy",
        ),
        (
            (*SOURCE, "security", "mode"),
            "Sign",
            "config.conflict",
            "sources[0].security.mode",
        ),
    ],
)
def test_what_types_cannot_say_is_named_with_its_path(path, value, code, at):
    fault = only_fault(changed(path, value))
    assert (fault.code, fault.path) == (code, at)


@pytest.mark.parametrize(
    "node",
    [
        "nsu=urn:example:plant;s=a;b=c=d",
        "nsu=http://plant.example/UA/;i=4294967295",
        "nsu=urn:x;g=09087e75-8e5e-499b-954f-f2a9603db28a",
        "nsu=urn:x;b=M/RbKBsRVkePCePcx24oRA==",
        "ns=0;i=85",
    ],
)
def test_node_ids_by_namespace_uri_are_good(node):
    assert check_config(changed((*TAG, "node"), node)).sources[0].tags[0].node == node


def test_a_password_over_an_unsecured_channel_is_refused_and_never_shown():
    document = copy.deepcopy(GOOD)
    document["sources"][0] |= {"username": "u", "password": "hunter2-secret"}
    fault = only_fault(document)
    assert (fault.code, fault.path) == ("config.insecure", "sources[0].password")
    document["sources"][0]["password"] = {"hunter2-secret": "hunter2-secret"}
    assert "hunter2-secret" not in str(faults_of(document)[0].message)


def test_duplicate_names_are_named_with_the_place_of_the_first():
    document = copy.deepcopy(GOOD)
    source = document["sources"][0]
    source["groups"].append(copy.deepcopy(source["groups"][0]))
    source["tags"].append(copy.deepcopy(source["tags"][0]))
    source["rules"].append(copy.deepcopy(source["rules"][0]))
    document["sources"].append(
        copy.deepcopy(source) | {"tags": [], "rules": [], "groups": [{"name": "g"}]}
    )
    found = {(f.code, f.path) for f in faults_of(document)}
    assert found == {
        ("config.duplicate_source", "sources[1].name"),
        ("config.duplicate_group", "sources[0].groups[1].name"),
        ("config.duplicate_metric", "sources[0].tags[2].name"),
        ("config.duplicate_rule", "sources[0].rules[1].below"),
    }


def test_one_metric_name_may_stand_in_two_devices_but_not_in_one_over_two_sources():
    document = copy.deepcopy(GOOD)
    other = copy.deepcopy(document["sources"][0]) | {"name": "line2", "rules": []}
    document["sources"].append(other)
    assert only_fault(document).code == "config.duplicate_metric"
    other["tags"][0]["device"] = "Other"
    check_config(document)


@pytest.mark.sparkplug("tck-id-case-sensitivity-metric-names")
@pytest.mark.parametrize("twin", ["PRESS/temperature", "Press/Temperature".replace("e", "E")])
def test_metrics_that_differ_only_in_case_are_refused(twin):
    document = copy.deepcopy(GOOD)
    document["sources"][0]["tags"].append(document["sources"][0]["tags"][0] | {"name": twin})
    assert only_fault(document).code == "config.case_twin"


def test_names_that_differ_only_in_how_accents_are_coded_are_refused():
    document = changed((*TAG, "name"), "K\u00fchlung")
    document["sources"][0]["tags"].append(
        document["sources"][0]["tags"][0] | {"name": "Ku\u0308hlung"}
    )
    assert only_fault(document).code == "config.case_twin"


def test_one_check_shows_the_faults_of_all_parts():
    document = copy.deepcopy(GOOD)
    document["gatway"] = {}
    document["journal"]["max_bytes"] = -1
    document["sparkplug"]["node"] = "a#b"
    source = document["sources"][0]
    source["groups"][0]["queue_size"] = "ten"
    source["tags"][0]["node"] = "ns=3;s=x"
    source["tags"][1]["group"] = "slow"
    source["tags"].append({"nod": 1})
    source["rules"].append("all")
    source["endpoint"] = "opc.tcp//x"
    document["sources"].append({"name": "line1"})
    assert [(f.code, f.path) for f in faults_of(document)] == [
        ("config.out_of_range", "journal.max_bytes"),
        ("config.unknown_key", "gatway"),
        ("config.wrong_type", "sources[0].groups[0].queue_size"),
        ("config.unknown_key", "sources[0].tags[2].nod"),
        ("config.missing_key", "sources[0].tags[2].node"),
        ("config.missing_key", "sources[0].tags[2].group"),
        ("config.wrong_type", "sources[0].rules[1]"),
        ("config.missing_key", "sources[1].endpoint"),
        ("config.missing_key", "sources[1].groups"),
        ("config.illegal_name", "sparkplug.node"),
        ("config.duplicate_source", "sources[1].name"),
        ("config.bad_url", "sources[0].endpoint"),
        ("config.bad_node", "sources[0].tags[0].node"),
        ("config.unknown_group", "sources[0].tags[1].group"),
    ]


def test_very_many_faults_are_cut_and_the_cut_is_said():
    document = changed((*SOURCE, "tags"), [{"node": 1, "group": "fast"}] * (FAULTS_MAX * 2))
    faults = faults_of(document)
    assert len(faults) == FAULTS_MAX
    document = changed((*SOURCE, "tags"), [{"node": "x=1", "group": "fast"}] * (FAULTS_MAX * 2))
    faults = faults_of(document)
    assert len(faults) == FAULTS_MAX
    assert faults[-1].code == "config.more_faults"


def test_more_tags_than_a_gateway_carries_are_refused():
    tags = [{"node": "ns=0;i=85", "group": "fast"}] * 100_001
    document = changed((*SOURCE, "tags"), tags)
    document["sources"].append(copy.copy(document["sources"][0]) | {"name": "line2", "rules": []})
    fault = only_fault(document)
    assert (fault.code, fault.path) == ("config.too_many", "sources")


junk_leaf = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["None", "fast", "ns=2;i=1", "nsu=x;s=y", "opc.tcp://[", "mqtt://h:x", "a/b"])
)
key = st.sampled_from(
    [
        "gateway",
        "sparkplug",
        "journal",
        "hub",
        "sources",
        "name",
        "kind",
        "endpoint",
        "security",
        "groups",
        "tags",
        "rules",
        "node",
        "group",
        "device",
        "deadband",
        "scale",
        "broker",
        "url",
    ]
) | st.text(max_size=5)
junk = st.recursive(
    junk_leaf,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(key | st.integers(), inner, max_size=6)
    ),
    max_leaves=25,
)


@given(document=junk)
@settings(max_examples=300, deadline=None)
def test_any_junk_document_gives_faults_and_no_other_error(document):
    faults = faults_or_none(document)
    if faults is not None:
        assert faults
        assert all(f.code.startswith("config.") and f.message for f in faults)


@st.composite
def places(draw):
    """Draw a place in the good document."""
    at = GOOD
    path = []
    while True:
        steps = list(at) if isinstance(at, dict) else list(range(len(at)))
        step = draw(st.sampled_from(steps))
        path.append(step)
        at = at[step]
        if not isinstance(at, dict | list) or not at or draw(st.booleans()):
            return tuple(path)


@given(place=places(), value=junk)
@settings(max_examples=300, deadline=None)
def test_junk_in_one_place_of_a_good_document_is_reported_there_or_is_good(place, value):
    document = changed(place, value)
    faults = faults_or_none(document)
    if faults is None:
        msgspec.convert(document, GatewayConfig)
    else:
        assert 0 < len(faults) <= FAULTS_MAX
        assert {f.path.partition(".")[0].partition("[")[0] for f in faults} == {place[0]}


@pytest.mark.parametrize(
    ("rule", "key"),
    [
        ({"regex": "(a|b"}, "regex"),
        ({"regex": "(?=a)b"}, "regex"),
        ({"regex": r"(a)\1"}, "regex"),
        ({"regex": ""}, "regex"),
        ({"type": "ns=4;i=5"}, "type"),
        ({"match": ""}, "match"),
        ({"exclude": [""]}, "exclude[0]"),
        ({"depth_max": 0}, "depth_max"),
    ],
)
def test_a_rules_pattern_or_type_that_cannot_be_one_is_a_fault_at_its_key(rule, key):
    document = changed((*SOURCE, "rules"), [{"group": "fast"} | rule])
    assert only_fault(document).path == f"sources[0].rules[0].{key}"


def test_rules_that_differ_in_their_pattern_are_two_rules():
    rules = [{"group": "fast", "match": m} for m in ("a", "b", "a")]
    assert only_fault(changed((*SOURCE, "rules"), rules)).code == "config.duplicate_rule"
    assert check_config(changed((*SOURCE, "rules"), rules[:2]))
    # escaped backslashes are no back-reference
    assert check_config(changed((*SOURCE, "rules"), [{"group": "fast", "regex": r"a\\1"}]))


@pytest.mark.parametrize("other", [{"mode": "poll"}, {"trigger": "status"}])
def test_a_deadband_that_nobody_could_apply_is_refused(other):
    group = copy.deepcopy(GOOD["sources"][0]["groups"][0])
    document = changed((*SOURCE, "groups", 0), group | {"deadband": {"percent": 5}} | other)
    fault = only_fault(document)
    assert (fault.code, fault.path) == ("config.conflict", "sources[0].groups[0].deadband")
