"""The staged connection check and discovery, against real and hostile servers."""

import random

import anyio
import pytest
from asyncua import ua

from contract.config_security import Login
from gateway.errors import SourceError
from gateway.sources.opcua import endpoints as endpoints_module
from gateway.sources.opcua import transport
from gateway.sources.opcua.connect_check import STEPS, ConnectCheck
from gateway.sources.opcua.endpoints import discover_server, session_url
from plant.ports import free_port
from runtime.clock import SystemClock
from tests.gateway.sources.certificates import key, make
from tests.gateway.sources.secure_plc import PASSWORD, SecurePlc, access_to

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
async def plc():
    plc = SecurePlc(make())
    await plc.start()
    yield plc
    await plc.stop()


async def check(endpoint, tmp_path, **rest):
    access = access_to(endpoint, tmp_path, **rest)
    report = await ConnectCheck(access, SystemClock()).run()
    assert [step.step for step in report.steps] == list(STEPS)
    return report


def failed(report):
    """The step that failed; those before it are ok, those behind it skipped."""
    results = [step.result for step in report.steps]
    at = results.index("failed")
    assert "failed" not in results[:at]
    assert set(results[at + 1 :]) <= {"skipped"}
    assert not report.ok
    assert report.steps[at].remedy
    return report.steps[at]


async def test_a_good_connection_passes_every_step_and_leaves_no_session(plc, tmp_path):
    access = access_to(plc.endpoint, tmp_path)
    access._pki.trust.import_file(plc.pair.der, "line1")
    login = Login(username="op", password=PASSWORD)
    report = await check(plc.endpoint, tmp_path, login=login)
    assert [step.result for step in report.steps] == ["ok"] * len(STEPS), report.steps
    found = {step.step: step.found for step in report.steps}
    assert "127.0.0.1" in found["name"]
    assert "Basic256Sha256/SignAndEncrypt among them" in found["endpoints"]
    assert found["login"] == "as UserName"
    assert "Running" in found["status"]
    assert report.certificate.fingerprint == plc.pair.fingerprint
    strengths = [offer.strength for offer in report.offers]
    assert strengths == sorted(strengths, reverse=True)
    assert len(report.offers) == 11
    assert PASSWORD not in str(report)


async def test_the_first_contact_shows_the_certificate_and_how_to_approve_it(plc, tmp_path):
    report = await check(plc.endpoint, tmp_path)
    step = failed(report)
    assert (step.step, step.code) == ("certificate", "BadCertificateUntrusted")
    assert f"certificates trust {plc.pair.fingerprint} --source line1" in step.remedy
    assert report.certificate.fingerprint == plc.pair.fingerprint
    assert [f.code for f in report.findings] == ["BadCertificateUntrusted"]


async def test_policy_none_has_no_certificate_to_check(plc, tmp_path):
    report = await check(plc.endpoint, tmp_path, policy="None", mode="None", allow_insecure=True)
    assert report.ok
    assert [s.step for s in report.steps if s.result == "skipped"] == ["certificate"]


async def test_each_step_that_can_fail_says_so(plc, tmp_path):
    unsecured = {"policy": "None", "mode": "None", "allow_insecure": True}
    report = await check("opc.tcp://no.such.invalid", tmp_path, **unsecured)
    assert failed(report).step == "name"
    report = await check(f"opc.tcp://127.0.0.1:{free_port()}", tmp_path, **unsecured)
    assert (failed(report).step, failed(report).code) == ("tcp", "BadConnectionRejected")
    report = await check(plc.endpoint, tmp_path, policy="None", mode="None")
    assert failed(report).code == "config.insecure"
    access_to(plc.endpoint, tmp_path)._pki.trust.import_file(plc.pair.der, "line1")
    login = Login(username="op", password="wrong")
    report = await check(plc.endpoint, tmp_path, login=login)
    assert (failed(report).step, failed(report).code) == ("login", "BadUserAccessDenied")


async def test_a_server_that_cannot_prove_its_certificate_ends_at_the_channel(
    plc, tmp_path, monkeypatch
):
    """It shows a trusted certificate, but does not hold its key: it gets nothing of ours."""
    theirs, other = make(private_key=key(5)), make(private_key=key(6))
    plc.show(theirs)
    for factory in plc.server._policies:
        factory.private_key = other.key
    access_to(plc.endpoint, tmp_path)._pki.trust.import_file(theirs.der, "line1")
    login = Login(username="op", password=PASSWORD)
    plc.users.seen.clear()
    monkeypatch.setattr(transport, "REQUEST_TIMEOUT_S", 0.5)
    report = await check(plc.endpoint, tmp_path, login=login)
    assert (failed(report).step, failed(report).code) == ("channel", "BadSecurityChecksFailed")
    assert plc.users.seen == []
    plc.show(make())


# -- hostile and odd servers ---


async def serve_bytes(answer, ask):
    """Serve something that is no OPC UA server; return what ``ask`` got from it."""
    port = free_port()

    async def handle(stream):
        async with stream:
            try:
                await stream.receive()
                while answer:
                    await stream.send(answer)
            except (anyio.BrokenResourceError, anyio.EndOfStream):
                return
            await anyio.sleep_forever()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        try:
            return await ask(f"opc.tcp://127.0.0.1:{port}")
        finally:
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"ACKF" + (2**31).to_bytes(4, "little") + b"x" * 60_000,  # a chunk without end
        b"MSGC" + (60_000).to_bytes(4, "little") + b"x" * 59_992,
    ],
    ids=["another protocol", "a chunk without end", "chunks before hello"],
)
async def test_a_hostile_answer_ends_the_check_at_hello_in_bounds(tmp_path, answer):
    async def ask(endpoint):
        return await check(endpoint, tmp_path)

    report = await serve_bytes(answer, ask)
    assert failed(report).step == "hello"


async def test_a_server_that_says_nothing_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(transport, "REQUEST_TIMEOUT_S", 0.2)

    async def ask(endpoint):
        return await check(endpoint, tmp_path)

    report = await serve_bytes(b"", ask)
    assert (failed(report).step, failed(report).code) == ("hello", "BadTimeout")


async def test_discovery_lists_servers_and_offers_and_bounds_both(plc, monkeypatch):
    report = await discover_server(plc.endpoint)
    assert [server.application_uri for server in report.servers]
    assert report.offers[0].policy == "Aes256_Sha256_RsaPss"
    assert report.offers[-1].is_insecure
    assert {"anonymous", "user"} <= set(report.offers[0].logins)
    monkeypatch.setattr(endpoints_module, "ENDPOINTS_MAX", 2)
    monkeypatch.setattr(endpoints_module, "SERVERS_MAX", 0)
    report = await discover_server(plc.endpoint)
    assert (len(report.offers), report.servers) == (2, [])


async def test_an_answer_larger_than_the_limit_is_refused(plc, monkeypatch):
    monkeypatch.setattr(endpoints_module, "DISCOVERY_MESSAGE_BYTES_MAX", 2_000)
    with pytest.raises(SourceError, match="TooLarge"):
        await discover_server(plc.endpoint)


async def test_an_announced_address_that_leads_nowhere_is_said_and_not_used(plc, tmp_path):
    iserver = plc.server.iserver
    before = iserver.match_discovery_endpoint_url
    iserver.match_discovery_endpoint_url = False
    iserver.match_discovery_source_ip = False
    kept = [e.EndpointUrl for e in iserver.endpoints]
    try:
        for endpoint in iserver.endpoints:
            endpoint.EndpointUrl = "opc.tcp://plc-behind-nat:4840/ua"
        access_to(plc.endpoint, tmp_path)._pki.trust.import_file(plc.pair.der, "line1")
        report = await check(plc.endpoint, tmp_path)
    finally:
        iserver.match_discovery_endpoint_url = before
        iserver.match_discovery_source_ip = True
        for endpoint, url in zip(iserver.endpoints, kept, strict=True):
            endpoint.EndpointUrl = url
    assert report.ok, report.steps
    assert report.notices == [
        "the server announces opc.tcp://plc-behind-nat:4840/ua; the typed address is used"
    ]


def test_only_the_path_of_an_announced_address_is_taken():
    assert (
        session_url("opc.tcp://10.0.0.5:4840", "opc.tcp://x:1/ua") == "opc.tcp://10.0.0.5:4840/ua"
    )
    assert session_url("opc.tcp://10.0.0.5/own", "opc.tcp://x:1/ua") == "opc.tcp://10.0.0.5/own"
    assert session_url("opc.tcp://10.0.0.5", "http://x/ua") == "opc.tcp://10.0.0.5"
    assert ua.MessageSecurityMode.Sign.value == 2


async def _pump(source, sink, mutate=bytes):
    """Forward bytes until either side ends."""
    try:
        while True:
            await sink.send(mutate(await source.receive()))
    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await sink.aclose()


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_bytes_a_server_answers_ends_in_a_report_or_a_reason(
    plc, tmp_path, monkeypatch, seed
):
    """A line that changes bytes of the answers, one kind of damage after the other."""
    monkeypatch.setattr(transport, "REQUEST_TIMEOUT_S", 0.1)
    chance = random.Random(seed)  # noqa: S311 - damage, no secrets

    def mutate(data):
        if len(data) < 300 and chance.random() < 0.9:
            return data  # most of the damage to what is worth decoding
        damaged = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 8))):
            at = chance.randrange(len(damaged))
            damaged[at] = chance.choice((0, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        return bytes(damaged)

    async def handle(stream):
        server = await anyio.connect_tcp("127.0.0.1", plc.port)
        async with stream, server, anyio.create_task_group() as tasks:
            tasks.start_soon(_pump, stream, server)
            tasks.start_soon(_pump, server, stream, mutate)

    port = free_port()
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        for _ in range(30):
            await check(f"opc.tcp://127.0.0.1:{port}", tmp_path)
        tasks.cancel_scope.cancel()
