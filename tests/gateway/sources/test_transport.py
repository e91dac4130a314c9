"""What transport, channel and session lean on in asyncua: private names, pinned with it."""

import inspect

from asyncua import Client, ua
from asyncua.client.ua_client import UaClient, UASocketProtocol
from asyncua.common.connection import TransportLimits

from gateway.sources.opcua.transport import (
    CHUNK_BYTES_MAX,
    CHUNK_BYTES_MIN,
    BoundedProtocol,
    OwnLimits,
    make_client,
)


def test_the_private_names_of_asyncua_that_security_uses_are_there():
    for owner, names in {
        Client: ["_close_session_quiet", "_wait_until_ready", "_activate_with_credentials"],
        UaClient: ["_make_protocol", "_set_state", "_on_transport_lost", "_is_session_closing"],
        UASocketProtocol: ["_fail_all_pending", "disconnect_socket", "connection_made"],
        TransportLimits: ["update_client_limits"],
    }.items():
        assert all(hasattr(owner, name) for name in names), owner
    source = inspect.getsource(Client)
    assert "self._policy_ids = ep.UserIdentityTokens" in source  # sifted before it is used
    assert "self._server_nonce = response.ServerNonce" in source
    assert "update_client_limits" in inspect.getsource(
        inspect.getmodule(TransportLimits).SecureConnection
    )


async def test_a_servers_acknowledge_lifts_no_limit_of_ours():
    limits = OwnLimits(
        max_recv_buffer=CHUNK_BYTES_MAX,
        max_send_buffer=CHUNK_BYTES_MAX,
        max_chunk_count=3,
        max_message_size=1000,
    )
    for said in (0, 100, 2**32 - 1):
        limits.update_client_limits(
            ua.Acknowledge(ReceiveBufferSize=said, SendBufferSize=said, MaxMessageSize=said)
        )
        assert limits.max_recv_buffer == CHUNK_BYTES_MAX
        assert (limits.max_chunk_count, limits.max_message_size) == (3, 1000)
        assert CHUNK_BYTES_MIN <= limits.max_send_buffer <= CHUNK_BYTES_MAX
    assert isinstance(make_client("opc.tcp://h", 1000).uaclient._make_protocol(), BoundedProtocol)


def test_the_hello_says_how_large_a_message_we_take_and_a_chunk_of_open62541_is_taken():
    limits = OwnLimits(
        max_recv_buffer=CHUNK_BYTES_MAX,
        max_send_buffer=CHUNK_BYTES_MAX,
        max_chunk_count=3,
        max_message_size=1_000_000,
    )
    hello = limits.create_hello_limits(ua.Hello())
    # asyncua itself writes the chunk count into both
    assert (hello.MaxMessageSize, hello.MaxChunkCount) == (1_000_000, 3)
    # open62541 1.5 sends chunks of 65,536 bytes though it was told 65,535
    assert hello.ReceiveBufferSize >= 65_536
