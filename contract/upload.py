"""What a gateway sends to the hub's ingest, and what the hub answers.

``POST /api/uplink/batches`` carries an ``Upload`` as msgpack over mutual TLS; the gateway is known
by its certificate, never by the body. The hub answers with an ``UploadReceipt`` only after its own
durable commit. A row's identity is (gateway, epoch, sequence): a row sent twice is kept once.
``GET /api/uplink/state?epoch=E`` gives the receipt without sending anything.

Limits: ``ROWS_MAX`` rows and ``UPLOAD_BYTES_MAX`` bytes an upload.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from contract.errors import ErrorBody

ROWS_MAX = 2_000
UPLOAD_BYTES_MAX = 32 * 1024 * 1024
TAGS_PER_UPLOAD_MAX = 20_000
PROTOCOL = 1

LossReason = Literal[
    "gateway_down",  # the process was not running, or died before a commit
    "session_gap",  # the OPC UA session was down; what changed meanwhile was not read
    "server_overflow",  # the server's queue overflowed (overflow bit), values discarded there
    "missed_notification",  # a notification sequence number was skipped and not republished
    "intake_full",  # the gateway's own intake was full; back-pressure was not enough
    "journal_full",  # the size limit dropped the oldest rows before a consumer had them
    "journal_write_failed",  # the disk refused (full, I/O error) and memory ran out
    "decode_failed",  # a value could not be decoded
    "type_changed",  # a value did not fit the tag's data type
    "row_damaged",  # a journal row failed its hash or did not decode
    "poll_missed",  # read cycles of a polled group that did not happen in time
    "source_time_jump",  # a tag's source time went backwards, or far into the future
    "revised",  # the server samples, publishes or queues less than was asked for
    "filled_from_history",  # no loss: closes an entry whose samples came from the server's history
]


NO_LOSS: frozenset[LossReason] = frozenset({"source_time_jump", "revised", "filled_from_history"})
"""Reasons of entries that are worth knowing, but for which no sample is missing."""


class TagDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """What a tag index means. Never changes: a changed tag gets a new index.

    Attributes:
        index: tag index, unique within the journal epoch, from 0 without gaps.
        name: Sparkplug metric name, unique within the device.
        device: Sparkplug device id; empty for the edge node itself.
        data_type: Sparkplug data type number (``sparkplug_b.DataType``).
        source: the source's name in the configuration.
        address: the address there, as ``nsu=urn:example:plant;s=Press.Temperature``.
        unit: engineering unit, "" when unknown.
        low: low end of the EU range, None when unknown.
        high: high end of the EU range, None when unknown.
        description: for people; "" when unknown.
        record: false: Sparkplug says ``is_transient``; journal and hub keep the tag all the same.
    """

    index: int
    name: str
    device: str
    data_type: int
    source: str
    address: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    description: str = ""
    record: bool = True


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the loss ledger: what is missing, when, and why.

    Entries are only ever appended. One whose samples were found after all is closed by a later
    one: that names it in ``closes``, and says in ``tag``, range and ``count`` what was filled.

    Attributes:
        id: number of the entry within the journal epoch, from 1 without gaps.
        reason: why; see ``LossReason``.
        source: the source's name; "" when it concerns all sources.
        tag: tag index; None when it concerns all tags of the source.
        first_time_us: start of the affected range of source time.
        last_time_us: its end.
        count: samples lost; None when it cannot be known.
        first_sequence: first journal row lost, for losses inside the journal.
        last_sequence: last such row.
        recorded_time_us: when the gateway wrote the entry.
        detail: for people.
        closes: the id of the entry that this one closes: for its ``tag``, or whole where that is
            None.
    """

    id: int
    reason: LossReason
    source: str = ""
    tag: int | None = None
    first_time_us: int
    last_time_us: int
    count: int | None = None
    first_sequence: int | None = None
    last_sequence: int | None = None
    recorded_time_us: int
    detail: str = ""
    closes: int | None = None


class UploadRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One journal row: ``payload`` is what ``contract.batch.encode_batch`` made."""

    sequence: int
    hash: bytes
    samples_count: int
    first_time_us: int
    last_time_us: int
    payload: bytes


class Upload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rows of one epoch with consecutive sequence numbers, and what goes with them.

    Attributes:
        protocol: ``PROTOCOL``.
        epoch: the journal's epoch, 32 hex digits.
        previous_hash: hash of the row before the first one.
        rows: may be empty, when only tags or losses are sent.
        tags: definitions from index ``UploadReceipt.tags_known`` on.
        losses: entries from id ``UploadReceipt.losses_known + 1`` on.
        head_sequence: the newest row in the gateway's journal, so that the hub can show the lag.
        head_time_us: when that row was committed.
    """

    protocol: int = PROTOCOL
    epoch: str
    previous_hash: bytes
    rows: list[UploadRow]
    tags: list[TagDefinition] = []
    losses: list[Loss] = []
    head_sequence: int = 0
    head_time_us: int = 0


class SequenceRange(msgspec.Struct, frozen=True, gc=False):
    """Rows ``first`` to ``last``, both included."""

    first: int
    last: int


class UploadReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub holds durably for one epoch of the asking gateway.

    Attributes:
        epoch: the epoch it is about.
        contiguous_to: all rows 1 to this one are durable; 0 for none.
        received_to: the highest row that is durable.
        missing: holes between ``contiguous_to`` and ``received_to`` (at most 100 listed).
        tags_known: tag definitions 0 to ``tags_known - 1`` are durable.
        losses_known: ledger entries 1 to this id are durable.
        duplicates: rows of this upload that were there before.
    """

    epoch: str
    contiguous_to: int
    received_to: int
    missing: list[SequenceRange] = []
    tags_known: int = 0
    losses_known: int = 0
    duplicates: int = 0


class UploadRefusal(ErrorBody, frozen=True, kw_only=True):
    """The body of a refused upload; ``receipt`` says where the hub stands, where it knows.

    409 ``ingest.unknown_tags`` and ``ingest.fork_detected`` carry a receipt; ``faults[0].path``
    names the row, as ``rows[3]``.
    """

    receipt: UploadReceipt | None = None
