"""What the bench reads of a gateway's `GET /api/status`; all other fields are ignored."""

import msgspec


class JournalFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What the bench reads of the journal's status; counts are since the process started."""

    commits: int
    samples: int
    payload_bytes: int
    file_bytes: int = 0


class SinkFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What the bench reads of a sink's status."""

    state: str
    backlog_rows: int = 0
    sent: int = 0
    confirmed: int = 0


class GatewayStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the bench reads of `GET /api/status`; other fields are ignored."""

    counters: dict[str, object]
    journal: JournalFigures
    sinks: dict[str, SinkFigures]
