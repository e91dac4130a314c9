"""The MQTT part of the configuration document: topics with plain JSON that become tags."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from contract.config_id import Id
from contract.config_opcua import Deadband, Scale
from contract.config_sparkplug import BrokerConfig

MqttType = Literal["Boolean", "Int32", "Int64", "UInt64", "Float", "Double", "String", "DateTime"]
TimeFormat = Literal["iso8601", "s", "ms", "us", "ns"]


class MqttTagConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tag: a value in the messages of a topic.

    Attributes:
        topic: without wildcards.
        value: where the value stands: a JSON pointer as ``/motor/rpm`` or ``/axes/0/position``;
            "" is the whole message, as for a bare ``21.5``.
        time: where its source time stands, a JSON pointer; None takes the time of arrival.
        time_format: how the source time is written.
        unit: engineering unit.
        record: False: Sparkplug historians are told not to keep it.
    """

    topic: Annotated[str, Meta(min_length=1, max_length=1024)]
    value: Annotated[str, Meta(max_length=512)] = ""
    name: Annotated[str, Meta(min_length=1, max_length=1024)]
    type: MqttType = "Double"
    time: Annotated[str, Meta(max_length=512)] | None = None
    time_format: TimeFormat = "iso8601"
    device: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    unit: Annotated[str, Meta(max_length=64)] = ""
    description: Annotated[str, Meta(max_length=1024)] = ""
    deadband: Deadband | None = None
    scale: Scale | None = None
    record: bool = True


class MqttSourceConfig(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="mqtt",
):
    """A broker whose messages become samples.

    Attributes:
        qos: 1: a message is acknowledged to the broker only after its commit, and the broker keeps
            those that come while we are away (``session_expiry_s``); 0: what the link loses is
            lost.
        session_expiry_s: how long the broker keeps our session, and with it our messages.
        client_id: None: made of the gateway's id and the source's name.
    """

    name: Id
    broker: BrokerConfig
    qos: Literal[0, 1] = 1
    session_expiry_s: Annotated[int, Meta(ge=0, le=30 * 24 * 3600)] = 24 * 3600
    client_id: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    tags: Annotated[list[MqttTagConfig], Meta(min_length=1, max_length=50_000)]
    enabled: bool = True
