"""docs/formats/journal.md and batch.md are enough to read a journal without our code."""

import hashlib
import re
import sqlite3
from io import BytesIO
from pathlib import Path

import msgspec
import pytest
from arro3.io import read_ipc_stream

from contract import batch, framing
from contract.sample import SampleBatch, ValueKind
from contract.upload import Loss, TagDefinition
from gateway.flow import relief
from gateway.journal.cursors import Cursor
from gateway.journal.log import Journal, Transaction
from gateway.journal.tables import CREATE, FORMAT
from tests.contract.batches import columns

FORMATS = Path(__file__).parents[3] / "docs" / "formats"
PAGE = (FORMATS / "journal.md").read_text()
BATCH_PAGE = (FORMATS / "batch.md").read_text()
CONTENT = SampleBatch(
    (
        columns(ValueKind.DOUBLE, [(0, -5, 0, 0x7FF800000000BEEF), (1, 7, 9, 0)]),
        columns(ValueKind.TEXT, [(2, 8, 0, "é")]),
        columns(ValueKind.NULL, [(0, 9, 0x80000000, None)]),
    )
)


@pytest.mark.parametrize("statement", CREATE)
def test_the_page_names_every_table_and_column(statement):
    table, body = re.match(r"CREATE TABLE (\w+) \((.*)\)", statement, re.DOTALL).groups()
    lines = PAGE[PAGE.index("## Tables") :].split("\n\n")[1].splitlines()
    start = next(n for n, line in enumerate(lines) if line.split()[:1] == [table])
    text = lines[start]
    for line in lines[start + 1 :]:
        if line[4:5] != " ":
            break
        text += line
    for part in body.split(","):
        name = part.split()[0]
        assert name == "PRIMARY" or name.rstrip(")") in text


def test_the_page_has_the_numbers_of_the_code():
    assert f"Format version {FORMAT}." in PAGE
    assert f"{relief.RESERVE_BYTES // 10**6} MB of ballast" in PAGE
    assert f"1 to {batch.SAMPLES_MAX:,}" in BATCH_PAGE
    assert f"{batch.PAYLOAD_BYTES_MAX // 2**20} MiB" in BATCH_PAGE
    assert f"{framing.DECODED_BYTES_MAX // 2**20} MiB" in BATCH_PAGE
    for name in batch.VALUE_COLUMN.values():
        assert f"| `{name}` |" in BATCH_PAGE


def test_a_journal_can_be_read_by_the_page_alone(tmp_path):
    tag = TagDefinition(index=0, name="t", device="d", data_type=10, source="s", address="a")
    loss = Loss(id=1, reason="session_gap", first_time_us=1, last_time_us=2, recorded_time_us=3)
    with Journal(tmp_path) as journal:
        for _ in range(3):
            journal.commit(Transaction(batch=CONTENT), 44)
        journal.commit(
            Transaction(
                batch=CONTENT,
                tags=[tag],
                losses=[loss],
                marks={("s", "g/sequence"): 5},
                cursors={"hub": Cursor(2, [(4, 4)])},
                snapshot=CONTENT,
            ),
            55,
        )
        journal.trim(1)

    db = sqlite3.connect(tmp_path / "journal.db")
    meta = dict(db.execute("SELECT key, value FROM meta"))
    assert (meta["format"], len(meta["epoch"]), meta["trimmed_to"]) == (1, 32, 1)
    previous = meta["trimmed_hash"]
    rows = db.execute("SELECT * FROM rows ORDER BY sequence").fetchall()
    assert [row[0] for row in rows] == [2, 3, 4]
    for sequence, found, count, first_us, last_us, committed_us, payload in rows:
        link = hashlib.sha256(previous + meta["epoch"].encode() + sequence.to_bytes(8, "big"))
        link.update(payload)
        assert found == link.digest()
        previous = found
        records = list(read_ipc_stream(BytesIO(payload)))
        assert sum(record.num_rows for record in records) == count == 4
        assert (first_us, last_us, committed_us) == (-5, 9, 55 if sequence == 4 else 44)
        kinds = [set(record.column("kind").to_pylist()) for record in records]
        assert kinds == [{0}, {3}, {5}]
        assert records[1].column("text").to_pylist() == ["é"]
        assert records[1].column("double").to_pylist() == [None]
        assert records[2].column("status").to_pylist() == [0x80000000]
    assert db.execute("SELECT * FROM cursors").fetchall() == [
        ("hub", 2, msgspec.msgpack.encode([(4, 4)]))
    ]
    ((index, definition),) = db.execute("SELECT tag, definition FROM tags")
    assert (index, msgspec.msgpack.decode(definition)["name"]) == (0, "t")
    assert db.execute("SELECT * FROM marks").fetchall() == [("s", "g/sequence", 5)]
    ((number, entry),) = db.execute("SELECT id, entry FROM losses")
    assert (number, msgspec.msgpack.decode(entry)["reason"]) == (1, "session_gap")
    ((one, as_of, last),) = db.execute("SELECT * FROM snapshot")
    assert (one, as_of) == (1, 4)
    assert sum(record.num_rows for record in read_ipc_stream(BytesIO(last))) == 4
    db.close()
