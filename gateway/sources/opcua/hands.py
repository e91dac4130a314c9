"""What an OPC UA source does beside reading: writes, methods, conditions, events, its profile.

One ``Hands`` a source. ``begin`` and ``end`` follow its sessions; between them nothing is done.
Promise: without an allow-list in the document not one Write or Call leaves the gateway. One thing
at a time (``_one``): a machine's steps are not mixed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from asyncua import ua
from asyncua.ua.uaerrors import UaError

from contract.config import OpcUaSourceConfig
from contract.config_acting import WriteConfig
from contract.sample import SampleBatch
from gateway.errors import SourceError, WriteRefusedError
from gateway.sources.acting import MethodDescription
from gateway.sources.base import Done, SourcePort
from gateway.sources.opcua.discover import Discovery, FoundTag, IndexedTag
from gateway.sources.opcua.events import EventReader, EventStream, found_streams, refresh_conditions
from gateway.sources.opcua.limits import CallLimits
from gateway.sources.opcua.methods import Caller
from gateway.sources.opcua.nodes import Nodes
from gateway.sources.opcua.profiles import (
    Detected,
    chosen,
    part_limits,
    profile_notes,
    read_build_info,
    with_profile,
)
from gateway.sources.opcua.session import Session
from gateway.sources.opcua.write import Writer
from runtime.clock import Clock
from runtime.log import logger

_NO_LIMITS = WriteConfig()


class Hands:
    """See ``sources.acting.SourceHands``."""

    def __init__(self, config: OpcUaSourceConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._methods = {method.name: method for method in config.methods}
        self._nodes: Nodes | None = None
        self._tags: Callable[[], Sequence[IndexedTag]] = tuple
        self._reader: EventReader | None = None
        self._limits: dict[str, WriteConfig] = {}
        self._found_streams: tuple[Sequence[IndexedTag], int, dict[int, EventStream]] = ((), 0, {})
        self._one = anyio.Lock()
        self.detected = Detected(profile=None, shown="")
        self.events_count = 0

    # -- a session --------------------------------------------------------------------------------

    def begin(self, session: Session, tags: Callable[[], Sequence[IndexedTag]]) -> None:
        """Act over this session from now on; ``tags`` are those read at any moment."""
        self._nodes, self._tags = Nodes(session), tags
        self._limits = {}
        for tag in self._config.tags:
            if tag.writable and tag.write is not None:
                self._limits[_address(session, tag.node)] = tag.write
        self._reader = EventReader(session.namespaces)

    async def recognise(self, session: Session) -> None:
        """Find out what kind of server it is; browsing and reading keep to what such ones take."""
        before = self.detected.shown
        self.detected = chosen(self._config.profile, await read_build_info(session))
        if self.detected.shown != before:
            build = self.detected.build
            logger().info(
                "opcua.profile_chosen",
                source=self._config.name,
                profile=self.detected.shown,
                product=build.product,
                version=build.version,
            )
        session.part_limits = part_limits(self.detected.profile)

    def limits(self, limits: CallLimits) -> CallLimits:
        """Keep to what such a server takes."""
        return with_profile(limits, self.detected.profile)

    def notices(self) -> list[str]:
        """Say where the document asks for more than such a server gives."""
        counts = Counter(tag.group for _, tag in self._tags())
        return profile_notes(self.detected, self._config.groups, counts)

    def end(self) -> None:
        """The session is over."""
        self._nodes, self._reader = None, None

    # -- events -----------------------------------------------------------------------------------

    def add_streams(
        self, discovery: Discovery, session: Session, known: Sequence[FoundTag] = ()
    ) -> None:
        """Add the document's event streams to what was found, without those known already."""
        are_known = {tag.spec.address for tag in known}
        found, troubles = found_streams(self._config, session.namespaces)
        discovery.found += [
            FoundTag(
                node_id=node_id,
                variable=spec.address,
                group=stream.config.group,
                spec=spec,
                events=stream,
            )
            for node_id, spec, stream in found
            if spec.address not in are_known
        ]
        discovery.selected |= {spec.address for _, spec, _ in found}
        discovery.troubles += troubles

    def take_in(self, port: SourcePort, events: Sequence[tuple[int, list[Any]]]) -> SampleBatch:
        """Convert events that came; what the server dropped is entered in the ledger."""
        if self._reader is None or not events:
            return SampleBatch(())
        now_us = self._clock.wall_us()

        def overflowed(tag: int) -> None:
            port.lose(
                "server_overflow",
                port.last_stored_time_us() or now_us,
                now_us,
                tag=tag,
                detail="the server's queue of events was full: it dropped some (raise queue_size)",
            )

        batch = self._reader.batch(events, self._streams(), now_us, overflowed)
        if self._reader.refused_count:
            port.drop("decode_failed", self._reader.refused_count)
            self._reader.refused_count = 0
        self.events_count += len(batch)
        return batch

    def _streams(self) -> dict[int, EventStream]:
        """Return the streams that are read, by tag; looked for anew when the tags change."""
        tags = self._tags()
        kept, count, streams = self._found_streams
        if kept is not tags or count != len(tags):
            streams = {n: tag.events for n, tag in tags if tag.events is not None}
            self._found_streams = (tags, len(tags), streams)
        return streams

    async def refresh(self, session: Session, subscriptions: Mapping[str, int]) -> None:
        """Ask for the conditions that hold; ``subscriptions`` are ids by group, made anew."""
        groups = {event.group for event in self._config.events if event.refresh}
        wanted = [number for group, number in subscriptions.items() if group in groups]
        await refresh_conditions(session.services, wanted)

    # -- acting -----------------------------------------------------------------------------------

    async def write(self, address: str, value: Any) -> Done:
        """Write a tag of the allow-list; see ``sources.base.Source``."""
        async with self._acting() as nodes:
            tag = next((tag for _, tag in self._tags() if tag.spec.address == address), None)
            if tag is None:
                raise WriteRefusedError("not_a_tag", "the source has no such tag now")
            limits = self._limits.get(address, _NO_LIMITS)
            return await Writer(nodes, self._clock).write(tag, limits, value)

    def address_of(self, method: str) -> str | None:
        """Return object and method; None when it is not on the allow-list."""
        found = self._methods.get(method)
        return f"{found.object} {found.method}" if found is not None else None

    async def describe(self, method: str) -> MethodDescription:
        """Return what the server says of a method on the allow-list."""
        async with self._acting() as nodes:
            _, method_id = self._resolved(nodes, method)
            arguments, results = await Caller(nodes).described(method_id)
        address = self.address_of(method) or ""
        return MethodDescription(name=method, address=address, arguments=arguments, results=results)

    async def call_method(self, method: str, arguments: Mapping[str, Any]) -> Done:
        """Call a method of the allow-list."""
        async with self._acting() as nodes:
            object_id, method_id = self._resolved(nodes, method)
            return await Caller(nodes).call(object_id, method_id, arguments)

    async def acknowledge(self, condition: str, event_id: bytes, comment: str) -> Done:
        """Acknowledge a condition, where the document allows it."""
        if not self._config.conditions.acknowledge:
            raise WriteRefusedError(
                "not_allowed", "conditions: {acknowledge: true} would allow it for this source"
            )
        async with self._acting() as nodes:
            condition_id = _node_id(nodes.session, condition)
            return await Caller(nodes).acknowledge(condition_id, event_id, comment)

    def _resolved(self, nodes: Nodes, method: str) -> tuple[Any, Any]:
        found = self._methods.get(method)
        if found is None:
            raise WriteRefusedError("not_allowed", "the method is not on the allow-list")
        return _node_id(nodes.session, found.object), _node_id(nodes.session, found.method)

    @asynccontextmanager
    async def _acting(self) -> AsyncIterator[Nodes]:
        """Give the session for one deed; word what ends it early."""
        async with self._one:
            nodes = self._nodes
            if nodes is None:
                raise SourceError("there is no session with the server")
            try:
                yield nodes
            except TimeoutError:
                raise
            except UaError as error:
                name = type(error).__name__
                raise WriteRefusedError(name, f"the server answers {name}") from error
            except OSError as error:
                raise SourceError(
                    f"the connection was lost: whether it was carried out is not known ({error})"
                ) from error


def _address(session: Session, node: str) -> str:
    """Return a node as tags name it; itself where the server does not know its namespace."""
    try:
        return session.namespaces.address(session.namespaces.node_id(node))
    except (KeyError, ValueError):
        return node


def _node_id(session: Session, address: str) -> ua.NodeId:
    try:
        return session.namespaces.node_id(address)
    except KeyError as error:
        raise WriteRefusedError(
            "namespace_unknown", f"the server has no namespace {error.args[0]}"
        ) from error
    except ValueError as error:
        raise WriteRefusedError("node_id_malformed", str(error)) from error
