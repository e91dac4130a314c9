"""``/api/gateways`` and ``/api/overview``: the fleet, its lag, its completeness, its tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from central.fleet.registry import CODE_VALID_S, Member, MemberKind
from central.ingest.completeness import EpochCompleteness, LossInfo
from central.ingest.last import LastValue
from central.ingest.state import EpochState
from central.ingest.tags import TagInfo
from central.web.guard import DATA_READ, FLEET_MANAGE, FLEET_READ
from central.web.parts import Parts
from runtime.http import permit

StateWord = Literal["OK", "Attention", "Fault", "Off", "Unknown"]
LAG_OK_S = 30.0
LAG_FAULT_S = 900.0
"""ui.md section 5, hub cell: OK below 30 s, Fault above 15 min or with a gap."""

Limit = Annotated[int, QueryParameter(ge=1, le=1000)]
Offset = Annotated[int, QueryParameter(ge=0, le=10_000_000)]
Search = Annotated[str, QueryParameter(max_length=200)]


class GatewayAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway with its figures.

    Attributes:
        kind: gateway, or sparkplug: an edge node whose values come by MQTT (id ``sp:GROUP:NODE``).
        state: one word; ``state_reason`` says why in a sentence.
        last_contact_us: when it was last heard of; null for never.
        lag_rows: journal rows that it has and the hub has not.
        lag_s: age of the newest data here against the newest at the gateway, or the silence,
            whichever is longer; null before the first contact.
        samples_count: samples that are here.
        samples_per_s: over the last minute.
        unexplained_holes_count: holes that no ledger entry explains.
    """

    id: str
    kind: MemberKind = "gateway"
    name: str
    site: str
    version: str
    state: StateWord
    state_reason: str
    enrolled_us: int
    certificate_expires_us: int | None
    last_contact_us: int | None
    lag_rows: int
    lag_s: float | None
    samples_count: int
    samples_per_s: float
    unexplained_holes_count: int
    losses_count: int
    forks_count: int


class CompletenessAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The completeness of each journal epoch of a gateway, oldest first."""

    gateway: str
    is_complete: bool
    epochs: list[EpochCompleteness]


class TagAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A tag and its newest sample; ``last`` is null when there is none."""

    tag: TagInfo
    last: LastValue | None


class TagsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of tags; ``total`` counts all that match."""

    total: int
    tags: list[TagAnswer]


class LossesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Ledger entries, newest first."""

    losses: list[LossInfo]


class OverviewAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet at a glance."""

    now_us: int
    samples_count: int
    samples_per_s: float
    waiting_samples_count: int
    gateways: list[GatewayAnswer]


class CodeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the gateway that uses the code will be called; "" leaves it to the gateway."""

    name: Annotated[str, msgspec.Meta(max_length=100)] = ""


class CodeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A one-time code, shown once; ``valid_s`` is how long it works."""

    code: str
    valid_s: int


@post(
    "/api/enrolment-codes",
    opt=permit(FLEET_MANAGE),
    tags=["gateways"],
    status_code=201,
    operation_id="createEnrolmentCode",
)
async def create_enrolment_code(
    parts: NamedDependency[Parts], data: JSONBody[CodeRequest]
) -> CodeAnswer:
    """Make a one-time code with which a gateway enrols."""
    code = await parts.registry.new_code(data.name, parts.public_url)
    return CodeAnswer(code=code, valid_s=CODE_VALID_S)


@get("/api/gateways", opt=permit(FLEET_READ), tags=["gateways"], operation_id="listGateways")
async def list_gateways(
    parts: NamedDependency[Parts], kind: FromQuery[MemberKind] = "gateway"
) -> list[GatewayAnswer]:
    """List the gateways, or the edge nodes whose values are stored, in order of enrolment."""
    return [await _describe(parts, m) for m in await parts.registry.members(kind)]


@get("/api/overview", opt=permit(FLEET_READ), tags=["gateways"], operation_id="readOverview")
async def read_overview(parts: NamedDependency[Parts]) -> OverviewAnswer:
    """Sum up the fleet."""
    gateways = [await _describe(parts, m) for m in await parts.registry.members()]
    return OverviewAnswer(
        now_us=parts.clock.wall_us(),
        samples_count=sum(g.samples_count for g in gateways),
        samples_per_s=sum(g.samples_per_s for g in gateways),
        waiting_samples_count=parts.drain.waiting_samples,
        gateways=gateways,
    )


@get(
    "/api/gateways/{gateway_id:str}",
    opt=permit(FLEET_READ),
    tags=["gateways"],
    operation_id="readGateway",
)
async def read_gateway(parts: NamedDependency[Parts], gateway_id: FromPath[str]) -> GatewayAnswer:
    """Return one gateway."""
    return await _describe(parts, await parts.registry.member(gateway_id))


@post(
    "/api/gateways/{gateway_id:str}/revoke",
    opt=permit(FLEET_MANAGE),
    tags=["gateways"],
    status_code=200,
    operation_id="revokeGateway",
)
async def revoke_gateway(parts: NamedDependency[Parts], gateway_id: FromPath[str]) -> GatewayAnswer:
    """Shut a gateway out, at once and for good."""
    await parts.registry.revoke(gateway_id)
    return await _describe(parts, await parts.registry.member(gateway_id))


@get(
    "/api/gateways/{gateway_id:str}/completeness",
    opt=permit(FLEET_READ),
    tags=["gateways"],
    operation_id="readCompleteness",
)
async def read_completeness(
    parts: NamedDependency[Parts], gateway_id: FromPath[str]
) -> CompletenessAnswer:
    """Say up to where all is here, what is missing, and why."""
    member = await parts.registry.member(gateway_id)
    epochs = await parts.completeness.report(member.number)
    is_complete = all(e.unexplained_count == 0 and e.complete_to == e.head for e in epochs)
    return CompletenessAnswer(gateway=member.id, is_complete=is_complete, epochs=epochs)


@get(
    "/api/gateways/{gateway_id:str}/tags",
    opt=permit(DATA_READ),
    tags=["gateways"],
    operation_id="listTags",
)
async def list_tags(
    parts: NamedDependency[Parts],
    gateway_id: FromPath[str],
    search: Search = "",
    offset: Offset = 0,
    limit: Limit = 100,
) -> TagsAnswer:
    """Find tags by words of device or name; each with its newest sample."""
    member = await parts.registry.member(gateway_id)
    found, total = await parts.tags.find(member.number, search, offset, limit)
    return TagsAnswer(
        total=total,
        tags=[TagAnswer(tag=t, last=parts.last_values.get(t.id)) for t in found],
    )


@get(
    "/api/gateways/{gateway_id:str}/losses",
    opt=permit(FLEET_READ),
    tags=["gateways"],
    operation_id="listLosses",
)
async def list_losses(
    parts: NamedDependency[Parts], gateway_id: FromPath[str], limit: Limit = 100
) -> LossesAnswer:
    """Return the gateway's loss ledger, newest first."""
    member = await parts.registry.member(gateway_id)
    return LossesAnswer(losses=await parts.completeness.losses(member.number, limit))


async def _describe(parts: Parts, member: Member) -> GatewayAnswer:
    states = parts.watermarks.of_gateway(member.number)
    reports = await parts.completeness.report(member.number)
    unexplained = sum(r.unexplained_count for r in reports)
    contact_us = parts.receiver.contacts.get(member.number, member.last_contact_us)
    now_us = parts.clock.wall_us()
    silence_s = (now_us - contact_us) / 1e6 if contact_us is not None else None
    lag_rows = sum(max(0, s.head_sequence - s.intervals.received_to()) for s in states)
    lag_s = None if silence_s is None else max(0.0, _behind_s(states), silence_s)
    if member.kind == "sparkplug":
        state, reason = _state_of_node(parts, member.number)
    else:
        state, reason = _state_of(member, lag_s, unexplained)
    return GatewayAnswer(
        id=member.id,
        kind=member.kind,
        name=member.name,
        site=member.site,
        version=member.version,
        state=state,
        state_reason=reason,
        enrolled_us=member.enrolled_us,
        certificate_expires_us=member.certificate_expires_us,
        last_contact_us=contact_us,
        lag_rows=lag_rows,
        lag_s=lag_s,
        samples_count=sum(s.samples_count for s in states),
        samples_per_s=round(parts.rates.per_second(member.number), 1),
        unexplained_holes_count=unexplained,
        losses_count=sum(s.losses_known for s in states),
        forks_count=sum(s.forks_count for s in states),
    )


def _behind_s(states: Sequence[EpochState]) -> float:
    """Return how much newer the gateway's newest row is than the newest here."""
    behind = [
        (s.head_time_us - s.last_time_us) / 1e6
        for s in states
        if s.head_sequence > s.intervals.received_to()
    ]
    return max(behind, default=0.0)


def _state_of(member: Member, lag_s: float | None, unexplained: int) -> tuple[StateWord, str]:
    if member.revoked_us is not None:
        return "Off", "revoked"
    if lag_s is None:
        return "Unknown", "never heard of since it was enrolled"
    if unexplained:
        return "Fault", f"{unexplained} holes that nothing explains"
    if lag_s > LAG_FAULT_S:
        return "Fault", f"behind or silent for {lag_s:.0f} s"
    if lag_s > LAG_OK_S:
        return "Attention", f"behind or silent for {lag_s:.0f} s"
    return "OK", "all rows up to the gateway's newest are here or on their way"


def _state_of_node(parts: Parts, number: int) -> tuple[StateWord, str]:
    """Return the word for an edge node; its ``lag_s`` says nothing, as it sends by exception."""
    node = next((n for n in parts.sparkplug.nodes.all() if n.member_number == number), None)
    if node is None:
        return "Unknown", "not heard of since the hub started"
    if node.own.state == "online":
        return "OK", "online"
    return ("Fault" if node.own.state == "offline" else "Attention"), node.own.reason


HANDLERS: list[Any] = [
    create_enrolment_code,
    list_gateways,
    read_overview,
    read_gateway,
    revoke_gateway,
    read_completeness,
    list_tags,
    list_losses,
]
