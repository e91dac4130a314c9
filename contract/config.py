"""The gateway's configuration document: what people edit, the hub publishes and the box applies.

One YAML or JSON document, validated whole before anything starts. Unknown keys are errors; each
fault names its path. Structure is checked here by types; what types cannot say (a tag that names
no group, two metrics of one name) is in ``contract.config_check``.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Id = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
IntervalMs = Annotated[int, Meta(ge=10, le=3_600_000)]


class GatewayIdentity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who this box is. ``id`` never changes; the name people see is a label elsewhere."""

    id: Id = "gateway"
    site: Annotated[str, Meta(max_length=64)] = ""


class BrokerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The MQTT broker. The URL's scheme says mqtt (1883) or mqtts (8883)."""

    url: Annotated[str, Meta(min_length=1, max_length=512)]
    username: str | None = None
    password: str | None = None
    version: Literal["3.1.1", "5.0"] = "3.1.1"
    keep_alive_s: Annotated[int, Meta(ge=2, le=3600)] = 15
    ca_file: str | None = None


class SparkplugConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The edge node's place in the Sparkplug name space, and how its backlog drains.

    Attributes:
        backfill_rate: historical samples a second at most, while live data has its own lane.
    """

    group: Annotated[str, Meta(min_length=1, max_length=128)]
    node: Annotated[str, Meta(min_length=1, max_length=128)]
    broker: BrokerConfig
    primary_host: str | None = None
    backfill_rate: Annotated[int, Meta(ge=100, le=10_000_000)] = 100_000


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


class SecurityConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """OPC UA security. Policy None sends everything in clear: it needs ``allow_insecure``."""

    policy: Literal["None", "Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"] = (
        "Basic256Sha256"
    )
    mode: Literal["None", "Sign", "SignAndEncrypt"] = "SignAndEncrypt"
    allow_insecure: bool = False


class GroupConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A subscription: how often the server samples and publishes, and what it queues per tag."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    sampling_interval_ms: Annotated[int, Meta(ge=0, le=3_600_000)] = 1000
    publishing_interval_ms: IntervalMs = 1000
    queue_size: Annotated[int, Meta(ge=1, le=10_000)] = 10


class Deadband(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Report a number only when it moved by at least ``absolute`` since the last report."""

    absolute: Annotated[float, Meta(gt=0)]


class Scale(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """value x gain + offset; the scaled tag is a Double."""

    gain: float = 1.0
    offset: float = 0.0


class TagConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tag. Without ``name`` it takes its browse path; without ``device``, the source's name."""

    node: Annotated[str, Meta(min_length=3, max_length=4096)]
    group: Annotated[str, Meta(min_length=1, max_length=64)]
    name: Annotated[str, Meta(min_length=1, max_length=1024)] | None = None
    device: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    deadband: Deadband | None = None
    scale: Scale | None = None


class RuleConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All variables below a node become tags, named by their browse path below it."""

    below: Annotated[str, Meta(min_length=3, max_length=4096)]
    group: Annotated[str, Meta(min_length=1, max_length=64)]
    device: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    prefix: Annotated[str, Meta(max_length=512)] = ""
    deadband: Deadband | None = None


class OpcUaSourceConfig(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="opcua",
):
    """An OPC UA server and what to read from it."""

    name: Id
    endpoint: Annotated[str, Meta(min_length=1, max_length=512)]
    security: SecurityConfig = SecurityConfig()
    username: str | None = None
    password: str | None = None
    groups: Annotated[list[GroupConfig], Meta(min_length=1, max_length=100)]
    tags: Annotated[list[TagConfig], Meta(max_length=200_000)] = []
    rules: Annotated[list[RuleConfig], Meta(max_length=1000)] = []
    enabled: bool = True


SourceConfig = OpcUaSourceConfig


class GatewayConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole document."""

    gateway: GatewayIdentity = GatewayIdentity()
    sparkplug: SparkplugConfig | None = None
    journal: JournalConfig = JournalConfig()
    hub: HubConfig = HubConfig()
    sources: Annotated[list[SourceConfig], Meta(max_length=1000)] = []
