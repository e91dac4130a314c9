"""The composition root: builds every part of the hub, starts and stops it.

Order of start: directory, CA, database, lake, watermarks from lake and spool, tasks, server.
Order of stop: the server first (nothing new is acknowledged), then a last flush, then the rest.
A kill at any point loses nothing that was acknowledged.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from litestar.di import Provide

import central.fleet.tables
import central.identity.tables
import central.ingest.sparkplug.tables
import central.ingest.tables  # noqa: F401 - the tables register themselves
from central.database import Database
from central.errors import HubError
from central.fleet.ca import open_ca
from central.fleet.registry import Registry
from central.identity.attempts import Attempts
from central.identity.people import People
from central.ingest.completeness import Completeness
from central.ingest.definitions import Definitions
from central.ingest.drain import Drain, DrainSettings
from central.ingest.last import LastValues
from central.ingest.rates import SAMPLE_INTERVAL_S, Rates
from central.ingest.receiver import Receiver
from central.ingest.sparkplug.bridge import Stores
from central.ingest.sparkplug.document import SparkplugDocument, load_document
from central.ingest.sparkplug.host import HostParts, SparkplugHost
from central.ingest.sparkplug.lease import hub_id
from central.ingest.spool import Spool
from central.ingest.tags import Tags
from central.ingest.watermarks import Watermarks
from central.settings import Settings
from central.timeseries.ducklake import DuckLakeStore
from central.web import (
    gateways,
    session,
    sparkplug,
    sparkplug_commands,
    status,
    timeseries,
    uplink,
)
from central.web.errors import answer
from central.web.guard import METRICS_READ, Guard
from central.web.parts import Parts
from runtime.backoff import Backoff
from runtime.clock import Clock
from runtime.http import HttpApp, HttpSettings, create_app, run_server
from runtime.log import logger
from runtime.tasks import supervise
from runtime.tls import server_context

LAST_FLUSH_TIMEOUT_S = 30
HOST_STOP_TIMEOUT_S = 25


class AlreadyRunningError(HubError):
    """Raised when another process has this data directory open."""

    code = "hub.already_running"
    remedy = "stop the other hub, or give another --data-dir"


async def run(
    settings: Settings,
    clock: Clock,
    *,
    say: Callable[[str], None],
    task_status: anyio.abc.TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Run the hub until cancelled.

    Args:
        settings: how this process runs.
        clock: time.
        say: prints a line for people: the URL, and the one-time code while nobody claimed the hub.
        task_status: told the port when the hub listens.

    Raises:
        AlreadyRunningError: the data directory is in use.
        ServerStartError: the address cannot be had.
        LakeError: the lake cannot be opened.
        SparkplugDocumentError: the Sparkplug host's document cannot be used.
    """
    document = load_document(settings.sparkplug) if settings.sparkplug is not None else None
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _single_process(settings.data_dir):
        ca = open_ca(settings.data_dir / "ca", clock)
        database = Database(settings.resolved_database_url())
        store = DuckLakeStore(settings.data_dir / "lake", clock)
        try:
            await database.migrate()
            await store.open()
            registry = Registry(database, ca, clock)
            parts = build_parts(settings, clock, database, registry, store, document)
            chain, key = ca.issue_server(settings.server_names())
            context = server_context(chain, key, ca.pem)
            app = build_app(settings, parts)

            async def listening(port: int) -> None:
                parts.public_url = settings.url_for(port)
                await parts.registry.set_public_url(parts.public_url)
                parts.sparkplug.lease.url = parts.public_url
                say(f"hub listening on {parts.public_url}")
                code = await parts.people.new_claim_code()
                if code is not None:
                    say(f"admin one-time code: {code}")
                task_status.started(port)

            async with _tasks(settings, parts, store) as group:

                def ready(port: int) -> None:
                    group.start_soon(listening, port)

                await run_server(
                    app, settings.host, settings.port, ssl_context=context, ready=ready
                )
        finally:
            with anyio.CancelScope(shield=True):
                await store.close()
                await database.close()


def build_parts(
    settings: Settings,
    clock: Clock,
    database: Database,
    registry: Registry,
    store: DuckLakeStore,
    document: SparkplugDocument | None = None,
) -> Parts:
    """Wire the parts; nothing runs yet."""
    definitions = Definitions(database, clock)
    watermarks = Watermarks(definitions)
    spool = Spool(settings.data_dir / "spool", settings.spool_bytes_max)
    last_values = LastValues()
    drain = Drain(
        store,
        spool,
        last_values,
        database,
        clock,
        DrainSettings(
            linger_s=settings.linger_s,
            flush_interval_s=settings.flush_interval_s,
            flush_samples=settings.flush_samples,
        ),
    )
    receiver = Receiver(watermarks, definitions, spool, drain, clock)

    async def note_progress() -> None:
        await definitions.note_heads(
            {s.id: (s.head_sequence, s.head_time_us) for s in watermarks.all()}
        )
        await registry.note_contacts(receiver.contacts)

    drain.after_flush.append(note_progress)
    stores = Stores(
        registry=registry,
        watermarks=watermarks,
        definitions=definitions,
        spool=spool,
        drain=drain,
        last_values=last_values,
    )
    return Parts(
        clock=clock,
        database=database,
        people=People(database, clock),
        registry=registry,
        enrol_attempts=Attempts(clock),
        watermarks=watermarks,
        receiver=receiver,
        spool=spool,
        drain=drain,
        last_values=last_values,
        rates=Rates(watermarks, clock),
        tags=Tags(database),
        completeness=Completeness(database, watermarks),
        store=store,
        sparkplug=SparkplugHost(
            HostParts(
                document=document,
                holder=hub_id(settings.data_dir),
                database=database,
                stores=stores,
                clock=clock,
            )
        ),
        started_us=clock.wall_us(),
    )


def build_app(settings: Settings, parts: Parts) -> HttpApp:
    """Build the web application over the parts."""
    handlers: list[Any] = [
        *uplink.HANDLERS,
        *session.HANDLERS,
        *gateways.HANDLERS,
        *timeseries.HANDLERS,
        *sparkplug.HANDLERS,
        *sparkplug_commands.HANDLERS,
        *status.HANDLERS,
    ]
    return create_app(
        handlers,
        HttpSettings(
            name="Factory+ hub",
            authorise=Guard(parts),
            clock=parts.clock,
            allowed_hosts=frozenset(n.lower() for n in settings.server_names()),
            ui_dir=settings.ui_dir,
            metrics=lambda: status.metrics_of(parts),
            metrics_permission=METRICS_READ,
            dependencies={"parts": Provide(lambda: parts, sync_to_thread=False)},
            exception_handlers={HubError: answer},
        ),
    )


def describe_api(clock: Clock) -> str:
    """Return the API's description (OpenAPI 3.1, JSON); nothing runs or stays."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        settings = Settings(data_dir=directory)
        database = Database(settings.resolved_database_url())
        registry = Registry(database, open_ca(directory, clock), clock)
        parts = build_parts(settings, clock, database, registry, DuckLakeStore(directory, clock))
        return build_app(settings, parts).openapi_json().decode()


@asynccontextmanager
async def _tasks(
    settings: Settings, parts: Parts, store: DuckLakeStore
) -> AsyncIterator[TaskGroup]:
    """Run what the server rests on; at the end flush once more and stop."""
    await parts.last_values.load(parts.database)
    again = await parts.watermarks.rebuild(store, parts.spool)
    parts.drain.put(again)
    random = Random()  # noqa: S311 - jitter

    async def observe() -> None:
        while True:
            parts.rates.observe()
            await parts.clock.sleep_s(SAMPLE_INTERVAL_S)

    jobs = AsyncIOScheduler(timezone=UTC)
    jobs.add_job(
        store.maintain,
        "interval",
        seconds=settings.maintenance_interval_s,
        coalesce=True,
        max_instances=1,
        misfire_grace_time=None,
    )

    # Shielded one by one: when the hub is cancelled the server ends first, and the answers it
    # still owes need the spool. The Sparkplug host ends before the spool, for what it still holds.
    scopes: list[anyio.CancelScope] = []
    host_ended = anyio.Event()

    async def shielded(name: str, work: Callable[[], Awaitable[None]]) -> None:
        with anyio.CancelScope(shield=True) as scope:
            scopes.append(scope)
            await supervise(name, work, parts.clock, Backoff(random))

    async def host() -> None:
        try:
            await shielded("sparkplug host", parts.sparkplug.run)
        finally:
            host_ended.set()

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(host)
            await anyio.lowlevel.checkpoint()
            for name, work in (
                ("spool", parts.spool.run),
                ("drain", parts.drain.run),
                ("rates", observe),
            ):
                tasks.start_soon(shielded, name, work)
            await anyio.lowlevel.checkpoint()
            jobs.start()
            try:
                yield tasks
            finally:
                jobs.shutdown(wait=False)
                scopes[0].cancel()
                with anyio.CancelScope(shield=True), anyio.move_on_after(HOST_STOP_TIMEOUT_S):
                    await host_ended.wait()
                for scope in scopes[1:]:
                    scope.cancel()
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(LAST_FLUSH_TIMEOUT_S):
            await parts.drain.flush()
            parts.spool.close()
        logger().info("hub.stopped")


class _single_process:  # noqa: N801 - reads as a statement
    """Hold an exclusive lock on the data directory."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self._descriptor = -1

    def __enter__(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise AlreadyRunningError(f"{self._path.parent} is in use by another hub") from error

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
