"""What the types of the ``sparkplug`` section cannot say: ids, URLs, TLS files, clear secrets."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterator
from urllib.parse import urlsplit

from contract.config import BrokerConfig, SparkplugConfig
from contract.config_names import fault_of_id, fault_of_url
from contract.config_shape import joined
from contract.errors import Fault

PATH = "sparkplug"
_TLS_KEYS = ("ca_file", "certificate_file", "key_file")
_NUMBERS = ("host_wait_s", "death_delay_s", "command_age_s_max")


def sparkplug_faults(sparkplug: SparkplugConfig) -> Iterator[Fault]:
    """Find all that is wrong in the section beyond types."""
    ids = {"group": sparkplug.group, "node": sparkplug.node}
    for key, name in ids.items():
        yield from _given(fault_of_id(name, joined(PATH, key), key))
    if sparkplug.group == "STATE":
        yield Fault(
            code="config.illegal_name",
            path="sparkplug.group",
            message="'STATE' is the topic of the host applications",
            remedy="choose another group",
        )
    if sparkplug.primary_host is not None:
        yield from _given(fault_of_id(sparkplug.primary_host, "sparkplug.primary_host", "host"))
    for key in _NUMBERS:
        if not math.isfinite(getattr(sparkplug, key)):
            yield Fault(
                code="config.out_of_range",
                path=joined(PATH, key),
                message="has to be a finite number, not NaN or infinity",
            )
    seen: dict[str, str] = {}
    for number, broker in enumerate(sparkplug.brokers):
        path = f"{PATH}.fallback_brokers[{number - 1}]" if number else f"{PATH}.broker"
        yield from broker_faults(broker, path)
        first = seen.setdefault(broker.url, path)
        if first != path:
            yield Fault(
                code="config.duplicate_broker",
                path=joined(path, "url"),
                message=f"this broker is {first} already",
                remedy="leave one of them out",
            )


def broker_faults(broker: BrokerConfig, path: str) -> Iterator[Fault]:
    """Find what is wrong with a broker beyond types, whoever publishes there."""
    bad_url = fault_of_url(broker.url, joined(path, "url"), ("mqtt", "mqtts"))
    yield from _given(bad_url)
    is_secure = broker.url.startswith("mqtts://")
    for key in _TLS_KEYS:
        if getattr(broker, key) is not None and not is_secure:
            yield Fault(
                code="config.conflict",
                path=joined(path, key),
                message="a file for TLS is given, but the broker's URL is not mqtts://",
                remedy="write mqtts:// in the URL, or leave the file out",
            )
    if (broker.certificate_file is None) != (broker.key_file is None):
        there, missing = ("certificate_file", "key_file")[:: 1 if broker.certificate_file else -1]
        yield Fault(
            code="config.conflict",
            path=joined(path, there),
            message=f"{there} is given, but {missing} is not",
            remedy=f"add {missing}: a certificate is of no use without its key",
        )
    if broker.password is not None and broker.username is None:
        yield Fault(
            code="config.conflict",
            path=joined(path, "password"),
            message="MQTT takes no password without a user name",
            remedy="add username",
        )
    if (
        broker.password is not None
        and not broker.allow_insecure
        and not (is_secure or bad_url or _is_this_machine(broker.url))
    ):
        yield Fault(
            code="config.insecure",
            path=joined(path, "password"),
            message="the password would go to another machine in clear",
            remedy="write mqtts:// in the URL, or accept it with allow_insecure: true",
        )


def _is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _given(fault: Fault | None) -> Iterator[Fault]:
    if fault is not None:
        yield fault
