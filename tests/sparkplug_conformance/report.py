"""What a checker found: per rule, how often it was judged and where it was broken.

A rule that was never judged has proved nothing, so `broken` fails on it too.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.sparkplug_conformance.stream import Event

_NODE_TYPES = ("NBIRTH", "NDATA", "DBIRTH", "DDATA", "DDEATH")
_CMD_TYPES = ("NCMD", "DCMD")

RULES: dict[str, str] = {
    # --- a node's connection
    "will": "a node's CONNECT has a Will",
    "will_topic": "the Will goes to spBv1.0/GROUP/NDEATH/NODE",
    "will_payload": "the Will is a Sparkplug payload",
    "will_qos": "the Will has QoS 1",
    "will_retain": "the Will is not retained",
    "will_delay": "the Will is not delayed",
    "bdseq_type": "bdSeq is an Int64 of 0 to 255 in long_value",
    "bdseq_increments": "bdSeq starts at 0 and goes up by one with each CONNECT, from 255 to 0",
    "clean_311": "MQTT 3.1.1: Clean Session is 1",
    "clean_50": "MQTT 5: Clean Start is 1 and Session Expiry 0",
    "one_server": "a node has one connection at a time",
    "ncmd_subscription": "NCMD of the node is subscribed at QoS 1 before the births",
    "dcmd_subscription": "DCMD of a device is subscribed at QoS 1 before its birth",
    "state_subscription": "STATE of the primary host, and of no other, is subscribed",
    "after_connack": "nothing is published before the CONNACK",
    "birth_first": "a node's first publication in a session is its NBIRTH",
    # --- the end of a session
    "ndeath_metric": "an NDEATH has exactly one metric: bdSeq",
    "ndeath_no_seq": "an NDEATH has no seq",
    "ndeath_bdseq": "an NDEATH has the bdSeq of its session",
    "ndeath_qos": "a published NDEATH has the Will's QoS and is not retained",
    "ndeath_last": "nothing is sent after the NDEATH",
    "ndeath_before_disconnect": "an NDEATH goes out before a deliberate DISCONNECT",
    "disconnect_code": "MQTT 5: a DISCONNECT after births has the code 0x04",
    "will_delivered": "a broken connection makes the broker publish the Will",
    # --- topics
    "topic_structure": "a topic is spBv1.0/GROUP/TYPE/NODE or .../DEVICE",
    "device_token": "device messages have a device in the topic, node messages have none",
    **{f"{t.lower()}_topic": f"{t} goes to its topic, with the node's ids" for t in _NODE_TYPES},
    # --- every message of a node
    **{f"{t.lower()}_payload": f"{t} is a Sparkplug payload" for t in _NODE_TYPES},
    **{f"{t.lower()}_qos": f"{t} has QoS 0" for t in _NODE_TYPES},
    **{f"{t.lower()}_retain": f"{t} is not retained" for t in _NODE_TYPES},
    **{f"{t.lower()}_timestamp": f"{t} has the time of sending" for t in _NODE_TYPES},
    **{f"{t.lower()}_seq": f"{t} has a seq of 0 to 255" for t in _NODE_TYPES},
    **{f"{t.lower()}_seq_next": f"{t} has the next seq" for t in _NODE_TYPES},
    "payload_utc": "payload timestamps are UTC ms",
    # --- the births
    "bdseq_included": "an NBIRTH has bdSeq",
    "bdseq_matches": "an NBIRTH has the bdSeq of its connection's Will",
    "rebirth_included": "an NBIRTH has Node Control/Rebirth",
    "rebirth_type": "Node Control/Rebirth is a Boolean",
    "rebirth_value": "Node Control/Rebirth is false",
    "rebirth_no_alias": "Node Control/Rebirth has no alias",
    "nbirth_metrics": "an NBIRTH metric has name, datatype and a value or null",
    "dbirth_metrics": "a DBIRTH metric has name, datatype and a value or null",
    "nbirth_values": "an NBIRTH metric has a value, or is_null and no value",
    "dbirth_values": "a DBIRTH metric has a value, or is_null and no value",
    "nbirth_complete": "NDATA has only metrics of the NBIRTH",
    "dbirth_complete": "DDATA has only metrics of the DBIRTH",
    "dbirth_after_nbirth": "a DBIRTH comes after the NBIRTH of its session",
    "dbirth_once": "a device that is born is not born again without a death",
    "dbirth_before_data": "after a rebirth all devices are born again before any DATA",
    "ndata_after_births": "NDATA comes after the births",
    "ddata_after_births": "DDATA comes after the DBIRTH of its device, and not after its death",
    "ddeath_of_born": "a DDEATH is that of a born device",
    # --- rebirth
    "rebirth_stops_data": "after a rebirth command no DATA comes before the NBIRTH",
    "rebirth_answered": "a rebirth command is answered by NBIRTH and the DBIRTH of every device",
    "rebirth_bdseq": "a rebirth has the bdSeq of the session",
    # --- metrics
    "schema": "every field has the type that the schema gives it",
    "metric_name": "a metric has a name, or an alias of a birth",
    "alias_unique": "an alias is unique over the node and its devices",
    "alias_birth": "a birth metric with an alias has its name too",
    "alias_data": "a metric with an alias goes by the alias alone in DATA",
    "metric_timestamp": "metrics of births and data have a timestamp",
    "metric_utc": "metric timestamps are UTC ms",
    "n_order": "live metrics of NBIRTH and NDATA stand in time order",
    "d_order": "live metrics of DBIRTH and DDATA stand in time order",
    "datatype_number": "a datatype is a number of the DataType enumeration",
    "datatype_birth": "a birth metric has a datatype",
    "datatype_data": "a DATA metric has no datatype",
    "value_field": "a value stands in the field of its datatype",
    "ndata_changed": "NDATA repeats no value of an NDATA before it",
    "ddata_changed": "DDATA repeats no value of a DDATA before it",
    # --- properties
    "property_sizes": "a PropertySet has as many keys as values",
    "property_type": "a property's type is a basic type, PropertySet or PropertySetList",
    "property_type_birth": "a property of a birth has a type",
    "quality_type": "Quality is an Int32",
    "quality_value": "Quality is 0, 192 or 500",
    # --- data sets
    "dataset_columns": "num_of_columns, columns and cells of each row agree",
    "dataset_types": "a DataSet has a type for each column",
    "dataset_type_number": "a DataSet's types are basic types",
    "dataset_value": "a DataSet's cell is an int, long, float, double, boolean or string",
    # --- templates
    "template_flag": "is_definition is always present",
    "template_definition_place": "definitions stand in an NBIRTH, at the top, and nowhere else",
    "template_definition_ref": "a definition has no template_ref",
    "template_definition_flag": "a definition has is_definition true",
    "template_instance_flag": "an instance has is_definition false",
    "template_instance_ref": "an instance's template_ref names a definition of the NBIRTH",
    "template_members": "an instance has no members beyond the definition's",
    "template_members_birth": "in births an instance has all members",
    "template_parameters": "an instance has no parameters beyond the definition's",
    "template_version": "a version is a text",
    "parameter_name": "a template parameter has a name",
    "parameter_type": "a template parameter's type is a basic type",
    "parameter_type_birth": "parameters of definitions have a type",
    "parameter_value": "a parameter's value stands in the field of its type",
    # --- the primary host, as the node sees it
    "host_wait": "with a primary host, births wait for its STATE online",
    "host_wait_id": "the STATE of another host does not count",
    "host_wait_online": "a STATE with online false does not count",
    "host_wait_timestamp": "an older STATE does not count",
    "host_offline": "the primary host's STATE offline: NDEATH, and the connection ends",
    "host_offline_old": "an older STATE offline is ignored in session",
    # --- a host application's connection
    "state_will": "a host's CONNECT has a Will",
    "state_will_topic": "the host's Will goes to spBv1.0/STATE/HOST",
    "state_will_qos": "the host's Will has QoS 1",
    "state_will_retain": "the host's Will is retained",
    "state_will_payload": "the host's Will is JSON: online false, timestamp of the CONNECT",
    "host_clean_311": "MQTT 3.1.1: a host's Clean Session is 1",
    "host_clean_50": "MQTT 5: a host's Clean Start is 1 and Session Expiry 0",
    "state_subscribed": "a host subscribes its own STATE and the namespace before its birth",
    "state_first": "a host's first publication is its STATE birth, after the SUBACK",
    "state_topic": "the STATE birth goes to spBv1.0/STATE/HOST",
    "state_qos": "the STATE birth has QoS 1",
    "state_retain": "the STATE birth is retained",
    "state_payload": "the STATE birth is JSON: online true and a number",
    "state_timestamp": "the STATE birth has the timestamp of the Will",
    "state_death": "a STATE death goes out before a deliberate DISCONNECT",
    "state_death_topic": "the STATE death goes to spBv1.0/STATE/HOST",
    "state_death_qos": "the STATE death has QoS 1",
    "state_death_retain": "the STATE death is retained",
    "state_death_payload": "the STATE death is JSON: online false, timestamp of now",
    "state_answer": "a host that reads its own STATE offline says online again, same timestamp",
    # --- its commands
    **{f"{t.lower()}_topic": f"{t} goes to its topic" for t in _CMD_TYPES},
    **{f"{t.lower()}_qos": f"{t} has QoS 0" for t in _CMD_TYPES},
    **{f"{t.lower()}_retain": f"{t} is not retained" for t in _CMD_TYPES},
    **{f"{t.lower()}_timestamp": f"{t} has the time of sending" for t in _CMD_TYPES},
    **{f"{t.lower()}_no_seq": f"{t} has no seq" for t in _CMD_TYPES},
    **{f"{t.lower()}_metrics": f"{t} has metrics of the birth" for t in _CMD_TYPES},
    **{f"{t.lower()}_value": f"{t} has values of the metrics' types" for t in _CMD_TYPES},
    "rebirth_request": "a rebirth request is an NCMD with Node Control/Rebirth true",
}


@dataclass(frozen=True)
class Violation:
    rule: str
    place: int
    detail: str

    def __str__(self) -> str:
        return f"event {self.place}: {RULES[self.rule]} [{self.rule}]: {self.detail}"


@dataclass
class Report:
    judged: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    place: int = 0
    event: Event | None = None

    def judge(self, rule: str, holds: bool, detail: object = "") -> None:
        """Note that a rule was judged at the present event, and whether it held."""
        assert rule in RULES, rule
        self.judged[rule] += 1
        if not holds:
            packet = f"{self.event.packet!r:.200}" if self.event is not None else ""
            self.violations.append(Violation(rule, self.place, f"{detail} in {packet}"))

    def broken(self, rule: str) -> list[str]:
        """Return what there is to say against a rule: violations, or that nothing was judged."""
        assert rule in RULES, rule
        if not self.judged[rule]:
            return [f"nothing in the stream was judged by: {RULES[rule]} [{rule}]"]
        return [str(one) for one in self.violations if one.rule == rule]

    @property
    def rules_broken(self) -> set[str]:
        return {one.rule for one in self.violations}
