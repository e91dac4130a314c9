"""The conformance matrix: requirement -> tests -> result, as a page.

Which test proves which requirement stands in the tests as ``@pytest.mark.sparkplug("tck-id-...")``,
on a function or on a `pytest.param`, always with literal ids: so it can be read from the sources
without running or importing them. Results come from a run (`conftest.py`), and stand in the page.
"""

from __future__ import annotations

import ast
import csv
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE.parent
PAGE = TESTS.parent / "docs" / "sparkplug-conformance.md"
FAILED, PASSED, UNKNOWN = "**fails**", "passes", "not run"

_PROFILES = {
    "topics": "Topics",
    "edge-node": "Edge node",
    "device": "Device",
    "host-application": "Host application",
    "payload": "Payload",
    "broker": "MQTT server",
}
_ABOUT = """\
Made by `make conformance`; do not edit. The ids are the specification's own, the sentences
paraphrases. The results are those of our own tests: most judge recorded MQTT streams by an
independent checker (`tests/sparkplug_conformance`), against software that none of us wrote. The
Technology Compatibility Kit was not run, and no verdict of it is claimed."""
_ROW = re.compile(r"^\| `(?P<id>tck-id-[^`]+)` \|.*\| (?P<result>[^|]*) \|$", re.MULTILINE)
_RUN = re.compile(r"^Run of .*$", re.MULTILINE)


class MatrixError(Exception):
    """Raised when a mark or a table cannot be understood; the text says where, and the remedy."""


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One row of `requirements.tsv`; `level` may hold several words, as ``MUST; MUST NOT``."""

    id: str
    profile: str
    level: str
    paraphrase: str
    section: str

    @property
    def is_must(self) -> bool:
        return "MUST" in self.level


Tests = Mapping[str, Sequence[str]]


def requirements() -> list[Requirement]:
    with (HERE / "requirements.tsv").open(encoding="utf-8", newline="") as table:
        return [Requirement(**row) for row in csv.DictReader(table, delimiter="\t")]


def not_applicable() -> dict[str, str]:
    """Return the reason for each requirement that no part of ours has to meet."""
    with (HERE / "not_applicable.toml").open("rb") as table:
        found = tomllib.load(table)
    return {name: reason for name, reason in found.items() if isinstance(reason, str)}


# --- the marks in the sources ---------------------------------------------------------------------


def marked_tests(folder: Path = TESTS) -> dict[str, list[str]]:
    """Return requirement id -> tests, as ``file::function`` or ``file::function[parameter]``.

    Raises:
        MatrixError: a mark stands where it cannot be read, or its ids are not literal.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "mark.sparkplug(" not in text:
            continue
        name = path.relative_to(folder.parent).as_posix()
        for test, ids in _marks(ast.parse(text), name):
            for one in ids:
                found[one].append(test)
    return {one: sorted(set(tests)) for one, tests in found.items()}


def _marks(tree: ast.Module, name: str) -> Iterator[tuple[str, list[str]]]:
    understood = 0
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for call in _calls(node):
            if _is_mark(call):
                understood += 1
                yield f"{name}::{node.name}", _literals(call, name)
            for parameter, mark in _parameter_marks(call):
                understood += 1
                yield f"{name}::{node.name}[{parameter}]", _literals(mark, name)
    present = sum(isinstance(n, ast.Call) and _is_mark(n) for n in ast.walk(tree))
    if present != understood:
        raise MatrixError(
            f"{name}: {present - understood} sparkplug mark(s) are neither on a test function nor"
            " on a pytest.param with a literal text first: put them there"
        )


def _calls(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.Call]:
    return (one for one in node.decorator_list if isinstance(one, ast.Call))


def _is_mark(call: ast.Call) -> bool:
    return ast.unparse(call.func) == "pytest.mark.sparkplug"


def _parameter_marks(call: ast.Call) -> Iterator[tuple[str, ast.Call]]:
    for inner in ast.walk(call):
        if not isinstance(inner, ast.Call) or ast.unparse(inner.func) != "pytest.param":
            continue
        first = inner.args[0] if inner.args else None
        if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
            continue
        for keyword in inner.keywords:
            if keyword.arg == "marks":
                marks = [n for n in ast.walk(keyword.value) if isinstance(n, ast.Call)]
                yield from ((first.value, mark) for mark in marks if _is_mark(mark))


def _literals(call: ast.Call, name: str) -> list[str]:
    ids = [one.value for one in call.args if isinstance(one, ast.Constant)]
    if len(ids) != len(call.args) or not all(isinstance(one, str) for one in ids) or not ids:
        raise MatrixError(f"{name}:{call.lineno}: sparkplug marks take literal ids, one at least")
    return [str(one) for one in ids]


# --- what is wrong with them ----------------------------------------------------------------------


def faults(tests: Tests) -> list[str]:
    """Return what is missing or wrong in marks and tables, one sentence each."""
    rows = {row.id: row for row in requirements()}
    excused = not_applicable()
    found = [f"{one}: no such requirement, marked in {tests[one]}" for one in tests.keys() - rows]
    found += [
        f"{one}: no such requirement, in not_applicable.toml" for one in excused.keys() - rows
    ]
    found += [
        f"{one}: is tested by {tests[one]} and in not_applicable.toml: choose"
        for one in excused.keys() & tests.keys()
    ]
    found += [
        f"{row.id}: no test ({row.level}: {row.paraphrase})"
        for row in rows.values()
        if row.is_must and row.id not in tests and row.id not in excused
    ]
    return sorted(found)


# --- the page -------------------------------------------------------------------------------------


def results_of(outcomes: Mapping[str, str], tests: Tests) -> dict[str, str]:
    """Return the result of each tested requirement; `outcomes` is by the tests' node ids."""
    by_test: defaultdict[str, set[str]] = defaultdict(set)
    for node_id, outcome in outcomes.items():
        by_test[node_id].add(outcome)
        by_test[node_id.partition("[")[0]].add(outcome)
    found = {}
    for one, names in tests.items():
        seen = [by_test[name] for name in names]
        if any(outcomes - {"passed"} for outcomes in seen):
            found[one] = FAILED
        else:
            found[one] = PASSED if all(seen) else UNKNOWN
    return found


def page(tests: Tests, results: Mapping[str, str], run: str) -> str:
    """Render the page; `run` says when and on what the results were got."""
    rows, excused = requirements(), not_applicable()
    musts = [row for row in rows if row.is_must]
    due = [row for row in musts if row.id not in excused]
    tested = [row for row in due if row.id in tests]
    passing = [row for row in tested if results.get(row.id) == PASSED]
    counts = (
        f"Of {len(rows)} requirements {len(musts)} say MUST or MUST NOT; {len(due)} of these apply"
        f" to us, {len(tested)} have a test, {len(passing)} pass."
    )
    parts = ["# Sparkplug B 3.0: requirement, test, result", _ABOUT, run, counts]
    for profile, title in _PROFILES.items():
        lines = [
            _row(row, tests, results, excused) for row in rows if row.profile.startswith(profile)
        ]
        head = "| id | level | requirement | section | tests | result |\n|---|---|---|---|---|---|"
        parts += [f"## {title}", "\n".join([head, *lines])]
    return "\n\n".join(parts) + "\n"


def _row(
    row: Requirement, tests: Tests, results: Mapping[str, str], excused: Mapping[str, str]
) -> str:
    if row.id in excused:
        shown, result = f"does not apply: {excused[row.id]}", "-"
    else:
        shown = "<br>".join(_short(name) for name in tests.get(row.id, ()))
        result = results.get(row.id, UNKNOWN) if shown else "no test"
    cells = [f"`{row.id}`", row.level, row.paraphrase, row.section, shown, result]
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def _short(name: str) -> str:
    return f"`{name.removeprefix('tests/')}`"


def results_in(text: str) -> dict[str, str]:
    """Read the results back from a page."""
    return {found["id"]: found["result"] for found in _ROW.finditer(text)}


def run_in(text: str) -> str:
    found = _RUN.search(text)
    return found.group() if found else ""
