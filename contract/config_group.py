"""Groups of an OPC UA source: how their tags are read, subscribed or polled, and how often."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from contract.config_shape import joined
from contract.errors import Fault

IntervalMs = Annotated[int, Meta(ge=10, le=3_600_000)]


class GroupDeadband(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Let the server leave out changes of a number that are no larger than this: one of the two.

    Attributes:
        absolute: in the server's own unit, before any scaling.
        percent: of the tag's EU range, over 0 to 100; the server needs to know that range.
    """

    absolute: Annotated[float, Meta(gt=0)] | None = None
    percent: Annotated[float, Meta(gt=0, le=100)] | None = None


class GroupConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A subscription, or a list of tags that is read in turns.

    Attributes:
        name: of the group, unique in the source.
        mode: subscribe (the server reports changes), or poll (we read, every ``interval_ms``).
        sampling_interval_ms: how often the server looks at a tag; 0: as fast as it can.
        publishing_interval_ms: how often it sends what it found.
        queue_size: changes kept per tag between two of those.
        discard: which of them goes when the queue is full.
        trigger: what makes a change: the status alone; value or status; or the time as well.
        deadband: at the server; see ``GroupDeadband``.
        silence_s_max: so long without any change is suspicious: then the server's values are
            compared with ours, and the session is built anew where they differ. None: never.
        interval_ms: of a polled group.
    """

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    mode: Literal["subscribe", "poll"] = "subscribe"
    sampling_interval_ms: Annotated[int, Meta(ge=0, le=3_600_000)] = 1000
    publishing_interval_ms: IntervalMs = 1000
    queue_size: Annotated[int, Meta(ge=1, le=10_000)] = 10
    discard: Literal["oldest", "newest"] = "oldest"
    trigger: Literal["status", "status_value", "status_value_timestamp"] = "status_value"
    deadband: GroupDeadband | None = None
    silence_s_max: Annotated[float, Meta(ge=1, le=86_400)] | None = None
    interval_ms: IntervalMs = 1000


class PacingConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How gently a server is asked to monitor many tags: one call after the other.

    Attributes:
        items_per_call: at most; the server's own limit (OperationLimits) holds where it is lower.
        pause_ms: rest between two calls.
    """

    items_per_call: Annotated[int, Meta(ge=1, le=10_000)] = 500
    pause_ms: Annotated[int, Meta(ge=0, le=60_000)] = 0


def group_faults(group: GroupConfig, path: str) -> Iterator[Fault]:
    """Check what one field cannot say by itself."""
    band = group.deadband
    if band is None:
        return
    at = joined(path, "deadband")
    if (band.absolute is None) == (band.percent is None):
        yield Fault(
            code="config.conflict",
            path=at,
            message="a deadband is either absolute or percent",
            remedy="give one of the two",
        )
    elif band.absolute is not None and not math.isfinite(band.absolute):
        yield Fault(
            code="config.out_of_range",
            path=joined(at, "absolute"),
            message="has to be a finite number, not NaN or infinity",
            remedy="give a number such as 0.5",
        )
    if group.mode == "poll":
        yield Fault(
            code="config.conflict",
            path=at,
            message="a polled group has no deadband at the server: it is read, not reported",
            remedy="leave it out, or give the tags a deadband of their own",
        )
    if group.trigger == "status":
        yield Fault(
            code="config.conflict",
            path=at,
            message="with trigger status no value is reported, so no deadband is needed",
            remedy="leave the deadband out, or choose trigger status_value",
        )
