"""The shipped access list at a real mosquitto: each node its own topics, and no other's."""

import pytest

from bench.processes import running
from contract.broker_acl import host_entry, mosquitto_acl, node_entry
from tests.sparkplug_conformance.acl_broker import PASSWORD, AclBroker
from tests.sparkplug_conformance.raw_client import NOT_AUTHORIZED, raw_client, signed_in
from tests.sparkplug_conformance.stream import Will

pytestmark = [pytest.mark.broker]

ENTRIES = [
    node_entry("press", "Plant1", "Press Shop", primary_host="scada"),
    node_entry("oven", "Plant1", "Oven"),
    host_entry("hmi", "scada"),
]
OWN = [
    *[f"spBv1.0/Plant1/{kind}/Press Shop" for kind in ("NBIRTH", "NDATA", "NDEATH")],
    *[f"spBv1.0/Plant1/{kind}/Press Shop/D 1" for kind in ("DBIRTH", "DDATA", "DDEATH")],
]
COMMANDS = ["spBv1.0/Plant1/NCMD/Press Shop", "spBv1.0/Plant1/DCMD/Press Shop/D 1"]
STATE = "spBv1.0/STATE/scada"
OTHERS = [topic.replace("Press Shop", "Oven") for topic in OWN]
OTHERS += [topic.replace("Plant1", "Plant2") for topic in OWN]


@pytest.fixture
async def broker(tmp_path):
    users = [entry.username for entry in ENTRIES]
    async with running(AclBroker(tmp_path, users, mosquitto_acl(ENTRIES))) as broker:
        yield broker


async def test_a_node_publishes_its_own_topics_and_a_host_reads_them(broker):
    async with (
        signed_in(broker.port, "hmi", PASSWORD) as host,
        signed_in(broker.port, "press", PASSWORD) as node,
    ):
        await host.subscribe("spBv1.0/#")
        assert [await node.publish(topic) for topic in OWN] == [0] * len(OWN)
        await host.fence(STATE)
        assert host.topics == OWN


async def publish_as(broker, user, topic, *, retain=False):
    """Return the answer to one message; mosquitto 2.0.11 ends a connection that it refuses."""
    async with signed_in(broker.port, user, PASSWORD) as client:
        return await client.publish(topic, retain=retain)


async def test_the_topics_of_others_are_refused_to_a_node(broker):
    async with signed_in(broker.port, "hmi", PASSWORD) as host:
        await host.subscribe("#")
        wrong = [*OTHERS, *COMMANDS, "spBv1.0/Plant1/NCMD/Oven", STATE, "elsewhere"]
        wrong += ["spBv1.0/Plant1/DDATA/Press Shop", "spBv1.0/Plant1/DDATA/Press Shop/D/E"]
        for topic in wrong:
            assert await publish_as(broker, "press", topic, retain=True) == NOT_AUTHORIZED, topic
        await host.fence(STATE)
        assert host.topics == []


async def test_a_node_reads_its_own_commands_and_its_hosts_state_and_no_more(broker):
    async with (
        signed_in(broker.port, "hmi", PASSWORD) as host,
        signed_in(broker.port, "press", PASSWORD) as node,
        signed_in(broker.port, "oven", PASSWORD) as other,
    ):
        await node.subscribe("#")
        await other.publish("spBv1.0/Plant1/NDATA/Oven")
        for topic in [*COMMANDS, *[t.replace("Press Shop", "Oven") for t in COMMANDS]]:
            assert await host.publish(topic) < 0x80
        await host.publish(STATE, b"fence")
        await node.until(lambda: any(m.payload == b"fence" for m in node.received))
        assert node.topics == COMMANDS


async def test_a_will_in_the_name_of_another_node_is_not_published(broker):
    async with signed_in(broker.port, "hmi", PASSWORD) as host:
        await host.subscribe("spBv1.0/#")
        for node in ("Oven", "Press Shop"):
            topic = f"spBv1.0/Plant1/NDEATH/{node}"
            will = Will(topic=topic, payload=b"x", qos=1, retain=False)
            async with raw_client(broker.port) as client:
                # the connection breaks: there is no DISCONNECT
                await client.connect("broken", ("press", PASSWORD), will)
        await host.until(lambda: host.topics)
        assert host.topics == ["spBv1.0/Plant1/NDEATH/Press Shop"]


async def test_a_host_says_its_own_state_and_speaks_for_no_node(broker):
    assert await publish_as(broker, "hmi", STATE, retain=True) < 0x80
    for topic in [*OWN, "spBv1.0/STATE/other"]:
        assert await publish_as(broker, "hmi", topic) == NOT_AUTHORIZED, topic


async def test_who_is_not_known_is_not_let_in(broker):
    for login in (None, ("press", "wrong"), ("nobody", PASSWORD)):
        async with raw_client(broker.port) as client:
            assert await client.connect("c", login, None) >= 0x80
