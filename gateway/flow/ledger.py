"""Losses on their way to the journal's ledger. Pure; entries of one kind in one commit merge."""

from __future__ import annotations

import msgspec

from contract.upload import Loss, LossReason

ENTRIES_MAX = 10_000


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
        )
        for offset, note in enumerate(notes)
    ]
