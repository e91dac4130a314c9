"""What security and login of a source may not say together."""

import pytest

from contract.config_check import check_config
from contract.errors import ConfigError

SOURCE = {"kind": "opcua", "name": "a", "endpoint": "opc.tcp://h", "groups": [{"name": "g"}]}
PLAIN = {"policy": "None", "mode": "None", "allow_insecure": True}


def faults(**keys):
    """The faults of a source with some keys."""
    try:
        check_config({"sources": [SOURCE | keys]})
    except ConfigError as error:
        return [(fault.code, fault.path.removeprefix("sources[0].")) for fault in error.faults]
    return []


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"security": {"policy": "Aes256_Sha256_RsaPss", "mode": "Sign"}},
        {"security": {"policy": "Basic256", "allow_insecure": True}},
        {"security": {"tolerate": ["host_name", "time"], "shared_trust": False}},
        {"security": PLAIN},
        {"username": "u", "password": "p"},
        {"user_certificate_file": "c.pem", "user_key_file": "k.pem"},
    ],
)
def test_what_is_safe_or_agreed_to_is_taken(keys):
    assert faults(**keys) == []


@pytest.mark.parametrize(
    ("keys", "code", "path"),
    [
        ({"security": {"policy": "Basic256"}}, "config.insecure", "security.policy"),
        ({"security": {"policy": "Basic128Rsa15"}}, "config.insecure", "security.policy"),
        ({"security": {"policy": "None"}}, "config.conflict", "security.mode"),
        ({"security": {"mode": "None"}}, "config.conflict", "security.mode"),
        ({"security": {"tolerate": ["trust"]}}, "config.not_allowed", "security.tolerate[0]"),
        ({"security": {"tolerate": "time"}}, "config.wrong_type", "security.tolerate"),
        ({"security": PLAIN, "username": "u", "password": "p"}, "config.insecure", "password"),
        ({"password": "p"}, "config.conflict", "password"),
        ({"username": "u", "password": "x" * 151}, "config.out_of_range", "password"),
        ({"user_key_file": "k"}, "config.conflict", "user_key_file"),
        ({"user_certificate_file": "c"}, "config.conflict", "user_certificate_file"),
        (
            {"username": "u", "user_certificate_file": "c", "user_key_file": "k"},
            "config.conflict",
            "user_certificate_file",
        ),
        (
            {"security": PLAIN, "user_certificate_file": "c", "user_key_file": "k"},
            "config.insecure",
            "user_certificate_file",
        ),
    ],
)
def test_what_is_unsafe_or_contradicts_itself_is_named(keys, code, path):
    assert faults(**keys) == [(code, path)]
