"""From an address to a secured channel: whom we ask, what we show, whom we believe.

``Access.prepare`` asks the server for its endpoints, takes the one with exactly the policy and
mode configured, and checks the certificate in it against the trust list of the source. Only then
is a channel prepared, bound to that very certificate: a server that cannot prove to hold its key
gets nothing. A certificate that is not trusted is kept for a person to judge, and the source
waits; nothing is ever trusted because it was there first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import anyio.to_thread
import msgspec
from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicy
from cryptography import x509

from contract.config_opcua import OpcUaSourceConfig, ReverseConfig, SecurityConfig
from contract.config_security import Login, security_faults
from gateway.errors import SourceError, TrustError
from gateway.sources.opcua.certificate_check import Expected, Finding, check_certificate
from gateway.sources.opcua.certificate_facts import split_chain
from gateway.sources.opcua.endpoints import (
    address_notices,
    choose_endpoint,
    get_endpoints,
    session_url,
)
from gateway.sources.opcua.pki import Own, OwnCertificate
from gateway.sources.opcua.policies import MODES, POLICIES
from gateway.sources.opcua.reverse import Doors, Incoming
from gateway.sources.opcua.transport import SESSION_MESSAGE_BYTES_MAX, make_client
from gateway.sources.opcua.trust import TrustStore
from runtime.clock import Clock

RECHECK_S = 30.0
"""How soon a running session notices that its certificate ended or is not trusted any more."""
OWN_RECHECK_ROUNDS = 120
"""How many of those pass until our own certificate is looked at: about an hour."""
PLAIN_APPLICATION_URI = "urn:factoryplus:gateway"
"""What we call ourselves where no certificate says it (policy None)."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What to connect to, and as whom.

    Attributes:
        name: the source, whose trust list counts; "" for a connection that is no source yet.
        endpoint: ``opc.tcp://HOST:PORT/PATH`` as typed.
        security: policy, mode and what is tolerated.
        login: the user.
        reverse: the server calls us; None when we dial.
    """

    name: str
    endpoint: str
    security: SecurityConfig
    login: Login = Login()
    reverse: ReverseConfig | None = None

    @property
    def host(self) -> str:
        """Return the host as it was typed."""
        return urlsplit(self.endpoint).hostname or ""

    @property
    def is_plain(self) -> bool:
        """Policy None: no certificates at all."""
        return self.security.policy == "None"


def target_of(config: OpcUaSourceConfig) -> Target:
    """Return the connection part of a configured source."""
    return Target(
        name=config.name,
        endpoint=config.endpoint,
        security=config.security,
        login=Login(
            username=config.username,
            password=config.password,
            user_certificate_file=config.user_certificate_file,
            user_key_file=config.user_key_file,
        ),
        reverse=config.reverse_connect,
    )


class Pki:
    """This box's certificates: ours, and those it trusts. One for all sources."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.own = OwnCertificate(directory, clock)
        self.trust = TrustStore(directory)
        self.clock = clock


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A connection that may be opened.

    Attributes:
        url: typed host and port, with the server's path where none was typed.
        policy: asyncua's, bound to the server's certificate and ours.
        application_uri: what we call ourselves.
        sent: the server's certificate chain; empty with policy None.
        server_uri: application URI of the server.
        notices: what a person should know.
    """

    url: str
    policy: SecurityPolicy
    application_uri: str
    sent: list[x509.Certificate] = []
    server_uri: str = ""
    notices: list[str] = []

    def client(self, incoming: Incoming | None = None) -> Client:
        """Make the client of one connection attempt."""
        client = make_client(self.url, SESSION_MESSAGE_BYTES_MAX, incoming)
        client.application_uri = self.application_uri
        client.name = client.description = "Factory+ Edge gateway"
        client.security_policy = self.policy
        client.uaclient.set_security(self.policy)
        return client


class Access:
    """How one target is reached. Raises SourceError with the code and remedy of what is wrong."""

    def __init__(self, target: Target, pki: Pki, doors: Doors | None = None) -> None:
        self.target = target
        self.incoming: Incoming | None = None
        self._pki = pki
        self._doors = doors or Doors()

    def at(self, endpoint: str) -> Access:
        """Return the access to another server of the same set."""
        if endpoint == self.target.endpoint:
            return self
        target = msgspec.structs.replace(self.target, endpoint=endpoint)
        return Access(target, self._pki, self._doors)

    @asynccontextmanager
    async def reachable(self) -> AsyncIterator[None]:
        """Listen for the server where it is the one that calls; as long as the block runs."""
        if self.target.reverse is None:
            yield
            return
        async with self._doors.listening(self.target.reverse) as self.incoming:
            yield

    def check_settings(self) -> None:
        """Refuse what the configuration must not ask for, whoever wrote it."""
        fault = next(security_faults(self.target.security, self.target.login, ""), None)
        if fault is not None:
            said = f"{fault.message} ({fault.remedy})"
            raise SourceError(said, reason_code=fault.code, remedy=fault.remedy)

    async def prepare(self) -> Prepared:
        """Ask, choose, check; see the module's text."""
        self.check_settings()
        if self.target.is_plain:
            return self.plain()
        found = await get_endpoints(self.target.endpoint, self.incoming)
        endpoint = choose_endpoint(found, self.target.security)
        sent = split_chain(endpoint.ServerCertificate or b"")
        findings = await self.judge(sent, endpoint.Server.ApplicationUri or "")
        refuse(findings)
        notices = address_notices(self.target.endpoint, found)
        notices += [f"tolerated: {f.message}" for f in findings]
        return await self.secured(endpoint, sent, notices)

    def plain(self) -> Prepared:
        """Prepare a connection without any security."""
        policy = POLICIES["None"].crypto()
        uri = PLAIN_APPLICATION_URI
        return Prepared(url=self.target.endpoint, policy=policy, application_uri=uri)

    async def secured(
        self,
        endpoint: ua.EndpointDescription,
        sent: Sequence[x509.Certificate],
        notices: Sequence[str] = (),
    ) -> Prepared:
        """Prepare a secured connection to the holder of a certificate that was checked."""
        own, notice = await self._load_own()
        security = self.target.security
        make = POLICIES[security.policy].crypto
        return Prepared(
            url=session_url(self.target.endpoint, endpoint.EndpointUrl),
            policy=make(sent[0], own.certificate, own.key, MODES[security.mode]),
            application_uri=own.application_uri,
            sent=list(sent),
            server_uri=endpoint.Server.ApplicationUri or "",
            notices=[*notices, *([notice] if notice else [])],
        )

    async def _load_own(self) -> tuple[Own, str]:
        """Return our certificate and key, and what a person has to do about them."""
        own = self._pki.own
        try:
            loaded = await anyio.to_thread.run_sync(own.load)
            return loaded, (await anyio.to_thread.run_sync(own.report)).notice
        except (TrustError, OSError) as error:
            raise SourceError(
                f"our own certificate cannot be used: {error}",
                reason_code="BadCertificateInvalid",
                remedy="mend the files below pki/own in the data directory",
            ) from error

    async def judge(self, sent: Sequence[x509.Certificate], server_uri: str) -> list[Finding]:
        """Check a server's certificate; one that is not trusted is kept for a person to judge."""
        return await anyio.to_thread.run_sync(self._judge, sent, server_uri)

    def _judge(self, sent: Sequence[x509.Certificate], server_uri: str) -> list[Finding]:
        target, store = self.target, self._pki.trust
        try:
            trusted = store.trusted_for(target.name, shared=target.security.shared_trust)
            expected = Expected(
                host=target.host,
                application_uri=server_uri,
                policy=POLICIES[target.security.policy],
                security=target.security,
                now=datetime.fromtimestamp(self._pki.clock.wall_us() / 1e6, UTC),
                source=target.name,
            )
            findings = check_certificate(sent, trusted, expected)
            if sent and any(f.code == "BadCertificateUntrusted" for f in findings):
                store.remember_rejected(sent[0], target.name)
        except (TrustError, OSError) as error:
            raise SourceError(
                f"the trust list cannot be used: {error}", reason_code="BadCertificateInvalid"
            ) from error
        return findings

    async def watch(self, prepared: Prepared) -> None:
        """End a session whose certificate ends, is revoked or not trusted any more.

        Raises:
            SourceError: it may not go on.
        """
        rounds = 0
        while prepared.sent:
            await self._pki.clock.sleep_s(RECHECK_S)
            refuse(await self.judge(prepared.sent, prepared.server_uri))
            rounds += 1
            if rounds % OWN_RECHECK_ROUNDS == 0:
                await self._load_own()  # it renews when it is time


def refuse(findings: Sequence[Finding]) -> None:
    """Raise the first finding that is not tolerated, with all others in its words."""
    hard = [finding for finding in findings if not finding.is_tolerated]
    if not hard:
        return
    others = "".join(f"; also {f.code}: {f.message}" for f in hard[1:])
    raise SourceError(
        f"{hard[0].code}: {hard[0].message}{others}",
        reason_code=hard[0].code,
        remedy=hard[0].remedy,
    )
