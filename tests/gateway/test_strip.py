"""The status strip: green only with a recent acknowledgement, and every other state says why."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import strip
from gateway.sinks.base import SinkReport
from gateway.sources.base import SourceReport
from gateway.strip import broker_cell, buffer_cell, hub_cell, source_cell

NOW_S = 10_000.0
AGES = st.one_of(st.none(), st.floats(0, 5000))
LAGS = st.floats(0, 5000)
SINK_STATES = st.sampled_from(["connecting", "waiting", "live", "catching_up"])
KEEP_ALIVE_S = 15.0


def at(age_s):
    return None if age_s is None else NOW_S - age_s


def sink(state="live", age_s=0.1, reason=""):
    return SinkReport(state=state, reason=reason, last_acknowledged_s=at(age_s))


def opcua(state="up", *, tags=100, troubles=0, age_s=1.0, reason=""):
    return SourceReport(
        state=state,
        endpoint="opc.tcp://plc",
        reason=reason,
        tags_total=tags,
        troubles_count=troubles,
        last_value_s=at(age_s),
    )


SOURCES = st.builds(
    opcua,
    st.sampled_from(["starting", "connecting", "up", "waiting", "stopped"]),
    tags=st.integers(0, 300),
    troubles=st.integers(0, 20),
    age_s=AGES,
)


def check(cell):
    """Whatever is not green says why; what is green has nothing to explain."""
    assert cell.figure
    assert (cell.state == "OK") == (cell.reason == "")


@given(st.lists(SOURCES, max_size=4), st.floats(0, 1e6))
def test_a_source_is_green_only_with_every_session_up_and_a_recent_value(reports, rate):
    cell = source_cell(reports, rate, NOW_S)
    check(cell)
    if cell.state == "OK":
        assert {report.state for report in reports} == {"up"}
        assert cell.acknowledged_age_s <= strip.SILENT_S
    if reports and all(report.state != "up" for report in reports):
        assert cell.state == "Fault"


@given(SINK_STATES, AGES, LAGS, st.floats(0, 1000))
def test_the_broker_is_green_only_while_it_answers(state, age_s, lag_s, waits_s):
    cell = broker_cell(sink(state, age_s), KEEP_ALIVE_S, lag_s, waits_s, 7, NOW_S)
    check(cell)
    if cell.state == "OK":
        assert state in {"live", "catching_up"}
        assert cell.acknowledged_age_s <= 2 * KEEP_ALIVE_S
        assert lag_s <= 30


@given(SINK_STATES, AGES, LAGS)
def test_the_hub_is_green_only_while_it_answers(state, age_s, lag_s):
    cell = hub_cell(sink(state, age_s), lag_s, 7, NOW_S)
    check(cell)
    if cell.state == "OK":
        assert state != "waiting"
        assert cell.acknowledged_age_s <= strip.HUB_SILENT_S
        assert lag_s <= 30


@given(st.integers(0, 10**6), LAGS, st.sampled_from(["", "disk full"]), AGES, st.floats(0, 1.2))
def test_the_buffer_is_green_only_when_it_can_be_written_and_drains(
    rows, lag_s, error, age_s, pending_ratio
):
    cell = buffer_cell(rows, lag_s, error, age_s, pending_ratio)
    check(cell)
    if cell.state == "OK":
        assert not error
        assert lag_s < 10
        assert pending_ratio <= 0.9
    if error:
        assert cell.state == "Fault"
        assert error in cell.reason


def test_what_is_not_there_is_off_and_says_why():
    cells = [
        source_cell([], 0.0, NOW_S),
        broker_cell(None, KEEP_ALIVE_S, 0.0, 0.0, 0, NOW_S),
        hub_cell(None, 0.0, 0, NOW_S),
        hub_cell(sink("off", None, "not enrolled at a hub"), 0.0, 0, NOW_S),
    ]
    assert {cell.state for cell in cells} == {"Off"}
    assert all(cell.reason for cell in cells)


def test_a_dead_source_is_named_with_its_reason():
    cell = source_cell([opcua(), opcua("waiting", reason="nothing listens at plc")], 10.0, NOW_S)
    assert cell.state == "Attention"
    assert "opc.tcp://plc: nothing listens at plc" in cell.reason
    assert source_cell([opcua("waiting")], 0.0, NOW_S).state == "Fault"


@pytest.mark.parametrize(("troubles", "state"), [(0, "OK"), (1, "OK"), (2, "Attention")])
def test_one_tag_in_a_hundred_may_be_bad(troubles, state):
    cell = source_cell([opcua(troubles=troubles)], 10.0, NOW_S)
    assert cell.state == state
    assert ("cannot be read" in cell.reason) == (state == "Attention")


@pytest.mark.parametrize(
    ("age_s", "state"), [(29.0, "OK"), (31.0, "Attention"), (None, "Attention")]
)
def test_a_silent_source_is_not_green(age_s, state):
    assert source_cell([opcua(age_s=age_s)], 0.0, NOW_S).state == state


@pytest.mark.parametrize(
    ("report", "lag_s", "waits_s", "state"),
    [
        (sink(), 0.0, 0.0, "OK"),
        (sink("catching_up"), 20.0, 0.0, "OK"),
        (sink("catching_up"), 31.0, 0.0, "Attention"),
        (sink(age_s=29.0), 0.0, 0.0, "OK"),
        (sink(age_s=31.0), 0.0, 0.0, "Fault"),
        (sink(age_s=None), 0.0, 0.0, "Fault"),
        (sink("waiting", reason="refused"), 5.0, 299.0, "Attention"),
        (sink("waiting", reason="refused"), 5.0, 301.0, "Fault"),
    ],
)
def test_the_brokers_limits(report, lag_s, waits_s, state):
    assert broker_cell(report, KEEP_ALIVE_S, lag_s, waits_s, 0, NOW_S).state == state


@pytest.mark.parametrize(
    ("report", "lag_s", "state"),
    [
        (sink(), 0.0, "OK"),
        (sink(), 31.0, "Attention"),
        (sink(), 901.0, "Fault"),
        (sink("waiting", reason="down"), 0.0, "Attention"),
        (sink("connecting", None), 0.0, "Attention"),
        (sink("connecting", None), 901.0, "Fault"),
        (sink(age_s=3600.0), 0.0, "Attention"),
    ],
)
def test_the_hubs_limits(report, lag_s, state):
    assert hub_cell(report, lag_s, 0, NOW_S).state == state


def test_a_sink_that_lives_with_a_trouble_is_not_green():
    report = msgspec.structs.replace(sink(), reason="the birth of device Press is too large")
    cell = broker_cell(report, KEEP_ALIVE_S, 0.0, 0.0, 7, NOW_S)
    assert (cell.state, cell.reason) == ("Attention", report.reason)
