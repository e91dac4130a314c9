"""One OPC UA session: connect or resume, know the namespaces. A fresh asyncua client per attempt.

A session outlives its connection at the server (``SESSION_TIMEOUT_MS``), with its subscriptions and
what they have not delivered. So it is resumed where it still exists (ActivateSession on a new
channel, OPC 10000-4, 6.7), by the next connection of this process or of the next one: its token is
kept in a file that only we can read. It is closed only when nothing hangs on it.

asyncua's own reconnection, subscriptions and watchdogs are not used (they lose data:
shared/reference/datapath.md, 1.2). Node ids are stored by namespace URI and resolved here, for each
session, against the server's namespace array.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import msgspec
from asyncua import Client, ua
from asyncua.ua.uaerrors import UaError

from gateway.errors import SourceError
from gateway.sources.opcua.access import Access, Prepared, Target
from gateway.sources.opcua.channel import (
    SIGNATURE_ERRORS,
    create_session,
    log_in,
    open_channel,
)
from gateway.sources.opcua.endpoints import TALK_ERRORS, connect_error
from gateway.sources.opcua.login import safe_tokens, set_login
from runtime.log import logger
from runtime.tls import write_private

SESSION_TIMEOUT_MS = 120_000


class Namespaces:
    """The server's namespace array, for turning addresses into node ids and back."""

    def __init__(self, uris: list[str]) -> None:
        self._uris = uris
        self._index = {uri: index for index, uri in enumerate(uris)}

    def node_id(self, address: str) -> ua.NodeId:
        """Return the node id of ``nsu=URI;s=NAME`` or ``i=NUMBER`` in this session.

        Raises:
            KeyError: the server does not know the namespace.
            ValueError: the text is no node id.
        """
        if not address.startswith("nsu="):
            return _parse(address)
        uri, _, identifier = address[4:].rpartition(";")
        # an identifier may hold ";" itself: find the first ";x=" behind the URI
        for kind in ("s", "i", "g", "b"):
            head, found, tail = address[4:].partition(f";{kind}=")
            if found and head in self._index:
                uri, identifier = head, f"{kind}={tail}"
                break
        return _parse(f"ns={self._index[uri]};{identifier}")

    def address(self, node_id: ua.NodeId) -> str:
        """Return the address of a node id: by URI, or short for namespace 0."""
        text: str = node_id.to_string()
        identifier = text.partition(";")[2] if text.startswith("ns=") else text
        index = int(node_id.NamespaceIndex)
        if index == 0 or index >= len(self._uris):
            return identifier if index == 0 else text
        return f"nsu={self._uris[index]};{identifier}"


def _parse(text: str) -> ua.NodeId:
    try:
        return ua.NodeId.from_string(text)
    except UaError as error:
        raise ValueError(f"{text!r} is no node id") from error


class Kept(msgspec.Struct, frozen=True):
    """What it takes to come back to a session: its token, and the server's last nonce to sign."""

    token: ua.NodeId
    nonce: bytes


class SessionToken:
    """The token of the session to resume, in memory and in a file (0600); it is a secret."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Kept | None:
        """Return the token kept; None when there is none or it cannot be read."""
        try:
            token, _, nonce = self._path.read_text(encoding="ascii").partition("\n")
            return Kept(ua.NodeId.from_string(token), bytes.fromhex(nonce))
        except (OSError, ValueError, UaError):
            return None

    def keep(self, client: Client) -> None:
        """Keep a client's session. A disk that refuses costs the resuming, nothing else."""
        token = client.uaclient.session.authentication_token.to_string()
        nonce = (client._server_nonce or b"").hex()  # noqa: SLF001
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            write_private(self._path, f"{token}\n{nonce}".encode("ascii"))
        except OSError as error:
            logger().warning("opcua.token_not_kept", error=str(error))

    def forget(self) -> None:
        """Forget the token: the next session is a new one."""
        self._path.unlink(missing_ok=True)


class Session:
    """An activated session. Made by ``open_session``, valid within its block.

    Attributes:
        resumed: the session existed before, with whatever subscriptions it had.
        holds_subscriptions: set when something hangs on the session: it is not closed then.
        part_limits: most nodes of a request by service (``read``, ``browse``), beside what the
            server tells: from its profile.
        notices: what a person should know of the connection.
    """

    def __init__(self, client: Client, namespaces: Namespaces, *, resumed: bool = False) -> None:
        self.client = client
        self.namespaces = namespaces
        self.resumed = resumed
        self.holds_subscriptions = resumed
        self.part_limits: dict[str, int] = {}
        self.notices: list[str] = []

    @property
    def key(self) -> int:
        """A number that stands for the session, for the journal: its token is a secret."""
        token = self.client.uaclient.session.authentication_token.to_string()
        return int.from_bytes(hashlib.sha256(token.encode()).digest()[:7]) or 1

    @property
    def services(self) -> Any:
        """The session's service set."""
        return self.client.uaclient.session

    async def read(
        self, node_ids: list[ua.NodeId], attribute: ua.AttributeIds
    ) -> list[ua.DataValue]:
        """Read one attribute of at most one request's worth of nodes."""
        values: list[ua.DataValue] = await self.services.read_attributes(node_ids, attribute)
        return values

    async def server_time_us(self) -> int | None:
        """Return the server's own time; None where it tells none."""
        node_id = ua.NodeId(ua.ObjectIds.Server_ServerStatus_CurrentTime)
        answer = (await self.read([node_id], ua.AttributeIds.Value))[0].Value
        told = answer.Value if answer is not None else None
        return round(told.timestamp() * 1e6) if isinstance(told, datetime) else None


@asynccontextmanager
async def open_session(access: Access, token: SessionToken) -> AsyncIterator[Session]:
    """Connect, resume the session kept or activate a new one; see the module's text for its end.

    Raises:
        SourceError: not reachable, refused, or not what the configuration allows.
    """
    async with access.reachable():
        prepared = await access.prepare()
        async with _opened(access, prepared, token) as session:
            yield session


@asynccontextmanager
async def _opened(
    access: Access, prepared: Prepared, token: SessionToken
) -> AsyncIterator[Session]:
    # the largest part of a lost link is silence: every request has its own deadline
    client = prepared.client(access.incoming)
    client.session_timeout = SESSION_TIMEOUT_MS
    await set_login(client, access.target.login)
    try:
        resumed = await _activate(client, token, access)
    except BaseException:
        client.disconnect_socket()
        raise
    session = Session(client, Namespaces([]), resumed=resumed)
    session.notices = prepared.notices
    try:
        session.namespaces = Namespaces(await _namespace_array(client))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(access.watch, prepared)
            yield session
            tasks.cancel_scope.cancel()
    finally:
        with anyio.move_on_after(3, shield=True):
            await _close(session, token)


async def _activate(client: Client, token: SessionToken, access: Access) -> bool:
    """Open socket, channel and session; True when the session existed before.

    The steps of ``Client.connect``, without its supervisor and watchdog tasks: the engine does
    their work. The private calls are pinned and contract-tested.
    """
    await open_channel(client, access.target)
    kept = token.load()
    if kept is not None and await _resume(client, kept, access.target):
        resumed = True
    else:
        token.forget()
        client.uaclient.session.reset_authentication_token()
        await create_session(client, access.target)
        await log_in(client, access.target)
        resumed = False
    token.keep(client)
    client._start_renew_loop()  # noqa: SLF001
    return resumed


async def _resume(client: Client, kept: Kept, target: Target) -> bool:
    policy = client.security_policy
    try:
        endpoints = await client.get_endpoints()
        endpoint = Client.find_endpoint(endpoints, policy.Mode, policy.URI)
        tokens = safe_tokens(endpoint.UserIdentityTokens, target.login, target.security)
        client._policy_ids = tokens  # noqa: SLF001
        client.uaclient.session.restore_authentication_token(kept.token)
        client._server_nonce = kept.nonce  # noqa: SLF001 - what the last activation gave us to sign
        await client._activate_with_credentials()  # noqa: SLF001
    except (UaError, SourceError):
        # the server was restarted or the session is over: a new one then
        return False
    except (*TALK_ERRORS, *SIGNATURE_ERRORS) as error:
        raise connect_error(target.endpoint, error) from error
    return True


async def _namespace_array(client: Client) -> list[str]:
    try:
        uris: list[str] = await client.get_namespace_array()
    except TALK_ERRORS as error:
        wrong = connect_error(client.server_url.geturl(), error)
        raise SourceError(
            f"the server did not tell its namespaces: {wrong}",
            reason_code=wrong.reason_code,
            remedy=wrong.remedy,
        ) from error
    return uris


async def _close(session: Session, token: SessionToken) -> None:
    """Close the connection, and the session too unless subscriptions hang on it."""
    client = session.client
    uaclient = client.uaclient
    uaclient.request_disconnect()
    await client._cancel_task(client._renew_channel_task)  # noqa: SLF001 - asyncua has no other way
    protocol = uaclient.protocol
    if not session.holds_subscriptions:
        token.forget()
        if protocol is not None and not protocol.is_closed:
            try:
                with anyio.fail_after(1):
                    await uaclient.close_session(True)
            except (OSError, TimeoutError, UaError, ConnectionError):
                pass
    client.disconnect_socket()
