"""Journal rows to the hub: live rows first, the backlog beside them, each upload answered durably.

Rows travel as they are stored, with hashes; the hub answers with a receipt after its own fsync, and
only then are they confirmed. Identity is (gateway, epoch, sequence): an upload whose answer was
lost is sent again and kept once. Tag definitions and ledger entries go along, from where the
receipt says the hub is. Rows are gathered for ``GATHER_S`` while live, so that a request carries
many.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator, Sequence

import httpx
import msgspec

from contract.errors import ErrorBody
from contract.upload import (
    ROWS_MAX,
    TAGS_PER_UPLOAD_MAX,
    UPLOAD_BYTES_MAX,
    Upload,
    UploadReceipt,
    UploadRefusal,
    UploadRow,
)
from gateway.errors import JournalError, SinkError
from gateway.sinks.base import Outlet, Row, SinkReport, SinkState, TagView
from runtime.clock import Clock

GATHER_S = 0.5
IDLE_S = 15.0
"""With nothing to send, ask for the state this often: the hub sees us, we see that it is there."""
TIMEOUT_S = 30.0
LOSSES_PER_UPLOAD = 500
HOLES_LISTED_MAX = 100
PAYLOADS_BYTES_MAX = UPLOAD_BYTES_MAX // 2
"""The rest is for tag definitions and ledger entries."""
_MSGPACK = "application/msgpack"
_ROW_PATH = re.compile(r"rows\[(\d+)\]")


class HubAccess(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the hub as a member: made from the enrolment."""

    url: str
    gateway_id: str
    context: ssl.SSLContext


class HubSink:
    """The uplink to one hub.

    ``access`` gives the present membership, or None when this box is not enrolled;
    ``access_changed`` tells cheaply that it is another one now.
    """

    def __init__(
        self,
        access: Callable[[], HubAccess | None],
        access_changed: Callable[[], bool],
        tags: TagView,
        clock: Clock,
    ) -> None:
        self._access = access
        self._access_changed = access_changed
        self._tags = tags
        self._clock = clock
        self._state: SinkState = "off"
        self._reason = "not enrolled at a hub"
        self._target = ""
        self._sent = 0
        self._connects = 0
        self._last_acknowledged_s: float | None = None
        self._tags_known = 0
        self._losses_known = 0

    @property
    def name(self) -> str:
        """The consumer's name."""
        return "hub"

    def report(self) -> SinkReport:
        """Return what to show of the sink now."""
        return SinkReport(
            state=self._state,
            target=self._target,
            reason=self._reason,
            sent=self._sent,
            connects=self._connects,
            last_acknowledged_s=self._last_acknowledged_s,
        )

    async def run_session(self, outlet: Outlet) -> None:
        """Upload until the hub does not answer; see ``sinks.base.Sink``."""
        access = self._access()
        if access is None:
            self._state, self._reason, self._target = "off", "not enrolled at a hub", ""
            raise SinkError(self._reason)
        self._target = access.url
        if self._state == "off":
            self._state = "connecting"
        async with httpx.AsyncClient(
            base_url=access.url, verify=access.context, timeout=TIMEOUT_S, trust_env=False
        ) as client:
            try:
                await self._upload(client, outlet)
            except SinkError as error:
                self._state, self._reason = "waiting", str(error)
                raise

    async def _upload(self, client: httpx.AsyncClient, outlet: Outlet) -> None:
        self._learn(await self._ask_state(client, outlet), outlet)
        self._connects += 1
        self._state, self._reason = "live", ""
        outlet.begin()
        while not self._access_changed():
            portion = await outlet.next(IDLE_S)
            if portion is None:
                await self._keep_in_touch(client, outlet)
                continue
            self._state = "live" if portion.lane == "live" else "catching_up"
            for rows in _uploads(portion.rows):
                await self._send(client, outlet, rows)
            if portion.lane == "live":
                # the next rows gather meanwhile: one request carries many
                await self._clock.sleep_s(GATHER_S)
        raise SinkError("the membership changed: connecting anew")

    async def _keep_in_touch(self, client: httpx.AsyncClient, outlet: Outlet) -> None:
        self._learn(await self._ask_state(client, outlet), outlet)
        if await outlet.losses_after(self._losses_known, 1):
            await self._send(client, outlet, ())
        self._state = "live"

    async def _ask_state(self, client: httpx.AsyncClient, outlet: Outlet) -> UploadReceipt:
        try:
            response = await client.get("/api/uplink/state", params={"epoch": outlet.epoch})
        except (httpx.HTTPError, ssl.SSLError, OSError) as error:
            raise SinkError(_unreachable(error)) from error
        if response.status_code != httpx.codes.OK:
            raise SinkError(_refusal(response))
        return _receipt(response.content)

    async def _send(self, client: httpx.AsyncClient, outlet: Outlet, rows: Sequence[Row]) -> None:
        """Upload consecutive rows and confirm them; resend definitions where the hub lacks some."""
        for _ in range(3):
            upload = await self._compose(outlet, rows)
            try:
                response = await client.post(
                    "/api/uplink/batches",
                    content=msgspec.msgpack.encode(upload),
                    headers={"content-type": _MSGPACK},
                )
            except (httpx.HTTPError, ssl.SSLError, OSError) as error:
                raise SinkError(_unreachable(error)) from error
            if response.status_code == httpx.codes.OK:
                self._accept(_receipt(response.content), outlet, rows)
                return
            refused = _refused_row(response, rows)
            if refused is not None:
                await self._send_around(client, outlet, rows, refused, _refusal(response))
                return
            if not self._lacked_tags(response):
                raise SinkError(_refusal(response))
        raise SinkError("the hub asks for tag definitions again and again")

    async def _send_around(
        self,
        client: httpx.AsyncClient,
        outlet: Outlet,
        rows: Sequence[Row],
        refused: int,
        why: str,
    ) -> None:
        """Give up the one row that the hub will never take (see the ledger); send the others."""
        row = rows[refused]
        outlet.give_up(row.sequence, (row.first_time_us, row.last_time_us), why)
        for part in (rows[:refused], rows[refused + 1 :]):
            if part:
                await self._send(client, outlet, part)

    async def _compose(self, outlet: Outlet, rows: Sequence[Row]) -> Upload:
        head, head_time_us = outlet.head
        try:
            losses = await outlet.losses_after(self._losses_known, LOSSES_PER_UPLOAD)
            previous = await outlet.hash_before(rows[0].sequence) if rows else bytes(32)
        except JournalError as error:
            # the size limit may have taken the rows meanwhile: the next session finds out
            raise SinkError(f"the rows cannot be read any more: {error}") from error
        return Upload(
            epoch=outlet.epoch,
            previous_hash=previous,
            rows=[
                UploadRow(
                    sequence=row.sequence,
                    hash=row.hash,
                    samples_count=row.samples_count,
                    first_time_us=row.first_time_us,
                    last_time_us=row.last_time_us,
                    payload=row.payload,
                )
                for row in rows
            ],
            tags=self._tags.definitions_from(self._tags_known, TAGS_PER_UPLOAD_MAX),
            losses=losses,
            head_sequence=head,
            head_time_us=head_time_us,
        )

    def _lacked_tags(self, response: httpx.Response) -> bool:
        """Tell whether the hub only lacks definitions, and note from where."""
        if response.status_code != httpx.codes.CONFLICT:
            return False
        try:
            refusal = msgspec.json.decode(response.content, type=UploadRefusal)
        except msgspec.MsgspecError:
            return False
        if refusal.code != "ingest.unknown_tags" or refusal.receipt is None:
            return False
        self._tags_known = refusal.receipt.tags_known
        return True

    def _accept(self, receipt: UploadReceipt, outlet: Outlet, rows: Sequence[Row]) -> None:
        self._tags_known = receipt.tags_known
        self._losses_known = receipt.losses_known
        self._last_acknowledged_s = self._clock.monotonic_s()
        if not rows:
            return
        first, last = rows[0].sequence, rows[-1].sequence
        # the receipt, not our hope, says what is durable
        if not any(low <= first and last <= high for low, high in _held(receipt)):
            raise SinkError(f"the hub's receipt does not cover rows {first} to {last}")
        self._sent += sum(row.samples_count for row in rows)
        outlet.confirm(first, last)

    def _learn(self, receipt: UploadReceipt, outlet: Outlet) -> None:
        """Take over what the hub says it has: it may be ahead of our cursor after a crash."""
        self._tags_known = receipt.tags_known
        self._losses_known = receipt.losses_known
        self._last_acknowledged_s = self._clock.monotonic_s()
        for first, last in _held(receipt):
            if first <= outlet.head[0]:
                outlet.confirm(first, min(last, outlet.head[0]))


def _uploads(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Cut rows so that each upload keeps within its limits; one row alone always goes."""
    start = size = 0
    for number, row in enumerate(rows):
        size += len(row.payload)
        if number > start and (number - start >= ROWS_MAX or size > PAYLOADS_BYTES_MAX):
            yield rows[start:number]
            start, size = number, len(row.payload)
    yield rows[start:]


def _held(receipt: UploadReceipt) -> list[tuple[int, int]]:
    """Return the ranges of rows that the hub has, as far as its receipt lists the holes."""
    held: list[tuple[int, int]] = []
    first = 1
    for hole in receipt.missing:
        if hole.first > first:
            held.append((first, hole.first - 1))
        first = hole.last + 1
    is_listed_whole = len(receipt.missing) < HOLES_LISTED_MAX
    if is_listed_whole and receipt.received_to >= first:
        held.append((first, receipt.received_to))
    return held


def _refused_row(response: httpx.Response, rows: Sequence[Row]) -> int | None:
    """Return which row can never be taken; None when the refusal is about something else."""
    if response.status_code != httpx.codes.UNPROCESSABLE_ENTITY:
        return None
    try:
        body = msgspec.json.decode(response.content, type=ErrorBody)
    except msgspec.MsgspecError:
        return None
    found = _ROW_PATH.match(body.faults[0].path) if body.faults else None
    number = int(found.group(1)) if found else len(rows)
    return number if number < len(rows) else None


def _receipt(content: bytes) -> UploadReceipt:
    try:
        return msgspec.json.decode(content, type=UploadReceipt)
    except msgspec.MsgspecError as error:
        raise SinkError("the hub's answer is no receipt: do the versions fit?") from error


def _unreachable(error: Exception) -> str:
    if isinstance(error, httpx.TimeoutException):
        return f"the hub did not answer within {TIMEOUT_S:.0f} s"
    return f"the hub cannot be reached: {type(error).__name__}: {error}"


def _refusal(response: httpx.Response) -> str:
    try:
        body = msgspec.json.decode(response.content, type=ErrorBody)
    except msgspec.MsgspecError:
        return f"the hub answered {response.status_code}"
    return f"the hub refused ({body.code}): {body.message}"
