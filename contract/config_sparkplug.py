"""The ``sparkplug`` part of the configuration document: the edge node and its MQTT brokers."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class BrokerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The MQTT broker. The URL's scheme says mqtt (1883) or mqtts (8883)."""

    url: Annotated[str, Meta(min_length=1, max_length=512)]
    username: str | None = None
    password: str | None = None
    version: Literal["3.1.1", "5.0"] = "3.1.1"
    keep_alive_s: Annotated[int, Meta(ge=2, le=3600)] = 15
    ca_file: str | None = None


class SparkplugConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The edge node's place in the Sparkplug name space, and how its backlog drains.

    Attributes:
        backfill_rate: historical samples a second at most, while live data has its own lane.
    """

    group: Annotated[str, Meta(min_length=1, max_length=128)]
    node: Annotated[str, Meta(min_length=1, max_length=128)]
    broker: BrokerConfig
    primary_host: str | None = None
    backfill_rate: Annotated[int, Meta(ge=100, le=10_000_000)] = 100_000
