"""Our own certificate and the trust list: what lies on disk, and what people do with it."""

import os
import random
import stat

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from contract.config import SecurityConfig
from gateway.errors import TrustError
from gateway.sources.opcua import trust as trust_module
from gateway.sources.opcua.certificate_check import Expected, Trusted, check_certificate
from gateway.sources.opcua.certificate_facts import facts_of, fingerprint, split_chain
from gateway.sources.opcua.pki import RENEW_BEFORE_DAYS, VALID_DAYS, OwnCertificate
from gateway.sources.opcua.policies import POLICIES
from gateway.sources.opcua.trust import TrustStore
from tests.gateway.sources.certificates import NOW, authority, key, make, revocations

DAY_US = 86_400 * 1_000_000


class Calendar:
    """A clock that is set by days."""

    def __init__(self):
        self.day = 0

    def wall_us(self):
        return 1_790_000_000_000_000 + self.day * DAY_US


@pytest.fixture
def calendar():
    return Calendar()


@pytest.fixture
def own(tmp_path, calendar):
    return OwnCertificate(tmp_path, calendar)


@pytest.fixture
def trust(tmp_path):
    return TrustStore(tmp_path)


# -- our own ---


def test_our_certificate_is_made_once_and_holds_what_opc_ua_wants(own, tmp_path):
    made = own.load()
    assert own.load().certificate == made.certificate
    names = made.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    assert uris == [made.application_uri]
    assert made.application_uri.startswith("urn:")
    assert names.get_values_for_type(x509.DNSName)
    usage = made.certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.content_commitment
    assert usage.key_encipherment
    assert usage.data_encipherment
    extended = made.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert ExtendedKeyUsageOID.CLIENT_AUTH in extended
    assert made.key.key_size >= 2048
    assert made.certificate.signature_hash_algorithm.name == "sha256"
    key_file = tmp_path / "own" / "private" / "application.pem"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(key_file.parent.stat().st_mode) == 0o700


def test_two_boxes_have_different_application_uris(tmp_path, calendar):
    one, other = (OwnCertificate(tmp_path / name, calendar).load() for name in ("a", "b"))
    assert one.application_uri != other.application_uri


def test_a_renewal_keeps_key_and_uri_and_waits_until_it_is_activated(own, calendar):
    first = own.load()
    calendar.day = VALID_DAYS - RENEW_BEFORE_DAYS - 1
    assert own.report().next is None
    calendar.day += 2
    assert own.load().certificate == first.certificate
    report = own.report()
    assert "have every PLC trust the next one" in report.notice
    assert report.next.application_uri == first.application_uri
    activated = own.activate()
    assert activated.next is None
    assert activated.current == report.next
    assert own.load().key.private_numbers() == first.key.private_numbers()


def test_a_renewal_that_nobody_activates_takes_over_at_the_end(own, calendar):
    first = own.load()
    calendar.day = VALID_DAYS - 5
    following = own.report().next
    calendar.day = VALID_DAYS + 1
    assert own.load().certificate != first.certificate
    assert own.report().current == following


def test_a_box_that_was_off_when_its_certificate_ended_gets_a_new_one(own, calendar):
    own.load()
    calendar.day = 3 * VALID_DAYS
    found = own.load().certificate
    assert found.not_valid_after_utc.timestamp() * 1e6 > calendar.wall_us()


def test_the_export_never_holds_the_key(own):
    own.load()
    assert b"PRIVATE" not in own.export(pem=True)
    assert x509.load_pem_x509_certificate(own.export(pem=True)) == own.load().certificate
    with pytest.raises(TrustError, match="renew first"):
        own.export(following=True)


def test_a_key_that_cannot_be_read_or_is_another_is_said_and_nothing_is_overwritten(own, tmp_path):
    own.load()
    path = tmp_path / "own" / "private" / "application.pem"
    path.write_bytes(make(private_key=key(8)).key_pem)
    with pytest.raises(TrustError, match="does not belong to"):
        own.load()
    path.write_bytes(b"rubbish")
    with pytest.raises(TrustError, match="cannot be read"):
        own.load()
    assert path.read_bytes() == b"rubbish"


# -- the trust list ---


def test_what_was_shown_is_trusted_rejected_and_removed_by_its_fingerprint(trust):
    shown = make()
    with pytest.raises(TrustError, match="no server has shown"):
        trust.trust(shown.fingerprint)
    trust.remember_rejected(shown.certificate, "line1")
    assert [(c.list, c.source) for c in trust.listing()] == [("rejected", "line1")]
    with_colons = ":".join(shown.fingerprint.upper()[i : i + 2] for i in range(0, 64, 2))
    trust.trust(with_colons, "line1")
    assert [(c.list, c.source) for c in trust.listing()] == [("trusted", "line1")]
    assert trust.trusted_for("line1").own == {shown.fingerprint}
    assert not trust.trusted_for("line2").certificates
    trust.reject(shown.fingerprint)
    assert [(c.list, c.source) for c in trust.listing()] == [("rejected", "line1")]
    trust.remove(shown.fingerprint)
    assert trust.listing() == []


@pytest.mark.parametrize("wanted", ["", "ab", "zz" * 32, "0" * 63])
def test_a_part_of_a_fingerprint_approves_nothing(trust, wanted):
    trust.remember_rejected(make().certificate, "line1")
    with pytest.raises(TrustError, match="64 hex digits"):
        trust.trust(wanted)


@pytest.mark.parametrize("name", ["../x", "a/b", ".", "a" * 65, "x\n"])
def test_a_source_name_never_leads_out_of_the_folder(trust, name):
    with pytest.raises(TrustError, match="cannot be the name"):
        trust.import_file(make().der, name)


def test_the_rejected_are_bounded_by_source_and_in_all_the_newest_stay(trust, monkeypatch):
    monkeypatch.setattr(trust_module, "REJECTED_MAX", 6)
    monkeypatch.setattr(trust_module, "REJECTED_PER_SOURCE_MAX", 4)
    shown = [make() for _ in range(7)]
    for number, pair in enumerate(shown):
        trust.remember_rejected(pair.certificate, "hostile")
        for file in (trust._directory / "rejected" / "certs").glob(f"*{pair.fingerprint}.der"):
            os.utime(file, ns=(number, number))
    kept = {c.certificate.fingerprint for c in trust.listing()}
    assert kept == {pair.fingerprint for pair in shown[-4:]}
    for number in range(5):
        trust.remember_rejected(make().certificate, f"other{number}")
    assert len(trust.listing()) == 6


def test_an_import_sorts_authorities_lists_and_servers_and_refuses_the_rest(trust):
    ca, server = authority(), make()
    assert "issuer: CN=plant CA" in trust.import_file(ca.pem)
    assert "revocation list of CN=plant CA" in trust.import_file(revocations(ca, server))
    assert "trusted certificate" in trust.import_file(server.der, "line1")
    found = trust.trusted_for("line1")
    assert [len(x) for x in (found.certificates, found.issuers, found.revocations)] == [1, 1, 1]
    assert trust.revocation_listing()[0].revoked_count == 1
    for rubbish in (b"", b"hello", server.key_pem, b"\x30\x82" + b"x" * 10):
        with pytest.raises(TrustError, match=r"no X\.509 certificate"):
            trust.import_file(rubbish)


def test_a_newer_revocation_list_takes_the_place_of_the_older(trust):
    ca, server = authority(), make()
    trust.import_file(revocations(ca))
    trust.import_file(revocations(ca, server))
    assert [r.revoked_count for r in trust.revocation_listing()] == [1]


def test_files_that_cannot_be_read_are_left_out(trust, tmp_path):
    trust.import_file(make().der)
    folder = tmp_path / "trusted" / "certs"
    (folder / "rubbish.der").write_bytes(b"rubbish")
    (folder / "huge.der").write_bytes(b"x" * 100_000)
    assert len(trust.trusted_for("line1").certificates) == 1


def test_a_chain_is_read_in_bounds_whatever_was_sent():
    good = make()
    assert [fingerprint(c) for c in split_chain(good.der)] == [good.fingerprint]
    assert len(split_chain(good.der * 50)) == 8
    assert len(split_chain(good.der + b"\x30\x84\xff\xff\xff\xff")) == 1
    for rubbish in (b"", b"\x30", b"\x30\x80", b"\x30\x8a" + b"\xff" * 20, b"x" * 100_000):
        assert split_chain(rubbish) == []


@pytest.mark.filterwarnings("ignore:Parsed a serial number")  # the library's own, of the damage
@pytest.mark.parametrize("seed", range(2))
def test_a_damaged_certificate_is_judged_and_never_raises(seed):
    chance = random.Random(seed)  # noqa: S311 - damage, no secrets
    ca = authority()
    trusted = Trusted([ca.certificate], [ca.certificate], [])
    expected = Expected(
        host="127.0.0.1",
        application_uri="urn:test:server",
        policy=POLICIES["Basic256Sha256"],
        security=SecurityConfig(),
        now=NOW,
        source="line1",
    )
    whole = make(issuer=ca, private_key=key(1)).der
    readable = 0
    for _ in range(500):
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 4))):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        sent = split_chain(bytes(damaged))
        readable += bool(sent)
        assert [facts_of(certificate) for certificate in sent] or not sent
        # what was changed is seen: nothing damaged passes
        assert check_certificate(sent, trusted, expected)
    assert readable > 100
