"""What one call to a server may hold: OperationLimits, read once a session.

A server that tells nothing, or 0, has no limit of its own: ours holds. Source: OPC 10000-5,
6.3.11 (OperationLimitsType); OPC 10000-6, A.3 for the node ids.
"""

from __future__ import annotations

import msgspec
from asyncua import ua
from asyncua.ua.uaerrors import UaError

from gateway.sources.opcua.session import Session

ITEMS_PER_CALL = 500
NODES_PER_READ = 500
NODES_PER_HISTORY_READ = 50


class CallLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The most items of one call, of each service: the server's limit or ours, the lower."""

    items_per_call: int = ITEMS_PER_CALL
    nodes_per_read: int = NODES_PER_READ
    nodes_per_register: int = NODES_PER_READ
    nodes_per_history_read: int = NODES_PER_HISTORY_READ


_NODES = {
    "items_per_call": (
        ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall
    ),
    "nodes_per_read": ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
    "nodes_per_register": (
        ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRegisterNodes
    ),
    "nodes_per_history_read": (
        ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerHistoryReadData
    ),
}


async def read_limits(session: Session) -> CallLimits:
    """Read the server's limits; one that tells none, or refuses the question, has ours."""
    ours = CallLimits()
    try:
        values = await session.read(
            [ua.NodeId(number) for number in _NODES.values()], ua.AttributeIds.Value
        )
    except UaError:
        return ours
    found = {name: getattr(ours, name) for name in _NODES}
    for name, value in zip(_NODES, values, strict=True):
        told = value.Value.Value if value.Value is not None else None
        if isinstance(told, int) and 0 < told < found[name]:
            found[name] = told
    return CallLimits(**found)
