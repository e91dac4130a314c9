"""`python -m plant` as a process: what it prints, counts and records.

The o6 engine is always run as a process of its own: importing o6 starts a timer that
ends the process after ten minutes.
"""

import anyio
import msgspec
import pytest
from asyncua import Client

from bench.processes import ChildDiedError, Plant, running
from plant.model import NAMESPACE_URI
from plant.scans import ScanReport

ENGINES = ["o6", "asyncua"]


class Counters:
    """Collects the values of several tags."""

    def __init__(self):
        self.values = {}

    def datachange_notification(self, node, value, _data):
        self.values.setdefault(node.nodeid.Identifier, []).append(value)

    def have(self, tags, value):
        return len(self.values) == tags and all(seen[-1] == value for seen in self.values.values())


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
async def test_load_tags_count_without_holes_and_the_report_says_how_far(tmp_path, engine):
    plant = Plant(tmp_path, "--tags", "20", "--period-ms", "50", "--engine", engine)
    counters = Counters()
    async with running(plant), Client(plant.endpoint) as client:
        index = await client.get_namespace_index(NAMESPACE_URI)
        tags = await client.get_node(f"ns={index};s=Load").get_children()
        names = {(await tag.read_browse_name()).Name for tag in tags}
        assert names == {f"T{number:05d}" for number in range(1, 21)}
        subscription = await client.create_subscription(50, counters)
        await subscription.subscribe_data_change(tags, queuesize=20, sampling_interval=50)
        await plant.wait_until(lambda: seen_scans(counters, 10), "ten scans", 20)
        report = await plant.stop_counting()

        async def has_last():
            return counters.have(20, report.scans)

        await plant.wait_until(has_last, "last scan", 20)
    for values in counters.values.values():
        assert values == list(range(int(values[0]), report.scans + 1))
    assert plant.scan_log.stat().st_size == 8 * report.scans


async def seen_scans(counters, count):
    return len(counters.values) == 20 and all(len(v) >= count for v in counters.values.values())


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
async def test_all_tags_of_a_scan_share_the_source_time_of_its_write(tmp_path, engine):
    plant = Plant(
        tmp_path, "--tags", "3", "--period-ms", "50", "--engine", engine, "--namespace-shift"
    )
    async with running(plant), Client(plant.endpoint) as client:
        index = await client.get_namespace_index(NAMESPACE_URI)
        assert index == 3
        report = await plant.stop_counting()
        nodes = [client.get_node(f"ns={index};i={number}") for number in (1, 2, 3)]
        read = [await node.read_data_value() for node in nodes]
    assert {value.Value.Value for value in read} == {float(report.scans)}
    assert {round(value.SourceTimestamp.timestamp() * 1e6) for value in read} == {
        report.last_scan_us
    }


@pytest.mark.slow
async def test_the_report_comes_after_the_endpoint_when_the_time_is_over(tmp_path):
    state_file = tmp_path / "state.json"
    plant = Plant(
        tmp_path,
        *("--tags", "2", "--period-ms", "20", "--seconds", "0.2", "--start-at", "100"),
        *("--state-file", str(state_file)),
    )
    async with running(plant):
        with anyio.fail_after(20):
            assert await plant.wait() == 0
    endpoint, line = plant.output_lines()
    assert endpoint == plant.endpoint
    report = msgspec.json.decode(line, type=ScanReport)
    assert (report.tags, report.start_at) == (2, 100)
    assert report.scans > 1
    assert msgspec.json.decode(state_file.read_bytes(), type=ScanReport) == report


@pytest.mark.slow
async def test_the_o6_engine_refuses_to_serve_without_load_tags(tmp_path):
    plant = Plant(tmp_path, "--engine", "o6")
    with pytest.raises(ChildDiedError, match="give --tags"):
        async with running(plant):
            pass
