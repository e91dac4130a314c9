"""Browsing and splitting against node-opcua, whose pages and types share no code with asyncua's."""

from pathlib import Path

import anyio
import pytest

from contract.config import RuleConfig, TagConfig
from gateway.sources.opcua.source import OpcUaSource
from runtime.clock import SystemClock
from tests.gateway.sources.node_plant import node_plant
from tests.gateway.sources.plc import Port, config, driven, until

pytestmark = pytest.mark.slow
VARIABLES = 230


@pytest.fixture(scope="module")
async def plant(tmp_path_factory):
    limits = {
        "maxBrowseContinuationPoints": 2,
        "operationLimits": {
            "maxNodesPerRead": 40,
            "maxNodesPerBrowse": 7,
            "maxNodesPerTranslateBrowsePathsToNodeIds": 9,
        },
    }
    async with node_plant(
        tmp_path_factory.mktemp("node"), variables=VARIABLES, capabilities=limits
    ) as running:
        yield running


async def test_a_rule_pages_keeps_the_servers_limits_and_splits_a_structure(plant, tmp_path):
    folder = f"nsu={plant.namespace};s=Plant"
    status = TagConfig(node="ns=0;i=2256", name="Status", group="g", split=True)
    rules = [RuleConfig(below=folder, group="g")]
    source = OpcUaSource(
        config(plant.endpoint, tags=[status], rules=rules), SystemClock(), Path(tmp_path) / "s"
    )
    port = Port()
    async with driven(source, port), anyio.create_task_group() as tasks:
        tasks.start_soon(source.explorer.run)
        await until(lambda: source.status().state == "up")
        assert source.status().troubles == []
        specs = {spec.name: spec for spec in port.specs}
        assert {f"V{n}" for n in range(VARIABLES)} <= set(specs)
        nested = "Status/BuildInfo/ProductName"
        await until(lambda: port.values(nested) != [] and port.values("V229") != [])
        assert port.values(nested)[0] == "node-opcua test plant"
        assert "0 = Running" in specs["Status/State"].description
        assert port.values("Status/State")[0] == 0
        page = await source.explorer.browse(folder, "", 100)
        seen = [n.name for n in page.nodes]
        while page.continuation:
            page = await source.explorer.browse("", page.continuation, 100)
            seen += [n.name for n in page.nodes]
        assert len(seen) == len(set(seen)) == VARIABLES
        (value,) = await source.explorer.peek(["ns=0;i=2256"])
        assert '"State": 0' in str(value.value)
        tasks.cancel_scope.cancel()
