"""The steps from a prepared client to a session: channel, session, login. Each says what failed.

They are the steps of ``asyncua.Client.connect`` one by one, with the checks that it leaves out:
the server's nonce is long enough, and no token policy gives the secret away. The private calls
are pinned and contract-tested.
"""

from __future__ import annotations

import anyio
from asyncua import Client
from asyncua.crypto.uacrypto import InvalidSignature as MessageForged
from asyncua.ua.uaerrors import UaError
from cryptography.exceptions import InvalidSignature

from gateway.errors import SourceError
from gateway.sources.opcua.access import Target
from gateway.sources.opcua.endpoints import (
    REMEDIES,
    TALK_ERRORS,
    choose_endpoint,
    connect_error,
    get_endpoints,
    talking,
)
from gateway.sources.opcua.login import safe_tokens

NONCE_BYTES_MIN = 32
"""Source: OPC 10000-4, 5.7.2.2: what a server has to send with each session."""
SIGNATURE_ERRORS = (InvalidSignature, MessageForged)
CLOSE_S = 1.0


async def open_channel(client: Client, target: Target) -> None:
    """Open socket and channel. Raises SourceError."""
    with talking(target.endpoint):
        await client.connect_socket()
        await client.send_hello()
    await secure_channel(client, target)


async def secure_channel(client: Client, target: Target) -> None:
    """Open the channel on a connection that said hello. Raises SourceError."""
    try:
        await client.open_secure_channel()
    except (*TALK_ERRORS, *SIGNATURE_ERRORS) as error:
        raise _channel_error(target, error) from error


def _channel_error(target: Target, error: BaseException) -> SourceError:
    """A server that does not know our certificate often hangs up, or says nothing."""
    if target.is_plain or not isinstance(error, ConnectionError | TimeoutError):
        return connect_error(target.endpoint, error)
    code = "BadSecurityChecksFailed"
    did = "hung up" if isinstance(error, ConnectionError) else "did not answer"
    return SourceError(
        f"{code}: the server {did} when the secure channel was opened",
        reason_code=code,
        remedy=REMEDIES[code],
    )


async def create_session(client: Client, target: Target) -> None:
    """Create a session, not yet activated. Raises SourceError."""
    try:
        await client.create_session()
    except SIGNATURE_ERRORS as error:
        raise SourceError(
            "the server did not prove that it holds the key of its certificate",
            reason_code="BadApplicationSignatureInvalid",
            remedy="something between answers in its place: check the network",
        ) from error
    except TALK_ERRORS as error:
        if target.is_plain and type(error) is UaError:
            # asyncua found no endpoint without security: say what there is
            choose_endpoint(await get_endpoints(target.endpoint), target.security)
        raise connect_error(target.endpoint, error) from error
    nonce = client._server_nonce or b""  # noqa: SLF001
    if not target.is_plain and len(nonce) < NONCE_BYTES_MIN:
        await _give_up(client)
        raise SourceError(
            f"the server's nonce has {len(nonce)} bytes, {NONCE_BYTES_MIN} are needed",
            reason_code="BadNonceInvalid",
            remedy="the server breaks the standard: update it",
        )


async def log_in(client: Client, target: Target) -> None:
    """Activate a session that was created. Raises SourceError."""
    try:
        tokens = safe_tokens(client._policy_ids, target.login, target.security)  # noqa: SLF001
        client._policy_ids = tokens  # noqa: SLF001
        with talking(target.endpoint):
            await client._activate_with_credentials()  # noqa: SLF001
    except SourceError:
        await _give_up(client)
        raise


async def _give_up(client: Client) -> None:
    """Close a session that nobody will use: a server has few of them."""
    with anyio.move_on_after(CLOSE_S, shield=True):
        await client._close_session_quiet()  # noqa: SLF001
