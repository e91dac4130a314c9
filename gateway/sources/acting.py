"""What a source may do to its device beside writing tags: methods, and conditions acknowledged.

A source that can has ``hands``; one that cannot has none. Only what the document lists is done,
and whoever calls has it audited (``flow.actions``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import msgspec

from gateway.sources.base import Done


class Argument(msgspec.Struct, frozen=True, kw_only=True):
    """An argument of a method, as the device describes it.

    Attributes:
        type: name of its data type.
        is_array: it takes a list.
    """

    name: str
    type: str
    is_array: bool = False
    description: str = ""


class MethodDescription(msgspec.Struct, frozen=True, kw_only=True):
    """A method of the allow-list.

    Attributes:
        address: object and method in the device.
    """

    name: str
    address: str
    arguments: list[Argument] = []
    results: list[Argument] = []


class SourceHands(Protocol):
    """Acts on a device. All but ``address_of`` need a session.

    All raise WriteRefusedError (not allowed, or refused by the device), SourceError (no session,
    or it was lost meanwhile) and TimeoutError (no answer in time: it may have been carried out).
    """

    def address_of(self, method: str) -> str | None:
        """Return object and method of a method on the allow-list; None when it is not on it."""
        ...

    async def describe(self, method: str) -> MethodDescription:
        """Return what the device says of a method on the allow-list."""
        ...

    async def call_method(self, method: str, arguments: Mapping[str, Any]) -> Done:
        """Call a method with arguments by name."""
        ...

    async def acknowledge(self, condition: str, event_id: bytes, comment: str) -> Done:
        """Acknowledge a condition's state as an event told it."""
        ...


@runtime_checkable
class HasHands(Protocol):
    """A source that can act on its device."""

    @property
    def hands(self) -> SourceHands:
        """What acts."""
        ...
