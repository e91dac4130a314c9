"""A plant to act on: set-points, methods, alarms; and a count of the services it was asked for."""

import contextlib
from collections import Counter

import anyio
from asyncua import ua, uamethod
from asyncua.server.uaprocessor import UaProcessor

from gateway.flow.actions import Actions
from gateway.flow.command_audit import CommandAudit
from gateway.flow.commands import CommandDesk
from gateway.flow.tags import TagTable
from gateway.sources.opcua.source import OpcUaSource
from runtime.clock import SystemClock
from tests.gateway.sources.plc import URI, VT, Plc, Port, config, driven, until

WRITE, CALL = 673, 712
"""Binary encodings of WriteRequest and CallRequest: OPC 10000-6, A.3."""
RANGE = ua.Range(Low=0.0, High=100.0)


def node(name):
    return f"nsu={URI};s={name}"


@contextlib.contextmanager
def counted_services():
    """Count the requests that servers of this process get, by number of their encoding."""
    counts = Counter()
    real = UaProcessor._process_message

    async def counting(self, typeid, requesthdr, seqhdr, body):
        counts[typeid.Identifier] += 1
        return await real(self, typeid, requesthdr, seqhdr, body)

    UaProcessor._process_message = counting
    try:
        yield counts
    finally:
        UaProcessor._process_message = real


@uamethod
async def _mix(_parent, litres, name):
    return litres * 2, f"mixed {name}"


@uamethod
async def _stop(_parent):
    return ua.StatusCode(ua.StatusCodes.BadInvalidState)


def _argument(name, data_type, rank=-1):
    return ua.Argument(
        Name=name, DataType=ua.NodeId(data_type), ValueRank=rank, ArrayDimensions=[],
        Description=ua.LocalizedText(f"the {name}"),
    )  # fmt: skip


async def fill(plc):
    """Add what the tests write to and call."""
    for name, value, vtype in (
        ("Speed", 10.0, VT.Double), ("Level", 5.0, VT.Float), ("Count", 7, VT.Int16),
        ("On", False, VT.Boolean), ("Text", "a", VT.String), ("Fixed", 1.0, VT.Double),
        ("Mine", 1.0, VT.Double), ("Recipe", [1, 2, 3], VT.Int32), ("Tenths", 20, VT.Int32),
        ("Stubborn", 1.0, VT.Double), ("Since", plc.epoch, VT.DateTime),
    ):  # fmt: skip
        variable = await plc.variable(name, value, vtype)
        if name != "Fixed":
            await variable.set_writable()
    speed = plc.server.get_node(plc.node_id("Speed"))
    await speed.add_property(
        plc.node_id("Speed.EURange"), ua.QualifiedName("EURange", 0), ua.Variant(RANGE)
    )
    recipe = plc.server.get_node(plc.node_id("Recipe"))
    await recipe.write_attribute(
        ua.AttributeIds.ArrayDimensions, ua.DataValue(ua.Variant([3], VT.UInt32))
    )
    mine = plc.server.get_node(plc.node_id("Mine"))
    await mine.unset_attr_bit(ua.AttributeIds.UserAccessLevel, ua.AccessLevel.CurrentWrite)
    mode = await plc.server.nodes.enum_data_type.add_data_type(
        plc.node_id("ModeType"), ua.QualifiedName("ModeType", plc.index)
    )
    names = [ua.LocalizedText(text) for text in ("Off", "Hand", "Auto")]
    await mode.add_property(
        plc.node_id("ModeType.EnumStrings"), ua.QualifiedName("EnumStrings", 0), names
    )
    of_mode = await plc.server.nodes.objects.add_variable(
        plc.node_id("Mode"), ua.QualifiedName("Mode", plc.index), 0, VT.Int32, mode.nodeid
    )
    await of_mode.set_writable()
    await plc.folder("Mixer")
    mixer = plc.server.get_node(plc.node_id("Mixer"))
    await mixer.add_method(
        plc.node_id("Mixer.Mix"), ua.QualifiedName("Mix", plc.index), _mix,
        [_argument("litres", ua.ObjectIds.Double), _argument("name", ua.ObjectIds.String)],
        [_argument("doubled", ua.ObjectIds.Double), _argument("said", ua.ObjectIds.String)],
    )  # fmt: skip
    await mixer.add_method(
        plc.node_id("Mixer.Stop"), ua.QualifiedName("Stop", plc.index), _stop, [], []
    )


class ActingPlc(Plc):
    """A ``Plc`` with what there is to act on."""

    epoch = ua.get_win_epoch().replace(year=2020)

    async def start(self, **options):
        await super().start(fill=fill, **options)

    async def value(self, name):
        return await self.server.get_node(self.node_id(name)).read_value()


class TablePort(Port):
    """A port whose tags stand in a tag table, as the engine's do."""

    def __init__(self, table):
        super().__init__()
        self.table = table

    def register(self, specs):
        super().register(specs)
        return self.table.register("line1", specs)

    def add(self, specs):
        super().register(specs)
        return self.table.add("line1", specs)


class Rig:
    """A source that runs, a command desk, an audit and the gateway's hands."""

    def __init__(self, directory, endpoint, **options):
        clock = SystemClock()
        self.table = TagTable([])
        self.port = TablePort(self.table)
        self.source = OpcUaSource(config(endpoint, **options), clock, directory / "sessions")
        self.audit = CommandAudit(directory)
        self.desk = CommandDesk(self.table, [self.source], self.audit, clock)
        self.actions = Actions(self.desk, self.table, [self.source])

    @contextlib.asynccontextmanager
    async def running(self):
        """Run until the block ends; begin when the source reads."""
        try:
            async with driven(self.source, self.port), anyio.create_task_group() as tasks:
                tasks.start_soon(self.desk.run)
                await until(lambda: self.source.status().state == "up")
                yield self
                tasks.cancel_scope.cancel()
        finally:
            self.desk.close()

    async def write(self, tag, value):
        """Write as a person does; return (outcome, reason, message)."""
        command = (await self.actions.write("line1", tag, None, value, "test")).command
        return command.outcome, command.reason, command.message
