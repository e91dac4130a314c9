"""Lanes against a model: each row goes out in each session until it is confirmed, never after."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.flow import lanes as lanes_module
from gateway.flow.lanes import Lanes, TokenBucket
from gateway.journal.cursors import Cursor

SAMPLES = st.integers(1, 400_000)


class LanesMachine(RuleBasedStateMachine):
    """Sets of row numbers beside the lanes."""

    def __init__(self):
        super().__init__()
        self.lanes = Lanes(Cursor(), 0)
        self.samples = {}
        self.confirmed = set()
        self.sent = set()

    def hand_out(self, first, last):
        rows = set(range(first, last + 1))
        assert rows
        assert not rows & self.sent, "handed out twice in one session"
        assert not rows & self.confirmed, "handed out after its confirmation"
        assert rows <= set(self.samples)
        self.sent |= rows

    @rule(samples=SAMPLES)
    def commit(self, samples):
        number = len(self.samples) + 1
        self.samples[number] = samples
        self.lanes.append(number, samples)

    @rule()
    def begin(self):
        self.lanes.begin()
        self.sent = set()

    @rule()
    def end(self):
        self.lanes.end()

    @rule(samples_max=st.integers(1, 500_000))
    def take_live(self, samples_max):
        taken = self.lanes.take_live(samples_max)
        if taken is None:
            return
        assert self.lanes.is_open
        self.hand_out(*taken)
        first, last = taken
        assert first == last or sum(self.samples[n] for n in range(first, last + 1)) <= samples_max

    @precondition(lambda self: self.lanes.is_open)
    @rule(rows_max=st.integers(1, 5))
    def take_backlog(self, rows_max):
        gap = self.lanes.backlog()
        if gap is None:
            return
        first, last = gap[0], min(gap[1], gap[0] + rows_max - 1)
        open_rows = set(self.samples) - self.sent - self.confirmed
        assert first == min(open_rows), "not the oldest"
        self.hand_out(first, last)
        self.lanes.mark_sent(first, last)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def confirm(self, data):
        first = data.draw(st.sampled_from(sorted(self.sent)))
        last = first
        while last + 1 in self.sent and data.draw(st.booleans()):
            last += 1
        self.lanes.confirm(first, last)
        self.confirmed |= set(range(first, last + 1))

    @invariant()
    def pending_is_what_is_not_confirmed(self):
        assert self.lanes.head == len(self.samples)
        assert self.lanes.pending_rows == len(set(self.samples) - self.confirmed)

    @invariant()
    def the_live_lane_is_bounded(self):
        live = self.lanes._live
        assert len(live) <= lanes_module.LIVE_ROWS_MAX
        assert self.lanes._live_samples == sum(count for _, count in live)
        assert len(live) <= 1 or self.lanes._live_samples <= lanes_module.LIVE_SAMPLES_MAX

    def teardown(self):
        """A last session gets everything that is not confirmed, once."""
        self.begin()
        while (gap := self.lanes.backlog()) is not None:
            self.hand_out(*gap)
            self.lanes.mark_sent(*gap)
        assert self.lanes.take_live(10**9) is None
        assert self.sent | self.confirmed == set(self.samples)


TestLanes = LanesMachine.TestCase
TestLanes.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_what_the_sink_is_too_slow_for_becomes_backlog():
    lanes = Lanes(Cursor(), 0)
    lanes.begin()
    fallen = sum(lanes.append(n, 1) for n in range(1, lanes_module.LIVE_ROWS_MAX + 11))
    assert fallen == lanes.overflowed_rows == 10
    assert lanes.backlog() == (1, 10)
    assert lanes.take_live(10**9) == (11, lanes_module.LIVE_ROWS_MAX + 10)


def test_one_huge_live_row_stays_live():
    lanes = Lanes(Cursor(), 0)
    lanes.begin()
    assert lanes.append(1, 10 * lanes_module.LIVE_SAMPLES_MAX) == 0
    assert lanes.take_live(1) == (1, 1)


# -- the token bucket ---

RATE = 1000.0
SPENDING = st.lists(st.tuples(st.floats(0, 3), st.integers(1, 4000)), max_size=30)


@given(SPENDING)
def test_no_window_lets_more_through_than_its_rate_and_one_portion(spending):
    now_s = 0.0
    bucket = TokenBucket(RATE, now_s)
    spent = []
    for pause_s, count in spending:
        now_s += pause_s
        wait_s = bucket.wait_s(now_s)
        assert wait_s >= 0
        now_s += wait_s
        assert bucket.wait_s(now_s) < 1e-6
        bucket.spend(count, now_s)
        spent.append((now_s, count))
    for start in range(len(spent)):
        total = 0
        for at_s, count in spent[start:]:
            # before the last portion, no more than a full bucket and what ran in since
            assert total <= RATE + (at_s - spent[start][0]) * RATE + 1e-3
            total += count


def test_a_portion_larger_than_the_bucket_is_waited_out():
    bucket = TokenBucket(RATE, 0.0)
    bucket.spend(5250, 0.0)
    assert bucket.wait_s(0.0) == 5.0
    assert bucket.wait_s(4.0) == 1.0
    assert bucket.wait_s(5.0) == 0.0
