"""The hub's relational database: SQLite by default, PostgreSQL by URL; models are portable.

Promises: ``synchronous=FULL`` and WAL on SQLite, read back, since acknowledgements rest on it;
times are µs since 1970 UTC in columns named ``*_us``. One ``Database`` a process.
"""

from central.database.engine import Base, Database

__all__ = ["Base", "Database"]
