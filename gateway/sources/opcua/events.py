"""Events and alarms of a server as tags: a stream is a tag of text, an event one sample of it.

A stream is monitored like any tag, in its group's subscription: so it is taken over, asked for
again (Republish) and acknowledged after the commit as data is. The sample's time is the event's,
its text JSON with the fields that the event has. Events are never compared with each other: equal
texts are two events. After a subscription was made anew the server is asked for the conditions that
still hold (ConditionRefresh): those texts say ``"refresh": true``.

Limits: texts are cut at ``TEXT_CHARS_MAX``. What a server's queue dropped (EventQueueOverflow) is
entered in the ledger. Source: OPC 10000-4, 7.22.3 (EventFilter); OPC 10000-5, 6.4 (event types);
OPC 10000-9, 5.5 (ConditionType), 5.5.7 (ConditionRefresh), 5.7 and 5.8 (acknowledging, alarms).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import anyio
import msgspec
from asyncua import ua
from asyncua.ua.uaerrors import UaError

from contract.config import OpcUaSourceConfig
from contract.config_acting import EventConfig
from contract.sample import SampleBatch, ValueKind, columns_of
from gateway.errors import SourceError
from gateway.sources.base import TagSpec, TagTrouble
from gateway.sources.opcua.session import Namespaces
from gateway.sources.opcua.types import EPOCH_TICKS, as_text, iso, micros, readable
from runtime.log import logger
from sparkplug_b.datatype import DataType

TEXT_CHARS_MAX = 4_000
EVERY_SAMPLE = -1.0
"""A deadband below 0: no sample is left out (``TagSpec.deadband``)."""
REFRESH_TIMEOUT_S = 10.0
_REFRESH_START, _REFRESH_END, _OVERFLOW = 2787, 2788, 3035
"""RefreshStartEventType, RefreshEndEventType, EventQueueOverflowEventType: OPC 10000-6, A.3."""

_BASE, _CONDITION = ua.ObjectIds.BaseEventType, ua.ObjectIds.ConditionType
_ACKNOWLEDGEABLE = ua.ObjectIds.AcknowledgeableConditionType
_ALARM = ua.ObjectIds.AlarmConditionType
_FIELDS: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    ("event_id", _BASE, ("EventId",)),
    ("event_type", _BASE, ("EventType",)),
    ("source_name", _BASE, ("SourceName",)),
    ("source_node", _BASE, ("SourceNode",)),
    ("time", _BASE, ("Time",)),
    ("severity", _BASE, ("Severity",)),
    ("message", _BASE, ("Message",)),
    ("condition_id", _CONDITION, ()),  # the node id of the condition itself
    ("condition_name", _CONDITION, ("ConditionName",)),
    ("branch_id", _CONDITION, ("BranchId",)),
    ("retain", _CONDITION, ("Retain",)),
    ("acked", _ACKNOWLEDGEABLE, ("AckedState", "Id")),
    ("active", _ALARM, ("ActiveState", "Id")),
)
_BASE_COUNT = 7
"""So many fields belong to every event: a server that refuses the others is asked for these."""


class EventStream(msgspec.Struct, frozen=True, kw_only=True):
    """What a monitored item for events asks for; a ``FoundTag`` has it where it is no variable."""

    config: EventConfig
    types: tuple[Any, ...] = ()


def found_streams(
    config: OpcUaSourceConfig, namespaces: Namespaces
) -> tuple[list[tuple[Any, TagSpec, EventStream]], list[TagTrouble]]:
    """Return (notifier, specification, stream) of each stream, and what names no node."""
    found: list[tuple[Any, TagSpec, EventStream]] = []
    troubles: list[TagTrouble] = []
    for event in config.events:
        address = _address(event)
        try:
            node_id = namespaces.node_id(event.node)
            types = tuple(namespaces.node_id(kind) for kind in event.types)
        except (KeyError, ValueError) as error:
            is_unknown = isinstance(error, KeyError)
            why = f"the server has no namespace {error.args[0]}" if is_unknown else str(error)
            code = "namespace_unknown" if is_unknown else "node_id_malformed"
            troubles.append(TagTrouble(tag=event.name, address=address, code=code, message=why))
            continue
        spec = TagSpec(
            name=event.name,
            device=event.device or config.name,
            data_type=DataType.STRING,
            address=address,
            deadband=EVERY_SAMPLE,
            description="events, as JSON",
            record=event.record,
        )
        found.append((node_id, spec, EventStream(config=event, types=types)))
    return found, troubles


def _address(event: EventConfig) -> str:
    """Name a stream, with all that its monitored item depends on: a change makes it anew."""
    wanted = [f"queue_size={event.queue_size}", f"severity_min={event.severity_min}"]
    wanted += [f"type={kind}" for kind in sorted(event.types)]
    return f"events:{event.name}@{event.node}?{'&'.join(wanted)}"


def event_item(handle: int, node_id: Any, stream: EventStream, *, whole: bool) -> Any:
    """Build the monitored item; without ``whole`` for a server that refused the full filter."""
    item = ua.MonitoredItemCreateRequest()
    item.ItemToMonitor.NodeId = node_id
    item.ItemToMonitor.AttributeId = ua.AttributeIds.EventNotifier
    item.MonitoringMode = ua.MonitoringMode.Reporting
    item.RequestedParameters.ClientHandle = handle
    item.RequestedParameters.SamplingInterval = 0.0
    item.RequestedParameters.QueueSize = stream.config.queue_size
    item.RequestedParameters.DiscardOldest = True
    event_filter = ua.EventFilter()
    event_filter.SelectClauses = [
        _clause(kind, path) for _, kind, path in (_FIELDS if whole else _FIELDS[:_BASE_COUNT])
    ]
    if whole:
        event_filter.WhereClause.Elements = _where(stream)
    item.RequestedParameters.Filter = event_filter
    return item


def _clause(kind: int, path: Sequence[str]) -> Any:
    clause = ua.SimpleAttributeOperand()
    clause.TypeDefinitionId = ua.NodeId(kind)
    clause.BrowsePath = [ua.QualifiedName(name, 0) for name in path]
    clause.AttributeId = ua.AttributeIds.Value if path else ua.AttributeIds.NodeId
    return clause


def _where(stream: EventStream) -> list[Any]:
    """Write the filter as elements, each naming its parts by their place; the first is the whole.

    Severity above the least AND (of type A OR (of type B OR ...)).
    """
    conditions: list[Any] = []
    if stream.config.severity_min > 1:
        at_least = ua.LiteralOperand(
            Value=ua.Variant(stream.config.severity_min, ua.VariantType.UInt16)
        )
        conditions.append(
            _element(ua.FilterOperator.GreaterThanOrEqual, _clause(_BASE, ("Severity",)), at_least)
        )
    kinds = [
        _element(ua.FilterOperator.OfType, ua.LiteralOperand(Value=ua.Variant(kind)))
        for kind in stream.types
    ]
    if not kinds:
        return conditions
    tree: list[Any] = []
    if conditions:
        tree = [
            _element(ua.FilterOperator.And, ua.ElementOperand(1), ua.ElementOperand(2)),
            *conditions,
        ]
    for kind in kinds[:-1]:
        place = len(tree)
        tree.append(
            _element(
                ua.FilterOperator.Or, ua.ElementOperand(place + 1), ua.ElementOperand(place + 2)
            )
        )
        tree.append(kind)
    return [*tree, kinds[-1]]


def _element(operator: Any, *operands: Any) -> Any:
    element = ua.ContentFilterElement()
    element.FilterOperator = operator
    element.FilterOperands = list(operands)
    return element


class EventReader:
    """Turns event notifications into samples; knows where a refresh begins and ends.

    Attributes:
        events_count: events taken in.
        refused_count: events that said nothing of what they are.
    """

    def __init__(self, namespaces: Namespaces) -> None:
        self._namespaces = namespaces
        self._refreshing: set[int] = set()
        self.events_count = 0
        self.refused_count = 0

    def batch(
        self,
        events: Sequence[tuple[int, list[Any]]],
        streams: Mapping[int, EventStream],
        now_us: int,
        overflowed: Callable[[int], None],
    ) -> SampleBatch:
        """Convert events of ``streams``, which are known by their client handles.

        ``overflowed`` is told the tag whose events the server dropped.
        """
        rows: list[tuple[int, int, str]] = []
        for handle, values in events:
            stream = streams.get(handle)
            if stream is None:
                continue  # another's, such as the one that watches for changes of the model
            named = {field[0]: value for field, value in zip(_FIELDS, values, strict=False)}
            if self._is_about_the_stream(handle, named, overflowed):
                continue
            if _is_too_mild(named.get("severity"), stream.config.severity_min):
                continue  # a server that took no filter
            if not isinstance(named.get("event_type"), ua.NodeId):
                self.refused_count += 1
                continue
            rows.append((handle, _time_us(named.get("time"), now_us), self._text(handle, named)))
        self.events_count += len(rows)
        if not rows:
            return SampleBatch(())
        tags, times, texts = zip(*rows, strict=True)
        return SampleBatch((columns_of(ValueKind.TEXT, tags, times, [0] * len(rows), texts),))

    def _is_about_the_stream(
        self, handle: int, named: Mapping[str, Any], overflowed: Callable[[int], None]
    ) -> bool:
        kind = named.get("event_type")
        number = kind.Identifier if isinstance(kind, ua.NodeId) and not kind.NamespaceIndex else 0
        if number == _REFRESH_START:
            self._refreshing.add(handle)
        elif number == _REFRESH_END:
            self._refreshing.discard(handle)
        elif number == _OVERFLOW:
            overflowed(handle)
        else:
            return False
        return True

    def _text(self, handle: int, named: Mapping[str, Any]) -> str:
        plain = {
            name: shown
            for name, value in named.items()
            if (shown := self._plain(value)) is not None and shown != ""
        }
        if handle in self._refreshing:
            plain["refresh"] = True
        return msgspec.json.encode(plain).decode()

    def _plain(self, value: Any) -> str | int | float | bool | None:
        """Return a field as JSON has it: bytes as hex, node ids by their namespace's URI."""
        if isinstance(value, bytes):
            return value[: TEXT_CHARS_MAX // 2].hex()
        if isinstance(value, ua.NodeId):
            return None if value.is_null() else readable(self._namespaces.address(value))
        if isinstance(value, datetime):
            return iso(value)
        if value is None or isinstance(value, (bool, int, float)):
            return value
        text = as_text(value)
        return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 1] + "…"


def _is_too_mild(severity: Any, least: int) -> bool:
    return least > 1 and isinstance(severity, int) and severity < least


def _time_us(moment: Any, now_us: int) -> int:
    """Return the event's time; the time it was received where it names none that a clock has."""
    if not isinstance(moment, datetime):
        return now_us
    time_us = micros(moment)
    return time_us if time_us > -EPOCH_TICKS // 10 else now_us


async def refresh_conditions(services: Any, subscription_ids: Sequence[int]) -> None:
    """Have the server tell the conditions that hold now; one that has none says so, at no harm.

    Raises SourceError: the session is lost.
    """
    for number in subscription_ids:
        request = ua.CallMethodRequest()
        request.ObjectId = ua.NodeId(ua.ObjectIds.ConditionType)
        request.MethodId = ua.NodeId(ua.ObjectIds.ConditionType_ConditionRefresh)
        request.InputArguments = [ua.Variant(number, ua.VariantType.UInt32)]
        try:
            with anyio.fail_after(REFRESH_TIMEOUT_S):
                (result,) = await services.call([request])
        except UaError as error:
            logger().info("opcua.refresh_refused", reason=type(error).__name__)
            continue
        except (OSError, TimeoutError) as error:
            raise SourceError(f"ConditionRefresh failed: {error}") from error
        if not result.StatusCode.is_good():
            logger().info("opcua.refresh_refused", reason=str(result.StatusCode.name))
