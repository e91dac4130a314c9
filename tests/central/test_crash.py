"""Kill -9 and full disks: what was acknowledged is there once, what was not is no promise."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from contract.upload import UploadReceipt
from tests.central.support import (
    HubProcess,
    Journal,
    Member,
    Zygote,
    enrol,
    new_code,
    raw,
    sign_in,
    tag_ids,
    wait_until,
)

ROUNDS = 8


class Uplink(threading.Thread):
    """Sends rows until the hub dies; remembers the newest receipt."""

    def __init__(self, member: Member, journal: Journal, seed: int) -> None:
        super().__init__()
        self._member = member
        self._journal = journal
        self._random = random.Random(seed)  # noqa: S311
        self.acknowledged = 0

    def run(self) -> None:
        try:
            state = self._member.state(self._journal.epoch)
            self.acknowledged = state.contiguous_to
            while True:
                first = max(1, state.contiguous_to + 1 - self._random.randint(0, 2))
                last = first + self._random.randint(0, 3)
                while len(self._journal.rows) < last:
                    self._journal.add(self._random.randint(1, 200))
                state = self._member.receipt(
                    self._journal.upload(first, last, tags=state.tags_known == 0)
                )
                self.acknowledged = state.contiguous_to
        except httpx.TransportError:
            return


def _stored(client: httpx.Client, member: Member) -> list[int]:
    ids = tag_ids(client, member.id)
    return sorted(v for t in ids.values() for v in raw(client, member.id, t)["value"])


def _expected(journal: Journal, last: int) -> list[int]:
    return sorted(
        v
        for row in journal.rows[:last]
        for v in journal.batch(row.sequence, row.samples_count).columns[0].value.tolist()
    )


def _check_stored(client: httpx.Client, member: Member, expected: list[int], seed: int) -> None:
    wait_until(lambda: len(_stored(client, member)) >= len(expected))
    assert _stored(client, member) == expected, f"seed {seed}"


@pytest.mark.slow
@pytest.mark.faults
def test_killed_at_random_the_hub_keeps_every_acknowledged_row_once(
    zygote: Zygote, tmp_path: Path
) -> None:
    hub = HubProcess(
        zygote, tmp_path / "hub", linger_s=0.02, flush_interval_s=0.15, maintenance_interval_s=0.4
    )
    hub.start(until_code=True)
    admin = sign_in(hub)
    member = enrol(hub, tmp_path / "gateway", new_code(admin))
    journal = Journal(tags_count=2)
    for seed in range(ROUNDS):
        uplink = Uplink(member, journal, seed)
        uplink.start()
        uplink.join(random.Random(seed).uniform(0.05, 0.9))  # noqa: S311
        hub.kill()
        uplink.join()
        hub.start()
        member.moved_to(hub)
        state = member.state(journal.epoch)
        assert state.contiguous_to >= uplink.acknowledged, f"seed {seed}: acknowledged rows lost"
        assert state.missing == [], f"seed {seed}"
        admin.close()
        admin = sign_in(hub)
        expected = _expected(journal, state.contiguous_to)
        _check_stored(admin, member, expected, seed)
        report = admin.get(f"/api/gateways/{member.id}/completeness").json()["epochs"][0]
        assert report["is_chain_verified"]
        assert report["samples_count"] == len(expected)
    assert len(journal.rows) > 3 * ROUNDS, "the rounds uploaded next to nothing"
    hub.stop()
    admin.close()
    member.client.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB for the spool."""
    directory = tmp_path / "hub" / "spool"
    directory.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(directory)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a tmpfs needs root")
    yield directory
    subprocess.run(["umount", "-l", str(directory)], check=True)


def _fill(path: Path) -> None:
    """Write until the disk is full."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(descriptor, bytes(4096))
    os.close(descriptor)


@pytest.mark.slow
@pytest.mark.faults
def test_on_a_full_disk_nothing_is_acknowledged_and_it_goes_on_after(
    zygote: Zygote, tmp_path: Path, small_disk: Path
) -> None:
    hub = HubProcess(zygote, tmp_path / "hub", linger_s=0.02, flush_interval_s=3600)
    hub.start(until_code=True)
    admin = sign_in(hub)
    member = enrol(hub, tmp_path / "gateway", new_code(admin))
    ballast = small_disk / "ballast"
    journal = Journal(tags_count=2)
    for _ in range(3):
        journal.add(1000)
    member.receipt(journal.upload(1, 1, tags=True))
    _fill(ballast)
    answer = member.upload(journal.upload(2, 3))
    for _ in range(50):
        if answer.status_code != 200:
            break
        journal.add(1000)
        answer = member.upload(journal.upload(len(journal.rows), len(journal.rows)))
    assert answer.status_code == 507, answer.text
    assert answer.json()["code"] == "ingest.spool_write_failed"
    assert int(answer.headers["retry-after"]) > 0
    held = member.state(journal.epoch).contiguous_to
    assert held < len(journal.rows)
    ballast.unlink()
    assert member.receipt(journal.upload(2, len(journal.rows))).contiguous_to == len(journal.rows)
    hub.kill()
    hub.start()
    member.moved_to(hub)
    assert member.state(journal.epoch).contiguous_to == len(journal.rows)
    admin.close()
    admin = sign_in(hub)
    wait_until(lambda: _stored(admin, member) == _expected(journal, len(journal.rows)))
    hub.stop()
    admin.close()
    member.client.close()


@pytest.mark.slow
def test_a_full_spool_is_answered_with_retry_after(zygote: Zygote, tmp_path: Path) -> None:
    hub = HubProcess(zygote, tmp_path / "hub", spool_bytes_max=20_000, flush_interval_s=3600)
    hub.start(until_code=True)
    admin = sign_in(hub)
    member = enrol(hub, tmp_path / "gateway", new_code(admin))
    journal = Journal(tags_count=2)
    answer: httpx.Response | None = None
    receipt: UploadReceipt | None = None
    for number in range(1, 30):
        journal.add(500)
        answer = member.upload(journal.upload(number, number, tags=number == 1))
        if answer.status_code != 200:
            break
        receipt = member.state(journal.epoch)
    assert answer is not None
    assert receipt is not None
    assert (answer.status_code, answer.json()["code"]) == (503, "ingest.spool_full")
    assert int(answer.headers["retry-after"]) > 0
    assert member.state(journal.epoch) == receipt
    assert admin.get("/api/status").json()["spool_refused_full"] == 1
    hub.stop()
    admin.close()
    member.client.close()


@pytest.mark.slow
def test_a_stopped_hub_starts_with_everything_and_no_second_one_beside_it(
    zygote: Zygote, tmp_path: Path
) -> None:
    hub = HubProcess(zygote, tmp_path / "hub", linger_s=0.02, flush_interval_s=3600)
    hub.start(until_code=True)
    admin = sign_in(hub)
    member = enrol(hub, tmp_path / "gateway", new_code(admin))
    journal = Journal(tags_count=2)
    for _ in range(3):
        journal.add()
    member.receipt(journal.upload(1, 3, tags=True))
    with pytest.raises(AssertionError, match="in use by another hub"):
        HubProcess(zygote, tmp_path / "hub").start()
    hub.stop()
    assert list((tmp_path / "hub" / "spool").iterdir()) == []
    hub.start()
    assert hub.admin_code == "", "a claimed hub prints no code"
    member.moved_to(hub)
    assert member.state(journal.epoch).contiguous_to == 3
    admin.close()
    admin = sign_in(hub)
    assert _stored(admin, member) == _expected(journal, 3)
    tags = admin.get(f"/api/gateways/{member.id}/tags").json()["tags"]
    assert all(t["last"]["value"] is not None for t in tags)
    hub.stop()
    admin.close()
    member.client.close()
