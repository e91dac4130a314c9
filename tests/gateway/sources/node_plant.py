"""A node-opcua server as a plant: an implementation that shares no code with asyncua.

The server is `node_opcua/server.mjs` (its options and commands stand there); `node_plant` starts
it, and it ends with the block at the latest.
"""

import contextlib
import json
from pathlib import Path
from subprocess import PIPE

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from plant.ports import free_port

SERVER = Path(__file__).parent / "node_opcua" / "server.mjs"
DEADLINE_S = 30
LINE_BYTES_MAX = 1_000_000


class NodePlant:
    """A running server: where it is, and one command after the other."""

    def __init__(self, process, port):
        self.process = process
        self.port = port
        self.ready = {}
        self._out = BufferedByteReceiveStream(process.stdout)

    @property
    def endpoint(self):
        return self.ready["endpoint"]

    @property
    def namespace(self):
        """The URI of the namespace with the variables V0, V1, ..."""
        return self.ready["namespace"]

    async def answer(self):
        """Wait for the next line."""
        with anyio.fail_after(DEADLINE_S):
            return json.loads(await self._out.receive_until(b"\n", LINE_BYTES_MAX))

    async def ask(self, **command):
        """Give a command, such as ``tick=3``; return its answer."""
        await self.process.stdin.send(json.dumps(command).encode() + b"\n")
        return await self.answer()

    async def kill(self):
        """End it as a power cut does."""
        self.process.kill()
        await self.process.wait()


@contextlib.asynccontextmanager
async def node_plant(directory, *, port=0, **options):
    """Run the server in a directory of its own (kept: another run there has the same keys)."""
    directory.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    wish = {"port": port, "pki": str(directory)} | options
    with (directory / "node.log").open("ab") as log:
        process = await anyio.open_process(
            ["node", str(SERVER), json.dumps(wish)], stdin=PIPE, stdout=PIPE, stderr=log
        )
    try:
        plant = NodePlant(process, port)
        plant.ready = (await plant.answer())["ready"]
        yield plant
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                await plant.kill()
            await process.aclose()
