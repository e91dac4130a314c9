"""What the types of ``factoryplus`` and ``uns`` cannot say: UUIDs, chains, names that clash.

A device may be named only when a source has it; which devices there are, and their tags, is given
by ``contract.config_rules``. Tags found later by rules are held against the same names at birth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from uuid import UUID

from contract.config_factoryplus import DeviceConventions, FactoryPlusConfig, Isa95Config
from contract.config_names import fault_of_id, fault_of_metric, same_key
from contract.config_rules_sparkplug import broker_faults
from contract.config_shape import joined, key_in_path, nearest, shown
from contract.config_sparkplug import SparkplugConfig
from contract.config_uns import UnsConfig
from contract.errors import Fault
from contract.factoryplus import (
    INFORMATION_FOLDER,
    LEVELS,
    NIL,
    DeviceIdentity,
    device_identity,
    is_reserved,
    node_instance,
)

_PATH = "factoryplus"
Tag = tuple[str, str, str]
"""Device, metric name, path in the document."""


def factoryplus_faults(
    config: FactoryPlusConfig,
    sparkplug: SparkplugConfig | None,
    devices: AbstractSet[str] | None,
    tags: Sequence[Tag],
) -> Iterator[Fault]:
    """Check the conventions; ``devices`` None: not all could be read, so none is missed."""
    found = list(_uuid_faults(config))
    for device, conventions in config.devices.items():
        path = _device_path(device)
        found += _device_faults(conventions, path)
        if devices is not None and device not in devices:
            found.append(
                Fault(
                    code="config.unknown_device",
                    path=path,
                    message=f"no source has a device {shown(device)}",
                    remedy=nearest(device, devices) or "name a device that a tag or rule has",
                )
            )
    yield from found
    if found or sparkplug is None:
        return
    node = node_instance(config, sparkplug.group, sparkplug.node)
    identities = {d: device_identity(node, d, c) for d, c in config.devices.items()}
    yield from _twin_instances(node, identities)
    yield from _clashes(identities, tags)


def uns_faults(
    uns: UnsConfig, factoryplus: FactoryPlusConfig | None, *, has_factoryplus: bool
) -> Iterator[Fault]:
    """Check the mirror; ``factoryplus`` None: there is none, or it could not be read."""
    broker = uns.broker
    yield from broker_faults(broker, "uns.broker")
    if broker.version != "5.0":
        yield Fault(
            code="config.conflict",
            path="uns.broker.version",
            message="the mirror's user properties need MQTT 5.0",
            remedy='write version: "5.0"',
        )
    if not has_factoryplus:
        yield Fault(
            code="config.conflict",
            path="uns",
            message="the mirror's topics come from factoryplus.devices, and there is none",
            remedy="add factoryplus with an isa95.enterprise for each device to mirror",
        )
    elif factoryplus is not None and not any(d.isa95 for d in factoryplus.devices.values()):
        yield Fault(
            code="config.conflict",
            path="uns",
            message="no device of factoryplus.devices has an enterprise, so nothing is mirrored",
            remedy="add isa95.enterprise to the devices to mirror",
        )


def without_sparkplug() -> Fault:
    """Word that there are conventions, but no births that could show them."""
    return Fault(
        code="config.conflict",
        path=_PATH,
        message="the conventions describe Sparkplug births, and there is no sparkplug section",
        remedy="add sparkplug, or leave factoryplus out",
    )


def _device_path(device: str) -> str:
    return joined(f"{_PATH}.devices", key_in_path(device))


def _folder_path(path: str, folder: str) -> str:
    return joined(f"{path}.folders", key_in_path(folder))


def _uuid_faults(config: FactoryPlusConfig) -> Iterator[Fault]:
    yield from _bad_uuids(_PATH, config.schema_uuid, config.instance_uuid)
    for device, conventions in config.devices.items():
        path = _device_path(device)
        yield from _bad_uuids(path, conventions.schema_uuid, conventions.instance_uuid)
        for folder, part in conventions.folders.items():
            yield from _bad_uuids(_folder_path(path, folder), part.schema_uuid, part.instance_uuid)


def _bad_uuids(path: str, schema: str, instance: str | None) -> Iterator[Fault]:
    for key, text in (("schema_uuid", schema), ("instance_uuid", instance)):
        if text is None or _is_uuid(text):
            continue
        yield Fault(
            code="config.bad_uuid",
            path=joined(path, key),
            message="has to be a UUID, and not the nil one",
            remedy="as 8f3c1d52-6a7b-4c8d-9e0f-1a2b3c4d5e6f: `uuidgen` makes one",
        )


def _is_uuid(text: str) -> bool:
    """Tell whether it is one as it is usually written; braces and urn: are not taken."""
    if len(text) != len(NIL):
        return False
    try:
        return str(UUID(text)) == text.lower() != NIL
    except ValueError:
        return False


def _device_faults(conventions: DeviceConventions, path: str) -> Iterator[Fault]:
    for folder in conventions.folders:
        at = _folder_path(path, folder)
        fault = fault_of_metric(folder, at) or _bad_folder(folder, at)
        if fault is not None:
            yield fault
    if conventions.isa95 is not None:
        yield from _chain_faults(conventions.isa95, joined(path, "isa95"))


def _bad_folder(folder: str, path: str) -> Fault | None:
    levels = folder.split("/")
    if levels[0] == INFORMATION_FOLDER:
        why, remedy = "this folder is written from information and isa95", "leave it out"
    elif not all(level.strip() for level in levels):
        why, remedy = "a level of the folder has no name", "write it as Axes/1"
    else:
        return None
    return Fault(code="config.illegal_name", path=path, message=why, remedy=remedy)


def _chain_faults(isa95: Isa95Config, path: str) -> Iterator[Fault]:
    """The chain is unbroken from the top, and its names can be levels of a topic."""
    below = ""
    for key, _ in reversed(LEVELS):
        text = getattr(isa95, key)
        at = joined(path, key)
        if text is not None:
            below = key
            fault = fault_of_id(text, at, key)
            if fault is not None:
                yield fault
        elif below or key == LEVELS[0][0]:
            yield Fault(
                code="config.broken_chain",
                path=at,
                message=f"the level {key} is missing"
                + (f", but {below} below it is given" if below else ": the chain starts there"),
                remedy=f"add {key}" + (f", or leave {below} out" if below else ""),
            )


def _twin_instances(node: str, identities: Mapping[str, DeviceIdentity]) -> Iterator[Fault]:
    held = {node: "the edge node"}
    for device, identity in identities.items():
        for part in identity.parts:
            path = _device_path(device)
            where = _folder_path(path, part.path) if part.path else path
            first = held.setdefault(part.instance_uuid, where)
            if first is not where:
                yield Fault(
                    code="config.duplicate_instance",
                    path=joined(where, "instance_uuid"),
                    message=f"this Instance_UUID is that of {first} already",
                    remedy="give each part one of its own, or leave it out",
                )


def _clashes(identities: Mapping[str, DeviceIdentity], tags: Sequence[Tag]) -> Iterator[Fault]:
    reserved = {d: {same_key(n) for n in i.metric_names()} for d, i in identities.items()}
    for device, name, path in tags:
        if same_key(name) in reserved.get(device, ()) or is_reserved(name):
            yield Fault(
                code="config.illegal_name",
                path=joined(path, "name"),
                message=f"the metric {shown(name)} is written by the Factory+ conventions",
                remedy="give the tag another name",
            )
