"""Losses on their way to the journal's ledger, and those in it that can still be filled. Pure.

Entries of one kind in one commit merge; a closing one never does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from contract.upload import Loss, LossReason

ENTRIES_MAX = 10_000
OPEN_MAX = 2_000
"""Open entries and fillings of one source that are remembered for healing: the newest."""
FILLABLE: frozenset[LossReason] = frozenset(
    {"gateway_down", "session_gap", "server_overflow", "missed_notification", "poll_missed"}
)
"""Losses before the gateway: the server's history can have what is missing."""


class LossNote(msgspec.Struct, kw_only=True):
    """A loss that has no number yet; see ``contract.upload.Loss`` for the fields."""

    reason: LossReason
    source: str = ""
    tag: int | None = None
    first_time_us: int
    last_time_us: int
    count: int | None = None
    first_sequence: int | None = None
    last_sequence: int | None = None
    detail: str = ""
    closes: int | None = None

    def merge(self, other: LossNote) -> None:
        """Take another note of the same kind in: the range widens, the counts add up."""
        self.first_time_us = min(self.first_time_us, other.first_time_us)
        self.last_time_us = max(self.last_time_us, other.last_time_us)
        both_known = self.count is not None and other.count is not None
        self.count = (self.count or 0) + (other.count or 0) if both_known else None
        if other.first_sequence is not None and other.last_sequence is not None:
            self.first_sequence = min(
                self.first_sequence or other.first_sequence, other.first_sequence
            )
            self.last_sequence = max(self.last_sequence or 0, other.last_sequence)
        self.detail = other.detail


class PendingLosses:
    """Notes waiting for the next commit. At ``ENTRIES_MAX`` kinds, all of a source merge."""

    def __init__(self) -> None:
        self._notes: dict[tuple[object, ...], LossNote] = {}

    def __len__(self) -> int:
        """Count the notes."""
        return len(self._notes)

    def add(self, note: LossNote) -> None:
        """Add a note; one of the same reason, source and tag takes it in."""
        held = self._notes.get((note.reason, note.source, note.tag, note.first_sequence))
        if held is None and len(self._notes) >= ENTRIES_MAX:
            note.tag = None
            held = self._notes.get((note.reason, note.source, "any"))
            if held is None:
                self._notes[note.reason, note.source, "any"] = note
        elif held is None:
            self._notes[note.reason, note.source, note.tag, note.first_sequence] = note
        if held is not None:
            held.merge(note)

    def take(self) -> list[LossNote]:
        """Return the notes and forget them."""
        notes = list(self._notes.values())
        self._notes.clear()
        return notes


def number(notes: list[LossNote], last_id: int, now_us: int) -> list[Loss]:
    """Give notes their ids, from ``last_id + 1`` on."""
    return [
        Loss(
            id=last_id + 1 + offset,
            reason=note.reason,
            source=note.source,
            tag=note.tag,
            first_time_us=note.first_time_us,
            last_time_us=note.last_time_us,
            count=note.count,
            first_sequence=note.first_sequence,
            last_sequence=note.last_sequence,
            recorded_time_us=now_us,
            detail=note.detail,
            closes=note.closes,
        )
        for offset, note in enumerate(notes)
    ]


class OpenLosses:
    """What of the ledger can still be filled, and what was, by source; fed with each commit."""

    def __init__(self, ledger: Iterable[Loss] = ()) -> None:
        self._open: dict[str, dict[int, Loss]] = {}
        self._filled: dict[str, list[Loss]] = {}
        self.take(ledger)

    def take(self, losses: Iterable[Loss]) -> None:
        """Take new entries in, oldest first."""
        for loss in losses:
            if loss.closes is not None:
                filled = self._filled.setdefault(loss.source, [])
                filled.append(loss)
                del filled[:-OPEN_MAX]
                if loss.tag is None:
                    self._open.get(loss.source, {}).pop(loss.closes, None)
            elif loss.reason in FILLABLE and loss.source:
                held = self._open.setdefault(loss.source, {})
                held[loss.id] = loss
                if len(held) > OPEN_MAX:
                    del held[next(iter(held))]

    def open(self, source: str) -> list[Loss]:
        """Return a source's entries that are not closed whole, oldest first."""
        return list(self._open.get(source, {}).values())

    def filled(self, source: str) -> Sequence[Loss]:
        """Return a source's closing entries, oldest first."""
        return self._filled.get(source, ())
