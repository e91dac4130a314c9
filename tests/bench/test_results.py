"""Results: medians of figures, worst of faults, and budgets that are missed by name."""

import json

import pytest

from bench import results


def test_figures_are_merged_by_median_and_faults_by_the_worst():
    runs = [
        {"cpu_us_per_value": 1.0, "lost": 0, "drained": True, "ledger_reasons": "", "p50": None},
        {"cpu_us_per_value": 9.0, "lost": 3, "drained": False, "ledger_reasons": "", "p50": 1.0},
        {"cpu_us_per_value": 2.0, "lost": 0, "drained": True, "ledger_reasons": "", "p50": 2.0},
    ]
    assert results.merge(runs) == {
        "cpu_us_per_value": 2.0,
        "lost": 3,
        "drained": False,
        "ledger_reasons": "",
        "p50": None,
    }


GOOD = {
    "tags": 5000,
    "period_ms": 100,
    "publishing_ms": 100,
    "lost": 0,
    "duplicated": 0,
    "reordered": 0,
    "tags_unseen": 0,
    "journal_bytes_per_value": 6.0,
    "fsyncs_per_s": 5.0,
    "cpu_us_per_value": 2.9,
    "rss_peak_mb": 150.0,
    "latency_p99_ms": 300.0,
    "drained": True,
}


def test_a_result_within_the_budgets_misses_none():
    assert results.misses("path", GOOD) == []


@pytest.mark.parametrize(
    ("change", "miss"),
    [
        ({"cpu_us_per_value": 3.1}, "cpu_us_per_value 3.1 misses max 3"),
        ({"lost": 1}, "lost 1 misses max 0"),
        ({"fsyncs_per_s": None}, "fsyncs_per_s was not measured (limit 6.0)"),
        ({"drained": False}, "the sink did not get all that the gateway held in time"),
    ],
)
def test_a_missed_budget_is_named(change, miss):
    assert results.misses("path", GOOD | change) == [miss]


def test_a_budget_for_another_load_does_not_apply():
    assert results.misses("path", GOOD | {"tags": 777, "cpu_us_per_value": 50.0}) == []


def test_the_result_line_says_what_it_was_measured_on(tmp_path, capsys):
    out = tmp_path / "results" / "path.json"
    assert results.publish("path", [GOOD], as_json=True, out=out)
    line = json.loads(capsys.readouterr().out)
    assert line == json.loads(out.read_text())
    assert {"machine", "python", "commit", "benchmark", "budgets_missed"} <= line.keys()
