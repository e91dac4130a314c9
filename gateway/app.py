"""The composition root: builds every part of the gateway and runs it until it is told to stop.

Tasks, all children of ``run``: the intake (commits), one per source, one per sink, one for the
commands of hosts, the web server.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from random import SystemRandom

import anyio

from contract.config import GatewayConfig, SparkplugConfig, UnsConfig
from contract.factoryplus import device_identities
from gateway.auth.service import DATABASE_NAME, Auth
from gateway.config.document import parse_config, read_document_file
from gateway.config.store import open_config
from gateway.errors import EnrolError, JournalError
from gateway.fleet.membership import Membership, load_membership, membership_changed
from gateway.flow.actions import Actions
from gateway.flow.alerts import GatewayAlerts
from gateway.flow.command_audit import CommandAudit
from gateway.flow.commands import CommandDesk
from gateway.flow.drive import drive_sink, drive_source
from gateway.flow.held import HeldSamples
from gateway.flow.intake import FUTURE_US, Intake
from gateway.flow.ledger import OpenLosses
from gateway.flow.liveness import SourceLiveness
from gateway.flow.outlet import JournalOutlet, JournalSide
from gateway.flow.port import IntakePort
from gateway.flow.relief import Relief
from gateway.flow.rowindex import RowIndex
from gateway.flow.tags import TagTable
from gateway.flow.view import TagBook
from gateway.journal.cursors import Cursor
from gateway.journal.log import Journal, Transaction
from gateway.journal.reader import JournalReader
from gateway.observe import Parts, RunningGateway
from gateway.pipeline.last import LastValues
from gateway.settings import Settings, remove_runtime_file, write_runtime_file
from gateway.sinks.base import Sink
from gateway.sinks.hub.uplink import HubAccess, HubSink
from gateway.sinks.sparkplug.factoryplus import Conventions
from gateway.sinks.sparkplug.sink import SparkplugSink
from gateway.sinks.uns.sink import NAME as UNS
from gateway.sinks.uns.sink import UnsSink
from gateway.sources.base import Source
from gateway.sources.explore import Explorable
from gateway.sources.opcua.access import Pki
from gateway.sources.opcua.tools import OpcUaTools
from gateway.sources.registry import Surroundings, make_source
from gateway.web.factory import create_web
from runtime.backoff import Backoff
from runtime.clock import Clock, SystemClock
from runtime.http import run_server
from runtime.log import logger
from runtime.tasks import supervise
from runtime.tls import client_context

VERSION = version("factoryplus")
HUB_BACKLOG_RATE = 1_000_000.0
RESTORE_ROWS = 200
LEDGER_RESTORED = 20_000
SINK_BACKOFF_S_MAX = 5.0
STOP_COMMIT_S = 10.0
STOP_SINKS_S = 3.0
STATIC_DIR = Path(__file__).parent / "web" / "static"


class Gateway:
    """Everything of one gateway process. Constructors store and open; ``run`` runs."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        if settings.config_file is not None:
            # its faults stop us here, before anything is made
            parse_config(read_document_file(settings.config_file))
        self._random = SystemRandom()
        self._journal_dir = settings.data_dir / "journal"
        self._journal_dir.mkdir(mode=0o700, exist_ok=True)
        # first of all: it locks the data directory, whose kept configuration is touched next
        self.journal = Journal(self._journal_dir)
        loaded = open_config(settings.config_file, settings.data_dir)
        self.config: GatewayConfig = loaded.config
        self._document_sha256 = loaded.sha256
        self.last = LastValues()
        self.tags = TagTable(self.journal.tags())
        self.tags.activate_known(source.name for source in self.config.sources)
        self.reader = JournalReader(self._journal_dir, self.journal.epoch)
        self._web_reader = JournalReader(self._journal_dir, self.journal.epoch)
        self._history_reader = HeldSamples(JournalReader(self._journal_dir, self.journal.epoch))
        self.rows = RowIndex()
        self.outlets: dict[str, JournalOutlet] = {}
        self.intake = self._make_intake()
        self._restore()
        self.liveness = SourceLiveness(self.clock, self._death_delay_s())
        self.book = TagBook(self.tags, self.last, self.liveness)
        self.pki = Pki(settings.data_dir / "pki", self.clock)
        self.sources: list[Source] = self._make_sources()
        audit = CommandAudit(settings.data_dir)
        self.commands = CommandDesk(self.tags, self.sources, audit, self.clock)
        self._membership = self._load_membership()
        self.sinks: list[Sink] = self._make_sinks()
        self.outlets.update({sink.name: self._make_outlet(sink) for sink in self.sinks})
        self.auth = Auth(settings.data_dir / DATABASE_NAME, self.clock)
        self.auth.open()
        self.view = RunningGateway(self._parts())

    # -- building ---------------------------------------------------------------------------------

    def _make_intake(self) -> Intake:
        relief = Relief(
            self.journal,
            self.config.journal,
            self._journal_dir,
            self.clock,
            self._cursors_that_hold,
        )
        interval_s = self.config.journal.commit_interval_ms / 1000
        intake = Intake(self.journal, self.last, relief, self.clock, interval_s)
        intake.take_definitions = self.tags.take_unsaved
        intake.listeners.append(
            lambda row: self.rows.record(
                row.head.sequence, row.head.committed_us, row.head.samples_count
            )
        )
        return intake

    def _cursors_that_hold(self) -> dict[str, Cursor]:
        """Return the cursors that rows are kept for: a hub's only once this box is enrolled."""
        return {
            name: outlet.lanes.confirmed
            for name, outlet in self.outlets.items()
            if name != "hub" or self._membership is not None
        }

    def _restore(self) -> None:
        """Take in what the last process left: last values, how far each source was."""
        head = self.journal.last_sequence
        kept = self.reader.snapshot()
        after = self.journal.first_sequence - 1
        if kept is not None:
            self.last.restore(kept[1])
            after = max(after, kept[0])
        while after < head:
            rows = self.reader.rows(after + 1, head, bytes_max=16_000_000, rows_max=RESTORE_ROWS)
            if not rows:
                break
            for batch in (row.batch() for row in rows):
                if not batch.is_historical:
                    self.last.restore(batch)
            after = rows[-1].sequence
        self.last.grow(len(self.tags.definitions))
        for definition in self.tags.definitions:
            time_us = int(self.last.time_us[definition.index])
            held = self.intake.last_time_us.get(definition.source, 0)
            if held < time_us <= self.clock.wall_us() + FUTURE_US:
                self.intake.last_time_us[definition.source] = time_us
        self.intake.open_losses = OpenLosses(reversed(self.reader.newest_losses(LEDGER_RESTORED)))
        for sequence, committed_us, samples, rows_count in self.journal.outline():
            self.rows.record(sequence, committed_us, samples, rows_count)

    def _make_sources(self) -> list[Source]:
        around = Surroundings(
            gateway_id=self.config.gateway.id,
            data_dir=self.settings.data_dir,
            clock=self.clock,
            pki=self.pki,
        )
        return [make_source(source, around) for source in self.config.sources if source.enabled]

    def _make_sinks(self) -> list[Sink]:
        sinks: list[Sink] = []
        if self.config.sparkplug is not None:
            sparkplug = SparkplugSink(
                self.config.sparkplug,
                self.book,
                self.settings.data_dir,
                VERSION,
                self.clock,
                self._conventions(self.config.sparkplug),
            )
            sparkplug.take_commands(self.commands)
            sparkplug.identify(self._gateway_id)
            sinks.append(sparkplug)
        if self.config.uns is not None:
            sinks.append(self._uns_sink(self.config.uns))
        if self.config.hub.enabled:
            sinks.append(HubSink(self._hub_access, self._hub_changed, self.book, self.clock))
        return sinks

    def _death_delay_s(self) -> float:
        return self.config.sparkplug.death_delay_s if self.config.sparkplug else 0.0

    def _conventions(self, config: SparkplugConfig) -> Conventions:
        return Conventions(
            self.config.factoryplus,
            (config.group, config.node),
            self._document_sha256,
            GatewayAlerts(self.sources, lambda: self.journal.losses_count, self.clock),
            self.clock,
        )

    def _uns_sink(self, uns: UnsConfig) -> UnsSink:
        sparkplug, factoryplus = self.config.sparkplug, self.config.factoryplus
        assert sparkplug is not None, "checked: factoryplus needs sparkplug"
        assert factoryplus is not None, "checked: uns needs factoryplus"
        devices = device_identities(factoryplus, sparkplug.group, sparkplug.node)
        client_id = f"fpe-uns-{sparkplug.group}/{sparkplug.node}"
        return UnsSink(uns, devices, client_id, self.book, self.clock)

    def _make_outlet(self, sink: Sink) -> JournalOutlet:
        known = self.journal.cursors()
        # a new consumer gets all that is kept
        cursor = known.get(sink.name) or Cursor(self.journal.first_sequence - 1)
        head = self.journal.last_sequence
        if cursor.confirmed > head:
            cursor = Cursor(head)
        rate = HUB_BACKLOG_RATE
        if sink.name == "sparkplug" and self.config.sparkplug is not None:
            rate = float(self.config.sparkplug.backfill_rate)
        side = JournalSide(
            reader=self.reader,
            reading=anyio.CapacityLimiter(1),
            epoch=self.journal.epoch,
            clock=self.clock,
            confirmed=self.intake.confirm,
            lose=self.intake.lose,
        )
        outlet = JournalOutlet(sink.name, cursor, (head, self.clock.wall_us()), side, rate)
        outlet.is_live_only = sink.name == UNS
        self.intake.listeners.append(outlet.committed)
        if sink.name == "sparkplug":
            self.liveness.listeners.append(outlet.wake)
        return outlet

    def _parts(self) -> Parts:
        return Parts(
            config=self.config,
            version=VERSION,
            clock=self.clock,
            intake=self.intake,
            journal=self.journal,
            reader=self._web_reader,
            rows=self.rows,
            tags=self.tags,
            book=self.book,
            sources=self.sources,
            sinks=self.sinks,
            outlets=self.outlets,
            commands=self.commands,
            membership=lambda: self._membership,
        )

    def _load_membership(self) -> Membership | None:
        try:
            return load_membership(self.settings.data_dir)
        except EnrolError as error:
            logger().error("hub.membership_unreadable", reason=str(error))
            return None

    def _hub_access(self) -> HubAccess | None:
        found = self._membership = self._load_membership()
        if found is None:
            return None
        context = client_context(found.ca_pem, found.certificate_path, found.key_path)
        return HubAccess(url=found.uplink_url, gateway_id=found.gateway_id, context=context)

    def _gateway_id(self) -> str:
        return "" if self._membership is None else self._membership.gateway_id

    def _hub_changed(self) -> bool:
        return membership_changed(self.settings.data_dir, self._membership)

    # -- running ----------------------------------------------------------------------------------

    async def run(self, ready: Callable[[str], None]) -> None:
        """Run until SIGTERM or SIGINT; ``ready`` is told the web address once it listens.

        At stop the parts end in the order of the data: sources, intake, sinks, web.
        """
        # what exists now lives as long as the process: the collector need not look at it again
        gc.collect()
        gc.freeze()
        stopping, committed = anyio.Event(), anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_wait_for_signal, stopping)
            tasks.start_soon(self._run_intake, committed)
            tasks.start_soon(self._serve, ready)
            tasks.start_soon(self._run_commands)
            async with anyio.create_task_group() as sinks:
                for sink in self.sinks:
                    sinks.start_soon(self._run_sink, sink)
                async with anyio.create_task_group() as sources:
                    for source in self.sources:
                        sources.start_soon(self._run_source, source)
                        if isinstance(source, Explorable):
                            sources.start_soon(self._run_explorer, source)
                    await stopping.wait()
                    sources.cancel_scope.cancel()
                self.intake.stop()
                with anyio.move_on_after(STOP_COMMIT_S):
                    await committed.wait()
                await self._let_sinks_finish()
                sinks.cancel_scope.cancel()
            tasks.cancel_scope.cancel()
        self._close()

    async def _run_intake(self, committed: anyio.Event) -> None:
        try:
            await supervise(
                "intake",
                partial(self.intake.run, self._backoff(5.0)),
                self.clock,
                self._backoff(5.0),
            )
        finally:
            committed.set()

    async def _run_commands(self) -> None:
        await supervise("commands", self.commands.run, self.clock, self._backoff(5.0))

    async def _run_source(self, source: Source) -> None:
        port = IntakePort(
            source.name, self.intake, self.tags, self.liveness, held=self._history_reader
        )
        drive = partial(drive_source, source, port, self.clock, self._backoff(30.0))
        await supervise(f"source {source.name}", drive, self.clock, self._backoff(60.0))

    async def _run_explorer(self, source: Explorable) -> None:
        await supervise("explorer", source.explorer.run, self.clock, self._backoff(60.0))

    async def _run_sink(self, sink: Sink) -> None:
        outlet = self.outlets[sink.name]
        drive = partial(drive_sink, sink, outlet, self.clock, self._backoff(SINK_BACKOFF_S_MAX))
        await supervise(f"sink {sink.name}", drive, self.clock, self._backoff(60.0))

    async def _let_sinks_finish(self) -> None:
        """Give connected sinks a moment to send and confirm the last rows."""
        with anyio.move_on_after(STOP_SINKS_S):
            while any(
                self.outlets[sink.name].lanes.is_open and self.outlets[sink.name].lanes.pending_rows
                for sink in self.sinks
            ):
                await self.clock.sleep_s(0.05)

    async def _serve(self, ready: Callable[[str], None]) -> None:
        settings = self.settings
        opcua = OpcUaTools(self.pki, self.config.sources)
        acting = Actions(self.commands, self.tags, self.sources)
        app = create_web(self.view, self.auth, STATIC_DIR, self.clock, opcua=opcua, acting=acting)

        def listening(port: int) -> None:
            try:
                write_runtime_file(settings.data_dir, settings.http_host, port, self.clock)
            except OSError as error:
                # on a full disk the data path and the pages still have to work
                logger().error("gateway.run_file_not_written", error=str(error))
            host = settings.http_host
            ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

        await run_server(app, settings.http_host, settings.http_port, ready=listening)

    def _backoff(self, max_s: float) -> Backoff:
        return Backoff(self._random, first_s=0.5, max_s=max_s)

    def _close(self) -> None:
        """Keep the last cursors and close every file."""
        cursors = {name: outlet.lanes.confirmed for name, outlet in self.outlets.items()}
        try:
            self.journal.commit(Transaction(cursors=cursors), self.clock.wall_us())
        except JournalError as error:
            logger().error("journal.cursors_not_kept", error=str(error))
        self.reader.close()
        self._web_reader.close()
        self._history_reader.close()
        self.journal.close()
        self.auth.close()
        self.commands.close()
        remove_runtime_file(self.settings.data_dir)
        logger().info("gateway.stopped")


async def _wait_for_signal(stopping: anyio.Event) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            logger().info("gateway.stopping")
            stopping.set()
            return
