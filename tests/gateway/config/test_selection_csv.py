"""Tags go out as CSV and come back the same; a file with a fault changes nothing."""

import csv
import io

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.config import (
    Deadband,
    GatewayConfig,
    GroupConfig,
    OpcUaSourceConfig,
    Scale,
    SecurityConfig,
    TagConfig,
)
from contract.config_check import check_config
from gateway.config.document import load_document
from gateway.config.selection_csv import COLUMNS, export_csv, plan_import, read_csv, tags_as_yaml

TAGS = [
    TagConfig(node="nsu=urn:p;s=a", group="g", name="Temp", device="Press", split=True),
    TagConfig(node="nsu=urn:p;s=b", group="g", deadband=Deadband(absolute=0.5)),
    TagConfig(node="nsu=urn:p;s=c", group="g", scale=Scale(gain=-2.0, offset=1e-3)),
    TagConfig(node="nsu=urn:p;s=d", group="g", record=False, writable=True),
]


def document(*tags):
    source = OpcUaSourceConfig(
        name="line1",
        endpoint="opc.tcp://127.0.0.1:4840",
        security=SecurityConfig(policy="None", mode="None", allow_insecure=True),
        groups=[GroupConfig(name="g")],
        tags=list(tags),
    )
    return GatewayConfig(sources=[source])


def planned(text, *tags, unknown=None):
    return plan_import(document(*tags), 0, text.encode(), unknown_nodes=unknown)


def test_what_goes_out_comes_back_the_same():
    text = export_csv(TAGS)
    report, tags = planned(text, *TAGS)
    assert (report.ok, report.unchanged, report.added + report.changed + report.removed) == (
        True, 4, 0,
    )  # fmt: skip
    assert tags == TAGS


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


@given(st.lists(NAMES.filter(lambda n: n == n.strip() and n), max_size=5, unique=True))
@settings(max_examples=50)
def test_any_name_comes_back_and_none_is_a_formula_to_a_spreadsheet(names):
    tags = [
        TagConfig(node=f"nsu=urn:p;s={n}", group="g", name=name) for n, name in enumerate(names)
    ]
    text = export_csv(tags)
    cells = [row[COLUMNS.index("name")] for row in csv.reader(io.StringIO(text, newline=""))][1:]
    assert not any(cell[:1] in {"=", "+", "-", "@", "\t", "\r", "\n"} for cell in cells)
    back, _, faults = read_csv(text.encode(), document().sources[0])
    assert (back, faults) == (tags, [])


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "'=1"])
def test_a_formula_goes_out_with_an_apostrophe_and_comes_back_without(name):
    tag = TagConfig(node="nsu=urn:p;s=a", group="g", name=name)
    text = export_csv([tag])
    assert f"'{name}" in text
    assert read_csv(text.encode(), document().sources[0])[0] == [tag]


def test_an_import_says_what_it_would_add_change_and_remove():
    text = "node,group,name\nnsu=urn:p;s=a,g,Other\nnsu=urn:p;s=e,g,New\n"
    report, tags = planned(text, *TAGS)
    assert (report.ok, report.added, report.changed, report.removed, report.unchanged) == (
        True, 1, 1, 3, 0,
    )  # fmt: skip
    # keys without a column stay as they were
    assert (tags[0].split, tags[0].device, tags[0].name) == (True, "Press", "Other")


def test_a_spreadsheets_file_with_semicolons_and_a_byte_order_mark_is_read():
    report, tags = planned('\ufeffnode;group;split\r\n"nsu=urn:p;s=a";g;TRUE\r\n;;\r\n')
    assert (report.ok, tags[0].split, tags[0].record) == (True, True, True)


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        ("node,group\nnsu=urn:p;s=a,g\nnsu=urn:p;s=a,g", 3, "csv.duplicate_node"),
        ("node,group,name\nnsu=urn:p;s=a,g,T\nnsu=urn:p;s=b,g,T", 3, "config.duplicate_metric"),
        ("node,group\nnsu=urn:p;s=a,fast", 2, "config.unknown_group"),
        ("node,group\nns=2;s=a,g", 2, "config.bad_node"),
        ("node,group,gain\nnsu=urn:p;s=a,g,\"1,5\"", 2, "csv.bad_number"),
        ("node,group,gain\nnsu=urn:p;s=a,g,nan", 2, "config.out_of_range"),
        ("node,group,split\nnsu=urn:p;s=a,g,maybe", 2, "csv.bad_flag"),
        ("node,group,deadband_absolute\nnsu=urn:p;s=a,g,-1", 2, "csv.bad_value"),
        ("node,group\nnsu=urn:p;s=a", 2, "csv.ragged"),
        ("node,grup\nnsu=urn:p;s=a,g", 1, "csv.unknown_column"),
        ("node\nnsu=urn:p;s=a", 1, "csv.missing_column"),
        ("node,group\n\"nsu=urn:p;s=a,g", 2, "csv.syntax"),
        ("node,node,group\na,a,g", 1, "csv.bad_header"),
        ("", 1, "csv.missing_column"),
    ],
)  # fmt: skip
def test_each_fault_has_its_line(text, line, code):
    report, _ = planned(text)
    assert not report.ok
    assert (line, code) in [(f.line, f.code) for f in report.faults]


def test_a_node_the_server_does_not_know_is_a_fault_of_its_line():
    report, _ = planned(
        "node,group\nnsu=urn:p;s=a,g\nnsu=urn:p;s=b,g\n",
        unknown={"nsu=urn:p;s=b": "the server does not know it"},
    )
    assert [(f.line, f.column, f.code) for f in report.faults] == [(3, "node", "csv.unknown_node")]
    assert report.nodes_checked


@given(st.binary(max_size=60))
@settings(max_examples=60)
def test_any_bytes_give_a_report(data):
    plan_import(document(*TAGS), 0, data)


def test_the_new_part_of_the_document_can_be_put_in_and_runs():
    plain = msgspec.to_builtins(document())
    plain["sources"][0] |= load_document(tags_as_yaml(TAGS).encode())
    assert check_config(plain).sources[0].tags == TAGS
