"""The seam of a source: what it is given and what it gives.

A source owns its protocol and nothing else. It connects, finds its tags, registers them, puts
batches, and raises ``SourceError`` when its session is lost; the engine starts it again with
back-off. ``put`` waits when the intake is full: that is the back-pressure, and a source that is
made to wait must stop asking its device for more.

To add a kind: its configuration (``contract/config_KIND.py``, with rules), a folder here with a
README and a loadable ``example.yaml``, and one line in ``registry.py``. It has to pass
``tests/gateway/sources/test_seam.py``, the one suite of this seam, against a real device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from contract.sample import SampleBatch
from contract.upload import Loss, LossReason
from gateway.errors import SourceError
from sparkplug_b.datatype import DataType

SourceState = Literal["starting", "connecting", "up", "waiting", "stopped"]


class TagSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A tag as its source found it.

    Attributes:
        name: Sparkplug metric name within the device.
        device: Sparkplug device id.
        data_type: of the tag, after scaling.
        address: the address in the source, stable over restarts.
        gain: value x gain + offset; 1.0 and 0.0 leave the value as it is.
        offset: see ``gain``.
        deadband: report a number only when it moved by at least this much; 0 for any change;
            below 0 for every sample, changed or not.
        unit: engineering unit or "".
        low: low end of the EU range.
        high: high end of the EU range.
        description: for people.
        writable: on the write allow-list of the configuration.
        record: false: Sparkplug historians are told not to keep it.
    """

    name: str
    device: str
    data_type: DataType
    address: str
    gain: float = 1.0
    offset: float = 0.0
    deadband: float = 0.0
    unit: str = ""
    low: float | None = None
    high: float | None = None
    description: str = ""
    writable: bool = False
    record: bool = True


class Mark(msgspec.Struct, frozen=True, gc=False):
    """A durable position in a source: after a restart the source goes on behind it."""

    key: str
    position: int


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a write or a call that the device took.

    Attributes:
        note: a stable word where something is remarkable; "" else. ``reads_back_other``: the
            device took the value and holds another one; ``not_read_back``: it could not be seen.
        message: the same for people, such as what the value reads back as.
        results: of a method, by name.
    """

    note: str = ""
    message: str = ""
    results: dict[str, Any] = {}


class TagTrouble(msgspec.Struct, frozen=True, kw_only=True):
    """A tag that cannot be read; its neighbours go on."""

    tag: str
    address: str
    code: str
    message: str


class PendingChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules find now that is not what is read; waits for somebody to apply it.

    Attributes:
        id: stands for just these changes; to be given when applying them.
        new_count: variables found that are not read.
        gone_count: variables read that are not found any more.
        renamed_count: variables whose browse path changed.
        new: names, the first ``NAMES_SHOWN``.
        gone: names.
        renamed: new names.
    """

    id: str
    new_count: int
    gone_count: int
    renamed_count: int
    new: list[str]
    gone: list[str]
    renamed: list[str]


class Filling(msgspec.Struct, frozen=True, kw_only=True):
    """What of a loss was filled from the server's history: closes its entry.

    Attributes:
        tag: for this tag only; None: the whole entry.
        count: samples that were missing and are stored now.
    """

    loss: Loss
    tag: int | None
    count: int
    detail: str = ""


class GroupReport(msgspec.Struct, frozen=True, kw_only=True):
    """A group as it is read: what was asked for, and what the server made of it.

    Attributes:
        mode: subscribe or poll.
        items_count: tags in it.
        requested: by name: ``sampling_interval_ms``, ``publishing_interval_ms``, ``queue_size``.
        revised: by the same names, the least and the most that the server gives.
        missed_cycles_count: cycles of a polled group that did not happen in time.
    """

    name: str
    mode: str
    items_count: int = 0
    requested: dict[str, float] = {}
    revised: dict[str, list[float]] = {}
    missed_cycles_count: int = 0


class SourceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a source shows of itself.

    Attributes:
        state: connecting; up (a session delivers); waiting (for the next attempt); stopped.
        reason: why it is not up.
        reason_code: the protocol's code for it, ``BadCertificateUntrusted``; "" without.
        remedy: what a person has to do; "" when waiting is enough.
        notices: what a person should know although it is up.
        tags_total: tags that the configuration selects.
        values_count: values read since the start.
        sessions_count: sessions opened since the start.
        last_value_s: monotonic time of the last value; None before the first.
        troubles: tags that cannot be read (at most 100 listed).
        troubles_count: all of them.
        pending: what the rules find now and nobody has applied; None when there is nothing.
        groups: how the tags are read.
        open_losses_count: entries of the ledger that history could still fill.
        filled_count: samples that were filled from the server's history since the start.
        profile: what kind of server it is taken for, and how that came to be; "" for none.
    """

    state: SourceState
    endpoint: str
    reason: str = ""
    reason_code: str = ""
    remedy: str = ""
    notices: list[str] = []
    tags_total: int = 0
    values_count: int = 0
    sessions_count: int = 0
    last_value_s: float | None = None
    troubles: list[TagTrouble] = []
    troubles_count: int = 0
    pending: PendingChanges | None = None
    groups: list[GroupReport] = []
    open_losses_count: int = 0
    filled_count: int = 0
    profile: str = ""


def as_source_error(error: BaseException) -> SourceError:
    """Return a new SourceError that says why a session was lost; of a group, its first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, SourceError):
        return SourceError(str(error), reason_code=error.reason_code, remedy=error.remedy)
    return SourceError(f"{type(error).__name__}: {error}")


def waiting_report(endpoint: str, error: SourceError) -> SourceReport:
    """Return the state of a source that waits for its next attempt."""
    return SourceReport(
        state="waiting",
        endpoint=endpoint,
        reason=str(error),
        reason_code=error.reason_code,
        remedy=error.remedy,
    )


class SourcePort(Protocol):
    """What the engine gives to one source."""

    def register(self, specs: Sequence[TagSpec]) -> list[int]:
        """Return the tag index of each spec: these are the source's tags now, and no others.

        A spec that changed gets a new index.
        """
        ...

    def add(self, specs: Sequence[TagSpec]) -> list[int]:
        """Return the tag indexes of specs found later, beside those registered."""
        ...

    def up(self) -> None:
        """Tell that this session delivers: at its first subscription, and again at no harm.

        The engine notes the end of the session itself. What ``put`` hands over tells it too.
        """
        ...

    async def put(
        self, batch: SampleBatch, marks: Sequence[Mark], stored: Callable[[], None]
    ) -> None:
        """Hand over a batch; wait while the intake is full.

        ``stored`` is called on the event loop once the batch is durable (or filtered whole);
        ``marks`` are made durable in the same commit.
        """
        ...

    def drop(self, reason: LossReason, count: int) -> None:
        """Count values that were read and cannot be stored."""
        ...

    def lose(
        self,
        reason: LossReason,
        first_time_us: int,
        last_time_us: int,
        *,
        tag: int | None = None,
        count: int | None = None,
        detail: str = "",
    ) -> None:
        """Enter a loss in the ledger."""
        ...

    def marks(self) -> dict[str, int]:
        """Return the durable marks of this source."""
        ...

    def last_value(self, tag: int) -> object:
        """Return a tag's last reported value as its kind holds it; None where there is none."""
        ...

    def open_losses(self) -> list[Loss]:
        """Return this source's ledger entries that history could fill, oldest first."""
        ...

    def fillings(self) -> Sequence[Loss]:
        """Return the entries that close others of this source, oldest first."""
        ...

    async def held(
        self, loss: Loss, tags: NDArray[np.uint32], first_us: int, last_us: int
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]] | None:
        """Return (tag, source time) of what the journal holds in a part of a loss's range.

        None when that is too much for one look: ask for a shorter range.
        """
        ...

    async def put_history(
        self, batch: SampleBatch, marks: Sequence[Mark], fillings: Sequence[Filling]
    ) -> None:
        """Store historical samples, marks and closing entries in one commit; wait for it."""
        ...

    def last_stored_time_us(self) -> int | None:
        """Return the newest source time of this source that is durable; None if there is none."""
        ...


class Source(Protocol):
    """One source. Constructors only store; ``run_session`` does."""

    @property
    def name(self) -> str:
        """The source's name in the configuration."""
        ...

    async def run_session(self, port: SourcePort) -> None:
        """Connect, register, read until the session is lost.

        Raises:
            SourceError: the session could not be made, or was lost; try again later.
        """
        ...

    async def write(self, address: str, value: Any) -> Done | None:  # noqa: ANN401 - of the tag's kind
        """Write a tag of the allow-list, and return once the device has taken it.

        Returns what it reads back as, where the source looks.

        ``value`` fits the tag's data type, as a Sparkplug metric holds it: None for null, a number
        (a DateTime in ms), a text, bytes, or a tuple for an array. It is scaled: the source undoes
        the tag's gain and offset.

        Raises:
            WriteRefusedError: the device or the source does not take it.
            SourceError: there is no session.
        """
        ...

    def status(self) -> SourceReport:
        """Return what to show of the source now."""
        ...
