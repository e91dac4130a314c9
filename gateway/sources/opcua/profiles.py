"""PLC profiles: what is known of kinds of OPC UA servers beyond what they tell themselves.

The files are ``firmware-configs/plc/*.yaml``; in a wheel they lie beside this module, in ``plc/``.
A server is told by its BuildInfo. A profile only ever makes calls smaller; where a document asks
for more subscriptions or tags in one than such servers take, a notice says so. The rest is for
people.
A profile that cannot be read is a fault of ours: it is logged and left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any

import msgspec
from asyncua import ua
from asyncua.ua.uaerrors import UaError
from msgspec import Meta

from contract.config import GroupConfig
from contract.config_id import Id
from gateway.sources.opcua.limits import CallLimits
from gateway.sources.opcua.session import Session
from runtime.log import logger

FOLDER = "plc"
IN_REPOSITORY = Path("firmware-configs") / FOLDER
NO_PROFILE = "none"
TEXT_CHARS_MAX = 300

Count = Annotated[int, Meta(ge=1)]
IntervalMs = Annotated[float, Meta(gt=0)]


class ProfileLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of a kind of server; None: not known, or it tells them itself.

    The first five bound our calls; the others are what such servers revise to, or refuse beyond.
    """

    items_per_call_max: Count | None = None
    nodes_per_read_max: Count | None = None
    nodes_per_browse_max: Count | None = None
    nodes_per_register_max: Count | None = None
    nodes_per_history_read_max: Count | None = None
    sampling_interval_ms_min: IntervalMs | None = None
    publishing_interval_ms_min: IntervalMs | None = None
    queue_size_max: Count | None = None
    items_per_subscription_max: Count | None = None
    subscriptions_max: Count | None = None
    sessions_max: Count | None = None
    keep_alive_count_max: Count | None = None
    lifetime_count_max: Count | None = None


class ProfileSupports(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a kind of server can and cannot; None: not known.

    Attributes:
        transfer: TransferSubscriptions to a new session.
        deadband_absolute: as a filter of a monitored item.
        deadband_percent: the same, of the EU range.
        history: HistoryRead.
        registered_reads: RegisterNodes makes reading quicker.
        session_diagnostics: it counts sessions where others can see it.
        write_timestamps: a write may name a source time.
    """

    transfer: bool | None = None
    deadband_absolute: bool | None = None
    deadband_percent: bool | None = None
    history: bool | None = None
    registered_reads: bool | None = None
    session_diagnostics: bool | None = None
    write_timestamps: bool | None = None


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kind of server.

    Attributes:
        name: what documents call it.
        title: for people.
        match: parts of BuildInfo texts that tell it, in small letters.
        limits: see ``ProfileLimits``.
        supports: see ``ProfileSupports``.
        remarks: what to know when it is put to work; a sentence each.
    """

    name: Id
    title: str
    match: Annotated[list[Annotated[str, Meta(min_length=4)]], Meta(min_length=1)]
    limits: ProfileLimits = ProfileLimits()
    supports: ProfileSupports = ProfileSupports()
    remarks: list[str] = []


class BuildInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says of itself; "" where it says nothing."""

    product_uri: str = ""
    manufacturer: str = ""
    product: str = ""
    version: str = ""


class Detected(msgspec.Struct, frozen=True, kw_only=True):
    """The profile in use, and how it came to be; ``profile`` is None for none.

    Attributes:
        shown: for people: ``s7-1500 (detected)``.
        build: what the server says of itself.
    """

    profile: Profile | None
    shown: str
    build: BuildInfo = BuildInfo()


@cache
def profiles() -> tuple[Profile, ...]:
    """Return all profiles, in order of their names; read once."""
    found = []
    for file in _files():
        try:
            found.append(msgspec.yaml.decode(file.read_bytes(), type=Profile))
        except (OSError, msgspec.MsgspecError) as error:
            logger().error("opcua.profile_unreadable", file=file.name, error=str(error))
    return tuple(sorted(found, key=lambda profile: profile.name))


def _files() -> Iterator[Traversable]:
    """Find the files: beside this module where it is installed, else in the repository."""
    packaged = files("gateway.sources.opcua") / FOLDER
    if not packaged.is_dir():
        packaged = Path(__file__).parents[3] / IN_REPOSITORY
    if packaged.is_dir():
        yield from (file for file in packaged.iterdir() if file.name.endswith(".yaml"))


def detect(build: BuildInfo) -> Profile | None:
    """Return the profile of the server that says this; None when no file knows it.

    Where several match, the one with the longest part found is taken: it says the most.
    """
    told = "\n".join(text.casefold() for text in msgspec.structs.astuple(build))
    hits = [
        (len(part), profile) for profile in profiles() for part in profile.match if part in told
    ]
    return max(hits, key=lambda hit: hit[0])[1] if hits else None


def chosen(wanted: str | None, build: BuildInfo) -> Detected:
    """Return the profile to use; ``wanted`` is the document's word, None to detect."""
    if wanted is None:
        found = detect(build)
        return Detected(
            profile=found, build=build, shown=f"{found.name} (detected)" if found else ""
        )
    if wanted == NO_PROFILE:
        return Detected(profile=None, build=build, shown="none (configured)")
    named = next((profile for profile in profiles() if profile.name == wanted), None)
    if named is None:
        return Detected(profile=None, build=build, shown=f"{wanted} (not known)")
    return Detected(profile=named, build=build, shown=f"{wanted} (configured)")


async def read_build_info(session: Session) -> BuildInfo:
    """Read the server's BuildInfo; what it does not tell is ""."""
    numbers = (
        ua.ObjectIds.Server_ServerStatus_BuildInfo_ProductUri,
        ua.ObjectIds.Server_ServerStatus_BuildInfo_ManufacturerName,
        ua.ObjectIds.Server_ServerStatus_BuildInfo_ProductName,
        ua.ObjectIds.Server_ServerStatus_BuildInfo_SoftwareVersion,
        ua.ObjectIds.Server_ServerStatus_BuildInfo,
    )
    try:
        values = await session.read([ua.NodeId(n) for n in numbers], ua.AttributeIds.Value)
    except UaError:
        return BuildInfo()
    told = [value.Value.Value if value.Value is not None else None for value in values]
    whole = told.pop() if len(told) == len(numbers) else None
    if isinstance(whole, ua.BuildInfo):
        # some servers fill the structure only, others its members only
        whole_parts = (
            whole.ProductUri, whole.ManufacturerName, whole.ProductName, whole.SoftwareVersion,
        )  # fmt: skip
        told = [part or whole_part for part, whole_part in zip(told, whole_parts, strict=False)]
    texts = [_text(part) for part in [*told, None, None, None, None][:4]]
    return BuildInfo(
        product_uri=texts[0], manufacturer=texts[1], product=texts[2], version=texts[3]
    )


def _text(told: Any) -> str:
    return told[:TEXT_CHARS_MAX] if isinstance(told, str) else ""


def with_profile(limits: CallLimits, profile: Profile | None) -> CallLimits:
    """Return limits that keep to a profile too: the lower of each."""
    if profile is None:
        return limits
    changed = {}
    for name in CallLimits.__struct_fields__:
        theirs = getattr(profile.limits, f"{name}_max", None)
        if theirs is not None and theirs < getattr(limits, name):
            changed[name] = theirs
    return msgspec.structs.replace(limits, **changed)


def part_limits(profile: Profile | None) -> dict[str, int]:
    """Return the most nodes of a request, by the names that ``Requests`` has for services."""
    if profile is None:
        return {}
    limits = {
        "read": profile.limits.nodes_per_read_max,
        "browse": profile.limits.nodes_per_browse_max,
    }
    return {name: most for name, most in limits.items() if most is not None}


def profile_notes(
    detected: Detected, groups: Sequence[GroupConfig], items_by_group: Mapping[str, int]
) -> list[str]:
    """Say where the document asks for more than such a server takes; a sentence each.

    Intervals and queues are no matter for it: the server revises them, and that is shown as it is.
    """
    profile = detected.profile
    if profile is None:
        known = ", ".join(p.name for p in profiles())
        unknown = detected.shown.endswith("(not known)")
        return [f"there is no profile {detected.shown}: known are {known}"] if unknown else []
    notes: list[str] = []
    subscribed = [group.name for group in groups if group.mode == "subscribe"]
    most = profile.limits.items_per_subscription_max
    for name in subscribed:
        count = items_by_group.get(name, 0)
        if most is not None and count > most:
            notes.append(
                f"{profile.title}: group {name} has {count} tags, such servers take {most} in a"
                " subscription: split it"
            )
    most = profile.limits.subscriptions_max
    if most is not None and len(subscribed) > most:
        notes.append(
            f"{profile.title}: {len(subscribed)} groups are as many subscriptions,"
            f" such servers take {most} of a session"
        )
    return notes
