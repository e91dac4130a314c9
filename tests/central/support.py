"""A hub as a real process, a gateway as an httpx client with a real certificate, a journal."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec
import numpy as np

from contract.batch import FIRST_HASH, chain_hash, encode_batch
from contract.fleet import EnrolAnswer, EnrolRequest, read_code
from contract.sample import SampleBatch, SampleColumns, ValueKind
from contract.upload import Loss, TagDefinition, Upload, UploadReceipt, UploadRefusal, UploadRow
from runtime.tls import client_context, make_key_and_csr, pinned_ca

ROOT = Path(__file__).parents[2]
START_US = 1_764_000_000_000_000
PASSWORD = "a good long password"


class Zygote:
    """The process that forks hubs; see zygote.py."""

    def __init__(self) -> None:
        self._forked: list[int] = []
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the zygote ended"
        return line.strip()

    def fork(self, order: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        pid = int(self._answer())
        self._forked.append(pid)
        return pid

    def forget(self, pid: int) -> None:
        """A hub ended; its number may soon be somebody else's."""
        self._forked.remove(pid)

    def close(self) -> None:
        """End the zygote, and hubs that a failed test left behind."""
        for pid in self._forked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


class HubProcess:
    """``central run`` in a directory, as a process that can be killed."""

    def __init__(self, zygote: Zygote, directory: Path, **settings: Any) -> None:
        self.directory = directory
        self.file_bytes_max: int | None = None
        self.environment = {
            f"FACTORYPLUS_CENTRAL_{name.upper()}": str(value) for name, value in settings.items()
        }
        self.url = ""
        self.admin_code = ""
        self._zygote = zygote
        self._pid = 0
        self.log = directory

    def start(self, http: str = "127.0.0.1:0", *, until_code: bool = False) -> HubProcess:
        number = len(list(self.directory.parent.glob("*.out"))) + 1
        log = self.directory.parent / f"{self.directory.name}-{number}"
        out, err = log.with_suffix(".out"), log.with_suffix(".err")
        self.log = err
        out.touch()
        self._pid = self._zygote.fork(
            {
                "arguments": ["run", "--data-dir", str(self.directory), "--http", http],
                "environment": self.environment,
                "stdout": str(out),
                "stderr": str(err),
                "file_bytes_max": self.file_bytes_max,
            }
        )

        def is_up() -> bool:
            text = out.read_text()
            if not self.is_running():
                self._zygote.forget(self._pid)
                raise AssertionError(f"the hub ended at start: {err.read_text()[-4000:]}")
            url = re.search(r"^hub listening on (https://\S+)\n", text, re.MULTILINE)
            code = re.search(r"^admin one-time code: (\S+)\n", text, re.MULTILINE)
            self.url = url[1] if url else ""
            self.admin_code = code[1] if code else self.admin_code
            return bool(self.admin_code if until_code else self.url)

        wait_until(is_up)
        return self

    def is_running(self) -> bool:
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        os.kill(self._pid, number)
        wait_until(lambda: not self.is_running())
        self._zygote.forget(self._pid)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@dataclass
class Member:
    """An enrolled gateway: its certificate and a client that shows it."""

    answer: EnrolAnswer
    key_path: Path
    certificate_path: Path
    client: httpx.Client

    @property
    def id(self) -> str:
        return self.answer.gateway_id

    def upload(self, upload: Upload) -> httpx.Response:
        return self.client.post(
            "/api/uplink/batches",
            content=msgspec.msgpack.encode(upload),
            headers={"content-type": "application/msgpack"},
        )

    def receipt(self, upload: Upload) -> UploadReceipt:
        answer = self.upload(upload)
        assert answer.status_code == 200, answer.text
        return msgspec.json.decode(answer.content, type=UploadReceipt)

    def refusal(self, upload: Upload) -> tuple[int, UploadRefusal]:
        answer = self.upload(upload)
        assert answer.status_code >= 400, answer.text
        return answer.status_code, msgspec.json.decode(answer.content, type=UploadRefusal)

    def state(self, epoch: str) -> UploadReceipt:
        answer = self.client.get("/api/uplink/state", params={"epoch": epoch})
        assert answer.status_code == 200, answer.text
        return msgspec.json.decode(answer.content, type=UploadReceipt)

    def moved_to(self, hub: HubProcess) -> Member:
        """The same member after the hub came back on another port."""
        context = client_context(self.answer.ca_pem, self.certificate_path, self.key_path)
        self.client.close()
        self.client = httpx.Client(base_url=hub.url, verify=context, timeout=20)
        return self


def new_code(admin: httpx.Client, name: str = "") -> str:
    answer = admin.post("/api/enrolment-codes", json={"name": name})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["code"])


def enrol(hub: HubProcess, directory: Path, code: str, name: str = "press") -> Member:
    """Enrol as a gateway does: pin, send the CSR, keep the certificate."""
    read = read_code(code)
    ca_pem = anyio.run(pinned_ca, "127.0.0.1", hub.port, read.fingerprint)
    key, csr = make_key_and_csr("a wish")
    with httpx.Client(base_url=hub.url, verify=client_context(ca_pem), timeout=20) as client:
        answer = client.post(
            "/api/uplink/enrol",
            content=msgspec.json.encode(
                EnrolRequest(token=read.token, csr_pem=csr.decode(), name=name)
            ),
            headers={"content-type": "application/json"},
        )
    assert answer.status_code == 201, answer.text
    member = msgspec.json.decode(answer.content, type=EnrolAnswer)
    directory.mkdir(parents=True, exist_ok=True)
    key_path, certificate_path = directory / "key.pem", directory / "certificate.pem"
    key_path.write_bytes(key)
    certificate_path.write_text(member.certificate_pem)
    context = client_context(member.ca_pem, certificate_path, key_path)
    client = httpx.Client(base_url=hub.url, verify=context, timeout=20)
    return Member(member, key_path, certificate_path, client)


def sign_in(hub: HubProcess) -> httpx.Client:
    """Claim the hub where nobody did, and return a signed-in client."""
    ca_pem = (hub.directory / "ca" / "ca.pem").read_text()
    client = httpx.Client(base_url=hub.url, verify=client_context(ca_pem), timeout=30)
    body = {"name": "ada", "password": PASSWORD}
    if hub.admin_code:
        answer = client.post("/api/session/claim", json=body | {"code": hub.admin_code})
        hub.admin_code = ""
    else:
        answer = client.post("/api/session", json=body)
    assert answer.status_code == 201, answer.text
    return client


@dataclass
class Journal:
    """A gateway's journal in memory: rows with identity, hash chain and counting samples."""

    epoch: str = "0" * 32
    tags_count: int = 10
    rows: list[UploadRow] = field(default_factory=list)

    def add(self, samples: int = 20, batch: SampleBatch | None = None) -> UploadRow:
        sequence = len(self.rows) + 1
        batch = batch or self.batch(sequence, samples)
        payload = encode_batch(batch)
        previous = self.hash_of(sequence - 1)
        first_us, last_us = batch.time_range_us()
        row = UploadRow(
            sequence=sequence,
            hash=chain_hash(previous, self.epoch, sequence, payload),
            samples_count=len(batch),
            first_time_us=first_us,
            last_time_us=last_us,
            payload=payload,
        )
        self.rows.append(row)
        return row

    def batch(self, sequence: int, samples: int) -> SampleBatch:
        """Values count up over the whole journal, so loss and duplication show."""
        at = np.arange(samples)
        columns = SampleColumns(
            ValueKind.INT,
            (at % self.tags_count).astype(np.uint32),
            START_US + sequence * 1_000_000 + at,
            np.zeros(samples, dtype=np.uint32),
            sequence * 1_000_000 + at,
        )
        return SampleBatch((columns,))

    def hash_of(self, sequence: int) -> bytes:
        return self.rows[sequence - 1].hash if sequence else FIRST_HASH

    def tags(self, first: int = 0, count: int | None = None) -> list[TagDefinition]:
        return [
            TagDefinition(
                index=i,
                name=f"Tag{i}",
                device="Press",
                data_type=4,
                source="line1",
                address=f"nsu=urn:x;s=Tag{i}",
            )
            for i in range(first, self.tags_count if count is None else first + count)
        ]

    def upload(
        self, first: int, last: int, *, tags: bool = False, losses: list[Loss] | None = None
    ) -> Upload:
        rows = self.rows[first - 1 : last]
        return Upload(
            epoch=self.epoch,
            previous_hash=self.hash_of(first - 1),
            rows=rows,
            tags=self.tags() if tags else [],
            losses=losses or [],
            head_sequence=len(self.rows),
            head_time_us=self.rows[-1].last_time_us if self.rows else 0,
        )


def tag_ids(client: httpx.Client, gateway: str) -> dict[str, int]:
    answer = client.get(f"/api/gateways/{gateway}/tags", params={"limit": 1000})
    assert answer.status_code == 200, answer.text
    return {t["tag"]["name"]: t["tag"]["id"] for t in answer.json()["tags"]}


def raw(client: httpx.Client, gateway: str, tag: int, limit: int = 100_000) -> dict[str, Any]:
    answer = client.get(
        "/api/timeseries/raw",
        params={
            "gateway": gateway,
            "tag": tag,
            "start": "1970-01-01",
            "end": "2100-01-01",
            "limit": limit,
        },
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def wait_until(what: Any, timeout_s: float = 20.0) -> None:
    """Ask until true; for what the hub does in its own time and tells by no event."""
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)
