"""The spool: acknowledged rows on disk until the lake has them.

Promise: when ``append`` returns, the records are on disk (write and fsync of the file, fsync of
the directory for a new file). Group commit: whatever waits while one fsync runs shares the next.
A segment is deleted when all its records were released. Limits: ``bytes_max`` in all; beyond it
``append`` raises SpoolFullError. A disk that refuses raises SpoolWriteError, and the segment is
cut back to its last good record or given up. Task: ``run``, the committer, is its owner's child.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread

from central.errors import SpoolFullError, SpoolWriteError
from central.ingest.segment import MAGIC, SpoolRecord, encode_record, read_segment

SEGMENT_BYTES_MAX = 64 * 1024 * 1024
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(slots=True)
class _Segment:
    number: int
    path: Path
    size_bytes: int = 0
    outstanding: int = 0
    is_closed: bool = False


@dataclass(slots=True, eq=False)
class _Ticket:
    content: bytes
    records_count: int
    done: anyio.Event = field(default_factory=anyio.Event)
    segment: int = 0
    error: SpoolWriteError | None = None


class Spool:
    """Append-only segment files under one directory."""

    def __init__(self, directory: Path, bytes_max: int) -> None:
        self._directory = directory
        self._bytes_max = bytes_max
        self._segments: dict[int, _Segment] = {}
        self._current: _Segment | None = None
        self._descriptor = -1
        self._next_number = 1
        self._waiting: list[_Ticket] = []
        self._waiting_bytes = 0
        self._wake = anyio.Event()
        self._is_rotation_wanted = False
        self.commits_count = 0
        self.refused_full_count = 0
        self.write_errors_count = 0

    @property
    def size_bytes(self) -> int:
        """Bytes on disk and waiting for it."""
        return sum(s.size_bytes for s in self._segments.values()) + self._waiting_bytes

    @property
    def bytes_max(self) -> int:
        """The bound on ``size_bytes``."""
        return self._bytes_max

    def recover(self) -> Iterator[tuple[int, SpoolRecord]]:
        """Yield (segment, record) of what the last process left; call once, before ``run``.

        Each record counts as outstanding and is to be released like a new one.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in sorted(self._directory.glob("*.seg")):
            number = int(path.stem)
            self._next_number = number + 1
            segment = _Segment(number, path, path.stat().st_size, is_closed=True)
            self._segments[number] = segment
            for record, _ in read_segment(path):
                segment.outstanding += 1
                yield number, record
            self._delete_if_done(segment)

    async def append(self, records: Sequence[SpoolRecord]) -> int:
        """Write records durably; return the segment they are in.

        Raises:
            SpoolFullError: the bound is reached; the lake has to catch up first.
            SpoolWriteError: the disk refused; none of the records counts as written.
        """
        assert records
        content = b"".join(encode_record(r) for r in records)
        if self.size_bytes + len(content) > self._bytes_max:
            self.refused_full_count += 1
            raise SpoolFullError("the hub's spool is full")
        ticket = _Ticket(content, len(records))
        self._waiting.append(ticket)
        self._waiting_bytes += len(content)
        self._wake.set()
        await ticket.done.wait()
        if ticket.error is not None:
            raise ticket.error
        return ticket.segment

    async def run(self) -> None:
        """Commit what waits, group by group, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            if self._is_rotation_wanted:
                self._is_rotation_wanted = False
                self.close()
            group, self._waiting = self._waiting, []
            if not group:
                continue
            error: SpoolWriteError | None = None
            with anyio.CancelScope(shield=True):
                try:
                    segment = await anyio.to_thread.run_sync(
                        self._write, [t.content for t in group]
                    )
                except SpoolWriteError as caught:
                    error, segment = caught, None
            for ticket in group:
                self._waiting_bytes -= len(ticket.content)
                ticket.error = error
                if segment is not None:
                    ticket.segment = segment.number
                    segment.outstanding += ticket.records_count
                ticket.done.set()
            self.commits_count += 1

    def release(self, segment_number: int, records_count: int) -> None:
        """Say that the lake holds so many records of a segment."""
        segment = self._segments[segment_number]
        segment.outstanding -= records_count
        assert segment.outstanding >= 0
        self._delete_if_done(segment)

    def rotate(self) -> None:
        """Ask the committer to close the current segment, to delete it once it is released."""
        self._is_rotation_wanted = True
        self._wake.set()

    def close(self) -> None:
        """Close the open file; nothing is lost by not calling this."""
        if self._current is not None:
            self._close_current()

    def _write(self, contents: list[bytes]) -> _Segment:
        segment = None
        try:
            segment = self._open_segment()
            _write_all(self._descriptor, b"".join(contents))
            os.fsync(self._descriptor)
        except OSError as error:
            self.write_errors_count += 1
            if segment is not None:
                self._give_up(segment)
            full = error.errno in _NO_ROOM
            raise SpoolWriteError(
                "the hub's disk is full" if full else "the hub's disk refused a write", full=full
            ) from error
        segment.size_bytes += sum(len(c) for c in contents)
        return segment

    def _open_segment(self) -> _Segment:
        current = self._current
        if current is not None and current.size_bytes < SEGMENT_BYTES_MAX:
            return current
        if current is not None:
            self._close_current()
        number = self._next_number
        path = self._directory / f"{number:010d}.seg"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            _write_all(descriptor, MAGIC)
            os.fsync(descriptor)
            _sync_directory(self._directory)
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        self._next_number = number + 1
        segment = _Segment(number, path, len(MAGIC))
        self._segments[number] = self._current = segment
        self._descriptor = descriptor
        return segment

    def _give_up(self, segment: _Segment) -> None:
        """Cut a segment back to its last good record and never write to it again.

        After a failed fsync the kernel may have dropped the pages, so the file is not to be
        trusted with more (security.md, F10).
        """
        try:
            os.ftruncate(self._descriptor, segment.size_bytes)
        except OSError:
            self.write_errors_count += 1
        self._close_current()

    def _close_current(self) -> None:
        assert self._current is not None
        segment, self._current = self._current, None
        os.close(self._descriptor)
        self._descriptor = -1
        segment.is_closed = True
        self._delete_if_done(segment)

    def _delete_if_done(self, segment: _Segment) -> None:
        if segment.is_closed and segment.outstanding == 0:
            segment.path.unlink(missing_ok=True)
            self._segments.pop(segment.number, None)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
