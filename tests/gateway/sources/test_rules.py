"""Patterns on browse paths: what they take, and that none of them takes long."""

import pytest

from contract.config import RuleConfig
from gateway.sources.opcua.rules import PatternError, RuleFilter


def rule(**keys):
    return RuleFilter(RuleConfig(group="g", **keys))


@pytest.mark.parametrize(
    ("glob", "taken", "left"),
    [
        ("*", ["Temp"], ["Line/Temp"]),
        ("*/Temp", ["Line/Temp"], ["Temp", "A/B/Temp"]),
        ("**/Temp", ["Temp", "Line/Temp", "A/B/Temp"], ["Temp2", "Line/xTemp"]),
        ("Line/**", ["Line/a", "Line/a/b"], ["Line", "Line2/a"]),
        ("P?/x.y", ["P1/x.y"], ["P10/x.y", "P1/xzy", "P//x.y"]),
        ("a[1]+(b)", ["a[1]+(b)"], ["a1b", "a1+b"]),
        ("Öl/*", ["Öl/Stand"], ["Ol/Stand"]),
        ("**", ["a\nb/c"], []),
    ],
)
def test_a_glob_stays_within_its_levels(glob, taken, left):
    made = rule(match=glob)
    assert [path for path in taken if not made.takes(path)] == []
    assert [path for path in left if made.takes(path)] == []


def test_what_is_excluded_is_not_entered_and_depth_counts_levels():
    made = rule(exclude=["**/Spare*"], depth_max=2)
    assert made.enters("Line/a", 2)
    assert not made.enters("Line/Spare1", 2)
    assert not made.enters("Line/a/b", 3)


@pytest.mark.timeout(20)  # Python's own engine would need longer than the universe has
@pytest.mark.parametrize(
    "regex", ["(a+)+b", "(a|aa)+b", "(.*)*(.*)*(.*)*b", "a?" * 60 + "a" * 60 + "b"]
)
def test_no_pattern_takes_long(regex):
    made = rule(regex=regex)
    for _ in range(100):
        assert not made.takes("a" * 1000)


def test_a_pattern_that_explodes_is_refused():
    with pytest.raises(PatternError):
        rule(regex="((a{1,100}){1,100}){1,100}")
