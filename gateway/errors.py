"""The gateway's own errors.

GatewayError
├── SettingsError      the command line or the data directory cannot be used
├── JournalError       the journal cannot be opened, written or read
│   ├── JournalLocked  another process owns it
│   └── RowDamaged     a row fails its hash or does not decode
├── AuditError         the audit of commands cannot be written or read
├── SourceError        a source cannot connect or subscribe; retried by the engine
├── WriteRefusedError  a source does not carry out a write
├── TrustError         a certificate, key or trust list cannot be used as asked
├── BusyError          too many of a kind run already
├── SinkError          a sink cannot connect or send; retried by the engine
│   └── SinkMovedError it leaves its server on purpose; the next attempt comes soon
└── EnrolError         the hub refused, or is not the hub the code names
"""

from __future__ import annotations


class GatewayError(Exception):
    """Base of all errors that the gateway raises itself."""

    code = "gateway.error"
    retryable = False


class SettingsError(GatewayError):
    """Raised when the command line or the data directory cannot be used."""

    code = "settings.unusable"


class JournalError(GatewayError):
    """Raised when the journal cannot be opened, written or read."""

    code = "journal.failed"
    retryable = True


class JournalLockedError(JournalError):
    """Raised when another process owns the journal."""

    code = "journal.locked"
    retryable = False


class RowDamagedError(JournalError):
    """Raised when a row fails its hash or does not decode; names the row."""

    code = "journal.row_damaged"
    retryable = False

    def __init__(self, sequence: int, cause: str, times_us: tuple[int, int] = (0, 0)) -> None:
        super().__init__(f"journal row {sequence}: {cause}")
        self.sequence = sequence
        self.times_us = times_us  # first and last source time, as far as the row's columns say


class AuditError(GatewayError):
    """Raised when the audit of commands cannot be written or read."""

    code = "audit.failed"
    retryable = True


class SourceError(GatewayError):
    """Raised when a source cannot connect or subscribe; the engine tries again.

    Attributes:
        reason_code: of the protocol, ``BadCertificateUntrusted``; "" when there is none.
        remedy: what a person has to do; "" when waiting is enough.
    """

    code = "source.failed"
    retryable = True

    def __init__(self, message: str, *, reason_code: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.reason_code = reason_code
        self.remedy = remedy


class TrustError(GatewayError):
    """Raised when a certificate, key or trust list cannot be used as asked."""

    code = "opcua.trust"


class BusyError(GatewayError):
    """Raised when too many of a kind run already; ask again."""

    code = "gateway.busy"
    retryable = True


class SinkError(GatewayError):
    """Raised when a sink cannot connect or send; the engine tries again."""

    code = "sink.failed"
    retryable = True


class SinkMovedError(SinkError):
    """Raised when a sink leaves its server on purpose: the engine calls it again at once."""

    code = "sink.moved"


class WriteRefusedError(GatewayError):
    """Raised when a source does not carry out a write.

    Attributes:
        reason: why, as a stable word: it stands in the audit.
    """

    code = "source.write_refused"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class EnrolError(GatewayError):
    """Raised when the hub refuses, or is not the hub that the code names."""

    code = "enrol.refused"
