"""Factory+ conventions and the UNS mirror in the configuration: what is refused, and why."""

import copy
from uuid import UUID

import pytest

from contract.config import GatewayConfig
from contract.config_check import check_config
from contract.errors import ConfigError
from contract.factoryplus import (
    ISA95_FOLDER,
    SCHEMA_ISA95,
    config_revision,
    device_identities,
    node_instance,
)
from tests.contract.documents import GOOD

PRESS = "5d2c3a0e-91f4-4c2b-8a47-0f6e1b7d9c31"
AXIS = "e39007e9-1427-4867-9d72-1c00c663db15"
OWN = "a7c1e5b2-3d4f-4e6a-8b9c-0d1e2f3a4b5c"
ISA95 = {"enterprise": "AMRC", "site": "F2050", "area": "Cell 1"}
BROKER = {"url": "mqtt://127.0.0.1:1883", "version": "5.0"}


def document(*, uns=None, **press):
    plain = copy.deepcopy(GOOD)
    conventions = {
        "schema_uuid": PRESS,
        "instance_uuid": OWN,
        "folders": {"Axes/1": {"schema_uuid": AXIS}},
        "information": {"manufacturer": "Schuler", "model": "P250", "serial": "0042"},
        "isa95": ISA95,
    }
    plain["factoryplus"] = {"devices": {"Press": conventions | press}}
    if uns is not None:
        plain["uns"] = uns
    return plain


def only_fault(plain):
    with pytest.raises(ConfigError) as caught:
        check_config(plain)
    assert len(caught.value.faults) == 1, caught.value.faults
    return caught.value.faults[0]


def identities(plain, group="Plant1", node="PressShop1"):
    return device_identities(check_config(plain).factoryplus, group, node)


def test_a_document_without_the_sections_has_none():
    config = check_config(GOOD)
    assert (config.factoryplus, config.uns) == (None, None)
    assert check_config({"factoryplus": None, "uns": None}) == GatewayConfig()


def test_a_device_has_its_parts_facts_and_place():
    press = identities(document())["Press"]
    assert [(p.path, p.schema_uuid) for p in press.parts][:2] == [("", PRESS), ("Axes/1", AXIS)]
    assert press.parts[0].instance_uuid == OWN
    assert press.levels == ("AMRC", "F2050", "Cell 1")
    assert dict(press.facts)["Device_Information/Serial"] == "0042"
    assert dict(press.facts)[f"{ISA95_FOLDER}/Area"] == "Cell 1"
    assert {p.path: p.schema_uuid for p in press.parts}[ISA95_FOLDER] == SCHEMA_ISA95


def test_a_metric_is_in_the_folders_around_it_and_not_in_those_of_a_like_name():
    press = identities(document(folders={"Axes/1": {"schema_uuid": AXIS}}))["Press"]
    assert [p.path for p in press.around("Axes/1/Position")] == ["", "Axes/1"]
    assert [p.path for p in press.around("Axes/10/Position")] == [""]


def test_instances_that_are_left_out_are_the_same_each_time_and_nobody_elses():
    plain = document(instance_uuid=None)
    plain["factoryplus"]["devices"]["Load"] = {"schema_uuid": PRESS, "isa95": ISA95}
    first, again = identities(plain), identities(copy.deepcopy(plain))
    assert first == again
    found = [p.instance_uuid for device in first.values() for p in device.parts]
    elsewhere = [p.instance_uuid for d in identities(plain, node="Other").values() for p in d.parts]
    assert len(set(found + elsewhere)) == len(found) + len(elsewhere) == 14
    assert all(UUID(text).version == 5 for text in found)


def test_the_node_s_instance_is_as_configured_or_comes_from_its_address():
    plain = document()
    derived = node_instance(check_config(plain).factoryplus, "Plant1", "PressShop1")
    plain["factoryplus"]["instance_uuid"] = AXIS.upper()
    assert node_instance(check_config(plain).factoryplus, "Plant1", "PressShop1") == AXIS
    assert UUID(derived).version == 5


def test_a_revision_follows_the_document_and_is_nil_without_one():
    assert config_revision("") == "00000000-0000-0000-0000-000000000000"
    assert config_revision("ab") == config_revision("ab") != config_revision("ac")


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"enterprise": "A", "area": "C"}, "site"),
        ({"site": "B"}, "enterprise"),
        ({"enterprise": "A", "site": "B", "area": "C", "work_unit": "E"}, "work_center"),
        ({}, "enterprise"),
    ],
)
def test_a_broken_chain_names_the_level_that_is_missing(given, missing):
    fault = only_fault(document(isa95=given))
    assert fault.code == "config.broken_chain"
    assert fault.path == f"factoryplus.devices.Press.isa95.{missing}"
    assert missing in fault.message


def test_a_level_that_cannot_be_part_of_a_topic_is_refused():
    fault = only_fault(document(isa95={"enterprise": "A/B"}))
    assert (fault.code, fault.path) == (
        "config.illegal_name", "factoryplus.devices.Press.isa95.enterprise"
    )  # fmt: skip


@pytest.mark.parametrize(
    "text", ["press-1", "", "00000000-0000-0000-0000-000000000000", f"{{{PRESS}}}", PRESS[:-1]]
)
def test_what_is_no_uuid_is_refused(text):
    fault = only_fault(document(schema_uuid=text))
    assert fault.path == "factoryplus.devices.Press.schema_uuid"
    assert fault.code in {"config.bad_uuid", "config.out_of_range"}


def test_an_instance_that_stands_twice_is_refused_and_both_places_are_named():
    folders = {"Axes/1": {"schema_uuid": AXIS, "instance_uuid": OWN.upper()}}
    fault = only_fault(document(folders=folders))
    assert fault.code == "config.duplicate_instance"
    assert fault.path == "factoryplus.devices.Press.folders.'Axes/1'.instance_uuid"
    assert "factoryplus.devices.Press" in fault.message


@pytest.mark.parametrize("name", ["Schema_UUID", "axes/1/instance_uuid", "Device_Information/Model",
                                  "Other/MySchema_UUID"])  # fmt: skip
def test_a_tag_named_as_a_metric_of_the_conventions_is_refused(name):
    plain = document()
    plain["sources"][0]["tags"][0]["name"] = name
    fault = only_fault(plain)
    assert (fault.code, fault.path) == ("config.illegal_name", "sources[0].tags[0].name")
    del plain["factoryplus"]
    check_config(plain)


@pytest.mark.parametrize("folder", ["/Axes", "Axes//1", "Axes/", "Device_Information/More"])
def test_a_folder_that_cannot_be_one_is_refused(folder):
    fault = only_fault(document(folders={folder: {"schema_uuid": AXIS}}))
    assert fault.code == "config.illegal_name"


def test_a_device_that_no_source_has_is_refused_with_the_nearest_name():
    plain = document()
    plain["factoryplus"]["devices"]["Pres"] = {"schema_uuid": PRESS}
    fault = only_fault(plain)
    assert (fault.code, fault.path) == ("config.unknown_device", "factoryplus.devices.Pres")
    assert "'Press'" in fault.remedy


def test_a_device_is_not_missed_where_its_source_cannot_be_read():
    plain = document()
    plain["sources"][0]["groups"] = []
    assert only_fault(plain).code == "config.too_few"


def test_an_unknown_key_of_a_device_is_named_with_its_path():
    fault = only_fault(document(modell="P250"))
    assert (fault.code, fault.path) == ("config.unknown_key", "factoryplus.devices.Press.modell")


def test_conventions_without_sparkplug_are_refused():
    plain = document()
    del plain["sparkplug"]
    assert only_fault(plain).path == "factoryplus"


def test_the_mirror_needs_mqtt_5():
    fault = only_fault(document(uns={"broker": BROKER | {"version": "3.1.1"}}))
    assert (fault.path, fault.remedy) == ("uns.broker.version", 'write version: "5.0"')


def test_the_mirror_needs_an_enterprise():
    check_config(document(uns={"broker": BROKER}))
    assert only_fault(document(uns={"broker": BROKER}, isa95=None)).path == "uns"
    plain = document(uns={"broker": BROKER})
    del plain["factoryplus"]
    assert only_fault(plain).path == "uns"
