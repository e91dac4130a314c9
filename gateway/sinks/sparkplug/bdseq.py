"""The birth/death sequence number, durable before the CONNECT that uses it.

A small file of its own, replaced atomically: bdSeq must survive restarts and must not wait for the
journal (Sparkplug 3.0, tck-id-message-flow-edge-node-birth-publish-will-message-payload-bdSeq).
"""

from __future__ import annotations

import os
from pathlib import Path

from sparkplug_b.edge import next_bd_seq

FILE_NAME = "bdseq"


def advance(directory: Path, identity: str) -> int:
    """Return the next bdSeq of an edge node (``group/node``) and make it durable first."""
    path = directory / FILE_NAME
    held = _read(path)
    number = next_bd_seq(held.get(identity))
    held[identity] = number
    fresh = path.with_suffix(".new")
    with fresh.open("w", encoding="utf-8") as handle:
        handle.writelines(f"{number} {name}\n" for name, number in held.items())
        handle.flush()
        os.fsync(handle.fileno())
    fresh.replace(path)
    folder = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return number


def _read(path: Path) -> dict[str, int]:
    held: dict[str, int] = {}
    if not path.exists():
        return held
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        number, _, name = line.partition(" ")
        if name and number.isdigit() and int(number) <= 255:
            held[name] = int(number)
    return held
