"""Where gaps begin and end, and times that jump. Pure."""

import pytest

from contract.config import GroupConfig
from contract.sample import SampleBatch, ValueKind
from gateway.sources.opcua.gaps import JUMP_AHEAD_US, Gaps
from tests.contract.batches import columns
from tests.gateway.manual_clock import ManualClock
from tests.gateway.sources.plc import Port

OVERFLOW = 0x480


def batch(*rows):
    """A batch of (tag, time_us) or (tag, time_us, status)."""
    full = [(row[0], row[1], row[2] if len(row) > 2 else 0, 1.0) for row in rows]
    return SampleBatch((columns(ValueKind.DOUBLE, full),))


@pytest.fixture
def world():
    clock = ManualClock()
    port = Port()
    groups = [GroupConfig(name=n, publishing_interval_ms=ms) for n, ms in (("a", 100), ("b", 2000))]
    gaps = Gaps(groups, clock)
    gaps.grow(4)
    return gaps, port, clock


async def test_a_gap_begins_one_publishing_interval_before_what_was_stored(world):
    gaps, port, clock = world
    now_us = clock.wall_us()
    await port.put(batch((0, now_us)), (), lambda: None)
    gaps.open(port)
    gaps.arrived(port, batch((0, now_us + 50)))
    gaps.all_subscribed(now_us + 900)
    gaps.arrived(port, batch((0, now_us + 60)))
    gaps.arrived(port, batch((0, now_us + 70)))
    # with the first values, and once more when all is subscribed; then no more
    assert [loss[:3] for loss in port.losses] == [
        ("session_gap", now_us - 2_000_000, now_us + 50),
        ("session_gap", now_us - 2_000_000, now_us + 900),
    ]


def test_a_jump_backwards_is_entered_with_its_tag_and_range(world):
    gaps, port, clock = world
    now_us = clock.wall_us()
    gaps.arrived(port, batch((0, now_us), (1, now_us)))
    gaps.arrived(port, batch((0, now_us - 900_000), (1, now_us - 5_000_000)))
    ((reason, first_us, last_us, rest),) = port.losses
    assert (reason, first_us, last_us, rest["tag"]) == (
        "source_time_jump",
        now_us - 5_000_000,
        now_us,
        1,
    )
    gaps.arrived(port, batch((1, now_us - 4_000_000)))
    assert len(port.losses) == 1  # it goes on from there


def test_the_first_value_of_a_process_is_no_jump(world):
    gaps, port, _ = world
    gaps.arrived(port, batch((0, 7)))
    assert port.losses == []


def test_a_time_far_ahead_is_entered_once_until_it_is_right_again(world):
    gaps, port, clock = world
    wrong_us = clock.wall_us() + 2 * JUMP_AHEAD_US
    for _ in range(3):
        gaps.arrived(port, batch((0, wrong_us), (1, wrong_us)))
    assert [(loss[0], loss[2], loss[3]["tag"]) for loss in port.losses] == [
        ("source_time_jump", wrong_us, None)
    ]
    gaps.arrived(port, batch((0, clock.wall_us())))  # back: that is a jump, too
    gaps.arrived(port, batch((0, wrong_us)))
    assert [loss[3]["tag"] for loss in port.losses] == [None, 0, 0]


def test_an_overflow_lies_between_the_value_before_and_the_one_that_tells_of_it(world):
    gaps, port, clock = world
    now_us = clock.wall_us()
    gaps.arrived(port, batch((0, now_us), (1, now_us + 10)))
    gaps.arrived(port, batch((0, now_us + 100, OVERFLOW), (1, now_us + 200, OVERFLOW)))
    ((reason, first_us, last_us, rest),) = port.losses
    assert (reason, first_us, last_us, rest["tag"]) == (
        "server_overflow",
        now_us,
        now_us + 200,
        None,
    )


def test_a_missed_notification_names_its_group_and_a_range_up_to_now(world):
    gaps, port, clock = world
    gaps.missed(port, "a", 5, "gone")
    ((reason, first_us, last_us, rest),) = port.losses
    assert (reason, first_us, last_us) == ("missed_notification", clock.wall_us(), clock.wall_us())
    assert "group a: notification 5" in rest["detail"]


def test_what_was_read_is_known_for_each_tag(world):
    gaps, port, clock = world
    gaps.arrived(port, batch((2, clock.wall_us())))
    assert gaps.seen_tags() == {2}
    assert (gaps.seen_us(2), gaps.seen_us(3), gaps.seen_us(99)) == (clock.wall_us(), 0, 0)
