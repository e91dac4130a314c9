"""Secured channels over TCP: every policy, every login, and twelve wrong certificates."""

import re

import anyio
import pytest
from asyncua import ua

from contract.config import SecurityConfig, TagConfig
from contract.config_security import Login
from gateway.errors import SourceError
from gateway.sources.opcua.access import Access, Pki, target_of
from gateway.sources.opcua.source import OpcUaSource
from runtime.clock import SystemClock
from tests.gateway.sources.certificates import (
    DAY,
    NOW,
    authority,
    key,
    make,
    revocations,
    signed_with_sha1,
)
from tests.gateway.sources.plc import Port, config, driven, until
from tests.gateway.sources.secure_plc import (
    MODES,
    OLD_POLICIES,
    PASSWORD,
    POLICIES,
    SecurePlc,
    access_to,
    read_once,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
async def shared_plc():
    plc = SecurePlc(make())
    await plc.start()
    yield plc
    await plc.stop()


@pytest.fixture
def plc(shared_plc):
    """The shared server with its good certificate."""
    shared_plc.show(make())
    shared_plc.users.seen.clear()
    return shared_plc


async def refused(access, tmp_path):
    with pytest.raises(SourceError) as raised:
        await read_once(access, tmp_path)
    return raised.value


def trust_shown(access, plc):
    access._pki.trust.import_file(plc.pair.der, access.target.name)


# -- policies, modes, logins ---


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("mode", MODES)
async def test_every_policy_and_mode_reads_once_the_certificate_is_approved(
    plc, tmp_path, policy, mode
):
    access = access_to(plc.endpoint, tmp_path, policy=policy, mode=mode)
    error = await refused(access, tmp_path)
    assert error.reason_code == "BadCertificateUntrusted"
    shown = re.search(r"trust ([0-9a-f]{64}) --source line1", error.remedy)
    assert shown[1] == plc.pair.fingerprint
    access._pki.trust.trust(shown[1], "line1")
    assert (await read_once(access, tmp_path))[0] == 4.5


@pytest.mark.parametrize("policy", OLD_POLICIES)
async def test_a_deprecated_policy_works_by_consent_only(plc, tmp_path, policy):
    access = access_to(plc.endpoint, tmp_path, policy=policy)
    assert "deprecated" in str(await refused(access, tmp_path))
    access = access_to(plc.endpoint, tmp_path, policy=policy, allow_insecure=True)
    trust_shown(access, plc)
    assert (await read_once(access, tmp_path))[0] == 4.5


async def test_user_and_password_log_in_and_a_wrong_password_is_said(plc, tmp_path):
    for mode in MODES:
        login = Login(username="op", password=PASSWORD)
        access = access_to(plc.endpoint, tmp_path, login=login, mode=mode)
        trust_shown(access, plc)
        assert (await read_once(access, tmp_path))[0] == 4.5
    assert ("op", PASSWORD) in plc.users.seen
    login = Login(username="op", password="wrong")
    error = await refused(access_to(plc.endpoint, tmp_path, login=login), tmp_path)
    assert error.reason_code == "BadUserAccessDenied"
    assert "wrong" not in f"{error} {error.remedy}"


async def test_a_user_certificate_logs_in(plc, tmp_path):
    paths = make(name="operator", private_key=key(7), uri=None).write(tmp_path, "operator")
    login = Login(user_certificate_file=str(paths[0]), user_key_file=str(paths[1]))
    access = access_to(plc.endpoint, tmp_path, login=login)
    trust_shown(access, plc)
    assert (await read_once(access, tmp_path))[0] == 4.5


async def test_a_user_key_that_is_not_the_certificates_is_refused(plc, tmp_path):
    paths = make(private_key=key(7)).write(tmp_path, "operator")
    paths[1].write_bytes(make(private_key=key(8)).key_pem)
    login = Login(user_certificate_file=str(paths[0]), user_key_file=str(paths[1]))
    access = access_to(plc.endpoint, tmp_path, login=login)
    trust_shown(access, plc)
    assert "does not belong to the user certificate" in str(await refused(access, tmp_path))


@pytest.mark.parametrize("mode", MODES)
async def test_a_password_never_leaves_under_a_token_policy_that_shows_it(plc, tmp_path, mode):
    """asyncua would send it in clear with a log line where the token policy is None."""
    endpoints = plc.server.iserver.endpoints
    before = {id(e): e.UserIdentityTokens for e in endpoints}
    plain = ua.UserTokenPolicy(
        PolicyId="username",
        TokenType=ua.UserTokenType.UserName,
        SecurityPolicyUri="http://opcfoundation.org/UA/SecurityPolicy#None",
    )
    try:
        for endpoint in endpoints:
            endpoint.UserIdentityTokens = [plain]
        login = Login(username="op", password=PASSWORD)
        access = access_to(plc.endpoint, tmp_path, login=login, mode=mode)
        trust_shown(access, plc)
        if mode == "SignAndEncrypt":  # the channel hides it
            assert (await read_once(access, tmp_path))[0] == 4.5
        else:
            assert "does not protect it" in str(await refused(access, tmp_path))
            assert plc.users.seen == []
    finally:
        for endpoint in endpoints:
            endpoint.UserIdentityTokens = before[id(endpoint)]


async def test_a_password_is_not_sent_over_policy_none(plc, tmp_path):
    login = Login(username="op", password=PASSWORD)
    access = access_to(
        plc.endpoint, tmp_path, login=login, policy="None", mode="None", allow_insecure=True
    )
    assert "never sent over an unsecured channel" in str(await refused(access, tmp_path))
    assert plc.users.seen == []


# -- twelve wrong certificates ---

CA = authority()
INTERMEDIATE = authority("line CA", 91, issuer=CA)


def _issued(**rest):
    return make(issuer=CA, private_key=key(1), **rest)


def _import_ca(trust):
    trust.import_file(CA.der)


def _trust_ca(trust):
    trust.import_file(CA.der)
    trust.trust_issuer(CA.fingerprint)


def _trust_ca_with_crl(trust, *revoked):
    _trust_ca(trust)
    trust.import_file(revocations(CA, *revoked))


REVOKED = _issued(name="revoked")
OTHER_KEY = make(name="server", private_key=key(3))

# name: certificate shown, what is trusted, code, what the message says, how it is put right
WRONG = {
    "expired": (make(last=NOW - DAY / 2), None, "BadCertificateTimeInvalid", "expired on"),
    "not yet valid": (
        make(first=NOW + DAY), None, "BadCertificateTimeInvalid", "is valid from"),
    "another application's": (
        make(uri="urn:other"), None, "BadCertificateUriInvalid", "urn:other"),
    "another host's": (
        make(hosts=()), None, "BadCertificateHostNameInvalid", "not for 127.0.0.1"),
    "signed by itself, not trusted": (
        OTHER_KEY, lambda _trust: None, "BadCertificateUntrusted", "not trusted yet"),
    "of a weak key": (
        make(private_key=key(4, 1024)), None, "BadCertificatePolicyCheckFailed", "RSA 1024"),
    "signed with SHA-1": (
        signed_with_sha1(make()), None, "BadCertificatePolicyCheckFailed", "sha1"),
    "without key usage": (
        make(usage=None), None, "BadCertificateUseNotAllowed", "no key usage"),
    "revoked": (
        REVOKED, lambda trust: _trust_ca_with_crl(trust, REVOKED),
        "BadCertificateRevoked", "was revoked by CN=plant CA"),
    "of an unknown issuer": (
        _issued(), None, "BadCertificateChainIncomplete", "issuer CN=plant CA is not known"),
    "without a revocation list": (
        _issued(), _trust_ca, "BadCertificateRevocationUnknown", "CN=plant CA is missing"),
    "changed since it was approved": (
        OTHER_KEY, lambda trust: trust.import_file(make().der, "line1"),
        "BadCertificateUntrusted", "has changed since it was approved"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
async def test_a_wrong_certificate_has_its_own_message_and_is_put_right(plc, tmp_path, case):
    shown, prepare, code, says = WRONG[case]
    access = access_to(plc.endpoint, tmp_path)
    trust = access._pki.trust
    plc.show(shown)
    if prepare is None:
        trust.import_file(shown.der, "line1")
    else:
        prepare(trust)
    for _ in range(2):  # it keeps waiting, and says the same
        error = await refused(access, tmp_path)
        assert (error.reason_code, says in str(error)) == (code, True), str(error)
        assert error.remedy
    # put right: the server gets a good certificate, and a person approves it
    plc.show(make(private_key=key(5)))
    trust.import_file(plc.pair.der, "line1")
    assert (await read_once(access, tmp_path))[0] == 4.5


async def test_an_issuer_that_is_trusted_vouches_for_its_servers_and_their_renewals(plc, tmp_path):
    access = access_to(plc.endpoint, tmp_path)
    trust = access._pki.trust
    _trust_ca_with_crl(trust)
    for number in (1, 2):
        plc.show(make(issuer=CA, private_key=key(number)))
        assert (await read_once(access, tmp_path))[0] == 4.5


async def test_a_chain_sent_by_the_server_is_followed_to_the_trusted_root(plc, tmp_path):
    access = access_to(plc.endpoint, tmp_path)
    trust = access._pki.trust
    leaf = make(issuer=INTERMEDIATE, private_key=key(1))
    plc.show(leaf, chain=[INTERMEDIATE])
    _trust_ca(trust)
    trust.import_file(revocations(INTERMEDIATE))
    error = await refused(access, tmp_path)
    assert error.reason_code == "BadCertificateIssuerRevocationUnknown"
    trust.import_file(revocations(CA))
    assert (await read_once(access, tmp_path))[0] == 4.5
    trust.import_file(revocations(CA, INTERMEDIATE))
    assert (await refused(access, tmp_path)).reason_code == "BadCertificateIssuerRevoked"


async def test_what_is_tolerated_is_accepted_and_said(plc, tmp_path):
    plc.show(make(hosts=(), last=NOW - DAY / 2))
    access = access_to(plc.endpoint, tmp_path, tolerate=["host_name"])
    trust_shown(access, plc)
    assert (await refused(access, tmp_path)).reason_code == "BadCertificateTimeInvalid"
    access = access_to(plc.endpoint, tmp_path, tolerate=["host_name", "time"])
    value, notices = await read_once(access, tmp_path)
    assert value == 4.5
    assert sorted(n.partition(":")[0] for n in notices) == ["tolerated", "tolerated"]


async def test_trust_counts_for_its_source_only_unless_it_is_shared(plc, tmp_path):
    one, other = (access_to(plc.endpoint, tmp_path, name=name) for name in ("one", "other"))
    trust_shown(one, plc)
    assert (await read_once(one, tmp_path))[0] == 4.5
    assert (await refused(other, tmp_path)).reason_code == "BadCertificateUntrusted"
    one._pki.trust.import_file(plc.pair.der)
    assert (await read_once(other, tmp_path))[0] == 4.5
    alone = access_to(plc.endpoint, tmp_path, name="other", shared_trust=False)
    assert (await refused(alone, tmp_path)).reason_code == "BadCertificateUntrusted"


async def test_a_server_without_the_policy_is_refused_with_what_it_offers(tmp_path):
    plc = SecurePlc(make())
    await plc.start(policies=[ua.SecurityPolicyType.NoSecurity])
    try:
        error = await refused(access_to(plc.endpoint, tmp_path), tmp_path)
    finally:
        await plc.stop()
    assert "does not offer Basic256Sha256 with SignAndEncrypt; it offers None" in str(error)
    assert "allow_insecure" in error.remedy


# -- a source: waits, recovers, and stops when trust ends ---


class HastyClock(SystemClock):
    """The machine's clock, but for waits: those take a hundredth."""

    async def sleep_s(self, seconds):
        await anyio.sleep(seconds / 100)


async def test_a_source_waits_for_approval_reads_and_stops_when_trust_is_taken_back(plc, tmp_path):
    pki = Pki(tmp_path / "pki", HastyClock())
    settings = config(
        plc.endpoint,
        tags=[TagConfig(node="nsu=urn:test:plc;s=v", group="g")],
        security=SecurityConfig(),
    )
    access = Access(target_of(settings), pki)
    source = OpcUaSource(settings, SystemClock(), tmp_path / "sessions", access)
    port = Port()

    def waits_for(words):
        report = source.status()
        return report.state == "waiting" and words in report.reason

    async with driven(source, port):
        await until(lambda: waits_for("not trusted yet"))
        assert source.status().reason_code == "BadCertificateUntrusted"
        assert "certificates trust" in source.status().remedy
        pki.trust.trust(plc.pair.fingerprint, "line1")
        await until(lambda: port.values("v") == [4.5])
        await until(lambda: source.status().state == "up")

        pki.trust.reject(plc.pair.fingerprint)  # a running session notices
        await until(lambda: waits_for("not trusted yet"))
        pki.trust.trust(plc.pair.fingerprint, "line1")
        await until(lambda: source.status().state == "up")

        old = plc.pair
        plc.show(make(private_key=key(6)))  # somebody else answers at the next connection
        pki.trust.reject(old.fingerprint)
        await until(lambda: source.status().state == "waiting")
        pki.trust.trust(old.fingerprint, "line1")
        await until(lambda: waits_for("has changed since it was approved"))
        sessions = source.status().sessions_count
        pki.trust.trust(plc.pair.fingerprint, "line1")
        await until(lambda: source.status().state == "up")
        assert source.status().sessions_count == sessions + 1
