"""bdSeq is durable before it is used, and one larger each time, per edge node."""

import os
from pathlib import Path

import pytest

from gateway.sinks.sparkplug import bdseq
from gateway.sinks.sparkplug.bdseq import FILE_NAME, advance


@pytest.mark.sparkplug(
    "tck-id-topics-nbirth-bdseq-increment",
)
def test_it_begins_at_zero_and_counts_over_restarts(tmp_path):
    assert [advance(tmp_path, "G/N") for _ in range(4)] == [0, 1, 2, 3]


def test_after_255_comes_zero(tmp_path):
    (tmp_path / FILE_NAME).write_text("255 G/N\n")
    assert [advance(tmp_path, "G/N") for _ in range(2)] == [0, 1]


def test_each_edge_node_counts_for_itself_also_with_blanks_in_its_name(tmp_path):
    assert advance(tmp_path, "G/N") == 0
    assert advance(tmp_path, "My Group/Node 1") == 0
    assert advance(tmp_path, "G/N") == 1
    assert advance(tmp_path, "My Group/Node 1") == 1


def test_the_file_holds_the_number_before_it_is_returned(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync

    def note(handle):
        synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    monkeypatch.setattr(bdseq.os, "fsync", note)
    number = advance(tmp_path, "G/N")
    assert (tmp_path / FILE_NAME).read_text() == f"{number} G/N\n"
    # the content before its name, the name before the return
    assert synced == [str(tmp_path / "bdseq.new"), str(tmp_path)]


def test_a_crash_before_the_replacement_leaves_the_old_number(tmp_path, monkeypatch):
    advance(tmp_path, "G/N")

    def cut(_handle):
        raise OSError("the power goes")

    monkeypatch.setattr(bdseq.os, "fsync", cut)
    with pytest.raises(OSError, match="power"):
        advance(tmp_path, "G/N")
    monkeypatch.undo()
    assert advance(tmp_path, "G/N") == 1


@pytest.mark.parametrize("content", [b"", b"x", b"\xff\xfe\0", b"999 G/N\n", b"-1 G/N\n", b"7\n"])
def test_a_damaged_file_starts_over_instead_of_stopping_the_gateway(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    assert advance(tmp_path, "G/N") == 0
