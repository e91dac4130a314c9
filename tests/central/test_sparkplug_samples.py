"""Metrics to sample columns: kinds, times, status codes, and what has no place in a series."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from central.ingest.sparkplug.pieces import Piece, runs
from central.ingest.sparkplug.samples import NodeTags
from contract.mapping import STATUS_LAST_USABLE, status_of_quality
from contract.sample import ValueKind
from sparkplug_b import (
    DataSet,
    DataType,
    Metric,
    MetricValues,
    PropertySet,
    PropertyValue,
    Template,
)

T = 1_790_000_000_000


def event(*rows: tuple[Any, ...], origin: Any = "data", device: str | None = None) -> MetricValues:
    """Rows are (name, type, time, value, historical, transient, properties)."""
    full = [(*row, *(None,) * (7 - len(row))) for row in rows]
    return MetricValues(
        group_id="G",
        node_id="N",
        device_id=device,
        origin=origin,
        received_ms=T + 5,
        names=[r[0] for r in full],
        data_types=[r[1] for r in full],
        times_ms=[r[2] for r in full],
        values=[r[3] for r in full],
        is_historical=[bool(r[4]) for r in full],
        is_transient=[bool(r[5]) for r in full],
        properties={at: r[6] for at, r in enumerate(full) if r[6] is not None},
    )


def tags() -> NodeTags:
    return NodeTags("G/N", Counter())


def held(node: NodeTags, *pieces: Piece) -> dict[str, list[tuple[Any, int, int]]]:
    """What is stored: name to (value, time in µs, status)."""
    found: dict[str, list[tuple[Any, int, int]]] = {}
    for piece in pieces:
        for columns in node.settle(piece).batch.columns:
            columns.check()
            values = [None] * len(columns) if columns.value is None else list(columns.value)
            for at, tag in enumerate(columns.tag.tolist()):
                row = (values[at], int(columns.time_us[at]), int(columns.status[at]))
                found.setdefault(node.definitions[tag].name, []).append(row)
    return found


@pytest.mark.parametrize(
    ("data_type", "value", "kept"),
    [
        (DataType.INT8, -128, -128),
        (DataType.UINT32, 2**32 - 1, 2**32 - 1),
        (DataType.INT64, -(2**63), -(2**63)),
        (DataType.UINT64, 2**64 - 1, 2**64 - 1),
        (DataType.FLOAT, 0.5, 0.5),
        (DataType.DOUBLE, float("inf"), float("inf")),
        (DataType.BOOLEAN, True, 1),
        (DataType.DATETIME, T, T * 1000),
        (DataType.DATETIME, T * 1_000_000, T * 1000),
        (DataType.STRING, "ä", "ä"),
        (DataType.UUID, "x", "x"),
        (DataType.BYTES, b"\0\1", b"\0\1"),
        (DataType.INT16_ARRAY, (-30000, 30000), bytes.fromhex("d08a3075")),
        (DataType.STRING_ARRAY, ("a", "b"), b"a\0b\0"),
        (DataType.BOOLEAN_ARRAY, (True, False), b"\2\0\0\0\x80"),
    ],
)
def test_each_data_type_is_kept_exactly(data_type: DataType, value: Any, kept: Any) -> None:
    node = tags()
    for origin in ("birth", "data"):
        found = held(node, *node.take(event(("M", data_type, T, value), origin=origin)))
        if origin == "birth":
            assert found == {"M": [(kept, T * 1000, 0)]}
    assert node.definitions[0].data_type == data_type
    assert not node.unstorable


def test_the_column_way_and_the_way_row_by_row_say_the_same() -> None:
    rows = [(f"M{at}", DataType.DOUBLE, T + at, at / 2) for at in range(50)]
    fast, slow = tags(), tags()
    for node in (fast, slow):
        held(node, *node.take(event(*rows, origin="birth")))
    later = [(name, kind, time + 100, value) for name, kind, time, value in rows]
    good = PropertySet(entries={"Quality": PropertyValue(data_type=DataType.INT32, value=192)})
    with_quality = [(*row, False, False, good) for row in later]
    assert fast._plain(event(*later)) is not None
    assert slow._plain(event(*with_quality)) is None
    assert held(fast, *fast.take(event(*later))) == held(slow, *slow.take(event(*with_quality)))


def test_what_has_no_place_in_a_series_is_counted_by_cause() -> None:
    node = tags()
    table = DataSet(columns=("a",), types=(DataType.INT32,), rows=((1,),))
    rows = [
        ("Table", DataType.DATASET, T, table),
        ("Untyped", DataType.UNKNOWN, T, 1),
        ("n" * 501, DataType.DOUBLE, T, 1.0),
        ("nul\0", DataType.DOUBLE, T, 1.0),
        ("Text", DataType.STRING, T, "a\0b"),
        ("Good", DataType.DOUBLE, T, 1.0),
        ("Old", DataType.DOUBLE, 2**62, 1.0),
        ("Passing", DataType.DOUBLE, T, 1.0, False, True),
    ]
    found = held(node, *node.take(event(*rows)))
    assert found == {"Good": [(1.0, T * 1000, 0)], "Old": [(1.0, 2**62 // 1000, 0)]}
    assert node.unstorable == {"dataset": 1, "data_type": 1, "name": 2, "text": 1}
    assert node.transient_count == 1
    held(node, *node.take(event(("Late", DataType.DOUBLE, 10**15 - 1, 1.0))))
    assert node.unstorable["time"] == 1


def test_members_of_templates_are_tags_and_data_needs_no_types_for_them() -> None:
    node = tags()
    inner = Template(
        is_definition=False,
        template_ref="Motor",
        metrics=(
            Metric(name="Speed", data_type=DataType.INT16, value=-2),
            Metric(name="On", data_type=DataType.BOOLEAN, value=True),
        ),
    )
    definition = Template(is_definition=True, metrics=inner.metrics)
    born = event(
        ("Motor", DataType.TEMPLATE, T, definition),
        ("M1", DataType.TEMPLATE, T, inner),
        origin="birth",
    )
    assert held(node, *node.take(born)) == {
        "M1/Speed": [(-2, T * 1000, 0)],
        "M1/On": [(1, T * 1000, 0)],
    }
    raw = Template(is_definition=False, metrics=(Metric(name="Speed", value=0xFFFF),))
    data = event(("M1", DataType.TEMPLATE, T + 1, raw))
    assert held(node, *node.take(data)) == {"M1/Speed": [(-1, (T + 1) * 1000, 0)]}
    assert not node.unstorable


def test_a_metric_with_a_new_type_is_a_new_tag_index() -> None:
    node = tags()
    held(node, *node.take(event(("M", DataType.INT32, T, 1), origin="birth")))
    (piece,) = node.take(event(("M", DataType.DOUBLE, T + 1, 1.5), origin="birth"))
    assert piece.batch.columns[0].kind is ValueKind.DOUBLE
    assert [(d.index, d.name, d.data_type) for d in node.definitions] == [(0, "M", 3), (1, "M", 10)]


def test_a_birth_repeats_nothing_that_was_stored_before_the_hub_restarted() -> None:
    node = tags()
    (piece,) = node.take(
        event(("A", DataType.DOUBLE, T, 1.0), ("B", DataType.DOUBLE, T, 1.0), origin="birth")
    )
    node.seed(0, T * 1000, is_stale=False)
    node.seed(1, T * 1000 + 7, is_stale=True)
    assert held(node, piece) == {"B": [(1.0, (T + 5) * 1000, 0)]}


def test_rows_are_cut_where_the_order_of_arrival_would_be_lost() -> None:
    node = tags()
    pieces = [
        piece
        for one in (
            event(("M", DataType.DOUBLE, T, 1.0), origin="birth"),
            event(("M", DataType.DOUBLE, T + 1, 2.0)),
            event(("M", DataType.DOUBLE, T + 2, 3.0)),
            event(("M", DataType.DOUBLE, T + 3, None)),
            event(("M", DataType.DOUBLE, T + 4, 4.0)),
            event(("M", DataType.DOUBLE, T - 9, 0.5, True)),
            event(("M", DataType.DOUBLE, T + 5, 5.0)),
        )
        for piece in node.take(one)
    ]
    assert [len(run) for run in runs(pieces, 100, 10**6)] == [1, 2, 1, 1, 1, 1]
    assert [len(run) for run in runs(pieces[1:3], 1, 10**6)] == [1, 1]
    assert [len(run) for run in runs(pieces[1:3], 100, 30)] == [1, 1]


@pytest.mark.parametrize(
    ("quality", "status"),
    [
        (192, 0),
        (0, 0x80000000),
        (500, STATUS_LAST_USABLE),
        (216, 0),
        (64, 0x40000000),
        (28, 0x80000000),
        (-1, 0x40000000),
        ("Good", 0x40000000),
        (True, 0x40000000),
    ],
)
def test_a_quality_becomes_a_status_code(quality: object, status: int) -> None:
    assert status_of_quality(quality) == status
