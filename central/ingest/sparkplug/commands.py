"""Commands of people to edge nodes: checked against the birth, on a list, audited either way.

Order: check; keep who wants what (``sending``); publish; keep what came of it. A refusal is kept as
well. Values are never made to fit: what is not of the metric's data type is refused by name.
Nothing is written that ``write_allow`` does not name (security.md: read-only towards machines);
a rebirth needs no rule, because it changes nothing.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from sqlalchemy import func, select, update

from central.database import Database
from central.errors import CommandRefusedError, CommandValueError
from central.ingest.sparkplug.document import SparkplugDocument
from central.ingest.sparkplug.tables import CommandRow
from runtime.clock import Clock
from sparkplug_b.datatype import ARRAY_TYPES, INTEGER_RANGE, STRING_TYPES, DataType, pack_array
from sparkplug_b.errors import EncodeError
from sparkplug_b.host_scope import HostScope
from sparkplug_b.payload import Value

REASON_LENGTH_MAX = 500
Outcome = Literal["sending", "sent", "unproven", "failed", "refused"]
Given = int | float | bool | str | list[int | float | bool | str] | None
_FLOAT_EXACT_MAX = 2**53


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a person wants of a node (``device`` "") or device; no metrics: a rebirth."""

    person: str
    group_id: str
    node_id: str
    device: str
    metrics: Mapping[str, Given]
    reason: str

    @property
    def kind(self) -> Literal["write", "rebirth"]:
        """Say which of the two it is."""
        return "write" if self.metrics else "rebirth"


class CommandInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A command and what came of it.

    Attributes:
        outcome: sending (the hub ended before it knew), sent (the broker has read it), unproven
            (the broker did not say so in time), failed, refused. Sparkplug has no answer of the
            node: what it did shows in the values.
    """

    id: int
    created_us: int
    person: str
    group: str
    node: str
    device: str
    kind: str
    metrics: dict[str, Any]
    reason: str
    outcome: str
    detail: str


class CommandBook:
    """The audit: every command, in a table."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def open(self, order: Order, outcome: Outcome, detail: str = "") -> int:
        """Keep a command durably; return its id."""
        row = CommandRow(
            created_us=self._clock.wall_us(),
            person=order.person[:100],
            group_id=order.group_id[:200],
            node_id=order.node_id[:200],
            device=order.device[:200],
            kind=order.kind,
            metrics=msgspec.json.encode(order.metrics).decode(),
            reason=order.reason[:REASON_LENGTH_MAX],
            outcome=outcome,
            detail=detail,
        )
        async with self._database.transaction() as session:
            session.add(row)
            await session.flush()
            return row.id

    async def close(self, command_id: int, outcome: Outcome, detail: str = "") -> None:
        """Keep what came of a command."""
        async with self._database.transaction() as session:
            await session.execute(
                update(CommandRow)
                .where(CommandRow.id == command_id)
                .values(outcome=outcome, detail=detail)
            )

    async def one(self, command_id: int) -> CommandInfo:
        """Return one command that ``open`` made."""
        async with self._database.reading() as session:
            row = await session.get_one(CommandRow, command_id)
        return _info(row)

    async def newest(self, offset: int, limit: int) -> tuple[list[CommandInfo], int]:
        """Return commands, newest first, and how many there are."""
        async with self._database.reading() as session:
            total = await session.scalar(select(func.count()).select_from(CommandRow))
            rows = await session.scalars(
                select(CommandRow).order_by(CommandRow.id.desc()).offset(offset).limit(limit)
            )
            return [_info(row) for row in rows], total or 0


def values_of(
    order: Order, scope: HostScope, document: SparkplugDocument
) -> dict[str, Value | None]:
    """Check an order against the birth and the list; return what to encode.

    Raises:
        CommandValueError: names the metric that the birth lacks, or whose value does not fit.
        CommandRefusedError: names the metric that is not on the list.
    """
    place = (order.group_id, order.node_id, order.device)
    values: dict[str, Value | None] = {}
    for name, given in order.metrics.items():
        path = f"metrics.{name}"
        known = scope.metrics.get(name)
        if known is None:
            raise CommandValueError(
                path, "the birth has no such metric", "sparkplug.unknown_metric"
            )
        if not document.may_write(place, name):
            raise CommandRefusedError(path, "write_allow does not name this metric")
        try:
            values[name] = _value(known.data_type, given)
        except _UnfitError as error:
            message = f"{known.data_type.name} is needed: {error}"
            raise CommandValueError(path, message, "sparkplug.type_mismatch") from error
    return values


class _UnfitError(Exception):
    """Raised when a value is not of a data type; ``str()`` says why."""


def _value(data_type: DataType, given: Given) -> Value | None:
    if given is None:
        return None
    if data_type in ARRAY_TYPES:
        return _array(data_type, given)
    if isinstance(given, list):
        raise _UnfitError("a list is no single value")
    if data_type in {DataType.BYTES, DataType.FILE}:
        return _bytes(given)
    if data_type is DataType.BOOLEAN or data_type in STRING_TYPES:
        wanted: type = bool if data_type is DataType.BOOLEAN else str
        if not isinstance(given, wanted):
            raise _UnfitError(f"{_json_name(given)} was given")
        return given
    if isinstance(given, (bool, str)):
        raise _UnfitError(f"{_json_name(given)} was given")
    return _number(data_type, given)


def _number(data_type: DataType, given: float) -> float:
    limits = INTEGER_RANGE.get(data_type)
    if limits is not None:
        if not isinstance(given, int):
            raise _UnfitError("a number with a fraction was given")
        if not limits[0] <= given <= limits[1]:
            raise _UnfitError(f"{given} is not in {limits[0]} to {limits[1]}")
        return given
    if data_type not in {DataType.FLOAT, DataType.DOUBLE}:
        raise _UnfitError("this data type cannot be written by command")
    exact_max = 2**24 if data_type is DataType.FLOAT else _FLOAT_EXACT_MAX
    if isinstance(given, int) and abs(given) > exact_max:
        raise _UnfitError(f"{given} is not exact in it: write it with a decimal point")
    if data_type is DataType.FLOAT and math.isfinite(given) and abs(given) >= 2.0**128:
        raise _UnfitError(f"{given} is too large")
    return float(given)


def _array(data_type: DataType, given: Given) -> Value:
    if not isinstance(given, list):
        raise _UnfitError(f"a list is needed, {_json_name(given)} was given")
    try:
        pack_array(data_type, given)
    except EncodeError as error:
        raise _UnfitError(error.reason) from error
    return tuple(given)


def _bytes(given: Given) -> bytes:
    if not isinstance(given, str):
        raise _UnfitError(f"base64 text is needed, {_json_name(given)} was given")
    try:
        return base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _UnfitError("the text is not base64") from error


def _json_name(given: Given) -> str:
    names = {bool: "a boolean", str: "a text", list: "a list"}
    return names.get(type(given), "a number")


def _info(row: CommandRow) -> CommandInfo:
    return CommandInfo(
        id=row.id,
        created_us=row.created_us,
        person=row.person,
        group=row.group_id,
        node=row.node_id,
        device=row.device,
        kind=row.kind,
        metrics=msgspec.json.decode(row.metrics, type=dict[str, Any]),
        reason=row.reason,
        outcome=row.outcome,
        detail=row.detail,
    )
