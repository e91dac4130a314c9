"""Subscriptions and monitored items of one session. Client handles are tag indexes.

So a notification can be read without a map, and a subscription that outlived its session, or this
process, can be taken over (TransferSubscriptions) and what the server still holds asked for again
(Republish). Source: OPC 10000-4, 5.13 and 5.14.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
from asyncua import ua
from asyncua.ua.uaerrors import UaError

from contract.config import GroupConfig
from gateway.errors import SourceError
from gateway.sources.base import TagTrouble
from gateway.sources.opcua.discover import IndexedTag
from gateway.sources.opcua.selection import model_change_item
from gateway.sources.opcua.session import Session

KEEP_ALIVE_S = 5.0
LIFETIME_S = 120.0
"""How long a server keeps a subscription whose client is silent, and what it has not delivered."""
NOTIFICATIONS_PER_PUBLISH_MAX = 10_000


class Subscription(msgspec.Struct, kw_only=True):
    """A subscription as the server revised it.

    Attributes:
        next_sequence: the notification sequence number expected next; 0 when it is not known.
        unstored: notifications handed over that are not durable yet.
        responses_count: publish responses about it, keep-alives too, over this session.
    """

    id: int
    group: str
    publishing_interval_ms: float
    keep_alive_s: float
    next_sequence: int = 0
    unstored: set[int] = msgspec.field(default_factory=set)
    responses_count: int = 0


async def create_subscription(session: Session, group: GroupConfig) -> Subscription:
    """Create one subscription for a group. Raises SourceError."""
    interval_ms = group.publishing_interval_ms
    parameters = ua.CreateSubscriptionParameters()
    parameters.RequestedPublishingInterval = float(interval_ms)
    parameters.RequestedMaxKeepAliveCount = max(1, math.ceil(KEEP_ALIVE_S * 1000 / interval_ms))
    parameters.RequestedLifetimeCount = max(
        3 * parameters.RequestedMaxKeepAliveCount, math.ceil(LIFETIME_S * 1000 / interval_ms)
    )
    parameters.MaxNotificationsPerPublish = NOTIFICATIONS_PER_PUBLISH_MAX
    parameters.PublishingEnabled = True
    parameters.Priority = 0
    request = ua.CreateSubscriptionRequest()
    request.Parameters = parameters
    # not session.create_subscription: that starts asyncua's own publish loop
    response = await call(session, request, ua.CreateSubscriptionResponse)
    revised = response.Parameters
    return Subscription(
        id=revised.SubscriptionId,
        group=group.name,
        publishing_interval_ms=revised.RevisedPublishingInterval,
        keep_alive_s=revised.RevisedPublishingInterval * revised.RevisedMaxKeepAliveCount / 1000,
        next_sequence=1,  # OPC 10000-4, 5.13.1.1
    )


async def call(session: Session, request: Any, response_type: type) -> Any:
    """Send a request and return its checked response. Raises SourceError."""
    try:
        data = await session.client.uaclient._send_request(request)  # noqa: SLF001 - pinned
        response = ua.ua_binary.struct_from_binary(response_type, data)
        response.ResponseHeader.ServiceResult.check()
    except (OSError, TimeoutError, UaError) as error:
        name = type(request).__name__.removesuffix("Request")
        raise SourceError(f"{name} failed: {type(error).__name__} {error}") from error
    return response


async def watch_model(session: Session, subscription: Subscription) -> None:
    """Have the server report changes of its model, where it can; one that cannot is polled."""
    for filtered in (True, False):
        request = ua.CreateMonitoredItemsRequest()
        request.Parameters.SubscriptionId = subscription.id
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Neither
        request.Parameters.ItemsToCreate = [model_change_item(filtered=filtered)]
        try:
            response = await call(session, request, ua.CreateMonitoredItemsResponse)
        except SourceError:
            continue
        if response.Results and response.Results[0].StatusCode.is_good():
            return


async def transfer(
    session: Session, subscriptions: Sequence[Subscription]
) -> list[list[int]] | None:
    """Take subscriptions over into this session.

    Returns, for each, the sequence numbers that the server still holds; None when it refuses any
    (they expired, or it cannot transfer): then they have to be created again.
    """
    request = ua.TransferSubscriptionsRequest()
    request.Parameters.SubscriptionIds = [s.id for s in subscriptions]
    request.Parameters.SendInitialValues = False
    try:
        response = await call(session, request, ua.TransferSubscriptionsResponse)
    except SourceError:
        return None
    results = response.Parameters.Results if hasattr(response, "Parameters") else response.Results
    if len(results) != len(subscriptions) or not all(r.StatusCode.is_good() for r in results):
        return None
    return [[int(n) for n in (r.AvailableSequenceNumbers or [])] for r in results]


async def delete(session: Session, subscription_ids: Sequence[int]) -> None:
    """Delete subscriptions that are of no more use; a refusal does not matter."""
    request = ua.DeleteSubscriptionsRequest()
    request.Parameters.SubscriptionIds = list(subscription_ids)
    try:
        await call(session, request, ua.DeleteSubscriptionsResponse)
    except SourceError:
        return


def following(sequence: int) -> int:
    """Return the notification sequence number after this one: it wraps to 1, never 0."""
    return 1 if sequence >= 0xFFFFFFFF else sequence + 1


def by_group(tags: Sequence[IndexedTag]) -> dict[str, list[IndexedTag]]:
    """Sort what is monitored into groups, those of one data type together.

    So notifications come in runs of one shape.
    """
    groups: dict[str, list[IndexedTag]] = {}
    for item in sorted(tags, key=lambda item: (item[1].spec.data_type, item[0])):
        if item[1].is_monitored:
            groups.setdefault(item[1].group, []).append(item)
    return groups


def fingerprint(tags: Sequence[IndexedTag], refused: Sequence[TagTrouble]) -> int:
    """Return a number that stands for the tags that are monitored, the same in every process."""
    without = {trouble.address for trouble in refused}
    monitored = (f"{tag.group}:{index}" for index, tag in tags if tag.spec.address not in without)
    return zlib.crc32(",".join(sorted(monitored)).encode()) or 1
