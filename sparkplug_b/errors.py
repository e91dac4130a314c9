"""What can go wrong in Sparkplug B, as a tree.

SparkplugError               sparkplug.error
├── EncodeError              sparkplug.encode           a value does not fit its data type
├── DecodeError              sparkplug.decode           bytes are no payload, or break a limit
├── TopicError               sparkplug.topic            a topic or an id is not allowed
└── SessionError             sparkplug.session          a call does not fit the session's state
    ├── NotConnectedError    sparkplug.not_connected    births before CONNACK or after NDEATH
    ├── NotBornError         sparkplug.not_born         data before the births were sent
    ├── DeviceStateError     sparkplug.device_state     DBIRTH of a born device; data of an unborn
    ├── PacketTooLargeError  sparkplug.packet_too_large the broker takes no packet of that size
    ├── DuplicateAliasError  sparkplug.duplicate_alias  an alias twice in one edge node
    └── DuplicateNameError   sparkplug.duplicate_name   a metric name twice in one birth

None of them is retryable: the same call with the same input fails again.
"""

from __future__ import annotations

from typing import ClassVar, Literal

DecodeCause = Literal[
    "malformed",  # not protobuf, or not UTF-8 where text belongs
    "too_large",  # more bytes than the limit
    "too_many",  # more metrics, cells or properties than the limit
    "too_deep",  # templates or property sets nested deeper than the limit
    "type_mismatch",  # the value stands in a field that its data type does not use
    "out_of_range",  # a number that its data type cannot hold
    "inconsistent",  # parallel lists of different length, missing names
]


class SparkplugError(Exception):
    """Root of this package's errors."""

    code: ClassVar[str] = "sparkplug.error"
    retryable: ClassVar[bool] = False


class EncodeError(SparkplugError):
    """Raised when a value cannot be written as its data type.

    Attributes:
        field: name of the metric, property, column or parameter; empty where there is none.
        reason: what does not fit.
    """

    code = "sparkplug.encode"

    def __init__(self, reason: str, *, field: str = "") -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.reason = reason


class DecodeError(SparkplugError):
    """Raised when bytes from outside are not what they should be; the only error of decoding.

    Attributes:
        cause: one of DecodeCause; stable.
        reason: the detail, for a person.
    """

    code = "sparkplug.decode"

    def __init__(self, cause: DecodeCause, reason: str) -> None:
        super().__init__(f"{cause}: {reason}")
        self.cause: DecodeCause = cause
        self.reason = reason


class TopicError(SparkplugError):
    """Raised when a topic or one of its ids breaks the rules.

    Attributes:
        text: the topic or id as it came.
        reason: the rule it breaks.
    """

    code = "sparkplug.topic"

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"{text!r}: {reason}")
        self.text = text
        self.reason = reason


class SessionError(SparkplugError):
    """Raised when a call does not fit the state of an edge node's session."""

    code = "sparkplug.session"


class NotConnectedError(SessionError):
    """Raised for births before `connected()`, and for anything after the death."""

    code = "sparkplug.not_connected"


class NotBornError(SessionError):
    """Raised for data, a device birth or a device death before the births are through."""

    code = "sparkplug.not_born"


class DeviceStateError(SessionError):
    """Raised for a DBIRTH of a born device, and for data or death of an unborn one.

    Attributes:
        device_id: the device in question.
    """

    code = "sparkplug.device_state"

    def __init__(self, device_id: str, reason: str) -> None:
        super().__init__(f"device {device_id!r} {reason}")
        self.device_id = device_id


class PacketTooLargeError(SessionError):
    """Raised before a message is made that the broker would refuse, and with it the connection.

    `birth_size.BirthFit` says what can be left out of a birth, and how to split its device.

    Attributes:
        message: NBIRTH, DBIRTH, NDATA or DDATA.
        device_id: the device in question; None: the node itself.
        packet_bytes: what the packet would take.
        packet_bytes_max: what the broker takes.
    """

    code = "sparkplug.packet_too_large"

    def __init__(
        self, message: str, device_id: str | None, packet_bytes: int, packet_bytes_max: int
    ) -> None:
        whose = "the edge node" if device_id is None else f"device {device_id!r}"
        super().__init__(
            f"{message} of {whose} takes {packet_bytes} bytes, the broker takes {packet_bytes_max}:"
            " split the device, leave out properties, or raise the broker's limit"
        )
        self.message = message
        self.device_id = device_id
        self.packet_bytes = packet_bytes
        self.packet_bytes_max = packet_bytes_max


class DuplicateAliasError(SessionError):
    """Raised when an alias is used twice in one edge node, its devices included.

    Attributes:
        alias: the alias.
        name: the metric that came second.
    """

    code = "sparkplug.duplicate_alias"

    def __init__(self, alias: int, name: str) -> None:
        super().__init__(f"alias {alias} of metric {name!r} is taken in this edge node")
        self.alias = alias
        self.name = name


class DuplicateNameError(SessionError):
    """Raised when a metric name stands twice in one birth.

    Attributes:
        name: the name.
    """

    code = "sparkplug.duplicate_name"

    def __init__(self, name: str) -> None:
        super().__init__(f"metric name {name!r} stands twice in one birth")
        self.name = name
