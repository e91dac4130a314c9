"""The host application: lease, links, tree, bridge and commands joined. Task: ``run``.

Off without a document. With one, this hub waits for the lease, then keeps a link to each MQTT
server until it is cancelled or loses the lease. Order of stop: links (STATE death, DISCONNECT),
what waits into the spool, the tree into the database, the lease back. A tick each second, and after
each birth or death, saves the tree, turns counted drops into log lines that name node and cause,
and gaps into ledger entries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

import anyio
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from central.database import Database
from central.errors import (
    HubError,
    NodeOfflineError,
    NotTheHostError,
    SparkplugOffError,
    UnknownNodeError,
)
from central.ingest.sparkplug.bridge import Bridge, Stores
from central.ingest.sparkplug.commands import CommandBook, CommandInfo, Order, values_of
from central.ingest.sparkplug.document import SparkplugDocument, broker_of
from central.ingest.sparkplug.lease import Lease
from central.ingest.sparkplug.link import Link, LinkContext, NodeKey
from central.ingest.sparkplug.nodes import NodeRecord, Nodes
from central.ingest.sparkplug.tables import HostState
from contract.config import BrokerConfig
from runtime.backoff import Backoff
from runtime.clock import Clock
from runtime.log import logger
from runtime.mqtt import MqttError
from runtime.tasks import supervise
from sparkplug_b.edge import OutboundMessage
from sparkplug_b.errors import SparkplugError
from sparkplug_b.host import HostSession
from sparkplug_b.host_event import (
    CommandToSend,
    DeviceOffline,
    HostEvent,
    MetricValues,
    NodeOffline,
    NodeOnline,
)
from sparkplug_b.host_scope import HostScope
from sparkplug_b.topic import Topic, parse_topic

LEASE = "sparkplug-host"
GATEWAY_ID_METRIC = "Properties/Gateway Id"
"""With it our own gateways say in their NBIRTH who they are; their values come by uplink."""
TICK_S = 1.0
SAVE_PAUSE_S = 0.1
LINES_PER_TICK_MAX = 20
STOP_TIMEOUT_S = 20.0
_GAPS = frozenset({"gap", "after_gap"})
_NO_NEWS = frozenset({"command", "retained", "foreign_state"})
"""What the session leaves out because it is not for us: our own commands, other hosts."""


@dataclass(frozen=True, kw_only=True)
class HostParts:
    """What the host is built of."""

    document: SparkplugDocument | None
    holder: str
    database: Database
    stores: Stores
    clock: Clock


class SparkplugHost:
    """The host application of this hub; see the module's text.

    Attributes:
        nodes: the tree.
        bridge: the way into the series.
        links: one per server while this hub is the host.
        lease: who of several hubs is the host.
        book: the audit of commands.
    """

    def __init__(self, parts: HostParts) -> None:
        self.document = parts.document
        self._database = parts.database
        self._stores = parts.stores
        self._clock = parts.clock
        self.nodes = Nodes(parts.database)
        document = parts.document
        self.bridge = Bridge(
            parts.stores,
            parts.clock,
            linger_s=(document.store_linger_ms if document else 200) / 1000,
            pending_samples_max=document.pending_samples_max if document else 1_000_000,
        )
        lease_s = document.lease_s if document else 15.0
        self.lease = Lease(parts.database, LEASE, parts.holder, lease_s, parts.clock)
        self.book = CommandBook(parts.database, parts.clock)
        self.links: list[Link] = []
        self._brokers: dict[str, BrokerConfig] = {}
        if document is not None:  # a secret that is missing is told at start, not at night
            self._brokers = {s.address: broker_of(s) for s in document.servers}

    @property
    def is_host(self) -> bool:
        """Say whether this hub is the host now."""
        return bool(self.links)

    async def run(self) -> None:
        """Be the host whenever the lease says so, until cancelled."""
        if self.document is None:
            return
        while True:
            while not await self.lease.take():
                await self._clock.sleep_s(self.lease.check_interval_s)
            logger().info("sparkplug.host_started", host_id=self.document.host_id)
            try:
                await self._act(self.document)
            finally:
                with anyio.CancelScope(shield=True), anyio.move_on_after(STOP_TIMEOUT_S):
                    await self.bridge.flush()
                    await self.nodes.save()
                    await self.lease.release()
                logger().info("sparkplug.host_stopped")

    # -- what pages ask ---------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Bring the tree up to now; read it anew where another hub keeps it."""
        if self.is_host:
            self._note_drops()
        else:
            await self.nodes.load()

    def total_drops(self) -> Counter[str]:
        """Return what the servers' sessions did not use, by cause, since this hub became host."""
        total: Counter[str] = Counter()
        for link in self.links:
            total.update(link.session.drops)
        return total

    def scope_of(self, node: NodeRecord, device: str) -> HostScope | None:
        """Return the live metrics of a node or device, where this hub has heard its birth."""
        link = self._link_of(node)
        found = link.session.nodes.get(node.key) if link is not None else None
        if found is None:
            return None
        return found.devices.get(device) if device else found.scope

    # -- commands ---------------------------------------------------------------------------------

    async def command(self, order: Order) -> CommandInfo:
        """Send a command; see commands.py.

        Raises:
            SparkplugOffError, NotTheHostError: this hub is not the host.
            UnknownNodeError, NodeOfflineError: there is nobody to command.
            CommandValueError, CommandRefusedError: it may not be sent as it is.
        """
        try:
            link, message = await self._message(order)
        except HubError as error:
            await self.book.open(order, "refused", f"{error.code}: {error}")
            raise
        command_id = await self.book.open(order, "sending")
        try:
            is_proven = await link.publish_proven(message)
        except MqttError as error:
            await self.book.close(command_id, "failed", str(error))
            raise NodeOfflineError(str(error)) from error
        await self.book.close(command_id, "sent" if is_proven else "unproven")
        logger().info(
            "sparkplug.command_sent",
            command=command_id,
            person=order.person,
            node="/".join((order.group_id, order.node_id)),
            kind=order.kind,
        )
        return await self.book.one(command_id)

    async def _message(self, order: Order) -> tuple[Link, OutboundMessage]:
        if self.document is None:
            raise SparkplugOffError("no MQTT server is configured")
        if not self.is_host or not self.lease.is_held:
            view = await self.lease.view()
            where = f" {view.url}" if view is not None and view.url else ""
            raise NotTheHostError(f"another hub is the Sparkplug host now:{where or ' wait'}")
        node = self.nodes.get((order.group_id, order.node_id))
        if node is None or node.scope(order.device) is None:
            raise UnknownNodeError("this edge node or device was never heard of")
        link = self._link_of(node)
        if link is None or link.state != "connected":
            raise NodeOfflineError(f"the connection to {node.server} is lost")
        scope = self.scope_of(node, order.device)
        device = order.device or None
        now_ms = self._clock.wall_us() // 1000
        if order.kind == "rebirth":
            if node.own.state == "offline":
                raise NodeOfflineError("the edge node is offline")
            return link, link.session.rebirth(*node.key, device, now_ms)
        if scope is None or not scope.is_online or node.own.state != "online":
            raise NodeOfflineError("the edge node or device is not online")
        values = values_of(order, scope, self.document)
        try:
            return link, link.session.command(*node.key, device, values, now_ms)
        except SparkplugError as error:
            raise NodeOfflineError(str(error)) from error

    # -- as the host ------------------------------------------------------------------------------

    async def _act(self, document: SparkplugDocument) -> None:
        await self.nodes.load()
        self.nodes.all_stale(self._clock.wall_us(), "hub_restarted")
        context = LinkContext(
            client_id=f"factoryplus-host-{document.host_id}",
            inbox_messages_max=document.inbox_messages_max,
            keep_state_time=self._keep_state_time,
            take=self._take,
            known_nodes=self._known_nodes,
            may_act=lambda: self.lease.is_held,
            clock=self._clock,
        )
        times = await self._state_times(document.host_id)
        self.links = [
            Link(
                server.label,
                server.address,
                self._brokers[server.address],
                HostSession(
                    document.host_id,
                    last_state_time_ms=times.get(server.address),
                    options=document.options(),
                ),
                context,
            )
            for server in document.servers
        ]
        random = Random()  # noqa: S311 - jitter
        try:
            async with anyio.create_task_group() as tasks:
                for name, work in (
                    *((f"sparkplug {link.label}", link.run) for link in self.links),
                    ("sparkplug bridge", self.bridge.run),
                    ("sparkplug tick", self._tick),
                ):
                    tasks.start_soon(supervise, name, work, self._clock, Backoff(random))
                tasks.start_soon(self._renew_lease, tasks.cancel_scope)
                await self._keep_lease()
                tasks.cancel_scope.cancel()
        finally:
            self._note_drops()
            self.links = []

    async def _keep_lease(self) -> None:
        """Return when the lease is over, whatever became of its renewal."""
        while self.lease.is_held:
            await self._clock.sleep_s(max(self.lease.left_s, 0.01))  # a renewal moves it on
        logger().error("sparkplug.lease_lost", holder=self.lease.holder)

    async def _renew_lease(self, acting: anyio.CancelScope) -> None:
        """Renew until another hub has the lease; then stop ``acting`` at once."""
        while True:
            await self._clock.sleep_s(self.lease.check_interval_s)
            try:
                if not await self.lease.renew():
                    logger().error("sparkplug.lease_lost", holder=self.lease.holder)
                    acting.cancel()
                    return
            except SQLAlchemyError as error:
                reason = str(error).partition("\n")[0]
                logger().warning("sparkplug.lease_not_renewed", reason=reason)

    async def _tick(self) -> None:
        while True:
            with anyio.move_on_after(TICK_S):
                await self.nodes.wait_for_change()
            self._note_drops()
            await self.nodes.save()
            await self._clock.sleep_s(SAVE_PAUSE_S)

    # -- events -----------------------------------------------------------------------------------

    def _take(self, link: Link, key: NodeKey | None, events: Sequence[HostEvent]) -> None:
        """Take what a link heard, in order; never blocks."""
        if key is not None:
            self.nodes.seen(key, link.label, self._clock.wall_us())
        for event in events:
            if isinstance(event, CommandToSend):
                topic = parse_topic(event.message.topic)
                if isinstance(topic, Topic):
                    self.nodes.count_rebirth((topic.group_id, topic.node_id))
            elif self.nodes.apply(link.label, event):
                self._store(link, event)

    def _store(self, link: Link, event: HostEvent) -> None:
        assert not isinstance(event, CommandToSend)
        key = (event.group_id, event.node_id)
        storing = self.bridge.node(key)
        if isinstance(event, NodeOnline):
            claim = event.metrics.get(GATEWAY_ID_METRIC)
            is_excluded = self.document is not None and self.document.is_excluded(*key)
            self.bridge.claim(
                key,
                str(claim.value) if claim is not None and claim.value else "",
                "excluded by the document" if is_excluded else "",
            )
        elif isinstance(event, MetricValues):
            if storing.not_stored:
                self.bridge.not_stored_count += len(event.names)
            else:
                self.bridge.put(key, storing.tags.take(event))
        elif isinstance(event, NodeOffline | DeviceOffline) and not link.is_stopping:
            self._store_stale(link, event)

    def _store_stale(self, link: Link, event: NodeOffline | DeviceOffline) -> None:
        key = (event.group_id, event.node_id)
        storing = self.bridge.node(key)
        node = link.session.nodes[key]
        scope = node.devices[event.device_id] if isinstance(event, DeviceOffline) else node.scope
        now_us = self._clock.wall_us()
        if not storing.not_stored:
            self.bridge.put(key, storing.tags.stale(scope, event.time_ms, now_us))
        if isinstance(event, NodeOffline) and event.reason == "connection_lost":
            self.bridge.lose(key, "session_gap", now_us, f"the connection to {link.label} was lost")

    def _note_drops(self) -> None:
        """Move what the sessions counted into tree, ledger and log."""
        dropped = [
            one
            for link in self.links
            for one in link.session.take_drops()
            if one.reason not in _NO_NEWS
        ]
        for one in dropped:
            if one.group_id is None or one.node_id is None:
                continue
            key = (one.group_id, one.node_id)
            self.nodes.count(key, one.reason, one.count)
            if one.reason in _GAPS:
                now_us = self._clock.wall_us()
                self.bridge.lose(key, "missed_notification", now_us, "messages did not come")
        for one in dropped[:LINES_PER_TICK_MAX]:
            logger().warning(
                "sparkplug.input_dropped",
                node=f"{one.group_id}/{one.node_id}" if one.group_id is not None else "",
                device=one.device_id or "",
                cause=one.reason,
                count=one.count,
                detail=one.detail,
            )
        if len(dropped) > LINES_PER_TICK_MAX:
            logger().warning("sparkplug.more_dropped", lines=len(dropped) - LINES_PER_TICK_MAX)
        for node_key, storing in self.bridge.storings():
            self.nodes.note(node_key, member_number=storing.member, not_stored=storing.not_stored)

    # -- STATE times and known nodes --------------------------------------------------------------

    def _known_nodes(self, link: Link) -> Iterable[NodeKey]:
        return [
            node.key
            for node in self.nodes.all()
            if node.server == link.label and node.own.state == "stale"
        ]

    def _link_of(self, node: NodeRecord) -> Link | None:
        return next((link for link in self.links if link.label == node.server), None)

    async def _keep_state_time(self, server: str, state_time_ms: int) -> None:
        assert self.document is not None
        async with self._database.transaction() as session:
            await session.merge(
                HostState(host_id=self.document.host_id, server=server, state_time_ms=state_time_ms)
            )

    async def _state_times(self, host_id: str) -> dict[str, int]:
        async with self._database.reading() as session:
            rows = await session.scalars(select(HostState).where(HostState.host_id == host_id))
            return {row.server: row.state_time_ms for row in rows}
