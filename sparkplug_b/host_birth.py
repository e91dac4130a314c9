"""When a node was born and died: which late messages belong to the time before.

Only while a message can be late (`span_ms` since the birth or death): a node's clock may be set
back, and then its births are believed again.
"""

from __future__ import annotations

from sparkplug_b.host_order import is_over


class BirthTimes:
    """Times of one node's births and deaths.

    Attributes:
        birth_time_ms: payload timestamp of the last NBIRTH.
        last_time_ms: latest payload timestamp since then.
    """

    def __init__(self, span_ms: int) -> None:
        self._span_ms = span_ms
        self.birth_time_ms: int | None = None
        self.last_time_ms = 0
        self._received_ms = 0
        self._bd_seq: int | None = None
        self._died_ms: int | None = None
        self._other_death: tuple[int | None, int] | None = None

    def born(self, bd_seq: int | None, time_ms: int | None, now_ms: int) -> None:
        """Note an NBIRTH that was taken."""
        self._bd_seq = bd_seq
        self.birth_time_ms = time_ms
        self._received_ms = now_ms
        self.last_time_ms = time_ms or 0
        self._died_ms = None

    def died(self, now_ms: int) -> None:
        """Note the death of the session that was born last."""
        self._died_ms = now_ms

    def other_died(self, bd_seq: int | None, now_ms: int) -> None:
        """Note a death whose birth may still come: an NDEATH may overtake its NBIRTH."""
        self._other_death = (bd_seq, now_ms)

    def heard(self, time_ms: int | None) -> None:
        """Note the payload timestamp of a message that was taken."""
        self.last_time_ms = max(self.last_time_ms, time_ms or 0)

    def is_before_birth(self, time_ms: int | None, now_ms: int) -> bool:
        """Say whether a message of this timestamp was sent before the last NBIRTH."""
        return (
            self.birth_time_ms is not None
            and time_ms is not None
            and time_ms < self.birth_time_ms
            and not is_over(self._received_ms, now_ms, self._span_ms)
        )

    def is_late_birth(self, bd_seq: int | None, time_ms: int | None, now_ms: int) -> bool:
        """Say whether an NBIRTH is of a session that is over."""
        if self.is_before_birth(time_ms, now_ms):
            return True
        other = self._other_death
        if (
            other is not None
            and other[0] == bd_seq
            and not is_over(other[1], now_ms, self._span_ms)
        ):
            return True
        died_ms = self._died_ms
        return (
            died_ms is not None
            and time_ms is not None
            and time_ms <= self.last_time_ms
            and bd_seq == self._bd_seq
            and not is_over(died_ms, now_ms, self._span_ms)
        )
