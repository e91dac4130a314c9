"""The OPC UA part of the configuration document: servers, security, groups, tags and rules."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from contract.config_acting import ConditionsConfig, EventConfig, MethodConfig, WriteConfig
from contract.config_group import GroupConfig, PacingConfig
from contract.config_id import Id

PolicyName = Literal[
    "None",
    "Basic128Rsa15",
    "Basic256",
    "Basic256Sha256",
    "Aes128_Sha256_RsaOaep",
    "Aes256_Sha256_RsaPss",
]
"""Source: OPC 10000-7, security policies; the first three protect nothing, or no longer."""

INSECURE_POLICIES = frozenset({"None", "Basic128Rsa15", "Basic256"})

Tolerated = Literal["host_name", "time", "uri", "usage", "revocation_unknown", "chain_incomplete"]


class SecurityConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """OPC UA security. Policy None sends everything in clear: it needs ``allow_insecure``.

    Attributes:
        policy: exactly this one is used; the server's other offers are not.
        mode: Sign proves who sent what; SignAndEncrypt hides it too.
        allow_insecure: accept policy None, or one that is deprecated because SHA-1 is broken.
        tolerate: faults of this server's certificate that are accepted all the same. Trust,
            signature, key length and revocation always hold.
        shared_trust: certificates trusted for all sources count for this one too.
    """

    policy: PolicyName = "Basic256Sha256"
    mode: Literal["None", "Sign", "SignAndEncrypt"] = "SignAndEncrypt"
    allow_insecure: bool = False
    tolerate: Annotated[tuple[Tolerated, ...], Meta(max_length=6)] = ()
    shared_trust: bool = True


class ReverseConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The server opens the connection to us (reverse connect), as a firewall may demand.

    Attributes:
        host: our address to listen at; ``0.0.0.0`` for all.
        port: TCP port; several sources may share one.
        server_uri: application URI of the server that may call for this source.
    """

    host: Annotated[str, Meta(min_length=1, max_length=255)] = "0.0.0.0"  # noqa: S104 - it is meant
    port: Annotated[int, Meta(ge=1, le=65_535)]
    server_uri: Annotated[str, Meta(min_length=1, max_length=1024)]


class Deadband(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Report a number only when it moved by at least ``absolute`` since the last report."""

    absolute: Annotated[float, Meta(gt=0)]


class Scale(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """value x gain + offset; the scaled tag is a Double."""

    gain: float = 1.0
    offset: float = 0.0


class TagConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tag. Without ``name`` it takes its browse path; without ``device``, the source's name.

    ``writable`` puts it on the write allow-list: hosts may command it. What rules find never is.
    ``write`` limits what may be written.
    ``record`` false: Sparkplug historians are told not to keep it (``is_transient``).
    """

    node: Annotated[str, Meta(min_length=3, max_length=4096)]
    group: Annotated[str, Meta(min_length=1, max_length=64)]
    name: Annotated[str, Meta(min_length=1, max_length=1024)] | None = None
    device: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    deadband: Deadband | None = None
    scale: Scale | None = None
    writable: bool = False
    write: WriteConfig | None = None
    record: bool = True
    split: bool = False


Glob = Annotated[str, Meta(min_length=1, max_length=512)]


class RuleConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Variables below a node become tags, named by their browse path below it.

    Attributes:
        below: where to look; the Objects folder (without Server) when left out.
        group: subscription group.
        device: Sparkplug device; the source's name when left out.
        prefix: stands before the path in the tag's name.
        deadband: for each tag that is a number.
        match: glob on the path below the node: ``*`` within a level, ``**`` over levels.
        regex: the whole path, in RE2's language (no look-around, no back-references).
        type: only what lies within instances of this type definition or of its subtypes.
        exclude: globs of paths left out, with all below them.
        depth_max: levels below the node.
        split: one tag per element of an array and per member of a structure.
        record: False tells Sparkplug historians to leave the tags out.
        auto: apply what a later evaluation finds at once; else it is offered.
    """

    group: Annotated[str, Meta(min_length=1, max_length=64)]
    below: Annotated[str, Meta(min_length=3, max_length=4096)] = "ns=0;i=85"
    device: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    prefix: Annotated[str, Meta(max_length=512)] = ""
    deadband: Deadband | None = None
    record: bool = True
    match: Glob | None = None
    regex: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    type: Annotated[str, Meta(min_length=3, max_length=4096)] | None = None
    exclude: Annotated[list[Glob], Meta(max_length=100)] = []
    depth_max: Annotated[int, Meta(ge=1, le=32)] = 32
    split: bool = False
    auto: bool = False


class OpcUaSourceConfig(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="opcua",
):
    """An OPC UA server and what to read from it.

    Attributes:
        endpoints: further servers of a redundant set: the one with the highest ServiceLevel is
            read, and left when it falls or is lost.
        pacing: how gently tags are subscribed.
        fill_gaps: read what was missed from the server's history, where it keeps one.
        methods: those that may be called through the gateway; none by default.
        conditions: what may be done to alarms.
        events: streams of events that become tags.
        profile: name of the PLC profile; detected when left out; ``none``: no profile.
    """

    name: Id
    endpoint: Annotated[str, Meta(min_length=1, max_length=512)]
    security: SecurityConfig = SecurityConfig()
    username: str | None = None
    password: str | None = None
    user_certificate_file: str | None = None
    user_key_file: str | None = None
    reverse_connect: ReverseConfig | None = None
    groups: Annotated[list[GroupConfig], Meta(min_length=1, max_length=100)]
    tags: Annotated[list[TagConfig], Meta(max_length=200_000)] = []
    rules: Annotated[list[RuleConfig], Meta(max_length=1000)] = []
    tags_max: Annotated[int, Meta(ge=1, le=500_000)] = 50_000
    rescan_interval_s: Annotated[int, Meta(ge=0, le=604_800)] = 600
    endpoints: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=512)]], Meta(max_length=8)
    ] = []
    pacing: PacingConfig = PacingConfig()
    fill_gaps: bool = True
    methods: Annotated[list[MethodConfig], Meta(max_length=1000)] = []
    conditions: ConditionsConfig = ConditionsConfig()
    events: Annotated[list[EventConfig], Meta(max_length=100)] = []
    profile: Id | None = None
    enabled: bool = True
