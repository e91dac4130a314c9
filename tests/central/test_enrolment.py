"""Becoming a member: codes are used once, subjects are ours, the hub is pinned first."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from central.fleet.ca import open_ca
from central.fleet.registry import open_registry
from central.settings import Settings, settings_from
from contract.fleet import EnrolRequest, read_code
from runtime.clock import SystemClock
from runtime.tls import client_context, make_key_and_csr
from tests.central.support import ROOT, HubProcess, enrol, new_code


class ShiftedClock(SystemClock):
    """The machine's clock, some hours off."""

    def __init__(self, hours: float) -> None:
        self._shift_us = int(hours * 3600e6)

    def wall_us(self) -> int:
        return super().wall_us() + self._shift_us


def ask(hub: HubProcess, request: EnrolRequest) -> httpx.Response:
    ca_pem = (hub.directory / "ca" / "ca.pem").read_text()
    with httpx.Client(base_url=hub.url, verify=client_context(ca_pem), timeout=20) as client:
        return client.post("/api/uplink/enrol", json=msgspec.to_builtins(request))


def csr_for(subject: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None) -> str:
    """A CSR that wishes for everything."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def test_a_code_works_once(hub: HubProcess, admin: httpx.Client, tmp_path: Path) -> None:
    """R16."""
    code = new_code(admin)
    enrol(hub, tmp_path / "one", code).client.close()
    _, csr = make_key_and_csr("x")
    again = ask(hub, EnrolRequest(token=read_code(code).token, csr_pem=csr.decode(), name="x"))
    assert (again.status_code, again.json()["code"]) == (403, "fleet.enrolment_refused")


def test_two_at_once_with_one_code_make_one_member(hub: HubProcess, admin: httpx.Client) -> None:
    token = read_code(new_code(admin)).token
    statuses: list[int] = []

    def one() -> None:
        _, csr = make_key_and_csr("x")
        request = EnrolRequest(token=token, csr_pem=csr.decode(), name="x")
        statuses.append(ask(hub, request).status_code)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201, 403]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_code_ends_after_a_day(hub: HubProcess) -> None:
    settings = settings_from(hub.directory, "127.0.0.1:1", {})
    codes = []
    for hours in (-23.9, -24.1):
        async with open_registry(settings, ShiftedClock(hours)) as registry:
            codes.append(read_code(await registry.new_code("", "https://unused")))
    assert codes[0].url == hub.url, "the running hub's address is taken from the database"
    _, csr = make_key_and_csr("x")
    statuses = [
        ask(hub, EnrolRequest(token=c.token, csr_pem=csr.decode(), name="x")).status_code
        for c in codes
    ]
    assert statuses == [201, 403]


def test_the_wishes_of_a_csr_are_ignored(hub: HubProcess, admin: httpx.Client) -> None:
    """R18."""
    token = read_code(new_code(admin, "named by the hub")).token
    request = EnrolRequest(token=token, csr_pem=csr_for("admin"), name="admin")
    answer = ask(hub, request).json()
    certificate = x509.load_pem_x509_certificate(answer["certificate_pem"].encode())
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert [n.value for n in names] == [answer["gateway_id"]]
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.value.ca is False
    alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert alternative.value.get_values_for_type(x509.DNSName) == []
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert 90 <= lifetime.days <= 91
    gateway = admin.get(f"/api/gateways/{answer['gateway_id']}").json()
    assert (gateway["name"], gateway["state"]) == ("named by the hub", "Unknown")


def test_a_bad_csr_is_refused_and_the_code_stays_good(hub: HubProcess, admin: httpx.Client) -> None:
    token = read_code(new_code(admin)).token
    good = csr_for("x")
    unproved = good.replace(good.splitlines()[-2], "A" * len(good.splitlines()[-2]))
    weak = csr_for("x", rsa.generate_private_key(public_exponent=65537, key_size=2048))
    for csr in ("", "junk", unproved, weak, "é"):
        answer = ask(hub, EnrolRequest(token=token, csr_pem=csr, name="x"))
        assert (answer.status_code, answer.json()["code"]) == (422, "fleet.csr_refused"), csr
    assert ask(hub, EnrolRequest(token=token, csr_pem=good, name="x")).status_code == 201


def test_an_unknown_gateway_is_not_there(admin: httpx.Client) -> None:
    for path in ("", "/completeness", "/tags", "/losses"):
        answer = admin.get(f"/api/gateways/gw-none{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "fleet.unknown_gateway")
    assert admin.post("/api/gateways/gw-none/revoke").status_code == 404


@pytest.mark.slow
def test_the_command_prints_a_code_without_a_hub(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "central", "enrol-code", "--name", "press"]
    done = subprocess.run(
        [*command, "--data-dir", str(tmp_path / "hub"), "--http", "hub.example:8443"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    code = read_code(done.stdout)
    assert done.stdout.count("\n") == 1
    assert code.url == "https://hub.example:8443"
    assert code.fingerprint == open_ca(tmp_path / "hub" / "ca", SystemClock()).fingerprint
    assert stat.S_IMODE((tmp_path / "hub" / "ca" / "ca.key").stat().st_mode) == 0o600


def test_settings_come_from_the_command_line_and_the_environment(tmp_path: Path) -> None:
    environment = {"FACTORYPLUS_CENTRAL_SPOOL_BYTES_MAX": "7", "DATABASE_URL": "postgresql://x"}
    settings = settings_from(tmp_path, "[::1]:0", environment)
    assert (settings.host, settings.port, settings.spool_bytes_max) == ("::1", 0, 7)
    assert settings.resolved_database_url() == "postgresql://x"
    assert settings.url_for(5) == "https://[::1]:5"
    for wrong in ("8443", "host:", ":1", "host:99999"):
        with pytest.raises(ValueError, match="HOST:PORT"):
            settings_from(tmp_path, wrong, {})
    public = Settings(data_dir=tmp_path, public_url="https://hub.example:444")
    assert "hub.example" in public.server_names()
    assert public.url_for(1) == "https://hub.example:444"
