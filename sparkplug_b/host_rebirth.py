"""Rebirth requests to one edge node: one at a time, not too often, not for ever."""

from __future__ import annotations

from sparkplug_b.codec import encode
from sparkplug_b.command import DEVICE_REBIRTH, NODE_REBIRTH
from sparkplug_b.datatype import DataType
from sparkplug_b.edge_message import OutboundMessage
from sparkplug_b.host_order import is_over
from sparkplug_b.payload import Metric, Payload
from sparkplug_b.topic import device_topic, node_topic


def rebirth_message(key: tuple[str, str], device_id: str | None, now_ms: int) -> OutboundMessage:
    """Build a rebirth request to a node or device: QoS 0, not retained, Boolean true, no seq.

    Source: Sparkplug 3.0, tck-id-operational-behavior-data-commands-ncmd-rebirth-verb, -name and
    -value. The data type is written because both TCKs ask for it.
    """
    if device_id is None:
        name, topic = NODE_REBIRTH, node_topic(key[0], "NCMD", key[1])
    else:
        name, topic = DEVICE_REBIRTH, device_topic(key[0], "DCMD", key[1], device_id)
    metric = Metric(name=name, time_ms=now_ms, data_type=DataType.BOOLEAN, value=True)
    payload = encode(Payload(timestamp_ms=now_ms, metrics=(metric,)))
    return OutboundMessage(topic=topic, payload=payload, qos=0, retain=False)


class RebirthWish:
    """Whether a rebirth is wanted, and when it may be asked for again."""

    def __init__(self, interval_ms: int, requests_max: int) -> None:
        self._interval_ms = interval_ms
        self._requests_max = requests_max
        self._is_wanted = False
        self._asked_ms: int | None = None
        self._asked_count = 0

    @property
    def due_ms(self) -> int | None:
        """Return when `take` gives a request; None: none is wanted."""
        if not self._is_wanted:
            return None
        return 0 if self._asked_ms is None else self._asked_ms + self._interval_ms

    def want(self) -> None:
        """Note that a rebirth is needed; requests that stay unanswered are counted anew."""
        self._is_wanted = True
        self._asked_count = 0

    def forget(self) -> None:
        """Note that none is needed any more."""
        self._is_wanted = False

    def take(self, now_ms: int) -> bool:
        """Say whether to ask now; True counts as asked."""
        asked_ms = self._asked_ms
        if not self._is_wanted or (
            asked_ms is not None and not is_over(asked_ms, now_ms, self._interval_ms)
        ):
            return False
        self._asked_ms = now_ms
        self._asked_count += 1
        self._is_wanted = self._asked_count < self._requests_max
        return True
