"""What a source's rules have selected: remembered durably, changed only by consent.

A rule's first evaluation applies. From then on its selection is kept in a file, and what a later
evaluation finds beside it (new, gone, renamed) is *offered*: ``pending`` until somebody applies
it, or at once where the rule says ``auto``. A rule whose text changed starts afresh. An evaluation
that did not reach its end changes nothing. A variable that is gone stays selected, in trouble,
until the change is applied; if it comes back it is simply read again.

Looked at again: at each session's start, when the server says that its model changed
(GeneralModelChangeEvent, NodeVersion), every ``rescan_interval_s``, and when changes are applied.
Owner of tasks: none; ``pause`` is awaited by the source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec
from asyncua import ua

from contract.config import OpcUaSourceConfig, RuleConfig
from gateway.sources.base import PendingChanges
from gateway.sources.opcua.convert import MODEL_HANDLE
from gateway.sources.opcua.evaluate import TOO_MANY, Evaluation
from gateway.sources.opcua.references import property_path
from gateway.sources.opcua.requests import Requests
from gateway.sources.opcua.session import Session
from runtime.clock import Clock
from runtime.log import logger
from runtime.tls import write_private

NAMES_SHOWN = 100
NODE_VERSION_INTERVAL_S = 60.0
LOOK_AGAIN_S_MIN = 5.0
"""Between two evaluations: a server that reports changes without end is not browsed without end."""
_MODEL_EVENTS = frozenset({2132, 2133})
"""BaseModelChange and GeneralModelChange: OPC 10000-3, 9.32."""


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The file: for each rule, by its key, the address and name of each variable selected."""

    rules: dict[str, dict[str, str]]


class ChangedMeanwhileError(Exception):
    """Raised when the changes to apply are not those that are pending."""


class Selection:
    """The selection of one source's rules. Used on the event loop."""

    def __init__(self, config: OpcUaSourceConfig, path: Path, clock: Clock) -> None:
        self._config = config
        self._path = path
        self._clock = clock
        self._kept: dict[str, dict[str, str]] | None = None  # None: not loaded yet
        self._offered: dict[str, dict[str, str]] = {}
        self.pending: PendingChanges | None = None
        self._again = anyio.Event()
        self._was_applied = False
        self._evaluated_s = 0.0
        self._versions: list[Any] = []
        self._versions_read_s = 0.0

    # -- settling ---------------------------------------------------------------------------------

    def begin(self) -> None:
        """Note that an evaluation starts: what changes from here on asks for another."""
        self._again = anyio.Event()
        self._evaluated_s = self._clock.monotonic_s()

    async def settle(self, evaluations: Sequence[Evaluation]) -> list[dict[str, str]]:
        """Compare what rules found with what is kept; return what is read of each, in order."""
        kept = await self._load()
        may_change = not any(t.code == TOO_MANY for e in evaluations for t in e.troubles)
        now: dict[str, dict[str, str]] = {}
        self._offered = {}
        for evaluation in evaluations:
            key = _key(evaluation.rule)
            before = kept.get(key)
            if not may_change:
                now[key] = before or {}
            elif not evaluation.is_whole:
                # for the first time a part is better than nothing; it is not remembered
                now[key] = evaluation.found if before is None else before
            elif before is None or evaluation.rule.auto:
                now[key] = evaluation.found
            else:
                now[key] = before
                if before != evaluation.found:
                    self._offered[key] = evaluation.found
        self.pending = _difference(now, self._offered)
        # a rule that was never evaluated whole has no selection yet: its first applies
        first = {_key(e.rule) for e in evaluations if may_change and e.is_whole}
        await self._keep({key: found for key, found in now.items() if key in kept or key in first})
        return [now[_key(evaluation.rule)] for evaluation in evaluations]

    async def apply(self, changes_id: str) -> PendingChanges:
        """Take the pending changes into the selection; the source picks them up at once.

        Raises ChangedMeanwhileError.
        """
        pending = self.pending
        if pending is None or pending.id != changes_id:
            raise ChangedMeanwhileError
        kept = await self._load()
        await self._keep(kept | self._offered)
        self._offered, self.pending = {}, None
        self._was_applied = True
        self._again.set()
        return pending

    async def selected(self) -> list[tuple[RuleConfig, dict[str, str]]]:
        """Return what each rule has selected: by address, the tag's name."""
        kept = await self._load()
        return [(rule, kept.get(_key(rule), {})) for rule in self._config.rules]

    async def _load(self) -> dict[str, dict[str, str]]:
        if self._kept is None:
            self._kept = await anyio.to_thread.run_sync(_read, self._path)
        return self._kept

    async def _keep(self, rules: dict[str, dict[str, str]]) -> None:
        if rules == self._kept:
            return
        self._kept = rules
        data = msgspec.json.encode(_Kept(rules=rules))
        try:
            await anyio.to_thread.run_sync(_write, self._path, data)
        except OSError as error:
            # after a restart the first evaluation applies: said, as it is not what was promised
            logger().error("opcua.selection_not_kept", path=str(self._path), error=str(error))

    # -- when to look again -----------------------------------------------------------------------

    async def pause(self, session: Session, pause_s: float) -> bool:
        """Wait up to ``pause_s``; return early, and True, when the rules have to be evaluated."""
        if not self._config.rules:
            await self._clock.sleep_s(pause_s)
            return False
        until_s = self._clock.monotonic_s() + pause_s
        while not self._again.is_set():
            now_s = self._clock.monotonic_s()
            left_s = until_s - now_s
            due_s = self._evaluated_s + self._config.rescan_interval_s - now_s
            if self._config.rescan_interval_s and due_s <= 0:
                self._again.set()
                break
            if left_s <= 0:
                return False
            wait_s = min(left_s, NODE_VERSION_INTERVAL_S)
            await self._wait(min(wait_s, due_s) if self._config.rescan_interval_s else wait_s)
            await self._look_at_versions(session)
        if not self._was_applied:
            rest_s = self._evaluated_s + LOOK_AGAIN_S_MIN - self._clock.monotonic_s()
            await self._clock.sleep_s(max(0.0, rest_s))
        self._was_applied = False
        return True

    async def _wait(self, seconds: float) -> None:
        async def sleep() -> None:
            await self._clock.sleep_s(seconds)
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sleep)
            await self._again.wait()
            tasks.cancel_scope.cancel()

    async def _look_at_versions(self, session: Session) -> None:
        """Evaluate again when the NodeVersion of a rule's node changed, where it has one."""
        now_s = self._clock.monotonic_s()
        if self._again.is_set() or now_s - self._versions_read_s < NODE_VERSION_INTERVAL_S:
            return
        self._versions_read_s = now_s
        requests = Requests(session, self._clock)
        starts = [n for r in self._config.rules if (n := _resolved(session, r.below)) is not None]
        paths = await requests.translate([property_path(n, "NodeVersion") for n in starts])
        targets = [p.Targets[0].TargetId for p in paths if p.StatusCode.is_good() and p.Targets]
        values = await requests.read(targets, ua.AttributeIds.Value)
        versions = [v.Value.Value if v.Value is not None else None for v in values]
        if self._versions and versions != self._versions:
            self._again.set()
        self._versions = versions

    def note_events(self, events: Sequence[tuple[int, list[Any]]]) -> None:
        """Look at events that came: a change of the model has the rules evaluated."""
        for handle, fields in events:
            kind = fields[0] if fields else None
            if (
                handle == MODEL_HANDLE
                and isinstance(kind, ua.NodeId)
                and kind.NamespaceIndex == 0
                and kind.Identifier in _MODEL_EVENTS
            ):
                self._again.set()


def _resolved(session: Session, address: str) -> Any:
    try:
        return session.namespaces.node_id(address)
    except (KeyError, ValueError):
        return None


def model_change_item(*, filtered: bool) -> Any:
    """Return the monitored item that reports changes of the model; without ``filtered``, all."""
    clause = ua.SimpleAttributeOperand()
    clause.TypeDefinitionId = ua.NodeId(ua.ObjectIds.BaseEventType)
    clause.BrowsePath = [ua.QualifiedName("EventType", 0)]
    clause.AttributeId = ua.AttributeIds.Value
    events = ua.EventFilter()
    events.SelectClauses = [clause]
    if filtered:
        operand = ua.LiteralOperand()
        operand.Value = ua.Variant(ua.NodeId(ua.ObjectIds.GeneralModelChangeEventType))
        element = ua.ContentFilterElement()
        element.FilterOperator = ua.FilterOperator.OfType
        element.FilterOperands = [operand]
        events.WhereClause.Elements = [element]
    item = ua.MonitoredItemCreateRequest()
    item.ItemToMonitor.NodeId = ua.NodeId(ua.ObjectIds.Server)
    item.ItemToMonitor.AttributeId = ua.AttributeIds.EventNotifier
    item.MonitoringMode = ua.MonitoringMode.Reporting
    item.RequestedParameters.ClientHandle = MODEL_HANDLE
    item.RequestedParameters.QueueSize = 10
    item.RequestedParameters.DiscardOldest = True
    item.RequestedParameters.Filter = events
    return item


def _key(rule: RuleConfig) -> str:
    """Return what stands for a rule: all that decides which variables it takes, and their names."""
    plain = msgspec.structs.replace(
        rule, group="", deadband=None, auto=False, split=False, record=True
    )
    return hashlib.sha256(msgspec.json.encode(plain)).hexdigest()[:32]


def _difference(
    now: dict[str, dict[str, str]], offered: dict[str, dict[str, str]]
) -> PendingChanges | None:
    if not offered:
        return None
    new, gone, renamed = [], [], []
    stamp = hashlib.sha256()
    for key, found in sorted(offered.items()):
        before = now[key]
        new += [name for address, name in found.items() if address not in before]
        gone += [name for address, name in before.items() if address not in found]
        renamed += [n for address, n in found.items() if before.get(address, n) != n]
        stamp.update(msgspec.json.encode((key, sorted(found.items()), sorted(before.items()))))
    return PendingChanges(
        id=stamp.hexdigest()[:16],
        new_count=len(new),
        gone_count=len(gone),
        renamed_count=len(renamed),
        new=sorted(new)[:NAMES_SHOWN],
        gone=sorted(gone)[:NAMES_SHOWN],
        renamed=sorted(renamed)[:NAMES_SHOWN],
    )


def _read(path: Path) -> dict[str, dict[str, str]]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Kept).rules
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError) as error:
        logger().error("opcua.selection_unreadable", path=str(path), error=str(error))
        return {}


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_private(path, data)
