"""MQTT over TLS at a real mosquitto: what is trusted, and what each failure says."""

import shutil

import anyio
import pytest

from bench.processes import Broker, running
from contract.config import BrokerConfig
from runtime.clock import SystemClock
from runtime.mqtt import MqttError, connect
from tests.gateway.sinks.broker_host import DEADLINE_S
from tests.runtime.tls_broker import Authority, TlsBroker

pytestmark = [pytest.mark.broker]
WILL = ("spBv1.0/G/NDEATH/N", b"", 1)
CLOCK = SystemClock()


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


async def attempt(broker, **config):
    """Connect and read a fence's answer; return what a refusal says, "" when it held."""
    try:
        with anyio.fail_after(DEADLINE_S):
            connection = await connect(
                BrokerConfig(url=config.pop("url", broker.url), **config), "client", WILL, CLOCK
            )
            try:
                assert await connection.settle()
            finally:
                await connection.close()
    except MqttError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
async def test_a_broker_whose_certificate_is_of_our_ca_is_trusted(tmp_path, authority, version):
    async with running(TlsBroker(tmp_path, authority.issue("broker"))) as broker:
        assert await attempt(broker, ca_file=str(authority.ca_file), version=version) == ""


async def test_a_broker_of_another_ca_is_not_trusted_and_the_remedy_is_said(tmp_path, authority):
    other = Authority(tmp_path, "Other CA")
    async with running(TlsBroker(tmp_path, authority.issue("broker"))) as broker:
        for said in (await attempt(broker, ca_file=str(other.ca_file)), await attempt(broker)):
            assert "not signed by a CA we trust: give its CA as ca_file" in said
        unreadable = await attempt(broker, ca_file=str(tmp_path / "none.pem"))
        assert "ca_file" in unreadable
        assert "No such file" in unreadable
        (tmp_path / "text.pem").write_text("no certificate")
        assert "is not PEM" in await attempt(broker, ca_file=str(tmp_path / "text.pem"))


async def test_an_expired_certificate_and_one_for_another_name_are_told_apart(tmp_path, authority):
    ca_file = str(authority.ca_file)
    expired = TlsBroker(tmp_path, authority.issue("old", days=(-3, -1)))
    async with running(expired) as broker:
        assert "has expired: renew it" in await attempt(broker, ca_file=ca_file)
    named = TlsBroker(tmp_path, authority.issue("named", host="broker.example"))
    async with running(named) as broker:
        assert "is for another address" in await attempt(broker, ca_file=ca_file)
        url = f"mqtts://localhost:{broker.port}"
        assert "is for another name" in await attempt(broker, url=url, ca_file=ca_file)


async def test_a_client_certificate_is_shown_where_the_broker_wants_one(tmp_path, authority):
    ours, other = authority.issue("ours"), Authority(tmp_path, "Other CA").issue("strangers")
    sealed = authority.issue("sealed", passphrase=b"secret")
    ca_file = str(authority.ca_file)

    def shown(files, key=None):
        return {"certificate_file": str(files[0]), "key_file": str(key or files[1])}

    server = TlsBroker(tmp_path, authority.issue("broker"), client_ca=authority.ca_file)
    async with running(server) as broker:
        assert await attempt(broker, ca_file=ca_file, **shown(ours)) == ""
        without = await attempt(broker, ca_file=ca_file)
        # in words of its own, or ours where its alert was lost
        assert "certificate of ours" in without
        assert "certificate_file and key_file" in without
        strange = await attempt(broker, ca_file=ca_file, **shown(other))
        assert "our certificate_file" in strange
        mixed = await attempt(broker, ca_file=ca_file, **shown(ours, other[1]))
        assert "the key is not that of the certificate" in mixed
        assert "the key is encrypted" in await attempt(broker, ca_file=ca_file, **shown(sealed))


async def test_a_wrong_password_is_told_and_the_password_is_not(tmp_path, authority):
    passwords = tmp_path / "passwords"
    program = shutil.which("mosquitto_passwd", path="/usr/bin:/usr/sbin:/bin")
    await anyio.run_process([program, "-c", "-b", passwords, "gateway", "right-password"])
    passwords.chmod(0o644)
    ca_file = str(authority.ca_file)
    server = TlsBroker(tmp_path, authority.issue("broker"), password_file=passwords)
    async with running(server) as broker:
        right = {"username": "gateway", "password": "right-password"}
        assert await attempt(broker, ca_file=ca_file, **right) == ""
        for version in ("3.1.1", "5.0"):
            wrong = {"username": "gateway", "password": "wrong-password", "version": version}
            said = await attempt(broker, ca_file=ca_file, **wrong)
            assert "uthori" in said
            assert "username and password" in said
            assert "wrong-password" not in said


async def test_tls_and_plain_text_that_meet_say_so(tmp_path, authority):
    async with running(Broker(tmp_path)) as plain:
        url = f"mqtts://127.0.0.1:{plain.port}"
        said = await attempt(plain, url=url, ca_file=str(authority.ca_file))
        assert "TLS" in said
    async with running(TlsBroker(tmp_path, authority.issue("broker"))) as broker:
        said = await attempt(broker, url=f"mqtt://127.0.0.1:{broker.port}")
        assert "before it answered CONNECT" in said
        assert "mqtts" in said
