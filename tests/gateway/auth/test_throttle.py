import pytest

from gateway.auth.refusals import TooManyAttemptsError
from gateway.auth.throttle import (
    ADDRESS_WAIT_S_MAX,
    ENTRIES_MAX,
    FREE_COUNT,
    USER_WAIT_S_MAX,
    Throttle,
)
from tests.gateway.manual_clock import ManualClock


def wait_s(throttle, address, user):
    """Begin an attempt; return the seconds it has to wait, 0 when it may go on."""
    try:
        throttle.begin(address, user)
    except TooManyAttemptsError as error:
        return error.wait_s
    return 0.0


def test_fifty_attempts_wait_longer_and_longer_up_to_a_limit():
    clock = ManualClock()
    throttle = Throttle(clock)
    waits = []
    for _ in range(50):
        needed = wait_s(throttle, "10.0.0.1", "ada")
        if needed:
            clock.pass_s(needed)
            throttle.begin("10.0.0.1", "ada")
        waits.append(needed)
    assert waits[:FREE_COUNT] == [0.0] * FREE_COUNT
    assert waits == sorted(waits)
    assert waits[FREE_COUNT] == 1.0
    assert waits[-1] == ADDRESS_WAIT_S_MAX


def test_an_attempt_that_came_too_early_does_not_lengthen_the_wait():
    clock = ManualClock()
    throttle = Throttle(clock)
    for _ in range(FREE_COUNT + 1):
        wait_s(throttle, "10.0.0.1", "ada")
    first = wait_s(throttle, "10.0.0.1", "ada")
    assert all(wait_s(throttle, "10.0.0.1", "ada") == first for _ in range(100))


def test_attempts_from_many_addresses_make_the_user_wait_a_little_but_never_lock_out():
    throttle = Throttle(ManualClock())
    waits = [wait_s(throttle, f"10.0.0.{i}", "ada") for i in range(200)]
    assert 0 < max(waits) <= USER_WAIT_S_MAX


def test_an_address_that_signed_in_before_does_not_wait_for_the_attacks_of_others():
    throttle = Throttle(ManualClock())
    throttle.begin("10.0.0.9", "ada")
    throttle.succeed("10.0.0.9", "ada")
    for i in range(200):
        wait_s(throttle, f"10.0.1.{i}", "ada")
    assert wait_s(throttle, "10.0.0.9", "ada") == 0.0
    assert wait_s(throttle, "10.0.0.8", "ada") > 0.0


def test_one_address_waits_over_all_names_it_tries():
    throttle = Throttle(ManualClock())
    assert any(wait_s(throttle, "10.0.0.1", f"user{i}") for i in range(FREE_COUNT + 1))
    assert wait_s(throttle, "10.0.0.2", "user0") == 0.0


def test_memory_is_bounded_under_attack_from_endless_addresses():
    throttle = Throttle(ManualClock())
    for i in range(ENTRIES_MAX + 500):
        wait_s(throttle, f"a{i}", f"u{i}")
    assert len(throttle._attempts) <= ENTRIES_MAX


def test_old_attempts_are_forgotten():
    clock = ManualClock()
    throttle = Throttle(clock)
    for _ in range(FREE_COUNT + 3):
        wait_s(throttle, "10.0.0.1", "ada")
    clock.pass_s(3600)
    assert [wait_s(throttle, "10.0.0.1", "ada") for _ in range(FREE_COUNT)] == [0.0] * FREE_COUNT


def test_the_error_raises_with_the_seconds_to_wait():
    throttle = Throttle(ManualClock())
    for _ in range(FREE_COUNT):
        throttle.begin("a", "u")
    with pytest.raises(TooManyAttemptsError, match="wait 1 s"):
        throttle.begin("a", "u")
