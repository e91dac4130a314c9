"""The gateway's own alerts follow what its parts report."""

import pytest

from gateway.flow.alerts import LOST_ACTIVE_S, GatewayAlerts
from gateway.sources.base import SourceReport
from tests.gateway.manual_clock import ManualClock


class ReportedSource:
    """A source of which only the report matters."""

    def __init__(self, name):
        self.name = name
        self.report = SourceReport(state="starting", endpoint="opc.tcp://x")

    def says(self, state, **changed):
        self.report = SourceReport(state=state, endpoint="opc.tcp://x", **changed)

    def status(self):
        return self.report


class Plant:
    def __init__(self):
        self.sources = [ReportedSource("line1"), ReportedSource("line2")]
        self.losses_count = 3
        self.clock = ManualClock()
        self.alerts = GatewayAlerts(self.sources, lambda: self.losses_count, self.clock)

    @property
    def active(self):
        return {alert.name for alert in self.alerts() if alert.active}


@pytest.fixture
def plant():
    return Plant()


def test_a_source_raises_its_alert_when_a_session_failed_and_clears_it_when_one_delivers(plant):
    first, second = plant.sources
    first.says("connecting")
    assert plant.active == set()
    second.says("up")
    first.says("waiting", reason="refused")
    assert plant.active == {"Connection_line1"}
    first.says("connecting")
    assert plant.active == {"Connection_line1"}
    first.says("up")
    assert plant.active == set()


def test_a_new_entry_in_the_ledger_raises_an_alert_for_a_while(plant):
    assert plant.active == set()
    plant.losses_count += 1
    assert plant.active == {"Samples_Lost"}
    plant.clock.pass_s(LOST_ACTIVE_S - 1)
    plant.losses_count += 1
    assert plant.active == {"Samples_Lost"}
    plant.clock.pass_s(LOST_ACTIVE_S - 1)
    assert plant.active == {"Samples_Lost"}
    plant.clock.pass_s(1)
    assert plant.active == set()


def test_a_tag_that_cannot_be_read_raises_an_alert(plant):
    plant.sources[1].says("up", troubles_count=1)
    assert plant.active == {"Tag_Troubles"}
    plant.sources[1].says("up")
    assert plant.active == set()


def test_the_alerts_are_the_same_ones_each_time(plant):
    assert [a.name for a in plant.alerts()] == [
        "Connection_line1", "Connection_line2", "Samples_Lost", "Tag_Troubles"
    ]  # fmt: skip
    assert len({a.type_uuid for a in plant.alerts()}) == 3
