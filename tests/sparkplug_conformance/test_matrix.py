"""The matrix is whole and current: read from the sources, without running what it names."""

import pytest

from tests.sparkplug_conformance import matrix


@pytest.fixture(scope="module")
def tests():
    return matrix.marked_tests()


def test_every_must_that_applies_has_a_test_and_every_id_exists(tests):
    assert matrix.faults(tests) == []


def test_the_page_names_the_tests_that_there_are(tests):
    """Its results are those of the run it states; which test proves what has to be of now."""
    text = matrix.PAGE.read_text(encoding="utf-8")
    wanted = matrix.page(tests, matrix.results_in(text), matrix.run_in(text))
    assert text == wanted, "docs/sparkplug-conformance.md is old: run `make conformance`"


def test_the_page_holds_no_failure_and_nothing_that_was_not_run():
    results = set(matrix.results_in(matrix.PAGE.read_text(encoding="utf-8")).values())
    assert results <= {matrix.PASSED, "-", "no test"}


def test_an_unknown_id_a_missing_must_and_a_needless_excuse_are_faults(tests):
    will = "tck-id-message-flow-edge-node-birth-publish-will-message"
    damaged = {one: names for one, names in tests.items() if one != will}
    damaged |= {"tck-id-nobody": ["t"], "tck-id-conformance-mqtt-qos0": ["t"]}
    found = "\n".join(matrix.faults(damaged))
    assert f"{will}: no test" in found
    assert "tck-id-nobody: no such requirement" in found
    assert "tck-id-conformance-mqtt-qos0: is tested" in found


@pytest.mark.parametrize(
    "source",
    [
        "pytestmark = pytest.mark.sparkplug('tck-id-a')",
        "@pytest.mark.sparkplug(*IDS)\ndef test_a(): pass",
        "@pytest.mark.sparkplug()\ndef test_a(): pass",
        "P = pytest.param('a', marks=pytest.mark.sparkplug('tck-id-a'))",
    ],
)
def test_a_mark_that_cannot_be_read_is_refused(tmp_path, source):
    (tmp_path / "test_one.py").write_text(source)
    with pytest.raises(matrix.MatrixError, match=r"test_one\.py"):
        matrix.marked_tests(tmp_path)


def test_a_requirement_passes_only_when_all_its_tests_have_run_and_passed():
    tests = {"a": ["f::x", "f::y[p]"], "b": ["f::x"], "c": ["f::z"]}
    outcomes = {"f::x[1]": "passed", "f::x[2]": "passed", "f::y[p]": "passed"}
    passed = matrix.results_of(outcomes, tests)
    assert passed == {"a": matrix.PASSED, "b": matrix.PASSED, "c": matrix.UNKNOWN}
    failed = matrix.results_of(outcomes | {"f::x[2]": "failed"}, tests)
    assert failed == {"a": matrix.FAILED, "b": matrix.FAILED, "c": matrix.UNKNOWN}
    skipped = matrix.results_of({"f::x": "skipped"}, tests)
    assert skipped["b"] == matrix.FAILED
