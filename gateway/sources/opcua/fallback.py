"""What the fast decoder leaves: single items and whole messages through asyncua's decoder."""

from __future__ import annotations

import struct
from datetime import datetime
from typing import Any

import numpy as np
from asyncua import ua
from asyncua.common.utils import Buffer, NotEnoughData
from asyncua.ua.ua_binary import from_binary
from asyncua.ua.uaerrors import UaError

from gateway.sources.opcua.decode import DecodeError, Notification, Segment
from gateway.sources.opcua.types import EPOCH_TICKS, hold, micros
from gateway.sources.opcua.varied import HELD_TYPES

_HAS_VALUE = 0x01
_NULL_ARRAY, _TYPE_AND_ARRAY_BITS = 0x80, 0xBF
DECODER_ERRORS = (
    UaError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RecursionError,
    struct.error,
)
"""What asyncua's decoder raises on hostile bytes: whatever its parts raise."""


class ForwardBuffer(Buffer):  # type: ignore[misc] # asyncua names no types
    """asyncua's buffer, but a negative length is an error: asyncua's own would go backwards."""

    def read(self, size: int) -> bytes:
        """Read bytes; raises NotEnoughData."""
        if size < 0:
            raise NotEnoughData(f"a length of {size}")
        read: bytes = super().read(size)
        return read


def decode_struct(kind: Any, data: bytes, position: int) -> tuple[Any, int]:
    """Decode one structure with asyncua's decoder; returns it and the position behind it.

    Raises DecodeError.
    """
    buffer = ForwardBuffer(data, position)
    try:
        found = from_binary(kind, buffer)
    except DECODER_ERRORS as error:
        raise DecodeError(f"{type(error).__name__}: {error}") from error
    return found, buffer.cur_pos


def decode_item(data: bytes, position: int) -> tuple[int, int, int, int, int, Any, bool]:
    """Decode one MonitoredItemNotification at a position; see ``decode.Fallback``."""
    mask, variant = data[position + 4], data[position + 5]
    if mask & _HAS_VALUE and variant & _TYPE_AND_ARRAY_BITS == _NULL_ARRAY:
        # its elements take no bytes, so that any length could be claimed
        raise DecodeError("an array of nothing")
    item, behind = decode_struct(ua.MonitoredItemNotification, data, position)
    return (behind, *_fields(item))


def _fields(item: Any) -> tuple[int, int, int, int, Any, bool]:
    value = item.Value
    variant = value.Value
    time = value.SourceTimestamp or value.ServerTimestamp
    held = None if variant is None else variant.Value
    type_id = 0 if variant is None or variant.VariantType is None else variant.VariantType.value
    is_array = bool(variant is not None and (variant.is_array or isinstance(held, list)))
    if type_id in HELD_TYPES and not is_array:
        held = hold(type_id, held, is_array=False)[1]
    return (
        int(item.ClientHandle),
        _ticks(time),
        int(value.StatusCode.value) if value.StatusCode is not None else 0,
        type_id,
        held,
        is_array,
    )


def _ticks(time: datetime | None) -> int:
    return 0 if time is None else micros(time) * 10 + EPOCH_TICKS


def from_asyncua(subscription_id: int, message: Any) -> Notification:
    """Turn a notification message that asyncua decoded (Republish, odd responses) into ours."""
    parts = message.NotificationData or []
    notification = Notification(subscription_id, int(message.SequenceNumber), not parts, [])
    for part in parts:
        if isinstance(part, ua.StatusChangeNotification):
            notification.status_change = int(part.Status.value)
        elif isinstance(part, ua.EventNotificationList):
            notification.events += [
                (int(event.ClientHandle), [field.Value for field in event.EventFields or []])
                for event in part.Events or []
            ]
        elif isinstance(part, ua.DataChangeNotification):
            rows = [_fields(item) for item in part.MonitoredItems or []]
            notification.items_count += len(rows)
            notification.segments.extend(_segments(rows))
    return notification


def _segments(rows: list[tuple[int, int, int, int, Any, bool]]) -> list[Segment]:
    by_type: dict[tuple[int, bool], list[tuple[int, int, int, Any]]] = {}
    for handle, ticks, status, type_id, value, is_array in rows:
        by_type.setdefault((type_id, is_array), []).append((handle, ticks, status, value))
    return [
        Segment(
            type_id,
            np.array([r[0] for r in part], dtype=np.uint32),
            np.array([r[1] for r in part], dtype=np.int64),
            np.array([r[2] for r in part], dtype=np.uint32),
            [r[3] for r in part],
            is_array,
        )
        for (type_id, is_array), part in by_type.items()
    ]
