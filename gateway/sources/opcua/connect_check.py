"""Check a connection step by step: where does it end, and what can be done about it?

The steps are those of a real connection, in order: name, TCP, hello, endpoints, certificate,
channel, session, login, status. The first that fails ends the check; the rest is skipped. It
uses a connection and a session of its own and touches no running source; the session is closed
before it returns, so it costs the server one session for a moment. Every step has a deadline.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Literal
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import msgspec
from asyncua import Client, ua

from gateway.errors import SourceError
from gateway.sources.opcua.access import Access, Prepared, refuse
from gateway.sources.opcua.certificate_check import Finding
from gateway.sources.opcua.certificate_facts import (
    CertificateFacts,
    facts_of,
    grouped,
    split_chain,
)
from gateway.sources.opcua.channel import create_session, log_in, open_channel
from gateway.sources.opcua.endpoints import (
    ENDPOINTS_MAX,
    NETWORK_ERRORS,
    TALK_ERRORS,
    Offer,
    address_notices,
    choose_endpoint,
    connect_error,
    offer_of,
    talking,
)
from gateway.sources.opcua.login import set_login, wanted_token
from gateway.sources.opcua.transport import DISCOVERY_MESSAGE_BYTES_MAX, make_client
from runtime.clock import Clock

StepName = Literal[
    "name", "tcp", "hello", "endpoints", "certificate", "channel", "session", "login", "status"
]
STEPS: tuple[StepName, ...] = (
    "name",
    "tcp",
    "hello",
    "endpoints",
    "certificate",
    "channel",
    "session",
    "login",
    "status",
)
STEP_DEADLINE_S = 12.0
CLOSE_S = 2.0
ADDRESSES_MAX = 8


class CheckStep(msgspec.Struct, frozen=True, kw_only=True):
    """How one step went.

    Attributes:
        step: which.
        result: ok, failed, or skipped (an earlier one failed, or policy None has no such step).
        took_ms: how long it took.
        found: what was found, one sentence.
        code: OPC UA's code of the failure; "" otherwise.
        remedy: what a person can do; "" when nothing has to be.
    """

    step: StepName
    result: Literal["ok", "failed", "skipped"]
    took_ms: float = 0.0
    found: str = ""
    code: str = ""
    remedy: str = ""


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a connection check went.

    Attributes:
        endpoint: what was checked.
        ok: every step that there is went well.
        steps: all of them, in order.
        offers: what the server offers, the strongest first; empty when it did not get that far.
        certificate: the server's; None when it showed none, or did not get that far.
        findings: all that is wrong with it, tolerated or not.
        notices: what a person should know all the same.
    """

    endpoint: str
    ok: bool
    steps: list[CheckStep]
    offers: list[Offer] = []
    certificate: CertificateFacts | None = None
    findings: list[Finding] = []
    notices: list[str] = []


class ConnectCheck:
    """One check of one target; made for one run."""

    def __init__(self, access: Access, clock: Clock) -> None:
        self._access = access
        self._target = access.target
        self._clock = clock
        self._steps: list[CheckStep] = []
        self._found: list[ua.EndpointDescription] = []
        self._endpoint: ua.EndpointDescription | None = None
        self._prepared: Prepared | None = None
        self._findings: list[Finding] = []
        self._certificate: CertificateFacts | None = None
        self._notices: list[str] = []
        self._asking: Client | None = None
        self._client: Client | None = None

    async def run(self) -> CheckReport:
        """Run all steps; never raises for what it finds, for that is its result."""
        actions: dict[StepName, Callable[[], Awaitable[str]]] = {
            "name": self._name,
            "tcp": self._tcp,
            "hello": self._hello,
            "endpoints": self._endpoints,
            "certificate": self._check_certificate,
            "channel": self._channel,
            "session": self._session,
            "login": self._login,
            "status": self._status,
        }
        try:
            for step in STEPS:
                if not await self._do(step, actions[step]):
                    break
        finally:
            with anyio.move_on_after(CLOSE_S, shield=True):
                await self._close()
        done = {step.step for step in self._steps}
        self._steps += [CheckStep(step=s, result="skipped") for s in STEPS if s not in done]
        offers = [offer_of(endpoint) for endpoint in self._found]
        return CheckReport(
            endpoint=self._target.endpoint,
            ok=all(step.result != "failed" for step in self._steps),
            steps=self._steps,
            offers=sorted(offers, key=lambda o: (-o.strength, o.mode, o.policy)),
            certificate=self._certificate,
            findings=self._findings,
            notices=self._notices,
        )

    async def _do(self, step: StepName, action: Callable[[], Awaitable[str]]) -> bool:
        started_s = self._clock.monotonic_s()

        def took_ms() -> float:
            return round((self._clock.monotonic_s() - started_s) * 1000, 1)

        try:
            with anyio.fail_after(STEP_DEADLINE_S):
                found = await action()
        except SourceError as error:
            wrong = error
        except NETWORK_ERRORS as error:
            wrong = connect_error(self._target.endpoint, error)
        else:
            result: Literal["ok", "skipped"] = "ok" if found else "skipped"
            self._steps.append(CheckStep(step=step, result=result, took_ms=took_ms(), found=found))
            return True
        self._steps.append(
            CheckStep(
                step=step,
                result="failed",
                took_ms=took_ms(),
                found=str(wrong),
                code=wrong.reason_code,
                remedy=wrong.remedy,
            )
        )
        return False

    # -- the steps: each returns what it found, "" for nothing to do ------------------------------

    async def _name(self) -> str:
        self._access.check_settings()
        if self._target.reverse is not None:
            raise SourceError(
                "this server calls us (reverse_connect): nothing can be dialled",
                reason_code="BadNotSupported",
                remedy="see the source's own state: it says how far its server's call got",
            )
        host = self._target.host
        port = urlsplit(self._target.endpoint).port or 4840
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(info[4][0]) for info in found))[:ADDRESSES_MAX]
        return f"{host} is {', '.join(addresses)}"

    async def _tcp(self) -> str:
        self._asking = make_client(self._target.endpoint, DISCOVERY_MESSAGE_BYTES_MAX)
        with talking(self._target.endpoint):
            await self._asking.connect_socket()
        return f"{urlsplit(self._target.endpoint).netloc} takes connections"

    async def _hello(self) -> str:
        assert self._asking is not None
        with talking(self._target.endpoint):
            await self._asking.send_hello()
        return "it speaks OPC UA"

    async def _endpoints(self) -> str:
        assert self._asking is not None
        with talking(self._target.endpoint):
            await self._asking.open_secure_channel()
            self._found = (await self._asking.get_endpoints())[:ENDPOINTS_MAX]
        self._asking.disconnect_socket()
        self._notices += address_notices(self._target.endpoint, self._found)
        self._endpoint = choose_endpoint(self._found, self._target.security)
        security = self._target.security
        return f"{len(self._found)} endpoints, {security.policy}/{security.mode} among them"

    async def _check_certificate(self) -> str:
        assert self._endpoint is not None
        if self._target.is_plain:
            self._prepared = self._access.plain()
            return ""
        sent = split_chain(self._endpoint.ServerCertificate or b"")
        server_uri = self._endpoint.Server.ApplicationUri or ""
        self._findings = await self._access.judge(sent, server_uri)
        self._certificate = facts_of(sent[0]) if sent else None
        refuse(self._findings)
        self._prepared = await self._access.secured(self._endpoint, sent)
        self._notices += self._prepared.notices
        self._notices += [f"tolerated: {finding.message}" for finding in self._findings]
        assert self._certificate is not None
        return f"trusted: {grouped(self._certificate.fingerprint)}"

    async def _channel(self) -> str:
        assert self._prepared is not None
        self._client = self._prepared.client()
        await set_login(self._client, self._target.login)
        await open_channel(self._client, self._target)
        if self._target.is_plain:
            return "open, without security"
        return f"open, {self._target.security.policy} with {self._target.security.mode}"

    async def _session(self) -> str:
        assert self._client is not None
        await create_session(self._client, self._target)
        return "created"

    async def _login(self) -> str:
        assert self._client is not None
        await log_in(self._client, self._target)
        return f"as {wanted_token(self._target.login).name}"

    async def _status(self) -> str:
        assert self._client is not None
        node = self._client.get_node(ua.NodeId(ua.ObjectIds.Server_ServerStatus))
        with talking(self._target.endpoint):
            status = (await node.read_data_value()).Value.Value
        if not isinstance(status, ua.ServerStatusDataType):
            return "the server tells no status"
        build = status.BuildInfo
        product = f"{build.ManufacturerName or ''} {build.ProductName or ''}".strip() or "a server"
        return f"{product} {build.SoftwareVersion or ''}, {status.State.name}"[:300]

    async def _close(self) -> None:
        if self._client is not None:
            with suppress(*TALK_ERRORS):
                await self._client.uaclient.close_session(True)
            self._client.disconnect_socket()
        if self._asking is not None:
            self._asking.disconnect_socket()
