"""The checker can fail: every rule is broken by a small damage to a stream that keeps all of them.

Without this a green line in the matrix would say nothing.
"""

import pytest

from tests.sparkplug_conformance import made_stream as made
from tests.sparkplug_conformance.checker import check_host, check_node
from tests.sparkplug_conformance.damage import (
    a,
    again,
    at_level,
    change,
    clear,
    drop,
    edit,
    edit_will,
    move,
    put,
    read,
    sent,
    will,
)
from tests.sparkplug_conformance.report import RULES
from tests.sparkplug_conformance.stream import (
    Closed,
    Connack,
    Connect,
    Disconnect,
    Event,
    Suback,
    load,
    save,
)

NODE = {"NBIRTH": "", "NDATA": "", "DBIRTH": "D1", "DDATA": "D1", "DDEATH": "D2"}
T = made.T
OTHER = "spBv1.0/STATE/other"
STATE_BIRTH = sent("STATE")
N_TABLE, N_MOTOR, N_INSTANCE = "metrics[4].dataset_value", "metrics[5].template_value", "metrics[6]"
PROPERTIES = "metrics[1].properties"


def retyped_name(payload):
    """Nothing: the raw bytes do it."""


def seq_off(payload):
    payload.seq = (payload.seq + 7) % 256


def overlap(events):
    """The second connection opens before the first is closed."""
    place = next(n for n, e in enumerate(events) if isinstance(e.packet, Closed))
    connect = [n for n, e in enumerate(events) if isinstance(e.packet, Connect)][1]
    moved = events[connect]
    rest = [*events[:connect], *events[connect + 1 :]]
    return [*rest[:place], moved, *rest[place:]]


def answered_offline(events):
    """The host goes offline, and the node neither dies nor goes."""
    last = next(n for n, e in enumerate(events) if isinstance(e.packet, Disconnect))
    return [*events[: last - 1], events[last + 1]]


def dies_of_an_old_state(events):
    place = [n for n, e in enumerate(events) if e.packet.__class__.__name__ == "Puback"][5]
    return [*events[: place + 1], *_death_of_the_first(events)]


def _death_of_the_first(events):
    death = next(e for e in events if sent("NDEATH")(e))
    from_first = Event(connection=1, sender="client", time_ms=T, packet=death.packet)
    return [from_first, Event(connection=1, sender="client", time_ms=T, packet=Closed())]


def without_answer(events):
    """The second STATE birth of the first session is missing."""
    births = [n for n, e in enumerate(events) if STATE_BIRTH(e)]
    return [*events[: births[1]], *events[births[1] + 1 :]]


def early_birth(number):
    """The births come before the `number`-th STATE that the node reads (with its PUBACK)."""

    def damage(events):
        place = [n for n, e in enumerate(events) if read(made.STATE)(e)][number]
        born = next(n for n, e in enumerate(events) if sent("NBIRTH")(e))
        return [*events[:place], events[born], *events[place:born], *events[born + 1 :]]

    return damage


def birth_after_the_other_host(events):
    born = next(n for n, e in enumerate(events) if sent("NBIRTH")(e))
    place = next(n for n, e in enumerate(events) if read(OTHER)(e)) + 2
    return [*events[:place], events[born], *events[place:born], *events[born + 1 :]]


NODE_DAMAGE = {
    "will": change(a(Connect), 1, will=None),
    "will_topic": will(1, topic="spBv1.0/G/NDEATH/other"),
    "will_payload": will(1, payload=b"\xff\xff"),
    "will_qos": will(1, qos=0),
    "will_retain": will(1, retain=True),
    "will_delay": will(1, delay_s=5),
    "bdseq_type": edit_will(put("metrics[0].datatype", 8)),
    "bdseq_increments": edit_will(put("metrics[0].long_value", 5), 1),
    "clean_311": change(at_level(4), is_clean=False),
    "clean_50": change(at_level(5), expiry_s=60),
    "one_server": overlap,
    "ncmd_subscription": change(a(Suback), codes=(0, 1, 1)),
    "dcmd_subscription": change(a(Suback), codes=(1, 0x80, 1)),
    "state_subscription": change(a(Suback), codes=(1, 1, 0x80)),
    "after_connack": drop(a(Connack)),
    "birth_first": move(sent("NDATA"), before=sent("NBIRTH")),
    "ndeath_metric": edit(sent("NDEATH"), lambda p: p.metrics.add(name="x", int_value=1)),
    "ndeath_no_seq": edit(sent("NDEATH"), put("seq", 3)),
    "ndeath_bdseq": edit(sent("NDEATH"), put("metrics[0].long_value", 7)),
    "ndeath_qos": change(sent("NDEATH"), qos=0),
    "ndeath_last": again(sent("DDATA"), 3, before=a(Disconnect)),
    "ndeath_before_disconnect": drop(sent("NDEATH")),
    "disconnect_code": change(a(Disconnect), code=0),
    "will_delivered": drop(read("spBv1.0/G/NDEATH/N")),
    "topic_structure": change(sent("NDATA"), topic="spAv1.0/G/NDATA/N"),
    "device_token": change(sent("DDATA"), topic="spBv1.0/G/DDATA/N"),
    "payload_utc": edit(sent("NDATA"), put("timestamp", T // 1000)),
    "bdseq_included": edit(sent("NBIRTH"), put("metrics[0].name", "bd")),
    "bdseq_matches": edit(sent("NBIRTH"), put("metrics[0].long_value", 9)),
    "rebirth_included": edit(sent("NBIRTH"), put("metrics[1].name", "Rebirth")),
    "rebirth_type": edit(sent("NBIRTH"), put("metrics[1].datatype", 3)),
    "rebirth_value": edit(sent("NBIRTH"), put("metrics[1].boolean_value", True)),
    "rebirth_no_alias": edit(sent("NBIRTH"), put("metrics[1].alias", 77)),
    "nbirth_metrics": edit(sent("NBIRTH"), clear("metrics[2].double_value")),
    "dbirth_metrics": edit(sent("DBIRTH"), clear("metrics[0].name")),
    "nbirth_values": edit(sent("NBIRTH"), put("metrics[2].is_null", True)),
    "dbirth_values": edit(sent("DBIRTH"), put("metrics[0].is_null", True)),
    "nbirth_complete": edit(sent("NDATA"), put("metrics[0].alias", 500)),
    "dbirth_complete": edit(sent("DDATA"), put("metrics[0].alias", 500)),
    "dbirth_after_nbirth": drop(sent("NBIRTH")),
    "dbirth_once": drop(sent("DDEATH")),
    "dbirth_before_data": move(sent("DBIRTH", "D2"), 1, before=sent("DDATA"), before_number=3),
    "ndata_after_births": drop(sent("NBIRTH")),
    "ddata_after_births": drop(sent("DBIRTH", "D1")),
    "ddeath_of_born": drop(sent("DBIRTH", "D2"), 1),
    "rebirth_stops_data": again(sent("DDATA"), before=sent("NBIRTH"), before_number=1),
    "rebirth_answered": drop(sent("DBIRTH", "D2"), 1),
    "rebirth_bdseq": edit(sent("NBIRTH"), put("metrics[0].long_value", 1), 1),
    "schema": edit(sent("NDATA"), retyped_name, more=b"\x1a\x01\x05"),
    "metric_name": edit(sent("NDATA"), clear("metrics[0].alias")),
    "alias_unique": edit(sent("DBIRTH", "D2"), put("metrics[0].alias", 10)),
    "alias_birth": edit(sent("NBIRTH"), clear("metrics[2].name")),
    "alias_data": edit(sent("NDATA"), put("metrics[0].name", "n1")),
    "metric_timestamp": edit(sent("NDATA"), clear("metrics[0].timestamp")),
    "metric_utc": edit(sent("NDATA"), put("metrics[0].timestamp", T * 1000)),
    "n_order": edit(sent("NDATA"), put("metrics[0].timestamp", T + 50_000)),
    "d_order": edit(sent("DDATA"), put("metrics[0].timestamp", T + 50_000)),
    "datatype_number": edit(sent("NBIRTH"), put("metrics[2].datatype", 99)),
    "datatype_birth": edit(sent("NBIRTH"), clear("metrics[2].datatype")),
    "datatype_data": edit(sent("NDATA"), put("metrics[0].datatype", 10)),
    "value_field": edit(sent("NDATA"), put("metrics[0].int_value", 1)),
    "ndata_changed": again(sent("NDATA"), before=sent("DDATA")),
    "ddata_changed": again(sent("DDATA"), before=sent("DDATA"), before_number=1),
    "property_sizes": edit(sent("DBIRTH"), lambda p: p.metrics[1].properties.keys.append("x")),
    "property_type": edit(sent("DBIRTH"), put(f"{PROPERTIES}.values[1].type", 17)),
    "property_type_birth": edit(sent("DBIRTH"), clear(f"{PROPERTIES}.values[1].type")),
    "quality_type": edit(sent("DBIRTH"), put(f"{PROPERTIES}.values[0].type", 7)),
    "quality_value": edit(sent("DBIRTH"), put(f"{PROPERTIES}.values[0].int_value", 193)),
    "dataset_columns": edit(sent("NBIRTH"), put(f"{N_TABLE}.num_of_columns", 3)),
    "dataset_types": edit(sent("NBIRTH"), lambda p: p.metrics[4].dataset_value.types.pop()),
    "dataset_type_number": edit(
        sent("NBIRTH"), lambda p: p.metrics[4].dataset_value.types.__setitem__(1, 17)
    ),
    "dataset_value": edit(sent("NBIRTH"), clear(f"{N_TABLE}.rows[0].elements[1].string_value")),
    "template_flag": edit(sent("NBIRTH"), clear(f"{N_INSTANCE}.template_value.is_definition")),
    "template_definition_place": edit(
        sent("DBIRTH"), lambda p: _define(p.metrics.add(name="M", datatype=19, timestamp=T))
    ),
    "template_definition_ref": edit(sent("NBIRTH"), put(f"{N_MOTOR}.template_ref", "x")),
    "template_definition_flag": edit(sent("NBIRTH"), put(f"{N_MOTOR}.is_definition", False)),
    "template_instance_flag": edit(
        sent("DBIRTH"), lambda p: _instance(p.metrics.add(name="i", datatype=19, timestamp=T))
    ),
    "template_instance_ref": edit(
        sent("NBIRTH"), put(f"{N_INSTANCE}.template_value.template_ref", "Pump")
    ),
    "template_members": edit(
        sent("NBIRTH"), put(f"{N_INSTANCE}.template_value.metrics[0].name", "x")
    ),
    "template_members_birth": edit(
        sent("NBIRTH"), lambda p: p.metrics[6].template_value.metrics.pop()
    ),
    "template_parameters": edit(
        sent("NBIRTH"), put(f"{N_INSTANCE}.template_value.parameters[0].name", "x")
    ),
    "parameter_name": edit(sent("NBIRTH"), clear(f"{N_MOTOR}.parameters[0].name")),
    "parameter_type": edit(sent("NBIRTH"), put(f"{N_MOTOR}.parameters[0].type", 17)),
    "parameter_type_birth": edit(sent("NBIRTH"), clear(f"{N_MOTOR}.parameters[0].type")),
    "parameter_value": edit(sent("NBIRTH"), put(f"{N_MOTOR}.parameters[0].int_value", 1)),
    "host_wait": early_birth(0),
    "host_wait_id": birth_after_the_other_host,
    "host_wait_online": early_birth(1),
    "host_wait_timestamp": early_birth(2),
    "host_offline": answered_offline,
    "host_offline_old": dies_of_an_old_state,
}
for kind, device in NODE.items():
    select, low = sent(kind, device), kind.lower()
    elsewhere = f"spBv1.0/H/{kind}/N" + (f"/{device}" if device else "")
    NODE_DAMAGE |= {
        f"{low}_topic": change(select, topic=elsewhere),
        f"{low}_payload": change(select, payload=b"\xff\xff"),
        f"{low}_qos": change(select, qos=1),
        f"{low}_retain": change(select, retain=True),
        f"{low}_timestamp": edit(select, clear("timestamp")),
        f"{low}_seq": edit(select, put("seq", 256)),
        f"{low}_seq_next": edit(select, seq_off),
    }

HOST_DAMAGE = {
    "state_will": change(a(Connect), 1, will=None),
    "state_will_topic": will(1, topic=OTHER),
    "state_will_qos": will(1, qos=0),
    "state_will_retain": will(1, retain=False),
    "state_will_payload": will(1, payload=b'{"online": false, "timestamp": "now"}'),
    "host_clean_311": change(at_level(4), is_clean=False),
    "host_clean_50": change(at_level(5), expiry_s=60),
    "state_subscribed": change(a(Suback), codes=(1, 0x80)),
    "state_first": move(sent("NCMD"), before=STATE_BIRTH),
    "state_topic": change(STATE_BIRTH, topic=OTHER),
    "state_qos": change(STATE_BIRTH, qos=0),
    "state_retain": change(STATE_BIRTH, retain=False),
    "state_payload": change(STATE_BIRTH, payload=b"ONLINE"),
    "state_timestamp": change(STATE_BIRTH, payload=made.state(online=True, time_ms=T - 1)),
    "state_death": drop(STATE_BIRTH, 2),
    "state_death_topic": change(STATE_BIRTH, 2, topic=OTHER),
    "state_death_qos": change(STATE_BIRTH, 2, qos=0),
    "state_death_retain": change(STATE_BIRTH, 2, retain=False),
    "state_death_payload": change(STATE_BIRTH, 2, payload=made.state(online=False, time_ms=0)),
    "state_answer": without_answer,
    "rebirth_request": edit(sent("NCMD"), put("metrics[0].boolean_value", False)),
    "ncmd_value": edit(sent("NCMD"), put("metrics[0].int_value", 1), 1),
    "dcmd_value": edit(sent("DCMD"), put("metrics[0].int_value", 1)),
    "ncmd_metrics": edit(sent("NCMD"), put("metrics[0].name", "nobody"), 1),
    "dcmd_metrics": edit(sent("DCMD"), put("metrics[0].name", "nobody")),
}
for kind in ("NCMD", "DCMD"):
    select, low = sent(kind), kind.lower()
    HOST_DAMAGE |= {
        f"{low}_topic": change(select, topic=f"spBv1.0/G/{kind}"),
        f"{low}_qos": change(select, qos=1),
        f"{low}_retain": change(select, retain=True),
        f"{low}_timestamp": edit(select, clear("timestamp")),
        f"{low}_no_seq": edit(select, put("seq", 3)),
    }

# the schema itself makes these impossible to break in a payload that can be read at all
BY_SCHEMA = {"template_version"}


def _define(metric):
    metric.template_value.is_definition = True


def _instance(metric):
    metric.template_value.is_definition = True
    metric.template_value.template_ref = "Motor"


@pytest.fixture(scope="module")
def node_events():
    return made.node_stream()


@pytest.fixture(scope="module")
def host_events():
    return made.host_stream()


def check_as_node(events):
    return check_node(events, ("G", "N"), host_id="scada")


def test_a_good_stream_breaks_no_rule_and_every_rule_is_judged(node_events, host_events):
    node, host = check_as_node(node_events), check_host(host_events, "scada")
    assert [str(one) for one in node.violations + host.violations] == []
    assert [rule for rule in RULES if not node.judged[rule] and not host.judged[rule]] == []


def test_every_rule_has_a_damage_that_breaks_it():
    assert set(RULES) - BY_SCHEMA == set(NODE_DAMAGE) | set(HOST_DAMAGE)


@pytest.mark.parametrize("rule", sorted(NODE_DAMAGE))
def test_a_damaged_node_stream_breaks_the_rule(node_events, rule):
    report = check_as_node(NODE_DAMAGE[rule](node_events))
    assert rule in report.rules_broken, [str(one) for one in report.violations]
    assert report.broken(rule)


@pytest.mark.parametrize("rule", sorted(HOST_DAMAGE))
def test_a_damaged_host_stream_breaks_the_rule(host_events, rule):
    report = check_host(HOST_DAMAGE[rule](host_events), "scada")
    assert rule in report.rules_broken, [str(one) for one in report.violations]


def test_a_rule_that_nothing_was_judged_by_counts_as_broken():
    report = check_as_node([])
    [said] = report.broken("will_qos")
    assert "nothing in the stream was judged" in said


def test_a_stream_is_kept_and_read_again(node_events, tmp_path):
    save(node_events, tmp_path / "stream")
    assert load(tmp_path / "stream") == node_events
