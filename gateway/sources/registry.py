"""Which source a configuration asks for: one line a kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from contract.config import ModbusSourceConfig, MqttSourceConfig, OpcUaSourceConfig, SourceConfig
from gateway.sources.base import Source
from gateway.sources.modbus.source import ModbusSource
from gateway.sources.mqtt.source import MqttSource
from gateway.sources.opcua.access import Access, Pki, target_of
from gateway.sources.opcua.reverse import Doors
from gateway.sources.opcua.source import OpcUaSource
from runtime.clock import Clock


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What sources of every kind find at this gateway.

    Attributes:
        gateway_id: the gateway's id in its document.
        data_dir: a source keeps what is its own below it.
        clock: time.
        pki: our OPC UA certificate, and whom we trust.
        doors: ports on which OPC UA servers call us.
    """

    gateway_id: str
    data_dir: Path
    clock: Clock
    pki: Pki
    doors: Doors = field(default_factory=Doors)


def make_source(config: SourceConfig, around: Surroundings) -> Source:
    """Make the source of a configuration; nothing runs yet."""
    match config:
        case MqttSourceConfig():
            return MqttSource(config, around.gateway_id, around.clock)
        case ModbusSourceConfig():
            return ModbusSource(config, around.clock)
        case OpcUaSourceConfig():
            access = Access(target_of(config), around.pki, around.doors)
            return OpcUaSource(config, around.clock, around.data_dir / "sessions", access)
