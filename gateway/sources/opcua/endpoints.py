"""What a server offers: FindServers and GetEndpoints, bounded and with a deadline.

Both are asked over an unsecured channel, so an answer is a claim, not a fact: the certificate in
it is checked before anything else is sent, and the policy wanted is used or none. We always
connect to the address that was typed: servers behind NAT or with a name that is unknown here
announce addresses that lead nowhere, and an answer could lead us elsewhere. Only the path is
taken from the answer. Source: OPC 10000-4, 5.5.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

import anyio
import msgspec
from asyncua import ua
from asyncua.ua.uaerrors import UaError

from contract.config_opcua import SecurityConfig
from gateway.errors import SourceError
from gateway.sources.opcua.certificate_facts import (
    TEXT_MAX,
    CertificateFacts,
    facts_of,
    split_chain,
)
from gateway.sources.opcua.policies import BY_URI, MODE_NAMES, MODES, POLICIES, policy_text
from gateway.sources.opcua.reverse import Incoming
from gateway.sources.opcua.transport import DISCOVERY_MESSAGE_BYTES_MAX, make_client

DISCOVERY_DEADLINE_S = 15.0
ENDPOINTS_MAX = 200
SERVERS_MAX = 200
URLS_MAX = 20
NETWORK_ERRORS = (OSError, TimeoutError, UaError, ConnectionError)
"""What a connection attempt may end with."""
DECODE_ERRORS = (
    struct.error,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    AssertionError,
    RecursionError,
)
"""What asyncua raises on bytes that are no answer: it has no error of its own for them."""
TALK_ERRORS = (*NETWORK_ERRORS, *DECODE_ERRORS)
"""What a call of asyncua that waits for a server may end with."""

_TOKENS = {
    ua.UserTokenType.Anonymous: "anonymous",
    ua.UserTokenType.UserName: "user",
    ua.UserTokenType.Certificate: "certificate",
    ua.UserTokenType.IssuedToken: "issued",
}


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint that a server offers.

    Attributes:
        url: the address that the server announces; we use the typed one.
        policy: security policy's name, as in the configuration where we know it.
        mode: None, Sign or SignAndEncrypt.
        security_level: the server's own rating.
        strength: our rating, 0 (protects nothing) to 5; -1 for policies that we do not speak.
        is_insecure: needs ``allow_insecure``.
        logins: anonymous, user, certificate, issued.
        certificate: the server's, None without one.
    """

    url: str
    policy: str
    mode: str
    security_level: int
    strength: int
    is_insecure: bool
    logins: list[str]
    certificate: CertificateFacts | None


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server that the asked one knows of."""

    application_uri: str
    product_uri: str
    name: str
    kind: str
    urls: list[str]


class DiscoveryReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was found at an address.

    Attributes:
        endpoint: the address asked.
        servers: servers known there (FindServers).
        offers: endpoints, the strongest first.
        notices: what a person should know, such as an address that differs from the typed one.
    """

    endpoint: str
    servers: list[Server]
    offers: list[Offer]
    notices: list[str]


async def discover_server(url: str) -> DiscoveryReport:
    """Ask what is at an address.

    Raises:
        SourceError: nobody answers in time, or with something else than OPC UA.
    """
    client = make_client(url, DISCOVERY_MESSAGE_BYTES_MAX)
    try:
        with anyio.fail_after(DISCOVERY_DEADLINE_S):
            await client.connect_socket()
            await client.send_hello()
            await client.open_secure_channel()
            found = (await client.get_endpoints())[:ENDPOINTS_MAX]
            servers = (await client.find_servers())[:SERVERS_MAX]
    except TALK_ERRORS as error:
        raise connect_error(url, error) from error
    finally:
        client.disconnect_socket()
    offers = sorted((offer_of(e) for e in found), key=lambda o: (-o.strength, o.mode, o.policy))
    return DiscoveryReport(
        endpoint=url,
        servers=[_server_of(server) for server in servers],
        offers=offers,
        notices=address_notices(url, found),
    )


@contextmanager
def talking(url: str) -> Iterator[None]:
    """Word what a call of asyncua ends with. Raises SourceError."""
    try:
        yield
    except TALK_ERRORS as error:
        raise connect_error(url, error) from error


async def get_endpoints(url: str, incoming: Incoming | None = None) -> list[ua.EndpointDescription]:
    """Return the endpoints that a server offers, at most ``ENDPOINTS_MAX``.

    Args:
        url: its address.
        incoming: wait for its call instead of dialling.

    Raises:
        SourceError: nobody answers in time, or with something else than OPC UA.
    """
    client = make_client(url, DISCOVERY_MESSAGE_BYTES_MAX, incoming)
    try:
        await client.connect_socket()
        with anyio.fail_after(DISCOVERY_DEADLINE_S):
            await client.send_hello()
            await client.open_secure_channel()
            found: list[ua.EndpointDescription] = await client.get_endpoints()
    except TALK_ERRORS as error:
        raise connect_error(url, error) from error
    finally:
        client.disconnect_socket()
    return found[:ENDPOINTS_MAX]


def choose_endpoint(
    found: Sequence[ua.EndpointDescription], security: SecurityConfig
) -> ua.EndpointDescription:
    """Return the endpoint with exactly the policy and mode wanted; never another.

    Raises:
        SourceError: there is none; it lists what there is.
    """
    wanted = POLICIES[security.policy]
    for endpoint in found:
        is_tcp = (endpoint.EndpointUrl or "").startswith("opc.tcp://")
        if (
            is_tcp
            and endpoint.SecurityPolicyUri == wanted.uri
            and endpoint.SecurityMode == MODES[security.mode]
        ):
            return endpoint
    offered = sorted({_offer_text(e) for e in found}) or ["nothing"]
    remedy = "set security.policy and security.mode to one of them, or enable it on the server"
    if all(text.startswith(("None", "Basic128Rsa15", "Basic256/")) for text in offered):
        remedy = "enable a current policy on the server; these ones need allow_insecure: true"
    raise SourceError(
        f"the server does not offer {security.policy} with {security.mode}; "
        f"it offers {', '.join(offered[:20])}",
        reason_code="BadSecurityPolicyRejected",
        remedy=remedy,
    )


def _offer_text(endpoint: ua.EndpointDescription) -> str:
    mode = MODE_NAMES.get(endpoint.SecurityMode, "?")
    name = policy_text(endpoint.SecurityPolicyUri)
    return name if name == mode == "None" else f"{name}/{mode}"


def offer_of(endpoint: ua.EndpointDescription) -> Offer:
    """Say what an endpoint offers."""
    policy = BY_URI.get(endpoint.SecurityPolicyUri or "")
    chain = split_chain(endpoint.ServerCertificate or b"")
    tokens = {
        _TOKENS[t.TokenType] for t in endpoint.UserIdentityTokens or () if t.TokenType in _TOKENS
    }
    mode = MODE_NAMES.get(endpoint.SecurityMode, "?")
    is_plain = mode == "None"
    return Offer(
        url=_text(endpoint.EndpointUrl),
        policy=policy_text(endpoint.SecurityPolicyUri),
        mode=mode,
        security_level=int(endpoint.SecurityLevel),
        strength=-1 if policy is None else 0 if is_plain else policy.strength,
        is_insecure=policy is not None and (policy.is_insecure or is_plain),
        logins=sorted(tokens),
        certificate=facts_of(chain[0]) if chain else None,
    )


def _server_of(server: ua.ApplicationDescription) -> Server:
    name = server.ApplicationName.Text if server.ApplicationName is not None else ""
    return Server(
        application_uri=_text(server.ApplicationUri),
        product_uri=_text(server.ProductUri),
        name=_text(name),
        kind=server.ApplicationType.name,
        urls=[_text(url) for url in (server.DiscoveryUrls or ())[:URLS_MAX]],
    )


def _text(value: object) -> str:
    """Cut and clean what a stranger wrote."""
    return "".join(c if c.isprintable() else "?" for c in str(value or "")[:TEXT_MAX])


def session_url(typed: str, announced: str | None) -> str:
    """Return the typed address, with the announced path when none was typed."""
    parts, theirs = urlsplit(typed), _split(announced)
    if parts.path.strip("/") or theirs is None or not theirs[1].strip("/"):
        return typed
    return f"opc.tcp://{parts.netloc}{theirs[1]}"


def address_notices(typed: str, found: Sequence[ua.EndpointDescription]) -> list[str]:
    """Say when the server announces another address than the typed one, which is used."""
    own = _split(typed)
    others = {
        _text(e.EndpointUrl) for e in found if own and (_split(e.EndpointUrl) or own)[0] != own[0]
    }
    if not others:
        return []
    shown = ", ".join(sorted(others)[:3])
    return [f"the server announces {shown}; the typed address is used"]


def _split(url: str | None) -> tuple[tuple[str, int], str] | None:
    """Return host and port, and path; None for what is no address of ours."""
    try:
        parts = urlsplit(url or "")
        if parts.scheme != "opc.tcp" or not parts.hostname:
            return None
        return (parts.hostname.lower(), parts.port or 4840), parts.path
    except ValueError:
        return None


def connect_error(url: str, error: BaseException) -> SourceError:
    """Word why a connection did not come about; the code is OPC UA's where it has one."""
    where = urlsplit(url).netloc or url
    if isinstance(error, socket.gaierror):
        return SourceError(
            f"the name {urlsplit(url).hostname} is not known here",
            reason_code="BadHostUnknown",
            remedy="check the name, and the name server of this box; or use the address",
        )
    if isinstance(error, ConnectionRefusedError):
        return SourceError(
            f"nothing listens at {where}",
            reason_code="BadConnectionRejected",
            remedy="check the address and the port, and that the server runs",
        )
    if isinstance(error, TimeoutError):
        return SourceError(
            f"{where} did not answer in time",
            reason_code="BadTimeout",
            remedy="check the address, the network and the firewalls between",
        )
    if isinstance(error, DECODE_ERRORS):
        return SourceError(
            f"{where} answered with something that cannot be read",
            reason_code="BadDecodingError",
            remedy=REMEDIES["BadCommunicationError"],
        )
    name = type(error).__name__
    code = name if name.startswith("Bad") else "BadCommunicationError"
    return SourceError(f"{where}: {name}: {error}", reason_code=code, remedy=REMEDIES.get(code, ""))


REMEDIES = {
    "BadCommunicationError": "check that the address is that of an OPC UA server (opc.tcp)",
    "BadTcpEndpointUrlInvalid": "the server wants another path: take the address it announces",
    "BadSecurityChecksFailed": "the server most likely does not trust us yet: have it trust our "
    "certificate (page Certificates, or factoryplus gateway certificates export)",
    "BadCertificateUntrusted": "the server does not trust us yet: have it trust our certificate "
    "(page Certificates, or factoryplus gateway certificates export)",
    "BadCertificateUriInvalid": "the server finds our certificate's URI wrong: have it trust our "
    "current certificate",
    "BadCertificateTimeInvalid": "the server finds our certificate out of date: check its clock",
    "BadSecurityPolicyRejected": "choose a policy that the server has enabled",
    "BadIdentityTokenInvalid": "check user name and password, or the user certificate",
    "BadIdentityTokenRejected": "the server does not take this kind of login: choose another",
    "BadUserAccessDenied": "check user name and password, or the rights of the user there",
    "BadTooManySessions": "the server has no session left: close others, or wait for their end",
    "BadMaxConnectionsReached": "the server has no connection left: close others",
}
"""What people can do about what a server answers; unknown codes show their name alone."""
