"""Write a tag: checked before it goes out, sent once, read back.

Order: the allow-list (again: the command desk has looked already), the document's limits, what the
server says of the node (type, shape, access, range), Write, Read until it reads back as written.
Nothing is ever sent twice. Limits: ``WRITE_TIMEOUT_S`` for the checks and the service, then the
tag's ``read_back_ms``. Source: OPC 10000-4, 5.11.4 (Write); OPC 10000-3, 8.57 (AccessLevelType).
"""

from __future__ import annotations

from typing import Any

import anyio
from asyncua import ua
from asyncua.ua.uaerrors import UaError

from contract.config_acting import WriteConfig
from gateway.errors import WriteRefusedError
from gateway.sources.base import Done
from gateway.sources.opcua.discover import FoundTag
from gateway.sources.opcua.nodes import Nodes, held
from gateway.sources.opcua.outgoing import Target, same, type_name, unscaled, variant_of
from gateway.sources.opcua.types import as_text, iso
from runtime.clock import Clock
from sparkplug_b.datatype import DataType

WRITE_TIMEOUT_S = 5.0
READ_AGAIN_S = 0.05
READ_TIMEOUT_S = 2.0
SHOWN_CHARS_MAX = 100
_CURRENT_READ, _CURRENT_WRITE = 0x01, 0x02
_REMEDIES = {
    "BadUserAccessDenied": "this login may not write the node: give it the right in the server",
    "BadNotWritable": "the server does not let the node be written",
    "BadTypeMismatch": "the server wants another type of value",
    "BadOutOfRange": "the server refuses the value as out of range",
    "BadNodeIdUnknown": "the server does not know the node any more",
    "BadWriteNotSupported": "the server does not support this write",
    "BadInvalidState": "the machine does not take it in the state it is in",
    "BadWaitingForInitialData": "the server has no connection to the machine yet",
    "BadNotConnected": "the server has no connection to the machine",
    "BadDeviceFailure": "the machine failed to take it",
    "BadCommunicationError": "the server cannot reach the machine",
}


class Writer:
    """Writes over one session."""

    def __init__(self, nodes: Nodes, clock: Clock) -> None:
        self._nodes = nodes
        self._clock = clock

    async def write(self, tag: FoundTag, limits: WriteConfig, value: Any) -> Done:
        """Write a value in the tag's own unit; return what it reads back as.

        Raises WriteRefusedError, and what asyncua raises for a lost session.
        """
        spec = tag.spec
        if not spec.writable:
            raise WriteRefusedError("not_writable", "the tag is not on the write allow-list")
        if tag.split is not None:
            raise WriteRefusedError(
                "part_of_a_whole", "the tag is a part of an array or structure: write the whole"
            )
        _check_limits(limits, value)
        with anyio.fail_after(WRITE_TIMEOUT_S):
            target, is_readable = await self._target(tag.node_id)
            variant = variant_of(target, _raw(tag, target, value))
            note = await self._send(tag.node_id, variant)
        if not limits.read_back_ms:
            return Done(message=note)
        if not is_readable:
            why = "written; it cannot be read back: the node is write-only"
            return Done(note="not_read_back", message=_joined(note, why))
        return await self._read_back(tag.node_id, variant, limits.read_back_ms, note)

    async def _target(self, node_id: Any) -> tuple[Target, bool]:
        """Return what the node takes, and whether it can be read."""
        ids = ua.AttributeIds
        data_type, rank, dimensions, access, user_access, value = await self._nodes.attributes(
            node_id,
            [ids.DataType, ids.ValueRank, ids.ArrayDimensions, ids.AccessLevel,
             ids.UserAccessLevel, ids.Value],
        )  # fmt: skip
        kind = held(data_type)
        if kind is None:
            code = data_type.StatusCode.name if data_type.StatusCode is not None else "no value"
            raise WriteRefusedError("node_unknown", f"the server tells no data type of it: {code}")
        levels = [level for level in (held(access), held(user_access)) if level is not None]
        if levels and not levels[0] & _CURRENT_WRITE:
            raise WriteRefusedError("read_only", "the server has this node for reading only")
        if not all(level & _CURRENT_WRITE for level in levels):
            raise WriteRefusedError("access_denied", _REMEDIES["BadUserAccessDenied"])
        target = await self._nodes.target(kind, held(rank), held(dimensions), value.Value)
        if not target.type_id:
            raise WriteRefusedError(
                "type_not_writable",
                "the type of this node is a structure, or the server does not tell it",
            )
        low, high = await self._nodes.range_of(node_id)
        changed = Target(
            type_id=target.type_id,
            rank=target.rank,
            length_max=target.length_max,
            labels=target.labels,
            low=low,
            high=high,
        )
        return changed, all(level & _CURRENT_READ for level in levels)

    async def _send(self, node_id: Any, variant: Any) -> str:
        """Write once; return a note, "" for none."""
        wanted = ua.WriteValue()
        wanted.NodeId = node_id
        wanted.AttributeId = ua.AttributeIds.Value
        # neither status nor time: many servers write values only (BadWriteNotSupported)
        wanted.Value = ua.DataValue(Value=variant, StatusCode=None)
        parameters = ua.WriteParameters()
        parameters.NodesToWrite = [wanted]
        results = await self._nodes.session.services.write(parameters)
        status = (
            results[0] if len(results) == 1 else ua.StatusCode(ua.StatusCodes.BadUnknownResponse)
        )
        name = str(status.name)
        if not status.is_good():
            why = _REMEDIES.get(name)
            raise WriteRefusedError(name, f"{why}: {name}" if why else f"the server answers {name}")
        return "" if name == "Good" else f"the server answers {name}"

    async def _read_back(self, node_id: Any, variant: Any, within_ms: int, note: str) -> Done:
        """Read until the value is there, or the time is over."""
        until_s = self._clock.monotonic_s() + within_ms / 1000
        while True:
            try:
                with anyio.fail_after(READ_TIMEOUT_S):
                    (value,) = await self._nodes.attributes(node_id, [ua.AttributeIds.Value])
            except (UaError, OSError, TimeoutError) as error:
                # the server has taken it: that is told, whatever becomes of the session
                why = f"written, but it could not be read back: {type(error).__name__}"
                return Done(note="not_read_back", message=_joined(note, why))
            is_there = (value.StatusCode is None or value.StatusCode.is_good()) and same(
                variant, value.Value
            )
            if is_there or self._clock.monotonic_s() >= until_s:
                break
            await self._clock.sleep_s(READ_AGAIN_S)
        shown = _shown(value)
        if is_there:
            return Done(message=_joined(note, f"reads back {shown}"))
        return Done(note="reads_back_other", message=_joined(note, f"written, reads back {shown}"))


def _check_limits(limits: WriteConfig, value: Any) -> None:
    """Hold a value, or each of an array, against the document's limits."""
    if limits.low is None and limits.high is None:
        return
    for one in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(one, bool) or not isinstance(one, (int, float)):
            raise WriteRefusedError("wrong_type", "the document's limits need a number")
        is_low = limits.low is not None and not one >= limits.low
        if is_low or (limits.high is not None and not one <= limits.high):
            low = "-" if limits.low is None else f"{limits.low:g}"
            high = "-" if limits.high is None else f"{limits.high:g}"
            raise WriteRefusedError(
                "out_of_range", f"{one:g} is outside the document's limits: {low} to {high}"
            )


def _raw(tag: FoundTag, target: Target, value: Any) -> Any:
    """Undo the tag's scaling."""
    spec = tag.spec
    if spec.data_type is DataType.DOUBLE and (spec.gain != 1.0 or spec.offset != 0.0):
        whole = type_name(target.type_id) not in {"Float", "Double"}
        return unscaled(value, spec.gain, spec.offset, to_integer=whole)
    return value


def _shown(value: Any) -> str:
    """Word what was read: the machine's own value, unscaled, and its time."""
    if value.StatusCode is not None and not value.StatusCode.is_good():
        return f"as {value.StatusCode.name}"
    what = None if value.Value is None else value.Value.Value
    text = "no value" if what is None else "bytes" if isinstance(what, bytes) else as_text(what)
    if len(text) > SHOWN_CHARS_MAX:
        text = text[: SHOWN_CHARS_MAX - 1] + "…"
    if value.SourceTimestamp is None:
        return text
    return f"{text} at {iso(value.SourceTimestamp, timespec='milliseconds')}"


def _joined(note: str, more: str) -> str:
    return f"{note}; {more}" if note else more
