"""Uploads over real TLS: what is taken once, what is refused, what the refusal says."""

from __future__ import annotations

from dataclasses import replace

import httpx
import msgspec
import numpy as np
import pytest
from cryptography import x509

from contract.batch import FIRST_HASH, chain_hash
from contract.sample import SampleBatch, ValueKind, columns_of
from contract.upload import Loss, SequenceRange, TagDefinition, Upload
from tests.central.support import Journal, Member, raw, tag_ids, wait_until


def _values(admin: httpx.Client, member: Member) -> list[int]:
    ids = tag_ids(admin, member.id)
    return sorted(v for t in ids.values() for v in raw(admin, member.id, t)["value"])


def _expected(journal: Journal, *sequences: int) -> list[int]:
    return sorted(
        v
        for s in sequences
        for v in journal.batch(s, journal.rows[s - 1].samples_count).columns[0].value.tolist()
    )


def test_rows_are_acknowledged_and_can_be_read(
    member: Member, journal: Journal, admin: httpx.Client
) -> None:
    for _ in range(5):
        journal.add()
    receipt = member.receipt(journal.upload(1, 5, tags=True))
    assert (receipt.contiguous_to, receipt.received_to, receipt.missing) == (5, 5, [])
    assert (receipt.tags_known, receipt.losses_known, receipt.duplicates) == (10, 0, 0)
    assert member.state(journal.epoch) == receipt
    wait_until(lambda: _values(admin, member) == _expected(journal, 1, 2, 3, 4, 5))


def test_rows_sent_again_are_kept_once(
    member: Member, journal: Journal, admin: httpx.Client
) -> None:
    for _ in range(4):
        journal.add()
    member.receipt(journal.upload(1, 3, tags=True))
    again = member.receipt(journal.upload(1, 3))
    assert (again.contiguous_to, again.duplicates) == (3, 3)
    overlapping = member.receipt(journal.upload(2, 4))
    assert (overlapping.contiguous_to, overlapping.duplicates) == (4, 2)
    wait_until(lambda: _values(admin, member) == _expected(journal, 1, 2, 3, 4))


def test_rows_out_of_order_leave_named_holes_until_they_come(
    member: Member, journal: Journal
) -> None:
    for _ in range(9):
        journal.add()
    member.receipt(journal.upload(7, 8, tags=True))
    receipt = member.receipt(journal.upload(3, 3))
    assert (receipt.contiguous_to, receipt.received_to) == (0, 8)
    assert receipt.missing == [SequenceRange(1, 2), SequenceRange(4, 6)]
    member.receipt(journal.upload(1, 2))
    assert member.receipt(journal.upload(4, 9)).contiguous_to == 9


def test_rows_of_unknown_tags_are_refused_with_what_is_known(
    member: Member, journal: Journal
) -> None:
    journal.add()
    status, refusal = member.refusal(journal.upload(1, 1))
    assert (status, refusal.code) == (409, "ingest.unknown_tags")
    assert refusal.receipt is not None
    assert (refusal.receipt.tags_known, refusal.receipt.received_to) == (0, 0)
    assert member.receipt(journal.upload(1, 1, tags=True)).contiguous_to == 1


def test_a_row_with_another_hash_is_a_fork(member: Member, journal: Journal) -> None:
    for _ in range(3):
        journal.add()
    member.receipt(journal.upload(1, 3, tags=True))
    other = Journal()
    other.add(samples=7)
    status, refusal = member.refusal(other.upload(1, 1))
    assert (status, refusal.code) == (409, "ingest.fork_detected")
    assert refusal.receipt is not None
    assert refusal.receipt.contiguous_to == 3


def test_a_row_chained_to_another_history_is_a_fork(
    member: Member, journal: Journal, admin: httpx.Client
) -> None:
    for _ in range(3):
        journal.add()
    member.receipt(journal.upload(1, 2, tags=True))
    other = Journal()
    for samples in (20, 7, 5):
        other.add(samples)
    status, refusal = member.refusal(other.upload(3, 3))
    assert (status, refusal.code) == (409, "ingest.fork_detected")
    assert admin.get(f"/api/gateways/{member.id}").json()["forks_count"] == 1


def test_a_changed_definition_is_a_fork(member: Member, journal: Journal) -> None:
    journal.add()
    member.receipt(journal.upload(1, 1, tags=True))
    upload = journal.upload(1, 1, tags=True)
    changed = msgspec.structs.replace(upload.tags[3], name="Another")
    tags = [*upload.tags[:3], changed, *upload.tags[4:]]
    status, refusal = member.refusal(msgspec.structs.replace(upload, tags=tags))
    assert (status, refusal.code) == (409, "ingest.fork_detected")


def test_a_flipped_bit_names_the_row_and_stores_nothing(member: Member, journal: Journal) -> None:
    for _ in range(3):
        journal.add()
    upload = journal.upload(1, 3, tags=True)
    row = upload.rows[1]
    damaged = bytes([*row.payload[:40], row.payload[40] ^ 1, *row.payload[41:]])
    upload.rows[1] = msgspec.structs.replace(row, payload=damaged)
    status, refusal = member.refusal(upload)
    assert status == 422
    assert [(f.code, f.path) for f in refusal.faults] == [("ingest.hash_mismatch", "rows[1]")]
    assert member.state(journal.epoch).received_to == 0


@pytest.mark.parametrize("payload", [b"", b"junk", b"\xff\xff\xff\xff" + bytes(60)])
def test_a_payload_that_is_no_batch_names_the_row(
    member: Member, journal: Journal, payload: bytes
) -> None:
    journal.add()
    row = msgspec.structs.replace(
        journal.rows[0], payload=payload, hash=chain_hash(FIRST_HASH, journal.epoch, 1, payload)
    )
    journal.rows[0] = row
    status, refusal = member.refusal(journal.upload(1, 1, tags=True))
    assert status == 422
    assert [(f.code, f.path) for f in refusal.faults] == [("batch.malformed", "rows[0]")]


def test_an_impossible_source_time_is_refused(member: Member, journal: Journal) -> None:
    column = columns_of(ValueKind.INT, [0], [np.iinfo(np.int64).max], [0], [1])
    journal.add(batch=SampleBatch((column,)))
    status, refusal = member.refusal(journal.upload(1, 1, tags=True))
    assert (status, refusal.faults[0].code) == (422, "ingest.time_out_of_range")


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": 2},
        {"epoch": "x" * 32},
        {"epoch": "../../../../etc/passwd"},
        {"previous_hash": b"short"},
        {"previous_hash": b"\x01" * 32},
    ],
)
def test_an_upload_out_of_shape_is_refused(
    member: Member, journal: Journal, change: dict[str, object]
) -> None:
    journal.add()
    upload = msgspec.structs.replace(journal.upload(1, 1, tags=True), **change)
    status, refusal = member.refusal(upload)
    assert (status, refusal.code) == (422, "ingest.malformed")
    assert refusal.faults[0].path == next(iter(change))


def test_bytes_that_are_no_upload_are_refused(member: Member) -> None:
    for content in (b"", b"\xc1", b"\x80", b"\x91" * 100_000, b"\x81\xa5bogus\x01"):
        answer = member.client.post(
            "/api/uplink/batches",
            content=content,
            headers={"content-type": "application/msgpack"},
        )
        assert answer.status_code == 422, answer.text
        assert "Traceback" not in answer.text
    assert member.client.post("/api/uplink/batches", json={}).status_code == 415


def test_an_upload_over_the_limits_is_refused(member: Member, journal: Journal) -> None:
    answer = member.client.post(
        "/api/uplink/batches",
        content=bytes(33 * 1024 * 1024),
        headers={"content-type": "application/msgpack"},
    )
    assert answer.status_code == 413
    row = journal.add()
    rows = [msgspec.structs.replace(row, sequence=i + 1) for i in range(2001)]
    upload = Upload(epoch=journal.epoch, previous_hash=bytes(32), rows=rows)
    assert member.refusal(upload)[0] == 413


def test_gateways_of_one_epoch_name_do_not_meet(
    member: Member, first_member: Member, journal: Journal
) -> None:
    epoch = "f" * 32
    mine = replace(journal, epoch=epoch)
    mine.add()
    member.receipt(mine.upload(1, 1, tags=True))
    assert first_member.state(epoch).received_to == 0


def test_a_tag_keeps_its_identity_over_epochs(
    member: Member, journal: Journal, admin: httpx.Client
) -> None:
    journal.add()
    member.receipt(journal.upload(1, 1, tags=True))
    before = tag_ids(admin, member.id)
    renewed = Journal(epoch="1" * 32)
    renewed.add()
    retyped = TagDefinition(
        index=10, name="Tag0", device="Press", data_type=10, source="line1", address="x"
    )
    upload = renewed.upload(1, 1, tags=True)
    member.receipt(msgspec.structs.replace(upload, tags=[*upload.tags, retyped]))
    assert tag_ids(admin, member.id) == before


def test_losses_explain_holes(member: Member, journal: Journal, admin: httpx.Client) -> None:
    for _ in range(6):
        journal.add()
    member.receipt(journal.upload(1, 2, tags=True))
    member.receipt(journal.upload(5, 6))
    path = f"/api/gateways/{member.id}/completeness"
    report = admin.get(path).json()
    assert report["is_complete"] is False
    epoch = report["epochs"][0]
    assert (epoch["complete_to"], epoch["unexplained_count"]) == (2, 1)
    assert epoch["holes"] == [{"first": 3, "last": 4, "reason": None}]
    assert admin.get(f"/api/gateways/{member.id}").json()["state"] == "Fault"
    loss = Loss(
        id=1,
        reason="journal_full",
        source="line1",
        tag=2,
        first_time_us=1,
        last_time_us=2,
        count=40,
        first_sequence=3,
        last_sequence=4,
        recorded_time_us=9,
    )
    receipt = member.receipt(journal.upload(1, 0, losses=[loss]))
    assert (receipt.losses_known, receipt.contiguous_to) == (1, 2)
    report = admin.get(path).json()
    assert report["is_complete"] is True
    epoch = report["epochs"][0]
    assert epoch["holes"] == [{"first": 3, "last": 4, "reason": "journal_full"}]
    assert epoch["complete_to_time_us"] == journal.rows[-1].last_time_us
    losses = admin.get(f"/api/gateways/{member.id}/losses").json()["losses"]
    assert [(e["reason"], e["count"]) for e in losses] == [("journal_full", 40)]
    assert losses[0]["tag_id"] == tag_ids(admin, member.id)["Tag2"]


def test_a_loss_that_was_filled_from_history_is_closed_for_the_tag_that_was_filled(
    member: Member, journal: Journal, admin: httpx.Client
) -> None:
    journal.add()
    row = journal.rows[0]
    ends = {"first_time_us": row.first_time_us - 1000, "last_time_us": row.last_time_us}
    entry = {"source": "line1", "recorded_time_us": 9} | ends
    gap = Loss(id=1, reason="session_gap", **entry)
    one = Loss(id=2, reason="filled_from_history", tag=2, count=7, closes=1, **entry)
    rest = Loss(id=3, reason="filled_from_history", count=5, closes=1, **entry)
    asked = {"start": row.first_time_us / 1000 - 1, "end": row.last_time_us / 1000}

    def words() -> list[str]:
        ids = tag_ids(admin, member.id)
        answers = [
            admin.get(
                "/api/timeseries/raw", params=asked | {"gateway": member.id, "tag": ids[name]}
            ).json()
            for name in ("Tag2", "Tag3")
        ]
        return [answer["completeness"]["word"] for answer in answers]

    def listed() -> list[tuple[int, bool, int]]:
        losses = admin.get(f"/api/gateways/{member.id}/losses").json()["losses"]
        return sorted((e["id"], e["is_filled"], e["filled_count"]) for e in losses)

    member.receipt(journal.upload(1, 1, tags=True, losses=[gap]))
    assert words() == ["incomplete", "incomplete"]
    member.receipt(journal.upload(1, 0, losses=[one]))
    assert words() == ["complete", "incomplete"]
    assert listed() == [(1, False, 7), (2, False, 0)]
    member.receipt(journal.upload(1, 0, losses=[rest]))
    assert words() == ["complete", "complete"]
    assert listed() == [(1, True, 12), (2, False, 0), (3, False, 0)]
    backwards = Loss(id=4, reason="filled_from_history", closes=4, **entry)
    status, refusal = member.refusal(journal.upload(1, 0, losses=[backwards]))
    assert (status, refusal.faults[0].path) == (422, "losses[0]")


def test_the_lag_is_told(member: Member, journal: Journal, admin: httpx.Client) -> None:
    for _ in range(5):
        journal.add()
    member.receipt(journal.upload(1, 2, tags=True))
    gateway = admin.get(f"/api/gateways/{member.id}").json()
    assert gateway["lag_rows"] == 3
    assert gateway["lag_s"] == pytest.approx(3.0, abs=0.5)
    member.receipt(journal.upload(3, 5))
    gateway = admin.get(f"/api/gateways/{member.id}").json()
    assert (gateway["lag_rows"], gateway["state"]) == (0, "OK")
    assert gateway["samples_count"] == 100


def test_without_a_certificate_nothing_is_taken(admin: httpx.Client) -> None:
    answer = admin.post("/api/uplink/batches", content=b"")
    assert (answer.status_code, answer.json()["code"]) == (401, "auth.certificate_needed")
    assert admin.get("/api/uplink/state", params={"epoch": "0" * 32}).status_code == 401


def test_a_revoked_gateway_is_shut_out_on_its_open_connection(
    member: Member, journal: Journal, admin: httpx.Client
) -> None:
    journal.add()
    member.receipt(journal.upload(1, 1, tags=True))
    answer = admin.post(f"/api/gateways/{member.id}/revoke")
    assert (answer.status_code, answer.json()["state"]) == (200, "Off")
    status, refusal = member.refusal(journal.upload(1, 1))
    assert (status, refusal.code) == (403, "auth.certificate_refused")
    crl = x509.load_pem_x509_crl(admin.get("/api/uplink/crl").content)
    certificate = x509.load_pem_x509_certificate(member.answer.certificate_pem.encode())
    assert crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None
    crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    crl.extensions.get_extension_for_class(x509.CRLNumber)
