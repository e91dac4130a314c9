"""The simulated plant on asyncua's server: a thin shell around `model` and `signals`.

Promise: Objects/Plant/<line>/<machine>/<variable> with string ids, and the folder
`s=Load` with `tags` counting Doubles (numeric ids 1..N) for the load mode.
Security None, anonymous: it is a simulator for loopback.

Limits: about 5,000 changes/s (asyncua copies each value per subscriber). asyncua's
server reports every write, whatever the sampling interval, and drops from a full
queue without setting the overflow bit.
"""

import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import UTC, timedelta

import anyio
from asyncua import ua
from asyncua.common.node import Node
from asyncua.common.structures104 import new_enum
from asyncua.server.server import Server
from asyncua.ua.attribute_ids import AttributeIds

from plant import signals
from plant.model import (
    LINES,
    LOAD_FOLDER_ID,
    NAMESPACE_URI,
    SHIFT_URI,
    VARIABLES,
    Kind,
    Unit,
    Variable,
    load_name,
)
from plant.ports import free_port
from plant.scans import scan_values
from plant.signals import SignalValue

_UNIX_EPOCH = ua.DateTime(1970, 1, 1, tzinfo=UTC)
_UNIT_NAMESPACE = "http://www.opcfoundation.org/UA/units/un/cefact"
"""Source: OPC 10000-8, 6.4.3."""


class PlantServer:
    """A running plant. Made by `open_plant`."""

    def __init__(self, server: Server, endpoint: str, seed: int, *, noisy: bool) -> None:
        self._server = server
        self._seed = seed
        self._noisy = noisy
        self._index = 0
        self._load_ids: list[ua.NodeId] = []
        self.endpoint = endpoint

    async def build(self, tags: int, *, shift: bool) -> None:
        """Fill the address space. Call once, before the server starts."""
        if shift:
            await self._server.register_namespace(SHIFT_URI)
        self._index = await self._server.register_namespace(NAMESPACE_URI)
        await self._add_load(tags)  # first: asyncua numbers other nodes from 1 up
        state_type = await new_enum(
            self._server, self._index, Kind.ENUM, [state.name for state in signals.MachineState]
        )
        plant = await self._add_folder(self._server.nodes.objects, "Plant", "Plant")
        for line in LINES:
            line_node = await self._add_folder(plant, line.name, line.name)
            for machine in line.machines:
                machine_node = await self._add_folder(line_node, machine, machine)
                for variable in VARIABLES:
                    if variable.machine == machine:
                        await self._add_variable(machine_node, variable, state_type)

    async def write_tick(self, tick: int, source_time_us: int) -> None:
        """Write the value of every realistic signal at `tick`."""
        for variable in VARIABLES:
            await self._write(
                self._node_id(variable.string_id),
                _variant(variable, variable.signal(self._seed, tick)),
                source_time_us,
            )

    async def write_load(self, value: float, source_time_us: int) -> None:
        """Write scan `value` to every load tag."""
        values = scan_values(value, len(self._load_ids), noisy=self._noisy)
        for node_id, tag_value in zip(self._load_ids, values, strict=True):
            variant = ua.Variant(tag_value, ua.VariantType.Double)
            await self._write(node_id, variant, source_time_us)

    async def _write(self, node_id: ua.NodeId, variant: ua.Variant, source_time_us: int) -> None:
        stamp = _UNIX_EPOCH + timedelta(microseconds=source_time_us)
        # The address space itself: Server.write_attribute_value drops the status.
        status = await self._server.iserver.aspace.write_attribute_value(
            node_id,
            AttributeIds.Value,
            ua.DataValue(variant, SourceTimestamp=stamp, ServerTimestamp=stamp),
        )
        status.check()

    def _node_id(self, identifier: str | int) -> ua.NodeId:
        typed = ua.String(identifier) if isinstance(identifier, str) else ua.Int32(identifier)
        return ua.NodeId(typed, ua.Int16(self._index))

    async def _add_folder(self, parent: Node, string_id: str, name: str) -> Node:
        return await parent.add_folder(
            self._node_id(string_id), ua.QualifiedName(name, self._index)
        )

    async def _add_variable(self, parent: Node, variable: Variable, state_type: Node) -> None:
        variant = _variant(variable, variable.signal(self._seed, 0))
        node = await parent.add_variable(
            self._node_id(variable.string_id),
            ua.QualifiedName(variable.name, self._index),
            variant,
            datatype=state_type.nodeid if variable.kind is Kind.ENUM else None,
        )
        if variable.low is not None and variable.high is not None:
            span = ua.Range(Low=variable.low, High=variable.high)
            await node.add_property(0, "EURange", span)
        if variable.unit is not None:
            await node.add_property(0, "EngineeringUnits", _unit(variable.unit))

    async def _add_load(self, tags: int) -> None:
        folder = await self._add_folder(self._server.nodes.objects, LOAD_FOLDER_ID, LOAD_FOLDER_ID)
        zero = ua.Variant(0.0, ua.VariantType.Double)
        for number in range(1, tags + 1):
            node_id = self._node_id(number)
            name = ua.QualifiedName(load_name(number), self._index)
            await folder.add_variable(node_id, name, zero)
            self._load_ids.append(node_id)


@contextlib.asynccontextmanager
async def open_plant(
    host: str,
    port: int,
    *,
    seed: int = 1,
    tags: int = 0,
    shift: bool = False,
    noisy: bool = False,
) -> AsyncIterator[PlantServer]:
    """Serve the plant on `host:port` (port 0: a free one) while the context is open."""
    logging.getLogger("asyncua").setLevel(logging.ERROR)
    server = Server()
    await server.init()
    await server.set_application_uri("urn:example:plant:server")
    server.set_server_name("Simulated plant")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    endpoint = f"opc.tcp://{host}:{port or free_port(host)}"
    server.set_endpoint(endpoint)
    plant = PlantServer(server, endpoint, seed, noisy=noisy)
    await plant.build(tags, shift=shift)
    try:
        await server.start()
        yield plant
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(5):
            await server.stop()


def _variant(variable: Variable, value: SignalValue) -> ua.Variant:
    kind = ua.VariantType.Int32 if variable.kind is Kind.ENUM else ua.VariantType[variable.kind]
    return ua.Variant(value, kind, is_array=variable.is_array)


def _unit(unit: Unit) -> ua.EUInformation:
    return ua.EUInformation(
        NamespaceUri=_UNIT_NAMESPACE,
        UnitId=unit.unit_id,
        DisplayName=ua.LocalizedText(unit.symbol),
        Description=ua.LocalizedText(unit.name),
    )
