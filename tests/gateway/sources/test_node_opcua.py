"""Against node-opcua, which shares no code with asyncua: security, logins, resuming, limits."""

import re
from base64 import b64decode

import anyio
import pytest

from contract.config_security import Login
from gateway.errors import SourceError
from gateway.sources.opcua.channel import create_session, log_in, open_channel
from gateway.sources.opcua.session import SessionToken, open_session
from tests.gateway.sources.certificates import key, make
from tests.gateway.sources.node_plant import node_plant
from tests.gateway.sources.secure_plc import MODES, PASSWORD, POLICIES, access_to

pytestmark = pytest.mark.slow
URI = "urn:factoryplus:test:node-opcua"


@pytest.fixture(scope="module")
async def plant(tmp_path_factory):
    directory = tmp_path_factory.mktemp("node")
    paths = make(name="node", uri=URI).write(directory / "certificate")
    async with node_plant(
        directory / "pki",
        certificate_file=str(paths[0]),
        key_file=str(paths[1]),
        policies=list(POLICIES),
        modes=list(MODES),
        users={"op": PASSWORD},
        variables=3,
    ) as running:
        await running.ask(tick=7)
        yield running


async def read_v0(access, tmp_path, plant):
    """Open a session, read V0, leave it open at the server; return the value and the session."""
    token = SessionToken(tmp_path / "node.session")
    async with open_session(access, token) as session:
        session.holds_subscriptions = True
        node = session.namespaces.node_id(f"nsu={plant.namespace};s=V0")
        return (await session.read([node], 13))[0].Value.Value, session


@pytest.mark.parametrize("policy", POLICIES)
async def test_every_policy_and_login_works_and_a_session_is_resumed(plant, tmp_path, policy):
    certificate, key_file = make(name="operator", private_key=key(7)).write(tmp_path, "operator")
    logins = (
        Login(),
        Login(username="op", password=PASSWORD),
        Login(user_certificate_file=str(certificate), user_key_file=str(key_file)),
    )
    for mode, login in ((mode, login) for mode in MODES for login in logins):
        access = access_to(plant.endpoint, tmp_path, policy=policy, mode=mode, login=login)
        if login is logins[0] and mode == MODES[0]:
            with pytest.raises(SourceError, match="not trusted yet") as raised:
                await read_v0(access, tmp_path, plant)
            access._pki.trust.trust(re.search(r"\w{64}", raised.value.remedy)[0], "line1")
        value, first = await read_v0(access, tmp_path, plant)
        _, second = await read_v0(access, tmp_path, plant)
        # node-opcua has not implemented coming back with a user certificate: a new session then
        comes_back = login is not logins[2]
        assert (value, first.resumed, second.resumed) == (7, False, comes_back)
        SessionToken(tmp_path / "node.session").forget()


async def test_a_wrong_password_is_said(plant, tmp_path):
    login = Login(username="op", password="wrong")
    access = access_to(plant.endpoint, tmp_path, login=login)
    access._pki.trust.import_file(b64decode(plant.ready["certificate"]))
    with pytest.raises(SourceError) as raised:
        await read_v0(access, tmp_path, plant)
    assert raised.value.reason_code == "BadUserAccessDenied"
    assert "check user name and password" in raised.value.remedy


async def test_reading_goes_on_while_the_channel_gets_new_keys(plant, tmp_path):
    access = access_to(plant.endpoint, tmp_path)
    access._pki.trust.import_file(b64decode(plant.ready["certificate"]))
    client = (await access.prepare()).client()
    client.secure_channel_timeout = 300  # ms; the real one renews every 45 minutes
    await open_channel(client, access.target)
    try:
        await create_session(client, access.target)
        await log_in(client, access.target)
        client._start_renew_loop()
        tokens = set()
        with anyio.fail_after(30):
            while len(tokens) < 2:
                assert await client.nodes.server_state.read_value() == 0
                tokens.add(client.uaclient.protocol._connection.security_token.TokenId)
                await anyio.sleep(0.02)
    finally:
        client.uaclient.request_disconnect()
        await client._cancel_task(client._renew_channel_task)
        client.disconnect_socket()
