"""Faults of the hub: away, killed in the middle of an ingest, frozen. Exactly once, in the end."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import anyio
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runtime.tls import client_context
from tests.faults.figures import Figures
from tests.faults.hub import Hub
from tests.faults.line import Line

AWAY_S = 2.0
FROZEN_S = 3.0
KILLS = 3


async def test_a_hub_that_was_away_gets_everything_once(
    line: Line, hub: Hub, figures: Figures
) -> None:
    first = await line.settle() + 1
    await hub.stop()
    await line.until("the hub sink says so", lambda s: s.sinks["hub"].state == "waiting")
    await anyio.sleep(AWAY_S)
    await _prove_live_at_the_sink(line)
    await hub.start()
    await _prove_whole(line, first, figures)


async def test_a_hub_killed_while_it_takes_rows_keeps_each_once(
    line: Line, hub: Hub, seed: int, figures: Figures
) -> None:
    random_moments = random.Random(seed)  # noqa: S311 - repeatable moments
    first = await line.settle() + 1
    for _ in range(KILLS):
        await hub.kill()
        await hub.start()
        # it takes a backlog now, and spools, and drains: kill in the midst of that
        await anyio.sleep(random_moments.uniform(0.05, 1.5))
    await _prove_whole(line, first, figures)


@pytest.mark.slow
async def test_a_hub_that_froze_and_was_killed_gets_everything_once(
    line: Line, hub: Hub, figures: Figures
) -> None:
    first = await line.settle() + 1
    for is_killed in (False, True):
        hub.freeze()
        await line.until("rows wait for the hub", lambda s: s.sinks["hub"].lag_s > FROZEN_S)
        await _prove_live_at_the_sink(line)
        if is_killed:
            await hub.kill()
            await hub.start()
        else:
            hub.thaw()
        await line.until("rows are taken again", lambda s: s.sinks["hub"].lag_s < 2)
    await _prove_whole(line, first, figures)


async def _prove_live_at_the_sink(line: Line) -> None:
    """The other consumer does not wait for the hub."""
    await line.until_at_sink(line.scans_count() + 1, 20)


async def _prove_whole(line: Line, first: int, figures: Figures) -> None:
    recovered_s = await line.until_healthy()
    last = await line.settle()
    for finding in await line.prove(first, last):
        assert finding.explained == 0, str(finding)
        figures(finding)
    assert line.reader is not None
    report = await line.reader.completeness(line.gateway_id)
    assert report["epochs"][0]["complete_to"] >= report["epochs"][0]["contiguous_to"] > 0
    figures(f"healthy {recovered_s:.1f} s after the hub was back")


async def test_a_certificate_of_another_ca_opens_nothing(line: Line, hub: Hub) -> None:
    """It names the line's own gateway, and is refused all the same."""
    key, certificate = _self_signed(line.gateway_id)
    key_path, certificate_path = line.directory / "foreign.key", line.directory / "foreign.pem"
    key_path.write_bytes(key)
    certificate_path.write_bytes(certificate)
    ca_pem = (hub.data_dir / "ca" / "ca.pem").read_text()
    context = client_context(ca_pem, certificate_path, key_path)
    async with httpx.AsyncClient(base_url=hub.url, verify=context, trust_env=False) as client:
        with pytest.raises((httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError)):
            await client.get("/api/uplink/state", params={"epoch": "0" * 32})


def _self_signed(name: str) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)  # noqa: TID251 - a certificate's dates
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1))
    certificate = builder.not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return key_pem, certificate.public_bytes(serialization.Encoding.PEM)
