"""The ``sparkplug`` part of the configuration document: the edge node and its MQTT brokers."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class BrokerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An MQTT broker. The URL's scheme says mqtt (1883) or mqtts (8883; TLS 1.2 or newer).

    Attributes:
        ca_file: PEM of the CAs that may have signed the broker's certificate; the system's if None.
        certificate_file: PEM of our certificate and its chain, where the broker asks for one.
        key_file: PEM of its key, unencrypted.
        allow_insecure: send a password to another machine without TLS.
        packet_bytes_max: the largest packet sent; a broker of MQTT 5 may say less itself.
    """

    url: Annotated[str, Meta(min_length=1, max_length=512)]
    username: str | None = None
    password: str | None = None
    version: Literal["3.1.1", "5.0"] = "3.1.1"
    keep_alive_s: Annotated[int, Meta(ge=2, le=3600)] = 15
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    allow_insecure: bool = False
    packet_bytes_max: Annotated[int, Meta(ge=1_000, le=268_435_455)] | None = None


class SparkplugConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The edge node's place in the Sparkplug name space, its brokers, and how it behaves there.

    Attributes:
        fallback_brokers: tried in this order when ``broker`` cannot be used; one at a time.
        host_wait_s: with several brokers, how long to wait at one for the primary host.
        death_delay_s: a source that is away for less does not take its devices down.
        command_age_s_max: older writes are not carried out; 0 for any age.
        compression: of births and data where it makes them smaller; no Sparkplug 3.0, few hosts
            read it.
        compression: Literal["none", "deflate", "gzip"] = "none"
    backfill_rate: historical samples a second at most, while live data has its own lane.
    """

    group: Annotated[str, Meta(min_length=1, max_length=128)]
    node: Annotated[str, Meta(min_length=1, max_length=128)]
    broker: BrokerConfig
    fallback_brokers: Annotated[list[BrokerConfig], Meta(max_length=8)] = []
    primary_host: str | None = None
    host_wait_s: Annotated[float, Meta(ge=1, le=3_600)] = 20.0
    death_delay_s: Annotated[float, Meta(ge=0, le=3_600)] = 3.0
    command_age_s_max: Annotated[float, Meta(ge=0, le=86_400)] = 60.0
    compression: Literal["none", "deflate", "gzip"] = "none"
    backfill_rate: Annotated[int, Meta(ge=100, le=10_000_000)] = 100_000

    @property
    def brokers(self) -> list[BrokerConfig]:
        """All brokers, in the order in which they are tried."""
        return [self.broker, *self.fallback_brokers]
