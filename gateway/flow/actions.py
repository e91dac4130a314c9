"""What people do to machines through the gateway: write a tag, call a method, acknowledge.

All goes through the command desk: allow-lists, one queue a source, audit. Who asks waits for the
outcome. Nothing here is tried twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import anyio
import msgspec

from contract.upload import TagDefinition
from gateway.errors import SourceError, WriteRefusedError
from gateway.flow.command_audit import AuditedCommand
from gateway.flow.commands import CommandDesk, Order
from gateway.flow.json_value import MisfitError, from_json
from gateway.flow.tags import TagTable
from gateway.sinks.base import WriteCommand
from gateway.sources.acting import HasHands, MethodDescription, SourceHands
from gateway.sources.base import Done, Source
from sparkplug_b.datatype import DataType

DESCRIBE_TIMEOUT_S = 10.0


class UnknownError(Exception):
    """Raised when there is no such source, tag or method; the message says which."""


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an action.

    Attributes:
        command: as it stands in the audit.
        results: of a method, by name.
    """

    command: AuditedCommand
    results: dict[str, Any] = {}


class Actions:
    """The gateway's hands, for the web."""

    def __init__(self, desk: CommandDesk, tags: TagTable, sources: Sequence[Source]) -> None:
        self._desk = desk
        self._tags = tags
        self._sources = {source.name: source for source in sources}

    async def write(
        self,
        source: str,
        tag: str,
        device: str | None,
        value: Any,  # noqa: ANN401 - of any kind
        origin: str,
    ) -> Action:
        """Write a tag of the allow-list.

        Raises:
            UnknownError: no such source or tag, or tags of that name in several devices.
        """
        definition = self._definition(source, tag, device)
        try:
            fitting = from_json(DataType(definition.data_type), value)
        except MisfitError as error:
            wish = _wish(definition, value, origin)
            order = Order(wish, source, definition.address)
            if definition.index not in self._tags.writable:
                return await self._ask(order)  # refused for that, whatever the value
            return await self._refused(order, "wrong_type", str(error))
        return await self._ask(self._desk.order_of(_wish(definition, fitting, origin)))

    async def call(
        self, source: str, method: str, arguments: Mapping[str, Any], origin: str
    ) -> Action:
        """Call a method of the allow-list. Raises UnknownError: no such source or method."""
        hands = self._hands(source)
        address = hands.address_of(method) if hands is not None else None
        if hands is None or address is None:
            raise UnknownError(f"source {source} has no method {method} on its allow-list")
        wish = WriteCommand(
            tag=None, device="", name=f"call {method}", value=dict(arguments), origin=origin
        )
        perform = partial(hands.call_method, method, arguments)
        return await self._ask(Order(wish, source, address, perform))

    async def acknowledge(
        self, source: str, condition: str, event_id: bytes, comment: str, origin: str
    ) -> Action:
        """Acknowledge a condition. Raises UnknownError: no source that has conditions."""
        hands = self._hands(source)
        if hands is None:
            raise UnknownError(f"source {source} has no conditions")
        shown = f"event {event_id.hex()}: {comment}"
        wish = WriteCommand(tag=None, device="", name="acknowledge", value=shown, origin=origin)
        perform = partial(hands.acknowledge, condition, event_id, comment)
        return await self._ask(Order(wish, source, condition, perform))

    async def describe(self, source: str, method: str) -> MethodDescription:
        """Return what a method takes and returns.

        Raises:
            UnknownError: no such source or method.
            WriteRefusedError: the device does not tell.
            SourceError: there is no session, or no answer in time.
        """
        hands = self._hands(source)
        if hands is None or hands.address_of(method) is None:
            raise UnknownError(f"source {source} has no method {method} on its allow-list")
        try:
            with anyio.fail_after(DESCRIBE_TIMEOUT_S):
                return await hands.describe(method)
        except TimeoutError as error:
            raise SourceError("the device did not answer in time") from error

    def _hands(self, source: str) -> SourceHands | None:
        found = self._sources.get(source)
        if found is None:
            raise UnknownError(f"there is no source {source} that runs")
        return found.hands if isinstance(found, HasHands) else None

    def _definition(self, source: str, tag: str, device: str | None) -> TagDefinition:
        if source not in self._sources:
            raise UnknownError(f"there is no source {source} that runs")
        found = [
            definition
            for definition in map(
                self._tags.definitions.__getitem__, self._tags.active.get(source, ())
            )
            if definition.name == tag and device in {None, definition.device}
        ]
        if not found:
            raise UnknownError(f"source {source} has no tag {tag} now")
        if len(found) > 1:
            devices = ", ".join(sorted(definition.device for definition in found))
            raise UnknownError(f"several devices have a tag {tag}: name one of {devices}")
        return found[0]

    async def _ask(self, order: Order) -> Action:
        answered = anyio.Event()
        answer: list[Action] = []

        def told(command: AuditedCommand, done: Done) -> None:
            answer.append(Action(command=command, results=done.results))
            answered.set()

        order.told = told
        self._desk.take(order)
        await answered.wait()
        return answer[0]

    async def _refused(self, order: Order, reason: str, message: str) -> Action:
        """Refuse what does not fit before it reaches the source; it is audited all the same."""

        async def refuse() -> Done:
            raise WriteRefusedError(reason, message)

        order.perform = refuse
        return await self._ask(order)


def _wish(definition: TagDefinition, value: Any, origin: str) -> WriteCommand:  # noqa: ANN401
    return WriteCommand(
        tag=definition.index,
        device=definition.device,
        name=definition.name,
        value=value,
        origin=origin,
    )
