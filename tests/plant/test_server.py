"""The plant as a real OPC UA client sees it."""

from contextlib import AsyncExitStack

import anyio
import pytest
from asyncua import Client, ua

from plant.model import NAMESPACE_URI, SHIFT_URI, VARIABLES, Kind
from plant.server import open_plant

pytestmark = pytest.mark.slow  # asyncua builds its address space anew each time


async def connect(stack, **options):
    plant = await stack.enter_async_context(open_plant("127.0.0.1", 0, **options))
    client = await stack.enter_async_context(Client(plant.endpoint))
    return plant, client, await client.get_namespace_index(NAMESPACE_URI)


@pytest.fixture
async def stack():
    async with AsyncExitStack() as stack:
        yield stack


async def test_every_variable_is_served_with_its_type_value_and_source_time(stack):
    plant, client, index = await connect(stack, seed=5)
    await plant.write_tick(40, 1_700_000_000_000_000)
    for variable in VARIABLES:
        node = client.get_node(f"ns={index};s={variable.string_id}")
        read = await node.read_data_value()
        kind = ua.VariantType.Int32 if variable.kind is Kind.ENUM else variable.kind
        assert read.Value.VariantType == (
            kind if isinstance(kind, ua.VariantType) else ua.VariantType[kind]
        )
        expected = variable.signal(5, 40)
        if variable.kind is Kind.FLOAT:
            expected = pytest.approx(expected, rel=1e-6)
        assert read.Value.Value == expected, variable.string_id
        assert read.Value.is_array == variable.is_array
        assert read.SourceTimestamp.timestamp() == 1_700_000_000


async def test_browse_paths_ranges_units_and_the_enumeration_are_there(stack):
    _, client, index = await connect(stack)
    steps = [f"{index}:{name}" for name in ("Plant", "Line1", "Press", "Temperature")]
    temperature = await client.nodes.objects.get_child(steps)
    assert temperature.nodeid == ua.NodeId("Press.Temperature", index)
    span = await (await temperature.get_child("0:EURange")).read_value()
    assert (span.Low, span.High) == (20.0, 220.0)
    unit = await (await temperature.get_child("0:EngineeringUnits")).read_value()
    assert (unit.UnitId, unit.DisplayName.Text) == (4408652, "°C")
    state = client.get_node(f"ns={index};s=Press.State")
    definition = await client.get_node(await state.read_data_type()).read_data_type_definition()
    assert [field.Name for field in definition.Fields][:3] == ["STOPPED", "STARTING", "RUNNING"]


async def test_a_namespace_shift_moves_the_index_and_nothing_else(stack):
    _, _, usual = await connect(stack)
    _, client, shifted = await connect(stack, shift=True, tags=2)
    assert shifted == usual + 1
    assert (await client.get_namespace_array())[usual] == SHIFT_URI
    await client.get_node(f"ns={shifted};s=Press.Temperature").read_value()
    load = await client.get_node(f"ns={shifted};s=Load").get_children()
    assert [str(node.nodeid.Identifier) for node in load] == ["1", "2"]


class Received:
    """Collects data changes until `count` have come."""

    def __init__(self, count):
        self.values = []
        self.times = []
        self.done = anyio.Event()
        self._count = count

    def datachange_notification(self, _node, value, data):
        self.values.append(value)
        self.times.append(data.monitored_item.Value.SourceTimestamp)
        if len(self.values) == self._count:
            self.done.set()


async def test_a_subscriber_sees_each_load_value_once_in_order(stack):
    plant, client, index = await connect(stack, tags=1)
    received = Received(6)
    subscription = await client.create_subscription(20, received)
    await subscription.subscribe_data_change(client.get_node(f"ns={index};i=1"), queuesize=10)
    for value in range(1, 6):
        await plant.write_load(float(value), 1_700_000_000_000_000 + value)
    with anyio.fail_after(10):
        await received.done.wait()
    assert received.values == [0, 1, 2, 3, 4, 5]
    assert [time.microsecond for time in received.times[1:]] == [1, 2, 3, 4, 5]
