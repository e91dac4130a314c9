"""The gateway's configuration document: what people edit, the hub publishes and the box applies.

One YAML or JSON document, validated whole before anything starts. Unknown keys are errors; each
fault names its path. Structure is checked here by types; what types cannot say (a tag that names
no group, two metrics of one name) is in ``contract.config_check``.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from contract.config_factoryplus import FactoryPlusConfig
from contract.config_group import GroupConfig, GroupDeadband, PacingConfig
from contract.config_id import Id
from contract.config_modbus import ModbusGroupConfig, ModbusSourceConfig, ModbusTagConfig
from contract.config_mqtt import MqttSourceConfig, MqttTagConfig
from contract.config_opcua import (
    Deadband,
    OpcUaSourceConfig,
    RuleConfig,
    Scale,
    SecurityConfig,
    TagConfig,
)
from contract.config_sparkplug import BrokerConfig, SparkplugConfig
from contract.config_uns import UnsConfig

__all__ = [
    "BrokerConfig",
    "Deadband",
    "FactoryPlusConfig",
    "GatewayConfig",
    "GatewayIdentity",
    "GroupConfig",
    "GroupDeadband",
    "HubConfig",
    "Id",
    "JournalConfig",
    "ModbusGroupConfig",
    "ModbusSourceConfig",
    "ModbusTagConfig",
    "MqttSourceConfig",
    "MqttTagConfig",
    "OpcUaSourceConfig",
    "PacingConfig",
    "RuleConfig",
    "Scale",
    "SecurityConfig",
    "SourceConfig",
    "SparkplugConfig",
    "TagConfig",
    "UnsConfig",
]


class GatewayIdentity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who this box is. ``id`` never changes; the name people see is a label elsewhere."""

    id: Id = "gateway"
    site: Annotated[str, Meta(max_length=64)] = ""


class JournalConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the journal commits and what it keeps.

    Attributes:
        commit_interval_ms: group commit; the longest a sample waits for its fsync.
        max_bytes: size limit; beyond it the oldest rows are dropped and entered in the ledger.
        retention_hours: rows stay this long even when every consumer has passed them.
    """

    commit_interval_ms: Annotated[int, Meta(ge=20, le=10_000)] = 200
    max_bytes: Annotated[int, Meta(ge=4_000_000)] = 2_000_000_000
    retention_hours: Annotated[float, Meta(ge=0, le=24 * 3660)] = 72


class HubConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether to send to the hub; where is known from enrolment."""

    enabled: bool = True


SourceConfig = OpcUaSourceConfig | MqttSourceConfig | ModbusSourceConfig
"""A source of any kind; ``kind`` says which."""


class GatewayConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole document."""

    gateway: GatewayIdentity = GatewayIdentity()
    sparkplug: SparkplugConfig | None = None
    factoryplus: FactoryPlusConfig | None = None
    uns: UnsConfig | None = None
    journal: JournalConfig = JournalConfig()
    hub: HubConfig = HubConfig()
    sources: Annotated[list[SourceConfig], Meta(max_length=1000)] = []
