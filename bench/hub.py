"""`bench hub`: load the hub's ingest over mutual TLS and count what a sample costs it.

Gateways are enrolled for real (key, CSR, one-time code); their rows are made before the clock
starts: random walks as the journal encodes them, hash-chained. Each gateway sends one upload after
another, as the uplink does; an upload counts once its receipt covers it. CPU is that of the hub's
process tree, so the rate per core does not depend on what else the machine does. After the load
the flushing to the lake is waited for and its CPU is counted too.
"""

import ssl
import time
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx
import msgspec
import numpy as np

from bench.processes import FACTORYPLUS, Child, HarnessError, running
from bench.results import Figures, progress
from contract.batch import FIRST_HASH, chain_hash, encode_batch
from contract.fleet import EnrolAnswer, EnrolRequest, read_code
from contract.sample import SampleBatch, SampleColumns, ValueKind
from contract.upload import TagDefinition, Upload, UploadReceipt, UploadRow
from runtime.tls import client_context, make_key_and_csr, pinned_ca

DOUBLE = 10
SCAN_US = 100_000


@dataclass(frozen=True, kw_only=True)
class HubLoad:
    """The load of the hub.

    Attributes:
        batches: Journal rows per gateway.
        samples: Samples in a row.
        rows: Rows in an upload.
        gateways: Gateways that send at the same time.
        tags: Tags of a gateway.
    """

    batches: int = 200
    samples: int = 10_000
    rows: int = 5
    gateways: int = 4
    tags: int = 5_000


class Hub(Child):
    """The hub on a free port, as `factoryplus central run` starts it."""

    def __init__(self, directory: Path) -> None:
        self.data_dir = directory / "hub"
        options = ["--data-dir", str(self.data_dir), "--http", "127.0.0.1:0"]
        super().__init__("hub", [*FACTORYPLUS, "central", "run", *options], directory)

    async def start(self) -> None:
        """Start the hub and return when it listens."""
        await super().start()
        await self.wait_for_line("hub listening")

    async def enrol(self, name: str, directory: Path) -> tuple[str, ssl.SSLContext]:
        """Enrol a gateway; return the uplink's address and its TLS context."""
        command = [*FACTORYPLUS, "central", "enrol-code", "--data-dir", str(self.data_dir)]
        done = await anyio.run_process(command)
        code = read_code(done.stdout.decode())
        url = httpx.URL(code.url)
        ca_pem = await pinned_ca(url.host, url.port or 443, code.fingerprint)
        key_pem, csr_pem = make_key_and_csr(name)
        request = EnrolRequest(token=code.token, csr_pem=csr_pem.decode(), name=name)
        async with httpx.AsyncClient(base_url=url, verify=client_context(ca_pem)) as client:
            answer = await client.post(
                "/api/uplink/enrol",
                content=msgspec.json.encode(request),
                headers={"content-type": "application/json"},
            )
        if answer.status_code >= httpx.codes.BAD_REQUEST:
            raise HarnessError(f"enrolment: {answer.status_code} {answer.text[:300]}")
        given = msgspec.json.decode(answer.content, type=EnrolAnswer)
        key, certificate = directory / f"{name}.key", directory / f"{name}.pem"
        key.write_bytes(key_pem)
        certificate.write_text(given.certificate_pem)
        return given.uplink_url, client_context(given.ca_pem, certificate, key)


def make_uploads(load: HubLoad, seed: int) -> list[bytes]:
    """Encode all uploads of one gateway."""
    rng = np.random.default_rng(seed)
    epoch = f"{seed:032x}"
    definitions = [
        TagDefinition(
            index=i, name=f"T{i:05d}", device="Load", data_type=DOUBLE, source="s", address=f"i={i}"
        )
        for i in range(load.tags)
    ]
    previous, first_us = FIRST_HASH, 1_795_000_000_000_000
    level = np.zeros(load.tags)
    rows: list[UploadRow] = []
    uploads: list[bytes] = []
    for sequence in range(1, load.batches + 1):
        scans = -(-load.samples // load.tags)
        steps = np.round(rng.normal(size=(scans, load.tags)), 2).cumsum(axis=0) + level
        level = steps[-1]
        tag = np.tile(np.arange(load.tags, dtype=np.uint32), scans)[: load.samples]
        time_us = first_us + np.repeat(np.arange(scans) * SCAN_US, load.tags)[: load.samples]
        first_us += scans * SCAN_US
        status = np.zeros(load.samples, dtype=np.uint32)
        value = np.round(steps.ravel()[: load.samples], 2)
        payload = encode_batch(
            SampleBatch((SampleColumns(ValueKind.DOUBLE, tag, time_us, status, value),))
        )
        chained = chain_hash(previous if not rows else rows[-1].hash, epoch, sequence, payload)
        rows.append(
            UploadRow(
                sequence=sequence,
                hash=chained,
                samples_count=load.samples,
                first_time_us=int(time_us[0]),
                last_time_us=int(time_us[-1]),
                payload=payload,
            )
        )
        if len(rows) == load.rows or sequence == load.batches:
            upload = Upload(
                epoch=epoch,
                previous_hash=previous,
                rows=rows,
                tags=[] if uploads else definitions,
                head_sequence=load.batches,
                head_time_us=first_us,
            )
            uploads.append(msgspec.msgpack.encode(upload))
            previous, rows = rows[-1].hash, []
    return uploads


async def run_hub(load: HubLoad, directory: Path) -> Figures:
    """Measure once."""
    progress("encoding the rows")
    loads = [make_uploads(load, seed) for seed in range(1, load.gateways + 1)]
    hub = Hub(directory)
    async with running(hub):
        members = [await hub.enrol(f"g{n}", directory) for n in range(load.gateways)]
        progress("uploading")
        cpu_before_s, started_s = hub.cpu_s(), time.monotonic()
        async with anyio.create_task_group() as tasks:
            for (url, context), uploads in zip(members, loads, strict=True):
                tasks.start_soon(_send, url, context, uploads, load)
        wall_s = time.monotonic() - started_s
        ingest_cpu_s = hub.cpu_s() - cpu_before_s
        await _until_idle(hub)
        flush_cpu_s = hub.cpu_s() - cpu_before_s - ingest_cpu_s
        rss_peak_bytes = hub.rss_peak_bytes()
    total = load.batches * load.samples * load.gateways
    return {
        "gateways": load.gateways,
        "samples_total": total,
        "samples_per_upload": load.rows * load.samples,
        "upload_bytes_per_sample": round(
            sum(len(body) for uploads in loads for body in uploads) / total, 2
        ),
        "wall_s": round(wall_s, 2),
        "samples_per_s": round(total / wall_s),
        "cpu_us_per_sample": round(ingest_cpu_s / total * 1e6, 3),
        "cpu_us_per_sample_after": round(flush_cpu_s / total * 1e6, 3),
        "samples_per_s_per_core": round(total / (ingest_cpu_s + flush_cpu_s)),
        "rss_peak_mb": round(rss_peak_bytes / 2**20, 1),
    }


async def _send(url: str, context: ssl.SSLContext, uploads: list[bytes], load: HubLoad) -> None:
    """Send uploads one after another; a refusal for want of room is waited out."""
    sent_rows = 0
    async with httpx.AsyncClient(base_url=url, verify=context, timeout=60) as client:
        for body in uploads:
            sent_rows = min(sent_rows + load.rows, load.batches)
            while True:
                answer = await client.post(
                    "/api/uplink/batches",
                    content=body,
                    headers={"content-type": "application/msgpack"},
                )
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    break
                await anyio.sleep(float(answer.headers.get("retry-after", "1")))
            if answer.status_code != httpx.codes.OK:
                raise HarnessError(f"upload: {answer.status_code} {answer.text[:300]}")
            receipt = msgspec.json.decode(answer.content, type=UploadReceipt)
            if receipt.contiguous_to < sent_rows:
                raise HarnessError(f"receipt to {receipt.contiguous_to}, sent to {sent_rows}")


async def _until_idle(hub: Hub, quiet_s: float = 3.0, deadline_s: float = 120.0) -> None:
    """Wait until the hub has used next to no CPU for a while: its flushes are done."""
    with anyio.move_on_after(deadline_s):
        while True:
            before_s = hub.cpu_s()
            await anyio.sleep(quiet_s)
            if hub.cpu_s() - before_s < 0.03 * quiet_s:
                return
