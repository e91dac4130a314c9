"""The ``factoryplus`` part of the configuration document: what births say in ACS's conventions.

UUIDs are text here; that they are UUIDs, and no instance's twice, is checked in
``contract.config_factoryplus_rules``. Instances left out are derived (``contract.factoryplus``).
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from contract.factoryplus import SCHEMA_EDGE_AGENT

Fact = Annotated[str, Meta(min_length=1, max_length=256)]
UuidText = Annotated[str, Meta(min_length=1, max_length=64)]


class FolderConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a device: the schema its folder follows, and which one it is."""

    schema_uuid: UuidText
    instance_uuid: UuidText | None = None


class InformationConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands on the device's type plate."""

    manufacturer: Fact | None = None
    model: Fact | None = None
    serial: Fact | None = None


class Isa95Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The device's place in the plant; the chain is unbroken from ``enterprise`` down."""

    enterprise: Fact | None = None
    site: Fact | None = None
    area: Fact | None = None
    work_center: Fact | None = None
    work_unit: Fact | None = None


class DeviceConventions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One device's conventions.

    Attributes:
        instance_uuid: with ACS, the UUID of the device's object in the ConfigDB.
        folders: by folder, as ``Axes/1``.
        record_to_historian: false marks all tags of the device as transient.
    """

    schema_uuid: UuidText
    instance_uuid: UuidText | None = None
    folders: Annotated[dict[str, FolderConfig], Meta(max_length=10_000)] = {}
    information: InformationConfig = InformationConfig()
    isa95: Isa95Config | None = None
    record_to_historian: bool = True


class FactoryPlusConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The edge node's conventions and its devices'.

    Attributes:
        acs_nanoseconds: write timestamps in ns, as ACS does since version 6; Sparkplug says ms.
    """

    schema_uuid: UuidText = SCHEMA_EDGE_AGENT
    instance_uuid: UuidText | None = None
    acs_nanoseconds: bool = False
    devices: Annotated[dict[str, DeviceConventions], Meta(max_length=10_000)] = {}
