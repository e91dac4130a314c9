"""A source is up from its first subscription until it has been away for the delay."""

from gateway.flow.liveness import SourceLiveness
from tests.gateway.manual_clock import ManualClock


def started(delay_s=3.0):
    clock = ManualClock()
    told = []
    sources = SourceLiveness(clock, delay_s)
    sources.listeners.append(lambda: told.append(sources.generation))
    return clock, sources, told


def test_before_its_first_session_a_source_is_down():
    _, sources, _ = started()
    assert not sources.is_up("a")
    assert sources.next_death_s is None
    sources.ended("a")
    assert (sources.is_up("a"), sources.generation) == (False, 0)


def test_it_comes_up_once_however_often_it_is_told():
    _, sources, told = started()
    for _ in range(3):
        sources.up("a")
    assert (sources.is_up("a"), sources.generation, told) == (True, 1, [1])


def test_a_reconnect_within_the_delay_changes_nothing():
    clock, sources, _ = started()
    sources.up("a")
    sources.ended("a")
    clock.pass_s(2.9)
    assert sources.is_up("a")
    sources.up("a")
    clock.pass_s(10)
    assert (sources.is_up("a"), sources.generation, sources.next_death_s) == (True, 1, None)


def test_after_the_delay_it_is_down_and_everybody_can_know_when():
    clock, sources, told = started()
    sources.up("a")
    sources.up("b")
    sources.ended("a")
    assert (sources.next_death_s, told) == (3.0, [1, 2, 2])
    clock.pass_s(3)
    assert sources.next_death_s == 0.0
    assert (sources.is_up("a"), sources.is_up("b"), sources.generation) == (False, True, 3)
    assert sources.next_death_s is None
    clock.pass_s(1)
    sources.up("a")
    assert (sources.is_up("a"), sources.generation) == (True, 4)


def test_without_a_delay_it_is_down_at_once():
    _, sources, _ = started(0.0)
    sources.up("a")
    sources.ended("a")
    assert not sources.is_up("a")
