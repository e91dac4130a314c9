"""The ``uns`` part of the configuration document: the mirror of last values as JSON."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from contract.config_sparkplug import BrokerConfig


class UnsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the mirror goes and how much it may cost.

    Attributes:
        broker: MQTT 5.0, for the user properties.
        interval_ms: a tag's messages are at least so far apart.
        messages_per_s_max: of all tags together; beyond it a value waits, and a newer takes its
            place.
        retain: let the broker keep each tag's last message.
    """

    broker: BrokerConfig
    interval_ms: Annotated[int, Meta(ge=100, le=3_600_000)] = 1000
    messages_per_s_max: Annotated[int, Meta(ge=1, le=20_000)] = 1000
    retain: bool = False
