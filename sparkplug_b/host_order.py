"""Order of a node's numbered messages: seq 0 to 255, a bounded buffer while one is missing.

Source: Sparkplug 3.0, 5.9 (message ordering) and 6.4.5 (seq).
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

RECENT_COUNT: Final = 128  # half of the circle: beyond it, back and ahead cannot be told apart

NumberedMessage = Literal["NDATA", "DBIRTH", "DDATA", "DDEATH"]
Place = Literal["next", "held", "full", "duplicate", "taken"]


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """A numbered message as it came; `time_ms` is its payload's timestamp."""

    message: NumberedMessage
    device_id: str | None
    payload: bytes
    received_ms: int
    seq: int
    time_ms: int | None


def is_over(since_ms: int, now_ms: int, span_ms: int) -> bool:
    """Say whether a timer has run out; also when the clock was set back behind its start."""
    return not since_ms <= now_ms < since_ms + span_ms


class SeqOrder:
    """Puts messages in order.

    Attributes:
        next_seq: what comes next; None: nothing but an NBIRTH is believed.
        gap_since_ms: when the first message behind an open gap came; None: no gap.
    """

    def __init__(self, messages_max: int, bytes_max: int) -> None:
        self.next_seq: int | None = None
        self.gap_since_ms: int | None = None
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._held: dict[int, Received] = {}
        self._held_bytes_count = 0
        self._recent: dict[int, int] = {}

    def begin(self, next_seq: int, birth_time_ms: int | None) -> int:
        """Start after an NBIRTH; return how many held messages, older than it, were dropped."""
        self.next_seq = next_seq
        self._recent.clear()
        kept = {
            seq: held
            for seq, held in self._held.items()
            if birth_time_ms is None or held.time_ms is None or held.time_ms >= birth_time_ms
        }
        dropped_count = len(self._held) - len(kept)
        self._set_held(kept)
        return dropped_count

    def stop(self) -> int:
        """Believe nothing until the next NBIRTH; return how many held messages were dropped."""
        self.next_seq = None
        self._recent.clear()
        dropped_count = len(self._held)
        self._set_held({})
        return dropped_count

    def place(self, received: Received) -> Place:
        """Say where a message belongs; `held` and `full` keep it, `full` asks to give up the gap.

        `taken`: another message of that number is held, so one of the two is of another time.
        """
        seq = received.seq
        if seq == self.next_seq:
            return "next"
        held = self._held.get(seq)
        if held is not None:
            return "duplicate" if _print(held) == _print(received) else "taken"
        if self._recent.get(seq) == _print(received):
            return "duplicate"
        self._held[seq] = received
        self._held_bytes_count += len(received.payload)
        if self.gap_since_ms is None:
            self.gap_since_ms = received.received_ms
        is_full = len(self._held) > self._messages_max or self._held_bytes_count > self._bytes_max
        return "full" if is_full else "held"

    def advance(self, received: Received) -> None:
        """Note that this message was taken."""
        self.next_seq = (received.seq + 1) % 256
        self._recent.pop(received.seq, None)
        self._recent[received.seq] = _print(received)
        if len(self._recent) > RECENT_COUNT:
            del self._recent[next(iter(self._recent))]

    def pop_next(self) -> Received | None:
        """Take out the held message that comes next, if it is there."""
        if self.next_seq is None or self.next_seq not in self._held:
            return None
        found = self._held.pop(self.next_seq)
        self._set_held(self._held)
        return found

    def skip_gap(self) -> bool:
        """Go on behind the gap, unless an NBIRTH (seq 0) may be among what is lost."""
        next_seq = self.next_seq
        if next_seq is None or not self._held:
            return False
        seq = min(self._held, key=lambda one: (one - next_seq) % 256)
        if next_seq == 0 or seq < next_seq:
            return False
        self.next_seq = seq
        return True

    @property
    def held_count(self) -> int:
        """Return how many messages wait behind a gap."""
        return len(self._held)

    def _set_held(self, held: dict[int, Received]) -> None:
        self._held = held
        self._held_bytes_count = sum(len(one.payload) for one in held.values())
        self.gap_since_ms = min((one.received_ms for one in held.values()), default=None)


def _print(received: Received) -> int:
    return hash((received.message, received.device_id, received.payload))
