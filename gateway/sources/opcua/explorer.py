"""Answers questions about a server's address space, one at a time.

The work is done by one task (``run``; its parent is the gateway), on the session that reads the
data while there is one, resting between its requests; else on a short session of its own that
ends ``IDLE_S`` after the last question. At most ``WAITING_MAX`` questions wait; more are refused.
Pages that are held for whoever asked (continuation points, searches) are given back after
``HOLD_S``, and the oldest when there are more than ``HELD_MAX``.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import anyio
from asyncua.ua.uaerrors import UaError

from contract.config import TagConfig
from gateway.errors import SourceError
from gateway.sources.base import PendingChanges
from gateway.sources.explore import ExploreError, NodePage, PeekValue
from gateway.sources.opcua.access import Access
from gateway.sources.opcua.browse import Desk, as_configured
from gateway.sources.opcua.selection import ChangedMeanwhileError, Selection
from gateway.sources.opcua.session import Session, SessionToken, open_session
from gateway.sources.opcua.walk import Node, Walk
from runtime.clock import Clock

WAITING_MAX = 8
ANSWER_S_MAX = 20.0
IDLE_S = 15.0
HOLD_S = 30.0
HELD_MAX = 4
SEARCH_SLICE_S = 3.0


class NoToken(SessionToken):
    """A session that nothing outlives: its token is not kept, and none is resumed."""

    def __init__(self) -> None:
        super().__init__(Path())

    def load(self) -> None:
        """Return None: it is always a new session."""

    def keep(self, client: Any) -> None:
        """Keep nothing."""

    def forget(self) -> None:
        """Forget nothing."""


@asynccontextmanager
async def short_session(access: Access) -> AsyncIterator[Session]:
    """Open a session that nothing outlives. Raises SourceError."""
    if access.target.reverse is not None:
        raise SourceError("the server calls us: it can be browsed once it is connected")
    async with open_session(access, NoToken()) as session:
        yield session


T = TypeVar("T")
ShortSession = Callable[[], AbstractAsyncContextManager[Session]]


@dataclass(slots=True)
class _Job:
    """A question that waits: the work, and where its answer goes."""

    work: Callable[[Desk], Awaitable[Any]]
    done: anyio.Event = field(default_factory=anyio.Event)
    answer: Any = None
    error: ExploreError | None = None
    is_abandoned: bool = False


@dataclass(slots=True)
class _Held:
    """What is kept for the next page: references and a continuation point, or a search."""

    expires_s: float
    references: list[Any] = field(default_factory=list)
    point: bytes | None = None
    found: AsyncGenerator[Node, None] | None = None
    plan: Walk = field(default_factory=Walk)


class Explorer:
    """See ``sources.explore.SourceExplorer``."""

    def __init__(self, selection: Selection, open_short: ShortSession, clock: Clock) -> None:
        self._selection = selection
        self._open_short = open_short
        self._clock = clock
        self._live: Session | None = None
        self._waiting: deque[_Job] = deque()
        self._has_come = anyio.Event()
        self._held: dict[str, _Held] = {}
        self._desk: Desk | None = None

    # -- asked from outside -----------------------------------------------------------------------

    def attach(self, session: Session | None) -> None:
        """Say which session reads the data now; None when there is none."""
        self._live = session

    async def browse(self, node: str, continuation: str, limit: int) -> NodePage:
        """Return the nodes right below a node, page by page."""
        return await self._ask(lambda desk: self._browse(desk, node, continuation, limit))

    async def search(self, node: str, text: str, continuation: str, limit: int) -> NodePage:
        """Look for nodes whose name holds the text, for ``SEARCH_SLICE_S`` at a time."""
        return await self._ask(lambda desk: self._search(desk, node, text, continuation, limit))

    async def peek(self, nodes: Sequence[str]) -> list[PeekValue]:
        """Read the values of nodes once."""
        return await self._ask(lambda desk: desk.peek(nodes))

    async def unknown(self, nodes: Sequence[str]) -> dict[str, str]:
        """Return the nodes that are no variables of the server, each with the reason."""
        return await self._ask(lambda desk: desk.unknown(nodes))

    def pending(self) -> PendingChanges | None:
        """Return what the rules find that is not read."""
        return self._selection.pending

    async def selected(self) -> list[TagConfig]:
        """Return what the rules have selected, as single tags."""
        return [
            TagConfig(
                node=as_configured(address),
                group=rule.group,
                name=name,
                device=rule.device,
                deadband=rule.deadband,
                split=rule.split,
                record=rule.record,
            )
            for rule, found in await self._selection.selected()
            for address, name in found.items()
        ]

    async def apply(self, changes_id: str) -> PendingChanges:
        """Take pending changes into the selection; the source reads them at once."""
        try:
            return await self._selection.apply(changes_id)
        except ChangedMeanwhileError as error:
            raise ExploreError(
                "changes.other", "these are not the changes that are pending", "look at them again"
            ) from error

    async def _ask(self, work: Callable[[Desk], Awaitable[T]]) -> T:
        job = _Job(work)
        if len(self._waiting) >= WAITING_MAX:
            raise ExploreError(
                "source.busy", f"{WAITING_MAX} questions wait for this server", "try again"
            )
        self._waiting.append(job)
        self._has_come.set()
        try:
            with anyio.fail_after(ANSWER_S_MAX):
                await job.done.wait()
        except TimeoutError as error:
            raise ExploreError(
                "source.unreachable", f"no answer from the server in {ANSWER_S_MAX:.0f} s"
            ) from error
        finally:
            job.is_abandoned = True
        if job.error is not None:
            raise job.error
        answer: T = job.answer
        return answer

    # -- the task ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Answer questions for ever; one at a time."""
        job: _Job | None = None
        try:
            while True:
                job = job or await self._next(HOLD_S if self._held else None)
                if job is None:
                    await self._give_back_expired()
                    continue
                live = self._live
                if live is not None:
                    await self._answer(job, self._desk_of(live))
                    job = None
                else:
                    job = await self._answer_on_short_session(job)
        finally:
            await self._forget_all()

    async def _next(self, seconds: float | None) -> _Job | None:
        if not self._waiting:
            self._has_come = anyio.Event()
            with anyio.move_on_after(seconds):
                await self._has_come.wait()
        return self._waiting.popleft() if self._waiting else None

    async def _answer_on_short_session(self, first: _Job) -> _Job | None:
        """Answer until nobody asks any more, or the data's own session is up; return what waits."""
        job: _Job | None = first
        try:
            async with self._open_short() as session:
                while job is not None and self._live is None:
                    await self._answer(job, self._desk_of(session, is_live=False))
                    job = await self._next(IDLE_S)
                await self._forget_all()
        except (SourceError, OSError, TimeoutError, UaError) as error:
            self._desk = None
            if job is not None:
                reason = str(error) or type(error).__name__
                job.error = ExploreError("source.unreachable", reason)
                job.done.set()
                return None
        return job

    def _desk_of(self, session: Session, *, is_live: bool = True) -> Desk:
        """Return the desk of a session: what is known of its server is kept while it lives."""
        if self._desk is None or self._desk.session is not session:
            self._held.clear()  # a lost session's continuation points went with it
            self._desk = Desk(session, self._clock, is_live=is_live)
        return self._desk

    async def _answer(self, job: _Job, desk: Desk) -> None:
        if job.is_abandoned:
            return
        try:
            await self._give_back_expired()
            job.answer = await job.work(desk)
        except ExploreError as error:
            job.error = error
        except SourceError as error:
            job.error = ExploreError("source.unreachable", str(error))
        job.done.set()

    # -- pages that are held ----------------------------------------------------------------------

    async def _browse(self, desk: Desk, node: str, continuation: str, limit: int) -> NodePage:
        reason = ""
        if continuation:
            held = self._take(continuation)
        else:
            held = _Held(0.0)
            held.references, held.point, reason = await desk.first_page(node, limit)
        if not held.references and held.point:
            held.references, held.point, cut = await desk.next_page(held.point)
            reason = reason or cut
        part, held.references = held.references[:limit], held.references[limit:]
        views = await desk.describe(part)
        return NodePage(
            nodes=views,
            continuation=self._hold(held) if held.references or held.point else "",
            complete=not reason,
            reason=reason,
            looked_at=len(part),
            live=desk.is_live,
        )

    async def _search(
        self, desk: Desk, node: str, text: str, continuation: str, limit: int
    ) -> NodePage:
        if continuation:
            held = self._take(continuation)
        else:
            await self._forget_all()  # one search at a time
            held = _Held(0.0)
            held.found = desk.search(node, held.plan)
        if held.found is None:
            raise _expired()
        wanted, is_over = text.casefold(), False
        nodes: list[Node] = []
        until_s = self._clock.monotonic_s() + SEARCH_SLICE_S
        while len(nodes) < limit and self._clock.monotonic_s() < until_s:
            try:
                found = await anext(held.found)
            except StopAsyncIteration:
                is_over = True
                break
            if wanted in found.path.rpartition("/")[2].casefold():
                nodes.append(found)
        reason = held.plan.ended if is_over else "the search goes on with the next page"
        return NodePage(
            nodes=await desk.describe_found(nodes),
            continuation="" if is_over else self._hold(held),
            complete=not reason,
            reason=reason,
            looked_at=held.plan.seen_count,
            live=desk.is_live,
        )

    def _take(self, continuation: str) -> _Held:
        held = self._held.pop(continuation, None)
        if held is None:
            raise _expired()
        return held

    def _hold(self, held: _Held) -> str:
        held.expires_s = self._clock.monotonic_s() + HOLD_S
        token = secrets.token_urlsafe(9)
        self._held[token] = held
        return token

    async def _give_back_expired(self) -> None:
        now_s = self._clock.monotonic_s()
        excess = len(self._held) - HELD_MAX
        for number, (token, held) in enumerate(list(self._held.items())):
            if held.expires_s <= now_s or number < excess:
                del self._held[token]
                await self._give_back(held)

    async def _forget_all(self) -> None:
        for held in self._held.values():
            await self._give_back(held)
        self._held.clear()

    async def _give_back(self, held: _Held) -> None:
        if held.found is not None:
            await held.found.aclose()
        if held.point is not None and self._desk is not None:
            with anyio.move_on_after(2, shield=True), suppress(SourceError):
                await self._desk.release(held.point)


def _expired() -> ExploreError:
    return ExploreError(
        "browse.continuation_expired",
        f"the page was not asked for within {HOLD_S:.0f} s, or the session was lost",
        "browse the node again",
    )
