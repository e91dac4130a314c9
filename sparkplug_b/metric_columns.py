"""The metrics of one payload as columns: what `decode_columns` returns."""

from __future__ import annotations

from dataclasses import dataclass

from sparkplug_b.datatype import DataType
from sparkplug_b.payload import MetaData, Metric, Payload, PropertySet, Value


@dataclass(slots=True)
class MetricColumns:
    """One payload; all columns have one row per metric, in the order of the payload.

    A row means what the `Metric` of `decode` means (`payload()` gives those).

    Attributes:
        timestamp_ms: of the payload; `seq`, `uuid` and `body` likewise.
        names: None where the metric has none.
        aliases: None where the metric has none.
        times_ms: of each metric; None where it has none.
        data_types: as sent with the metric; None where it carries none, as in DATA.
        values: None where `is_null`, and where there is none.
        metadata: of the rows that have some, by row.
        properties: of the rows that have some, by row. Rows may share one object.
    """

    timestamp_ms: int | None
    seq: int | None
    uuid: str | None
    body: bytes | None
    names: list[str | None]
    aliases: list[int | None]
    times_ms: list[int | None]
    data_types: list[DataType | None]
    values: list[Value | None]
    is_null: list[bool]
    is_historical: list[bool]
    is_transient: list[bool]
    metadata: dict[int, MetaData]
    properties: dict[int, PropertySet]

    def __len__(self) -> int:
        """Return the number of metrics."""
        return len(self.values)

    def wrap(self, envelope: Payload) -> None:
        """Take over what a payload says besides its metrics."""
        self.timestamp_ms = envelope.timestamp_ms
        self.seq = envelope.seq
        self.uuid = envelope.uuid
        self.body = envelope.body

    def select(self, rows: list[int]) -> MetricColumns:
        """Return some of the rows, in this order."""
        new = {row: place for place, row in enumerate(rows)}
        return MetricColumns(
            timestamp_ms=self.timestamp_ms,
            seq=self.seq,
            uuid=self.uuid,
            body=self.body,
            names=[self.names[row] for row in rows],
            aliases=[self.aliases[row] for row in rows],
            times_ms=[self.times_ms[row] for row in rows],
            data_types=[self.data_types[row] for row in rows],
            values=[self.values[row] for row in rows],
            is_null=[self.is_null[row] for row in rows],
            is_historical=[self.is_historical[row] for row in rows],
            is_transient=[self.is_transient[row] for row in rows],
            metadata={new[row]: one for row, one in self.metadata.items() if row in new},
            properties={new[row]: one for row, one in self.properties.items() if row in new},
        )

    def payload(self) -> Payload:
        """Return the same as an object per metric."""
        rows = zip(
            self.names,
            self.aliases,
            self.times_ms,
            self.data_types,
            self.values,
            self.is_null,
            self.is_historical,
            self.is_transient,
            strict=True,
        )
        return Payload(
            timestamp_ms=self.timestamp_ms,
            seq=self.seq,
            uuid=self.uuid,
            body=self.body,
            metrics=tuple(
                Metric(
                    name=name,
                    alias=alias,
                    time_ms=time_ms,
                    data_type=data_type,
                    value=value,
                    is_null=is_null,
                    is_historical=is_historical,
                    is_transient=is_transient,
                    metadata=self.metadata.get(row),
                    properties=self.properties.get(row),
                )
                for row, (
                    name,
                    alias,
                    time_ms,
                    data_type,
                    value,
                    is_null,
                    is_historical,
                    is_transient,
                ) in enumerate(rows)
            ),
        )


def empty_columns() -> MetricColumns:
    """Return columns without a row, to be filled."""
    return MetricColumns(
        timestamp_ms=None,
        seq=None,
        uuid=None,
        body=None,
        names=[],
        aliases=[],
        times_ms=[],
        data_types=[],
        values=[],
        is_null=[],
        is_historical=[],
        is_transient=[],
        metadata={},
        properties={},
    )
