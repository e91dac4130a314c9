"""What the types of the ``sparkplug`` section cannot say is found, with its path."""

import pytest

from contract.config_check import check_config
from tests.contract.test_config_check import changed, only_fault

BROKERS = ("sparkplug", "fallback_brokers")


@pytest.mark.parametrize(
    ("path", "value", "code", "at"),
    [
        (
            ("sparkplug", "broker"),
            {"url": "mqtts://h", "key_file": "/k.pem"},
            "config.conflict",
            "sparkplug.broker.key_file",
        ),
        (
            ("sparkplug", "broker"),
            {"url": "mqtts://h", "certificate_file": "/c.pem"},
            "config.conflict",
            "sparkplug.broker.certificate_file",
        ),
        (
            ("sparkplug", "broker"),
            {"url": "mqtt://broker.example", "username": "u", "password": "p"},
            "config.insecure",
            "sparkplug.broker.password",
        ),
        (
            ("sparkplug", "broker", "packet_bytes_max"),
            10,
            "config.out_of_range",
            "sparkplug.broker.packet_bytes_max",
        ),
        (
            BROKERS,
            [{"url": "mqtt://b"}, {"url": "mqtt://c"}, {"url": "mqtt://b"}],
            "config.duplicate_broker",
            "sparkplug.fallback_brokers[2].url",
        ),
        (
            BROKERS,
            [{"url": "mqtt://b", "password": "p", "allow_insecure": True}],
            "config.conflict",
            "sparkplug.fallback_brokers[0].password",
        ),
        (BROKERS, [{"url": "http://b"}], "config.bad_url", "sparkplug.fallback_brokers[0].url"),
        (
            ("sparkplug", "host_wait_s"),
            float("nan"),
            "config.out_of_range",
            "sparkplug.host_wait_s",
        ),
        (("sparkplug", "death_delay_s"), -1, "config.out_of_range", "sparkplug.death_delay_s"),
        (("sparkplug", "compression"), "zip", "config.not_allowed", "sparkplug.compression"),
    ],
)
def test_what_cannot_be_meant_is_named_with_its_path(path, value, code, at):
    fault = only_fault(changed(path, value))
    assert (fault.code, fault.path) == (code, at)
    assert "'p'" not in fault.message


@pytest.mark.parametrize(
    "broker",
    [
        {"url": "mqtts://broker.example"},
        {"url": "mqtt://broker.example", "allow_insecure": True},
        {"url": "mqtt://127.0.0.1"},
        {"url": "mqtt://[::1]:1884"},
        {"url": "mqtt://localhost"},
    ],
)
def test_a_password_may_go_over_tls_within_this_machine_or_where_it_is_accepted(broker):
    document = changed(("sparkplug", "broker"), broker | {"username": "u", "password": "p"})
    assert check_config(document).sparkplug.broker.password == "p"


def test_brokers_are_tried_in_the_order_of_the_document():
    document = changed(BROKERS, [{"url": "mqtt://b"}, {"url": "mqtts://c"}])
    urls = [broker.url for broker in check_config(document).sparkplug.brokers]
    assert urls[1:] == ["mqtt://b", "mqtts://c"]
