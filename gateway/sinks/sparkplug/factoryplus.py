"""Factory+ conventions in the edge node's births and data (shared/reference/acs.md, 2.1 and 2.5).

``Conventions`` says what the sink adds to plain Sparkplug: the payload's uuid, the unit of times,
the UUID and fact metrics of node and devices, which tags are transient, and the gateway's alerts.
Without a ``factoryplus`` section it adds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from contract.config_factoryplus import FactoryPlusConfig
from contract.factoryplus import (
    ALERTS_FOLDER,
    INSTANCE_NAME,
    PAYLOAD_UUID,
    SCHEMA_ALERT,
    SCHEMA_NAME,
    DeviceIdentity,
    alert_instance,
    canonical,
    config_revision,
    device_identities,
    is_reserved,
    node_instance,
)
from contract.upload import TagDefinition
from runtime.clock import Clock
from runtime.log import logger
from sparkplug_b.birth import BirthMetric
from sparkplug_b.columns import MetricColumn, encode_metrics
from sparkplug_b.datatype import DataType
from sparkplug_b.timestamp import TimestampUnit

NODE_TYPE: Final = "Factory+ Edge"
ALIAS_OF_FIRST_ALERT: Final = 1 << 31
"""Above all tags' (``gateway.flow.tags.TAGS_MAX``): alerts go out by alias too."""
ALERTS_CHECK_S: Final = 1.0


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One of the gateway's own alerts; ``name`` is its folder below ``Alerts/``."""

    name: str
    type_uuid: str
    active: bool


class Conventions:
    """What one edge node says beyond plain Sparkplug. Constructed with None: nothing."""

    def __init__(
        self,
        config: FactoryPlusConfig | None,
        address: tuple[str, str],
        document_sha256: str,
        alerts: Callable[[], Sequence[Alert]],
        clock: Clock,
    ) -> None:
        self._config = config
        self._document_sha256 = document_sha256
        self._alerts = alerts
        self._clock = clock
        self._said: dict[str, bool] = {}
        self._aliases: dict[str, int] = {}
        self._looked_s = 0.0
        self._refused: set[tuple[str, str]] = set()
        self._node_uuid = "" if config is None else node_instance(config, *address)
        self._devices: dict[str, DeviceIdentity] = (
            {} if config is None else device_identities(config, *address)
        )
        self._reserved = {d: set(i.metric_names()) for d, i in self._devices.items()}

    @property
    def payload_uuid(self) -> str | None:
        """What marks births, data and device deaths as following the conventions."""
        return None if self._config is None else PAYLOAD_UUID

    @property
    def unit(self) -> TimestampUnit:
        """The unit of the timestamps that are written."""
        return "ns" if self._config is not None and self._config.acs_nanoseconds else "ms"

    def is_transient(self, definition: TagDefinition) -> bool:
        """Tell whether historians shall leave a tag out: by its own setting or its device's."""
        device = self._devices.get(definition.device)
        return not (definition.record and (device is None or device.is_recorded))

    def allowed(self, definitions: Sequence[TagDefinition]) -> list[TagDefinition]:
        """Return the tags without those that bear the name of a metric of the conventions.

        The configuration's own names are checked before the start; these are tags that were found
        by a rule or named by their browse path. They are journalled, but have no metric.
        """
        kept = []
        for definition in definitions:
            if not self._is_taken(definition):
                kept.append(definition)
            elif (definition.device, definition.name) not in self._refused:
                self._refused.add((definition.device, definition.name))
                logger().warning(
                    "sparkplug.tag_refused",
                    device=definition.device,
                    metric=definition.name,
                    reason="the Factory+ conventions write a metric of this name",
                    remedy="give the tag another name or the rule a prefix",
                )
        return kept

    def _is_taken(self, definition: TagDefinition) -> bool:
        if self._config is None:
            return False
        named = self._reserved.get(definition.device, ())
        return definition.name in named or is_reserved(definition.name)

    def node_metrics(self, now_ms: int) -> list[BirthMetric]:
        """Return the node's metrics for NBIRTH; alerts are told as they are now."""
        if self._config is None:
            return []
        found = [
            _uuid(SCHEMA_NAME, canonical(self._config.schema_uuid), now_ms),
            _uuid(INSTANCE_NAME, self._node_uuid, now_ms),
            _uuid("Config_Revision", config_revision(self._document_sha256), now_ms),
            _text("Node Properties/Type", NODE_TYPE, now_ms),
        ]
        self._said, self._aliases = {}, {}
        for number, alert in enumerate(self._alerts()):
            self._said[alert.name] = alert.active
            self._aliases[alert.name] = ALIAS_OF_FIRST_ALERT + number
            found += self._alert_metrics(alert, now_ms)
        return found

    def device_metrics(self, device: str, now_ms: int) -> Iterator[BirthMetric]:
        """Yield a device's metrics for its DBIRTH: UUIDs of its folders, and its facts."""
        identity = self._devices.get(device)
        if identity is None:
            return
        for part in identity.parts:
            yield _uuid(part.named(SCHEMA_NAME), part.schema_uuid, now_ms)
            yield _uuid(part.named(INSTANCE_NAME), part.instance_uuid, now_ms)
        for name, text in identity.facts:
            yield _text(name, text, now_ms)

    def changed_alerts(self, now_ms: int) -> bytes | None:
        """Return NDATA metrics of the alerts that changed since they were told; None for none.

        Looks every ``ALERTS_CHECK_S`` at most.
        """
        now_s = self._clock.monotonic_s()
        if not self._said or now_s - self._looked_s < ALERTS_CHECK_S:
            return None
        self._looked_s = now_s
        states = {a.name: a.active for a in self._alerts() if a.name in self._said}
        changed = [name for name, active in states.items() if active != self._said[name]]
        if not changed:
            return None
        self._said |= states
        column = MetricColumn(
            data_type=DataType.BOOLEAN,
            alias=np.array([self._aliases[name] for name in changed], dtype=np.uint64),
            time_ms=np.full(len(changed), now_ms, dtype=np.int64),
            values=np.array([states[name] for name in changed], dtype=np.bool_),
        )
        return encode_metrics(column, timestamp_unit=self.unit).body

    def _alert_metrics(self, alert: Alert, now_ms: int) -> Iterator[BirthMetric]:
        folder = f"{ALERTS_FOLDER}/{alert.name}"
        yield _uuid(f"{folder}/{SCHEMA_NAME}", SCHEMA_ALERT, now_ms)
        yield _uuid(f"{folder}/{INSTANCE_NAME}", alert_instance(self._node_uuid, folder), now_ms)
        yield _uuid(f"{folder}/Type", alert.type_uuid, now_ms)
        yield BirthMetric(
            name=f"{folder}/Active",
            alias=self._aliases[alert.name],
            data_type=DataType.BOOLEAN,
            value=alert.active,
            time_ms=now_ms,
        )


def plain_sparkplug(clock: Clock) -> Conventions:
    """Return what adds nothing."""
    return Conventions(None, ("", ""), "", list, clock)


def _uuid(name: str, value: str, now_ms: int) -> BirthMetric:
    return BirthMetric(name=name, data_type=DataType.UUID, value=value, time_ms=now_ms)


def _text(name: str, value: str, now_ms: int) -> BirthMetric:
    return BirthMetric(name=name, data_type=DataType.STRING, value=value, time_ms=now_ms)
