"""The hub's own errors: stable code, whether a retry helps, what to do.

HubError
├── IdentityError
│   ├── CodeRefusedError            the one-time code is wrong, used or over
│   ├── PasswordRefusedError        the new password is too weak
│   ├── SignInRefusedError          name or password is wrong
│   └── TooManyAttemptsError        back-off; carries the wait
├── FleetError
│   ├── EnrolmentRefusedError       token wrong, used or over
│   ├── CsrRefusedError             the CSR is not one, or proves no key
│   └── UnknownGatewayError         no such gateway, or not its caller's
├── IngestError
│   ├── UploadMalformedError        names the row
│   ├── UploadTooLargeError         over a limit
│   ├── UnknownTagsError            rows name tags whose definitions are not known
│   ├── ForkDetectedError           another row or definition has that identity
│   ├── SpoolFullError              the bounded spool is full; retry later
│   └── SpoolWriteError             the disk refuses; nothing was acknowledged
├── SparkplugHostError
│   ├── SparkplugOffError           no MQTT server is configured
│   ├── NotTheHostError             another hub is the host now
│   ├── UnknownNodeError            no such edge node or device
│   ├── NodeOfflineError            nobody is there to take a command
│   ├── CommandValueError           a value does not fit the birth; names the field
│   └── CommandRefusedError         a metric is not on the list of what may be written
├── QueryError                      a query names nothing we have, or asks too much
└── LakeError                       the lake cannot be opened or written
"""

from __future__ import annotations

from typing import ClassVar


class HubError(Exception):
    """The root of everything the hub refuses; ``str()`` of it may be shown to people."""

    code: ClassVar[str] = "hub.failed"
    retryable: ClassVar[bool] = False
    remedy: ClassVar[str] = ""


class IdentityError(HubError):
    """Raised when somebody cannot be let in."""

    code = "identity.refused"


class CodeRefusedError(IdentityError):
    """Raised when a one-time code is wrong, used or over; which of them is not told."""

    code = "identity.code_refused"
    remedy = "start the hub again: while nobody has claimed it, it prints a new code"


class PasswordRefusedError(IdentityError):
    """Raised when a new password is too weak."""

    code = "identity.password_refused"
    remedy = "choose 12 characters or more that are not a common password"


class SignInRefusedError(IdentityError):
    """Raised when name or password is wrong; which of them is not told."""

    code = "identity.sign_in_refused"


class TooManyAttemptsError(IdentityError):
    """Raised when somebody has to wait before the next try."""

    code = "identity.too_many_attempts"
    retryable = True

    def __init__(self, wait_s: float) -> None:
        super().__init__("too many attempts")
        self.wait_s = wait_s


class FleetError(HubError):
    """Raised by the registry of gateways."""

    code = "fleet.refused"


class EnrolmentRefusedError(FleetError):
    """Raised when an enrolment token is wrong, used or over; which of them is not told."""

    code = "fleet.enrolment_refused"
    remedy = "make a new code at the hub: a code works once and for 24 hours"


class CsrRefusedError(FleetError):
    """Raised when a certificate request is not one, or does not prove its key."""

    code = "fleet.csr_refused"


class UnknownGatewayError(FleetError):
    """Raised when there is no such gateway."""

    code = "fleet.unknown_gateway"


class IngestError(HubError):
    """Raised when an upload is not taken; nothing of it was stored."""

    code = "ingest.refused"


class UploadMalformedError(IngestError):
    """Raised when an upload breaks its contract; ``path`` names the row."""

    code = "ingest.malformed"

    def __init__(self, path: str, message: str, code: str = "ingest.malformed") -> None:
        super().__init__(message)
        self.path = path
        self.fault_code = code


class UploadTooLargeError(IngestError):
    """Raised when an upload is over a limit."""

    code = "ingest.too_large"


class UnknownTagsError(IngestError):
    """Raised when rows name tag indexes whose definitions the hub does not have."""

    code = "ingest.unknown_tags"
    retryable = True
    remedy = "send the definitions from the receipt's tags_known on"


class ForkDetectedError(IngestError):
    """Raised when another row or definition already has an identity of this upload."""

    code = "ingest.fork_detected"
    remedy = "two journals share one epoch: renew the epoch at the gateway"

    def __init__(self, sequence: int, message: str) -> None:
        super().__init__(message)
        self.sequence = sequence


class SpoolFullError(IngestError):
    """Raised when the bounded spool is full."""

    code = "ingest.spool_full"
    retryable = True


class SpoolWriteError(IngestError):
    """Raised when the disk refuses the spool write; ``full`` says that it has no room."""

    code = "ingest.spool_write_failed"
    retryable = True

    def __init__(self, message: str, *, full: bool) -> None:
        super().__init__(message)
        self.full = full


class SparkplugHostError(HubError):
    """Raised by the Sparkplug host application."""

    code = "sparkplug.failed"


class SparkplugOffError(SparkplugHostError):
    """Raised when the Sparkplug host is asked for something and is off."""

    code = "sparkplug.off"
    remedy = "start the hub with --sparkplug FILE"


class NotTheHostError(SparkplugHostError):
    """Raised when another hub is the host, or none yet; ``str()`` names its address."""

    code = "sparkplug.not_the_host"
    retryable = True
    remedy = "send the command to that hub, or wait until this one takes over"


class UnknownNodeError(SparkplugHostError):
    """Raised when an edge node or device was never heard of."""

    code = "sparkplug.unknown_node"


class NodeOfflineError(SparkplugHostError):
    """Raised when an edge node, a device or its MQTT server is not there to take a command."""

    code = "sparkplug.node_offline"
    retryable = True
    remedy = "wait until the edge node is online again"


class CommandValueError(SparkplugHostError):
    """Raised when a value does not fit the birth; ``path`` names the field."""

    code = "sparkplug.command_malformed"

    def __init__(self, path: str, message: str, code: str) -> None:
        super().__init__(message)
        self.path = path
        self.fault_code = code


class CommandRefusedError(SparkplugHostError):
    """Raised when a metric is not on the list of what may be written; ``path`` names it."""

    code = "sparkplug.write_not_allowed"
    remedy = "add a rule to write_allow of the Sparkplug document"

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.fault_code = self.code


class QueryError(HubError):
    """Raised when a query asks for something that is not there or is too much."""

    code = "query.refused"


class LakeError(HubError):
    """Raised when the lake cannot be opened or written."""

    code = "lake.failed"
