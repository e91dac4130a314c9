"""Alarms, methods and writes against node-opcua, which shares no code with asyncua's server."""

import json

import pytest

from contract.config import TagConfig
from contract.config_acting import ConditionsConfig, EventConfig, MethodConfig
from tests.gateway.sources.acting_plant import Rig
from tests.gateway.sources.node_plant import node_plant
from tests.gateway.sources.plc import until

pytestmark = pytest.mark.slow  # a server of its own


async def test_an_alarm_is_told_acknowledged_and_told_again_and_what_is_asked_is_done(tmp_path):
    async with node_plant(tmp_path / "node", alarms=True) as plant:

        def at(name):
            return f"nsu={plant.namespace};s={name}"

        await plant.ask(write=[["V0", 150.0, None]])  # it holds before we come
        rig = Rig(
            tmp_path,
            plant.endpoint,
            tags=[TagConfig(node=at("V0"), group="g", name="V0", writable=True)],
            events=[EventConfig(name="Alarms", group="g")],
            conditions=ConditionsConfig(acknowledge=True),
            methods=[MethodConfig(name="double", object=at("Plant"), method=at("Double"))],
        )

        def alarms():
            found = [json.loads(text) for text in rig.port.values("Alarms")]
            return [e for e in found if e.get("condition_name") == "HighV0"]

        async with rig.running():
            assert rig.source.status().profile == "node-opcua (detected)"
            await until(alarms)
            held = alarms()[0]
            assert held["refresh"] is True
            assert (held["active"], held["acked"], held["retain"]) == (True, False, True)
            assert held["condition_id"] == at("HighV0")
            assert held["source_node"] == at("V0")
            event_id = bytes.fromhex(held["event_id"])
            for expected in ("written", "refused"):
                action = await rig.actions.acknowledge(
                    "line1", held["condition_id"], event_id, "seen by Ada", "test"
                )
                assert action.command.outcome == expected, action.command
            assert action.command.reason in {"BadConditionBranchAlreadyAcked", "BadEventIdUnknown"}
            await until(lambda: alarms()[-1]["acked"])
            assert (await rig.write("V0", 20.0))[:2] == ("written", "")
            await until(lambda: not alarms()[-1]["active"])
            assert "refresh" not in alarms()[-1]
            action = await rig.actions.call("line1", "double", {"x": 21}, "test")
            assert action.results == {"doubled": 42.0}
            assert (await rig.write("V0", 30.0))[2].startswith("reads back 30.0 at 20")
