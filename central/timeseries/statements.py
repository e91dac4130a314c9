"""SQL of the lake. DuckLake has no indexes: files are pruned by their min/max of tag and time."""

from __future__ import annotations

# The catalog remembers an absolute DATA_PATH; the override lets a data directory be moved.
ATTACH = """
ATTACH 'ducklake:{catalog}' AS lake
  (DATA_PATH '{data}', OVERRIDE_DATA_PATH true, DATA_INLINING_ROW_LIMIT 1000)
"""
_SAMPLE_COLUMNS = """
  gateway INTEGER NOT NULL, tag BIGINT NOT NULL, time TIMESTAMP NOT NULL, status UINTEGER NOT NULL,
  "double" DOUBLE, "int" BIGINT, "uint" UBIGINT, "text" VARCHAR, "bytes" BLOB,
  epoch INTEGER NOT NULL, sequence BIGINT NOT NULL, ordinal USMALLINT NOT NULL
"""
COLUMNS = (
    'gateway, tag, time, status, "double", "int", "uint", "text", "bytes", epoch, sequence, ordinal'
)
CREATE = (
    f"CREATE TABLE recent ({_SAMPLE_COLUMNS}, generation BIGINT NOT NULL)",
    f"CREATE TABLE IF NOT EXISTS lake.samples (day DATE NOT NULL, {_SAMPLE_COLUMNS})",
    """
    CREATE TABLE IF NOT EXISTS lake.received (
      epoch INTEGER NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL,
      previous_hash BLOB NOT NULL, last_hash BLOB NOT NULL, last_time_us BIGINT NOT NULL,
      samples_count BIGINT NOT NULL)
    """,
    "CREATE TABLE IF NOT EXISTS lake.flushes (number BIGINT NOT NULL)",
)
IS_PARTITIONED = """
SELECT 1 FROM __ducklake_metadata_lake.ducklake_partition_info WHERE end_snapshot IS NULL
"""
LAYOUT = (
    "ALTER TABLE lake.samples SET PARTITIONED BY (day)",
    "ALTER TABLE lake.samples SET SORTED BY (tag ASC, time ASC)",
)
LAST_FLUSH = "SELECT coalesce(max(number), 0) FROM lake.flushes"
RECEIVED = """
SELECT epoch, first, last, previous_hash, last_hash, last_time_us, samples_count
FROM lake.received ORDER BY epoch, first
"""
INSERT_RECEIVED = """
INSERT INTO lake.received
SELECT epoch, first, last, previous_hash, last_hash, last_time_us, samples_count FROM incoming
"""
FORGET_RECEIVED = "DELETE FROM lake.received"
INSERT_FLUSH = "INSERT INTO lake.flushes VALUES (?)"
FORGET_RECENT = "DELETE FROM recent WHERE generation <= ?"
FORGET_FLUSHES = "DELETE FROM lake.flushes WHERE number < ?"

# A day is a folder. Source clocks may say anything, and a folder per odd day would be a way to
# fill the disk with folders: old samples go to their year, impossible times to 1970.
FLUSH = f"""
INSERT INTO lake.samples
SELECT CASE
    WHEN time BETWEEN make_timestamp($1::BIGINT) - INTERVAL 35 DAY
                  AND make_timestamp($1::BIGINT) + INTERVAL 2 DAY THEN time::DATE
    WHEN time BETWEEN TIMESTAMP '1971-01-01' AND TIMESTAMP '2100-01-01'
      THEN date_trunc('year', time)::DATE
    ELSE DATE '1970-01-01'
  END AS day, {COLUMNS}
FROM recent WHERE generation <= $2
ORDER BY day, tag, time, epoch, sequence, ordinal
"""  # noqa: S608 - constants only
FLUSH_INLINED = "CALL ducklake_flush_inlined_data('lake')"
MERGE = "CALL ducklake_merge_adjacent_files('lake')"
CLEAN = (
    "CALL ducklake_expire_snapshots('lake', older_than => now() - INTERVAL 1 HOUR)",
    "CALL ducklake_cleanup_old_files('lake', older_than => now() - INTERVAL 1 HOUR)",
    # What a killed flush wrote before its commit.
    "CALL ducklake_delete_orphaned_files('lake', older_than => now() - INTERVAL 1 HOUR)",
)

TOUCH_RECENT = "SELECT count(*) FROM (SELECT 1 FROM recent LIMIT 1)"
_BOTH = f"""
(SELECT {COLUMNS} FROM lake.samples
   WHERE tag = $1 AND time >= make_timestamp($2::BIGINT) AND time < make_timestamp($3::BIGINT)
 UNION ALL
 SELECT {COLUMNS} FROM recent
   WHERE tag = $1 AND time >= make_timestamp($2::BIGINT) AND time < make_timestamp($3::BIGINT)
     AND generation > (SELECT coalesce(max(number), 0) FROM lake.flushes))
"""  # noqa: S608 - constants only
RAW = f"""
SELECT epoch_us(time) AS time_us, status, "double", "int", "uint", "text", "bytes"
FROM {_BOTH} ORDER BY time, epoch, sequence, ordinal LIMIT $4
"""  # noqa: S608 - constants only
# status >> 30 is the severity: 0 good, 1 uncertain, 2 and 3 bad (OPC 10000-4, 7.39).
BUCKETS = f"""
SELECT bucket, min(value) FILTER (usable), max(value) FILTER (usable), avg(value) FILTER (usable),
  count(*), count(*) FILTER (status >> 30 = 0)
FROM (SELECT (epoch_us(time) - $2) // $4 AS bucket, status,
        coalesce("double", "int"::DOUBLE, "uint"::DOUBLE) AS value,
        value IS NOT NULL AND isfinite(value) AND status >> 30 < 2 AS usable
      FROM {_BOTH})
GROUP BY bucket ORDER BY bucket
"""  # noqa: S608 - constants only


def insert_recent(value_column: str) -> str:
    """Return the statement that moves ``incoming`` into ``recent``.

    Args:
        value_column: one of ``contract.batch.VALUE_COLUMN``, or "" for samples without a value.
    """
    into, value = (f', "{value_column}"', ", value") if value_column else ("", "")
    return f"""
    INSERT INTO recent (gateway, tag, time, status, epoch, sequence, ordinal{into}, generation)
    SELECT gateway, tag, make_timestamp(time_us), status, epoch, sequence, ordinal{value}, $1
    FROM incoming
    """  # noqa: S608 - names from a closed list
