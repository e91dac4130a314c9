"""The journal's tables and its format version; the page is docs/formats/journal.md."""

from __future__ import annotations

FORMAT = 1

CREATE = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID",
    # one row per commit; its number is the identity's sequence, never used twice
    """CREATE TABLE rows (
        sequence INTEGER PRIMARY KEY, hash BLOB NOT NULL, samples_count INTEGER NOT NULL,
        first_time_us INTEGER NOT NULL, last_time_us INTEGER NOT NULL,
        committed_us INTEGER NOT NULL, payload BLOB NOT NULL)""",
    """CREATE TABLE cursors (
        consumer TEXT PRIMARY KEY, confirmed INTEGER NOT NULL, beyond BLOB NOT NULL
        ) WITHOUT ROWID""",
    # definition is a TagDefinition as msgpack: immutable, so it is only ever inserted
    "CREATE TABLE tags (tag INTEGER PRIMARY KEY, definition BLOB NOT NULL)",
    """CREATE TABLE marks (
        source TEXT, key TEXT, position INTEGER NOT NULL, PRIMARY KEY (source, key)
        ) WITHOUT ROWID""",
    "CREATE TABLE losses (id INTEGER PRIMARY KEY, entry BLOB NOT NULL)",
    # one row: the last value of every tag, as of a row's sequence
    """CREATE TABLE snapshot (
        id INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, payload BLOB NOT NULL)""",
)
