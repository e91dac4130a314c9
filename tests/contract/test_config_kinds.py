"""MQTT and Modbus sources in the document: the shipped examples are good, and faults are named."""

import copy
from pathlib import Path

import pytest
import yaml

from contract.config import ModbusSourceConfig, MqttSourceConfig, OpcUaSourceConfig
from contract.config_check import check_config
from contract.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]


def example(kind):
    return yaml.safe_load((REPOSITORY / f"gateway/sources/{kind}/example.yaml").read_text("utf-8"))


def faults(document):
    with pytest.raises(ConfigError) as caught:
        check_config(document)
    return {(fault.path, fault.code) for fault in caught.value.faults}


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [("mqtt", MqttSourceConfig), ("modbus", ModbusSourceConfig), ("opcua", OpcUaSourceConfig)],
)
def test_the_example_of_a_kind_is_good(kind, wanted):
    assert isinstance(check_config(example(kind)).sources[0], wanted)


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("topic", "cell7/+/state", "config.bad_topic"),
        ("topic", "$share/g/cell7", "config.bad_topic"),
        ("value", "axes.0", "config.bad_pointer"),
        ("time", "ts", "config.bad_pointer"),
        ("name", "Node Control/Rebirth", "config.illegal_name"),
        ("device", "a/b", "config.illegal_name"),
        ("scale", {"gain": 0}, "config.out_of_range"),
        ("scale", {"offset": float("inf")}, "config.out_of_range"),
        ("deadband", {"absolute": float("inf")}, "config.out_of_range"),
        ("unknown", 1, "config.unknown_key"),
    ],
)
def test_a_wrong_mqtt_tag_is_named(key, value, code):
    document = copy.deepcopy(example("mqtt"))
    document["sources"][0]["tags"][0][key] = value
    found = faults(document)
    assert [c for path, c in found if path.startswith(f"sources[0].tags[0].{key}")] == [code]
    assert len(found) == 1


@pytest.mark.parametrize(
    ("changes", "key", "code"),
    [
        ({"group": "fats"}, "group", "config.unknown_group"),
        ({"bit": 3}, "bit", "config.conflict"),
        ({"length_registers": 3}, "length_registers", "config.conflict"),
        ({"type": "String"}, "length_registers", "config.conflict"),
        ({"address": 65_535}, "address", "config.conflict"),
        ({"address": 65_536}, "address", "config.out_of_range"),
        ({"table": "coil"}, "type", "config.conflict"),
        ({"type": "Decimal"}, "type", "config.not_allowed"),
    ],
)
def test_a_wrong_modbus_tag_is_named(changes, key, code):
    document = copy.deepcopy(example("modbus"))
    tag = document["sources"][0]["tags"][0]
    del tag["deadband"]
    tag |= changes
    assert (f"sources[0].tags[0].{key}", code) in faults(document)


def test_metrics_are_unique_over_sources_of_every_kind():
    document = example("modbus")
    mqtt = example("mqtt")["sources"][0]
    document["sources"][0]["tags"][0]["device"] = "D"
    mqtt["tags"][2] |= {"name": "Power", "device": "D"}
    document["sources"].append(mqtt)
    assert faults(document) == {("sources[1].tags[2].name", "config.duplicate_metric")}


def test_a_password_needs_a_name_and_urls_their_scheme():
    document = example("mqtt")
    broker = document["sources"][0]["broker"]
    del broker["username"]
    broker["url"] = "http://broker"
    assert faults(document) == {
        ("sources[0].broker.password", "config.conflict"),
        ("sources[0].broker.url", "config.bad_url"),
    }
    document = example("modbus")
    document["sources"][0]["endpoint"] = "opc.tcp://h:1"
    document["sources"][0]["groups"][1]["name"] = "fast"
    assert {code for _, code in faults(document)} >= {"config.bad_url", "config.duplicate_group"}
