"""Which source a configuration asks for: one line a kind."""

from __future__ import annotations

from pathlib import Path

from contract.config import ModbusSourceConfig, MqttSourceConfig, SourceConfig
from gateway.sources.base import Source
from gateway.sources.modbus.source import ModbusSource
from gateway.sources.mqtt.source import MqttSource
from gateway.sources.opcua.source import OpcUaSource
from gateway.sources.opcua.tools import OpcUaTools
from runtime.clock import Clock


def make_source(
    config: SourceConfig, gateway_id: str, data_dir: Path, clock: Clock, opcua: OpcUaTools
) -> Source:
    """Make the source of a configuration; nothing runs yet.

    Args:
        config: the source's.
        gateway_id: of this box.
        data_dir: where a source may keep what it needs after a restart.
        clock: for all of them.
        opcua: certificates and listeners that all OPC UA sources share.
    """
    match config:
        case MqttSourceConfig():
            return MqttSource(config, gateway_id, clock)
        case ModbusSourceConfig():
            return ModbusSource(config, clock)
        case _:
            return OpcUaSource(config, clock, data_dir / "sessions", opcua.access(config))
