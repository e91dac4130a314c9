"""``factoryplus gateway``: run, check, enrol, status, losses, setup-code, broker-acl, openapi.

``opcua-check`` and ``certificates`` stand in ``cli_opcua``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import anyio
import msgspec
from cyclopts import App, Parameter

from contract.errors import AclError, ConfigError
from gateway.cli_opcua import certificates, opcua_check
from gateway.errors import GatewayError
from gateway.settings import HTTP_DEFAULT, Settings, fetch_status, make_settings
from runtime.log import set_up_logging

app = App(name="gateway", help="The edge appliance: OPC UA to Sparkplug B and the hub.")
app.command(certificates)
app.command(opcua_check)

DataDir = Annotated[Path, Parameter(name="--data-dir", help="where the gateway keeps everything")]


def _fail(text: str) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(1)


def _fail_config(error: ConfigError) -> NoReturn:
    for fault in error.faults:
        where = f"{fault.path}: " if fault.path else ""
        remedy = f" ({fault.remedy})" if fault.remedy else ""
        print(f"{where}{fault.message} [{fault.code}]{remedy}", file=sys.stderr)
    print(f"{len(error.faults)} fault(s): nothing was started", file=sys.stderr)
    sys.exit(1)


@app.command
def run(
    data_dir: DataDir,
    config: Annotated[Path | None, Parameter(help="YAML or JSON document; kept in DIR")] = None,
    http: Annotated[str, Parameter(help="HOST:PORT of the web pages; port 0: any")] = HTTP_DEFAULT,
    log_level: str = "info",
) -> None:
    """Run the gateway until SIGTERM; without --config, with the last good document."""
    try:
        settings = make_settings(data_dir, config, http, log_level)
        set_up_logging(settings.log_level)
        _run(settings)
    except ConfigError as error:
        _fail_config(error)
    except (GatewayError, OSError) as error:
        _fail(f"cannot run: {error}")


def _run(settings: Settings) -> None:
    # imported late: the other commands need none of it, and start in a fraction of the time
    from gateway.app import Gateway  # noqa: PLC0415
    from runtime.http import ServerStartError  # noqa: PLC0415

    gateway = Gateway(settings)
    code = gateway.auth.ensure_setup_code()

    def ready(url: str) -> None:
        print(f"gateway listening on {url}", flush=True)
        if code is not None:
            print(f"setup one-time code: {code}", flush=True)

    try:
        anyio.run(gateway.run, ready, backend_options={"use_uvloop": False})
    except BaseExceptionGroup as group:
        match, rest = group.split(ServerStartError)
        if match is None or rest is not None:
            raise
        _fail(f"cannot serve the web pages: {match.exceptions[0]}")


@app.command
def check(
    config: Annotated[Path, Parameter(help="the document to check")],
) -> None:
    """Check a configuration document whole; print every fault with its path."""
    from gateway.config.document import parse_config, read_document_file  # noqa: PLC0415

    try:
        parse_config(read_document_file(config))
    except ConfigError as error:
        _fail_config(error)
    print("the configuration is good")


@app.command
def enrol(code: str, *, data_dir: DataDir, name: str = "", site: str = "") -> None:
    """Become a member of a hub's fleet by its one-time code."""
    from gateway.config.store import open_config  # noqa: PLC0415
    from gateway.fleet.enrol import enrol as enrol_at_hub  # noqa: PLC0415

    async def ask() -> None:
        settings = make_settings(data_dir)
        identity = open_config(None, settings.data_dir).config.gateway
        membership = await enrol_at_hub(
            code, settings.data_dir, name or identity.id, site or identity.site
        )
        print(f"enrolled as {membership.gateway_id} at {membership.uplink_url}")

    try:
        anyio.run(ask)
    except ConfigError as error:
        _fail_config(error)
    except GatewayError as error:
        _fail(f"not enrolled: {error}")


@app.command
def status(*, data_dir: DataDir, json: bool = False) -> None:
    """Show what the running gateway does."""
    try:
        content = anyio.run(fetch_status, data_dir)
    except GatewayError as error:
        _fail(str(error))
    if json:
        print(content.decode())
        return
    from gateway.web.views import GatewayStatus  # noqa: PLC0415

    found = msgspec.json.decode(content, type=GatewayStatus)
    for cell_name in ("source", "buffer", "broker", "hub"):
        cell = getattr(found.strip, cell_name)
        print(f"{cell_name:8} {cell.state:10} {cell.figure}  {cell.reason}")
    counters = found.counters
    print(
        f"read {counters.read} = stored {counters.stored} + filtered {counters.filtered}"
        f" + dropped {counters.dropped} + in flight {counters.in_flight}"
    )


@app.command
def losses(*, data_dir: DataDir, limit: int = 1000, json: bool = False) -> None:
    """List the loss ledger, newest first; works whether or not the gateway runs."""
    from gateway.journal.ledger_file import read_ledger  # noqa: PLC0415

    try:
        entries = read_ledger(data_dir / "journal", limit)
    except GatewayError as error:
        _fail(str(error))
    if json:
        print(msgspec.json.encode(entries).decode())
        return
    for entry in entries:
        print(f"{entry.id} {entry.reason} {entry.source} {entry.count or '?'} {entry.detail}")


@app.command
def setup_code(*, data_dir: DataDir) -> None:
    """Make a new one-time setup code in place of a lost one; refused once somebody claimed."""
    from gateway.auth.service import DATABASE_NAME, Auth  # noqa: PLC0415
    from runtime.clock import SystemClock  # noqa: PLC0415

    auth = Auth(data_dir / DATABASE_NAME, SystemClock())
    auth.open()
    code = auth.renew_setup_code()
    auth.close()
    if code is None:
        _fail("this gateway has been claimed: sign in instead")
    print(f"setup one-time code: {code}")


@app.command
def openapi() -> None:
    """Print the HTTP interface as OpenAPI JSON."""
    from gateway.web.factory import openapi_json  # noqa: PLC0415

    print(openapi_json().decode())


@app.command
def broker_acl(
    configs: Annotated[list[Path], Parameter(help="documents of the gateways of one broker")],
    *,
    host: Annotated[list[str] | None, Parameter(help="HOST_ID or HOST_ID=USER, repeated")] = None,
) -> None:
    """Print an access list for mosquitto: each gateway may publish only its own topics."""
    from contract.broker_acl import host_entry, mosquitto_acl, node_entry  # noqa: PLC0415
    from gateway.config.document import parse_config, read_document_file  # noqa: PLC0415

    entries = []
    try:
        for path in configs:
            config = parse_config(read_document_file(path))
            sparkplug = config.sparkplug
            if sparkplug is None:
                _fail(f"{path}: sparkplug is missing: this gateway publishes nothing")
            username = sparkplug.broker.username
            if username is None:
                _fail(
                    f"{path}: sparkplug.broker.username is missing: the list goes by user name;"
                    " with client certificates give the certificate's common name"
                )
            hosts = sparkplug.primary_host
            entries.append(
                node_entry(username, sparkplug.group, sparkplug.node, primary_host=hosts)
            )
        for one in host or []:
            host_id, _, user = one.partition("=")
            entries.append(host_entry(user or host_id, host_id))
        print(mosquitto_acl(entries), end="")
    except ConfigError as error:
        _fail_config(error)
    except AclError as error:
        _fail(str(error))
