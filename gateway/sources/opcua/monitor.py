"""Monitored items: made gently, with what the group wants of them, and what the server gives.

One call at a time, with as many items as the server takes (OperationLimits, the configuration, and
what it was found to refuse: then half, and on). An item whose deadband the server refuses is made
without it, and the gateway applies it. Client handles are tag indexes. Source: OPC 10000-4, 5.12.2
(CreateMonitoredItems) and 7.22.2 (DataChangeFilter).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from asyncua import ua

from contract.config import GroupConfig, PacingConfig
from contract.mapping import KIND_OF
from contract.sample import NUMPY_TYPE
from gateway.errors import SourceError
from gateway.sources.base import TagTrouble
from gateway.sources.opcua import subscribe
from gateway.sources.opcua.discover import FoundTag, IndexedTag
from gateway.sources.opcua.events import event_item
from gateway.sources.opcua.limits import CallLimits
from gateway.sources.opcua.session import Session
from gateway.sources.opcua.subscribe import Subscription
from runtime.clock import Clock
from runtime.log import logger
from sparkplug_b.datatype import DataType

_TOO_MANY = frozenset(
    {
        "BadTooManyOperations",
        "BadRequestTooLarge",
        "BadResponseTooLarge",
        "BadEncodingLimitsExceeded",
        "BadTcpMessageTooLarge",
        "BadOutOfMemory",
    }
)
_NO_FILTER = frozenset(
    {
        "BadMonitoredItemFilterUnsupported",
        "BadMonitoredItemFilterInvalid",
        "BadFilterNotAllowed",
        "BadDeadbandFilterInvalid",
        "BadEventFilterInvalid",
    }
)
_TRIGGER = {
    "status": ua.DataChangeTrigger.Status,
    "status_value": ua.DataChangeTrigger.StatusValue,
    "status_value_timestamp": ua.DataChangeTrigger.StatusValueTimestamp,
}
_NO_DEADBAND, _ABSOLUTE, _PERCENT = 0, 1, 2
_NOT_NUMBERS = frozenset({DataType.BOOLEAN, DataType.DATETIME})


class Range(msgspec.Struct):
    """The least and the most of what the server gave."""

    low: float | None = None
    high: float | None = None

    def add(self, number: float) -> None:
        """Take a number in."""
        self.low = number if self.low is None else min(self.low, number)
        self.high = number if self.high is None else max(self.high, number)


class Monitored(msgspec.Struct, kw_only=True):
    """What came of making items.

    Attributes:
        troubles: items that the server refused.
        unfiltered: items whose deadband or trigger it refused: they are monitored without.
        sampling_ms: revised sampling intervals.
        queue_size: revised queue sizes.
        items_count: items that are monitored.
    """

    troubles: list[TagTrouble] = []
    unfiltered: list[IndexedTag] = []
    sampling_ms: Range = msgspec.field(default_factory=Range)
    queue_size: Range = msgspec.field(default_factory=Range)
    items_count: int = 0


class Monitor:
    """Makes monitored items over one session."""

    def __init__(
        self, session: Session, limits: CallLimits, pacing: PacingConfig, clock: Clock
    ) -> None:
        self.session = session
        self._pause_s = pacing.pause_ms / 1000
        self._clock = clock
        self.at_once = min(limits.items_per_call, pacing.items_per_call)
        self.calls_count = 0

    async def create(
        self, subscription: Subscription, group: GroupConfig, tags: Sequence[IndexedTag]
    ) -> Monitored:
        """Monitor tags, in the order given. Raises SourceError: the session is lost.

        Items of one data type stand together, so that notifications come in runs of one shape.
        """
        made = Monitored()
        waiting: deque[tuple[IndexedTag, bool]] = deque((tag, True) for tag in tags)
        while waiting:
            part = [waiting.popleft() for _ in range(min(self.at_once, len(waiting)))]
            items = [_item(tag, group, filtered=filtered) for tag, filtered in part]
            results = await self._call(subscription, items)
            if results is None:
                waiting.extendleft(reversed(part))
                continue
            waiting.extend((tag, False) for tag in _take(made, part, results))
            if waiting and self._pause_s:
                await self._clock.sleep_s(self._pause_s)
        return made

    async def _call(self, subscription: Subscription, items: list[Any]) -> list[Any] | None:
        """Make items; None when the server takes fewer at once: fewer are asked next time."""
        parameters = ua.CreateMonitoredItemsParameters()
        parameters.SubscriptionId = subscription.id
        parameters.TimestampsToReturn = ua.TimestampsToReturn.Source
        parameters.ItemsToCreate = items
        request = ua.CreateMonitoredItemsRequest()
        request.Parameters = parameters
        self.calls_count += 1
        try:
            response = await subscribe.call(self.session, request, ua.CreateMonitoredItemsResponse)
        except SourceError as error:
            if len(items) == 1 or type(error.__cause__).__name__ not in _TOO_MANY:
                raise
            self.at_once = len(items) // 2
            logger().info("opcua.items_per_call_halved", items_count=self.at_once)
            return None
        results = list(response.Results or [])
        if len(results) != len(items):
            raise SourceError(f"{len(results)} results came for {len(items)} monitored items")
        return results


def _take(
    made: Monitored, part: Iterable[tuple[IndexedTag, bool]], results: Iterable[Any]
) -> list[IndexedTag]:
    """Take results in; return the tags whose filter was refused, to be tried without."""
    again: list[IndexedTag] = []
    for (tag, filtered), result in zip(part, results, strict=True):
        if result.StatusCode.is_good():
            made.items_count += 1
            if tag[1].events is not None:
                continue  # what its group asks for is about values
            made.sampling_ms.add(float(result.RevisedSamplingInterval))
            made.queue_size.add(int(result.RevisedQueueSize))
        elif filtered and str(result.StatusCode.name) in _NO_FILTER:
            if tag[1].events is None:
                made.unfiltered.append(tag)
            again.append(tag)
        else:
            made.troubles.append(refused(tag[1], result.StatusCode))
    return again


def _item(indexed: IndexedTag, group: GroupConfig, *, filtered: bool) -> Any:
    index, tag = indexed
    if tag.events is not None:
        return event_item(index, tag.node_id, tag.events, whole=filtered)
    wanted = ua.ReadValueId()
    wanted.NodeId = tag.node_id
    wanted.AttributeId = ua.AttributeIds.Value
    item = ua.MonitoredItemCreateRequest()
    item.ItemToMonitor = wanted
    item.MonitoringMode = ua.MonitoringMode.Reporting
    item.RequestedParameters.ClientHandle = index
    item.RequestedParameters.SamplingInterval = float(group.sampling_interval_ms)
    item.RequestedParameters.QueueSize = group.queue_size
    item.RequestedParameters.DiscardOldest = group.discard == "oldest"
    if filtered:
        item.RequestedParameters.Filter = _filter(tag, group)
    return item


def _filter(tag: FoundTag, group: GroupConfig) -> Any:
    """Return a DataChangeFilter; None where the defaults are what is wanted."""
    band = group.deadband if is_number(tag) else None
    if band is None and group.trigger == "status_value":
        return None
    change = ua.DataChangeFilter()
    change.Trigger = _TRIGGER[group.trigger]
    change.DeadbandType, change.DeadbandValue = _NO_DEADBAND, 0.0
    if band is not None:
        change.DeadbandType = _ABSOLUTE if band.absolute is not None else _PERCENT
        change.DeadbandValue = float(band.absolute or band.percent or 0.0)
    return change


def is_number(tag: FoundTag) -> bool:
    """Tell whether a deadband has a meaning for a tag."""
    data_type = tag.spec.data_type
    return KIND_OF[data_type] in NUMPY_TYPE and data_type not in _NOT_NUMBERS


def own_deadband(tag: FoundTag, group: GroupConfig) -> float | None:
    """Return the width that the gateway applies where the server does not, in the tag's unit.

    None when there is nothing to apply: no deadband, or a percentage of an unknown range.
    """
    band = group.deadband
    if band is None or not is_number(tag):
        return None
    spec = tag.spec
    if band.absolute is not None:
        return band.absolute * abs(spec.gain)
    if band.percent is None or spec.low is None or spec.high is None:
        return None
    return band.percent / 100 * abs(spec.high - spec.low) * abs(spec.gain)


def refused(tag: FoundTag, status: Any) -> TagTrouble:
    """Return the trouble of a tag that the server does not monitor."""
    return TagTrouble(
        tag=tag.spec.name,
        address=tag.spec.address,
        code=str(status.name),
        message=f"the server refuses to monitor this node: {status.name}",
    )
