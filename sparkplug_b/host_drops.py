"""What a host did not use: counted by reason, and noted by node so that a log can say whose.

Bounded: notes are kept one per node, device and reason until they are taken, at most `NOTES_MAX`;
what comes beyond is noted without its node. The caller takes them at its own pace (say every 10 s),
which is the limit of rate.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from sparkplug_b.host_event import HostDrop

NOTES_MAX: Final = 1_000
DETAIL_CHARS_MAX: Final = 200

_Key = tuple[str | None, str | None, str | None, HostDrop]


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """Messages or metrics that were not used since notes were last taken.

    Attributes:
        group_id: None: of no node (a strange topic), or of more nodes than notes are kept for.
        device_id: None: of the node itself.
        count: how many; of metrics where the reason is about a metric, else of messages.
        detail: of the last one: metric, topic or error, cut to `DETAIL_CHARS_MAX` characters.
            It came from outside: escape control characters before it goes into a text log.
    """

    group_id: str | None
    node_id: str | None
    device_id: str | None
    reason: HostDrop
    count: int
    detail: str


class DropBook:
    """The drops of one host session.

    Attributes:
        counts: by reason, since the session was made.
    """

    def __init__(self) -> None:
        self.counts: Final[Counter[HostDrop]] = Counter()
        self._notes: dict[_Key, tuple[int, str]] = {}

    def note(
        self,
        reason: HostDrop,
        detail: str = "",
        *,
        node: tuple[str, str] | None = None,
        device_id: str | None = None,
        count: int = 1,
    ) -> None:
        """Count a drop and note whose it was."""
        self.counts[reason] += count
        key: _Key = (*(node or (None, None)), device_id, reason)
        if key not in self._notes and len(self._notes) >= NOTES_MAX:
            key = (None, None, None, reason)
        before, _ = self._notes.get(key, (0, ""))
        self._notes[key] = (before + count, detail[:DETAIL_CHARS_MAX])

    def take(self) -> list[Dropped]:
        """Return the notes since the last call, and forget them."""
        notes, self._notes = self._notes, {}
        return [
            Dropped(
                group_id=group_id,
                node_id=node_id,
                device_id=device_id,
                reason=reason,
                count=count,
                detail=detail,
            )
            for (group_id, node_id, device_id, reason), (count, detail) in notes.items()
        ]


class ScopeDrops:
    """The drops of one node or device."""

    def __init__(self, book: DropBook, node: tuple[str, str], device_id: str | None) -> None:
        self._book = book
        self.node: Final = node
        self._device_id = device_id

    def note(self, reason: HostDrop, detail: str = "", *, count: int = 1) -> None:
        """Count a drop of this node or device."""
        if count:
            self._book.note(reason, detail, node=self.node, device_id=self._device_id, count=count)

    def of(self, device_id: str | None) -> ScopeDrops:
        """Return the same for a device of the node."""
        return (
            self if device_id == self._device_id else ScopeDrops(self._book, self.node, device_id)
        )
