"""Sync what a transaction wrote before the catalog refers to it."""

from __future__ import annotations

import os
from pathlib import Path


class NewFiles:
    """Finds files that appeared below a folder since the last look, and syncs them.

    A folder is listed only when its modification time changed, so that a look costs little beside
    many days of data.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[Path, int] = {}
        self._known: dict[Path, set[str]] = {}

    def sync(self) -> int:
        """Sync new files, then the folders that hold them; return how many files."""
        files_count = 0
        if not self._root.is_dir():
            return 0
        changed = self._changed(self._root)
        for folder in changed:
            names = {e.name for e in os.scandir(folder) if e.is_file()}
            for name in names - self._known.get(folder, set()):
                _sync(folder / name)
                files_count += 1
            self._known[folder] = names
        for folder in reversed(changed):
            _sync(folder)
        return files_count

    def _changed(self, folder: Path) -> list[Path]:
        modified_ns = folder.stat().st_mtime_ns
        found = [] if self._folders.get(folder) == modified_ns else [folder]
        self._folders[folder] = modified_ns
        for entry in os.scandir(folder):
            if entry.is_dir():
                found.extend(self._changed(Path(entry.path)))
        return found


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
