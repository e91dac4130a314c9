"""The npm packages as running programs: `host.mjs` and `edge.mjs`, one JSON line per message."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import pytest

FOLDER = Path(__file__).parent / "interop"
Line = dict[str, object]
DEADLINE_S = 90
"""Generous: the machine may be busy with other work."""


class NpmProgram:
    """A node process; `lines` is what it has said, `until` waits for more."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self._process = process
        self.lines: list[Line] = []
        self._has_ended = False
        self._changed = anyio.Event()

    async def read(self) -> None:
        assert self._process.stdout is not None
        held = b""
        async for data in self._process.stdout:
            *whole, held = (held + data).split(b"\n")
            self.lines += [json.loads(line) for line in whole]
            self._changed.set()
            self._changed = anyio.Event()
        self._has_ended = True
        self._changed.set()

    async def tell(self, **request: object) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send(json.dumps(request).encode() + b"\n")

    async def until(
        self, what: str, holds: Callable[[], object], deadline_s: float = DEADLINE_S
    ) -> None:
        with anyio.move_on_after(deadline_s):
            while not holds():
                assert not self._has_ended, f"the program ended before: {what}"
                await self._changed.wait()
            return
        raise AssertionError(f"not within {deadline_s} s: {what}; said last: {self.lines[-5:]}")

    def of(self, kind: str, start: int = 0) -> list[Line]:
        """Return the messages of a type, from a line on."""
        return [one for one in self.lines[start:] if f"/{kind}/" in str(one.get("topic", ""))]

    def events(self, name: str) -> int:
        return sum(one.get("event") == name for one in self.lines)

    async def wait(self) -> int:
        with anyio.fail_after(10):
            return await self._process.wait()


@contextlib.asynccontextmanager
async def npm_program(script: str, **options: object) -> AsyncIterator[NpmProgram]:
    """Start a script of the interop folder; it ends with the block."""
    if not (FOLDER / "node_modules" / "sparkplug-client").is_dir():
        pytest.fail(f"{FOLDER}/node_modules is missing: run `make setup-test`", pytrace=False)
    command = ["node", script, json.dumps(options)]
    async with (
        await anyio.open_process(command, cwd=FOLDER, stderr=None) as process,
        anyio.create_task_group() as tasks,
    ):
        program = NpmProgram(process)
        tasks.start_soon(program.read)
        try:
            yield program
        finally:
            if process.returncode is None:
                process.kill()
            tasks.cancel_scope.cancel()
