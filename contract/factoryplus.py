"""Factory+ (ACS) conventions: well-known UUIDs, and who is who in a gateway's births.

Pure. An instance that the configuration does not name gets a UUID derived from its node's (UUID 5),
so that it is the same after each restart and no other's. The hub may derive them too.

Source: shared/reference/acs.md, 2.1 and 2.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

if TYPE_CHECKING:
    from contract.config_factoryplus import DeviceConventions, FactoryPlusConfig

PAYLOAD_UUID: Final = "11ad7b32-1d32-4c4a-b0c9-fa049208939a"
"""In a birth's payload: its UUID metrics are to be read by these conventions."""
SCHEMA_EDGE_AGENT: Final = "15360868-2f35-4b52-990b-49329fb246fe"
SCHEMA_DEVICE_INFORMATION: Final = "2dd093e9-1450-44c5-be8c-c0d78e48219b"
SCHEMA_ISA95: Final = "84ac3397-f3a2-440a-99e5-5bb9f6a75091"
SCHEMA_ALERT: Final = "8853aa15-2228-4309-b98e-e086cefbc72c"
ALERT_CONNECTION: Final = "633a7da3-ea2a-4e3f-8e84-35691a07465f"
NIL: Final = "00000000-0000-0000-0000-000000000000"

SCHEMA_NAME: Final = "Schema_UUID"
INSTANCE_NAME: Final = "Instance_UUID"
INFORMATION_FOLDER: Final = "Device_Information"
ISA95_FOLDER: Final = "Device_Information/ISA95_Hierarchy"
ALERTS_FOLDER: Final = "Alerts"

LEVELS: Final = (
    ("enterprise", "Enterprise"),
    ("site", "Site"),
    ("area", "Area"),
    ("work_center", "Work Center"),
    ("work_unit", "Work Unit"),
)
"""Keys of the configuration from the top down, and their metrics' names."""

_ALERT_INSTANCES: Final = "8a4dc2f4-2f9f-45fc-b2e9-ed7b9cda6145"
_NAMESPACE: Final = UUID(PAYLOAD_UUID)
_OURS: Final = "factoryplus-edge"


def _derived(*parts: str) -> str:
    return str(uuid5(_NAMESPACE, ":".join((_OURS, *parts))))


ALERT_SAMPLES_LOST: Final = _derived("alert-type", "samples-lost")
"""Ours: ACS has no type for it."""
ALERT_TAG_TROUBLES: Final = _derived("alert-type", "tag-troubles")
"""Ours: ACS has no type for it."""


@dataclass(frozen=True, slots=True)
class Part:
    """A folder with its schema and instance; the path is "" for the device itself."""

    path: str
    schema_uuid: str
    instance_uuid: str

    def named(self, name: str) -> str:
        """Return the full name of one of the folder's metrics."""
        return f"{self.path}/{name}" if self.path else name


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """What the conventions say of one device.

    Attributes:
        parts: the device first, then its folders in order of path.
        facts: full metric name and text, as ``Device_Information/Model``.
        levels: ISA-95 names from the top down; empty when the device has no place.
        is_recorded: false when all its tags are transient.
    """

    parts: tuple[Part, ...]
    facts: tuple[tuple[str, str], ...]
    levels: tuple[str, ...]
    is_recorded: bool

    def metric_names(self) -> Iterator[str]:
        """Yield the names of all metrics that the conventions add to the device."""
        for part in self.parts:
            yield part.named(SCHEMA_NAME)
            yield part.named(INSTANCE_NAME)
        for name, _ in self.facts:
            yield name

    def around(self, metric: str) -> tuple[Part, ...]:
        """Return the parts that hold a metric, from the device inwards."""
        return tuple(p for p in self.parts if not p.path or metric.startswith(f"{p.path}/"))


def is_reserved(name: str) -> bool:
    """Tell whether a metric's name is one that ACS's readers take for a UUID of its folder."""
    return name.endswith((SCHEMA_NAME, INSTANCE_NAME))


def node_instance(config: FactoryPlusConfig, group: str, node: str) -> str:
    """Return the edge node's Instance_UUID: as configured, or from its Sparkplug address."""
    return canonical(config.instance_uuid) or _derived("node", group, node)


def part_instance(node_uuid: str, device: str, folder: str) -> str:
    """Return the Instance_UUID of a device (folder "") or of one of its folders."""
    return _derived("part", node_uuid, device, folder)


def alert_instance(node_uuid: str, folder: str) -> str:
    """Return the Instance_UUID of an alert. Source: acs.md, 2.5."""
    return str(uuid5(_NAMESPACE, f"{_ALERT_INSTANCES}:{node_uuid}:{folder}"))


def config_revision(sha256: str) -> str:
    """Return the Config_Revision of a document by its hash; nil for none."""
    return _derived("config", sha256) if sha256 else NIL


def canonical(text: str | None) -> str:
    """Return a UUID in its usual form, "" for None. Raises ValueError for any other text."""
    return "" if text is None else str(UUID(text))


def device_identity(node_uuid: str, device: str, config: DeviceConventions) -> DeviceIdentity:
    """Work out what the conventions say of a device. The configuration is checked."""

    def part(path: str, schema_uuid: str, instance_uuid: str | None = None) -> Part:
        instance = canonical(instance_uuid) or part_instance(node_uuid, device, path)
        return Part(path, canonical(schema_uuid), instance)

    parts = [part("", config.schema_uuid, config.instance_uuid)]
    parts += [part(p, f.schema_uuid, f.instance_uuid) for p, f in sorted(config.folders.items())]
    parts.append(part(INFORMATION_FOLDER, SCHEMA_DEVICE_INFORMATION))
    plate = config.information
    facts = [
        (f"{INFORMATION_FOLDER}/{name}", text)
        for name, text in (
            ("Manufacturer", plate.manufacturer),
            ("Model", plate.model),
            ("Serial", plate.serial),
        )
        if text is not None
    ]
    levels: list[str] = []
    if config.isa95 is not None:
        parts.append(part(ISA95_FOLDER, SCHEMA_ISA95))
        for key, name in LEVELS:
            text = getattr(config.isa95, key)
            if text is not None:
                levels.append(text)
                facts.append((f"{ISA95_FOLDER}/{name}", text))
    return DeviceIdentity(tuple(parts), tuple(facts), tuple(levels), config.record_to_historian)


def device_identities(
    config: FactoryPlusConfig, group: str, node: str
) -> dict[str, DeviceIdentity]:
    """Work out what the conventions say of every device in the configuration."""
    uuid = node_instance(config, group, node)
    return {
        device: device_identity(uuid, device, conventions)
        for device, conventions in config.devices.items()
    }
