"""Load plant on open62541 (PyPI `o6`): tens of thousands of changes per second.

Promise: `tags` Doubles with numeric ids 1..N in the plant's namespace, below the
folder `s=Load`, each scan written with one shared SourceTimestamp.

Limits: for tests and benchmarks only. The free mode of o6 ends the *process* ten
minutes after import, without any clean-up: `warn_of_end` says so in time, and the
scan log and state file survive it. o6 listens on every interface (its API has no
host); where that matters use the asyncua engine. Sampling and publishing limits
are those of open62541: sampling >= 50 ms, or 0 for "on every write".
`o6` is imported here only, and lazily.
"""

import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any, TypeAlias

import anyio

from plant.model import LOAD_FOLDER_ID, NAMESPACE_URI, SHIFT_URI, load_name
from plant.ports import free_port
from plant.scans import scan_values

FREE_MODE_S = 600.0
"""Source: o6 2.2.0 METADATA, "ten-minute Script Mode"."""
WARN_BEFORE_END_S = 60.0

O6Object: TypeAlias = Any
"""o6 ships types for generated structures only, and mypy must pass without it."""

_UNIX_TO_OPC_US = 11_644_473_600_000_000


class O6LoadServer:
    """A running open62541 server with the load tags. Made by `open_o6`."""

    def __init__(
        self,
        o6: ModuleType,
        server: O6Object,
        node_ids: list[O6Object],
        *,
        endpoint: str,
        noisy: bool,
    ) -> None:
        self._o6 = o6
        self._noisy = noisy
        self._server = server
        self._node_ids = node_ids
        self.endpoint = endpoint

    async def write(self, value: float, source_time_us: int) -> None:
        """Write scan `value` to every tag, stamped `source_time_us` (µs since 1970, UTC)."""
        data_value, double = self._o6.DataValue, self._o6.Double
        stamp = self._o6.DateTime((source_time_us + _UNIX_TO_OPC_US) * 10)
        if self._noisy:
            values = scan_values(value, len(self._node_ids), noisy=True)
            stamped = [data_value(value=double(v), sourceTimestamp=stamp) for v in values]
            await self._server.write(dict(zip(self._node_ids, stamped, strict=True)))
        else:
            shared = data_value(value=double(value), sourceTimestamp=stamp)
            await self._server.write(dict.fromkeys(self._node_ids, shared))


def is_installed() -> bool:
    """Return whether o6 can be imported, without importing it (the import starts its timer)."""
    from importlib.util import find_spec  # noqa: PLC0415

    return find_spec("o6") is not None


@contextlib.asynccontextmanager
async def open_o6(
    port: int, tags: int, *, shift: bool = False, noisy: bool = False
) -> AsyncIterator[O6LoadServer]:
    """Serve `tags` load tags on `port` (0: a free one) for as long as the context is open."""
    with _stdout_to_stderr():  # the import prints a banner
        import o6  # noqa: PLC0415
    logging.getLogger("o6").setLevel(logging.ERROR)
    port = port or free_port()
    server = o6.Server(port=port, logger=logging.getLogger("o6.server"))
    _register_namespaces(o6, server, shift=shift)
    node_ids = [o6.NodeId(f"ns=plant;i={number}") for number in range(1, tags + 1)]
    folder = o6.NodeId(f"ns=plant;s={LOAD_FOLDER_ID}")
    index = o6.ns.plant.index
    async with server:
        await server.addObject(
            LOAD_FOLDER_ID, server.objectsNode, nodeId=folder, typeDefinition="i=61", ns=index
        )
        for number, node_id in enumerate(node_ids, 1):
            await server.addVariable(
                load_name(number), folder, 0.0, nodeId=node_id, ns=index, writable=False
            )
        endpoint = f"opc.tcp://127.0.0.1:{port}"
        yield O6LoadServer(o6, server, node_ids, endpoint=endpoint, noisy=noisy)


async def warn_of_end() -> None:
    """Say on stderr that the free mode is about to end the process. Start it with the server."""
    await anyio.sleep(FREE_MODE_S - WARN_BEFORE_END_S)
    sys.stderr.write(
        f"plant: the free mode of o6 ends this process in {WARN_BEFORE_END_S:.0f} s"
        " (ten minutes after the start); use --engine asyncua for longer runs\n"
    )
    sys.stderr.flush()


def _register_namespaces(o6: ModuleType, server: O6Object, *, shift: bool) -> None:
    namespaces = [("plant", NAMESPACE_URI)]
    if shift:
        namespaces.insert(0, ("plant_shift", SHIFT_URI))
    for short_name, uri in namespaces:
        nodes = ModuleType(f"{short_name}_nodes")
        nodes.__dict__["__NAMESPACES__"] = [o6.ns.register(short_name, uri)]
        server.ns.append(nodes)


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Send what C code prints to stdout to stderr: stdout is for the endpoint and the report."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
        sys.stdout.flush()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
