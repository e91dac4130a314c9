"""Reverse connect: node-opcua dials us; strangers, silence and floods are turned away."""

import anyio
import pytest
from anyio.abc import SocketAttribute

from contract.config import SecurityConfig, TagConfig
from contract.config_opcua import ReverseConfig
from gateway.errors import SourceError
from gateway.sources.opcua import reverse as reverse_module
from gateway.sources.opcua.access import Access, Pki, target_of
from gateway.sources.opcua.reverse import Doors, read_reverse_hello
from gateway.sources.opcua.source import OpcUaSource
from plant.ports import free_port
from runtime.clock import SystemClock
from tests.gateway.sources.certificates import make
from tests.gateway.sources.node_plant import node_plant
from tests.gateway.sources.plc import Port, config, driven, until

URI = "urn:factoryplus:test:node-opcua"


def hello(uri, url="opc.tcp://h"):
    """A ReverseHello as a server sends it."""
    texts = b"".join(len(t).to_bytes(4, "little") + t.encode() for t in (uri, url))
    return b"RHEF" + (8 + len(texts)).to_bytes(4, "little") + texts


def test_a_reverse_hello_is_read_whole_or_in_pieces():
    whole = hello("urn:plc")
    assert read_reverse_hello(whole) == "urn:plc"
    assert all(read_reverse_hello(whole[:end]) is None for end in range(len(whole)))


@pytest.mark.parametrize(
    "data",
    [
        b"HELF",
        b"RHEF\xff\xff\xff\x7f",
        b"RHEF\x00\x00\x00\x00",
        hello("urn:plc") + b"x",
        b"RHEF" + (16).to_bytes(4, "little") + b"\xff" * 8,
        b"RHEF" + (20).to_bytes(4, "little") + (9).to_bytes(4, "little") + b"x" * 8,
        hello("urn:plc")[:12] + b"\xff" * (len(hello("urn:plc")) - 12),
    ],
)
def test_what_is_no_reverse_hello_is_refused(data):
    with pytest.raises(ValueError, match=r"ReverseHello|decode"):
        read_reverse_hello(data)


@pytest.mark.slow
async def test_a_server_that_calls_is_read_over_a_secured_channel_and_again_after_a_restart(
    tmp_path,
):
    paths = make(name="node", uri=URI).write(tmp_path / "certificate")
    listen = ReverseConfig(host="127.0.0.1", port=free_port(), server_uri=URI)
    pki = Pki(tmp_path / "pki", SystemClock())
    pki.trust.import_file(paths[0].read_bytes(), "line1")
    # its address leads nowhere: the source cannot have dialled
    settings = config(
        "opc.tcp://127.0.0.1:9",
        tags=[TagConfig(node=f"nsu={URI};s=V0", name="V0", group="g")],
        security=SecurityConfig(),
        reverse_connect=listen,
    )
    source = OpcUaSource(
        settings, SystemClock(), tmp_path / "sessions", Access(target_of(settings), pki)
    )
    options = {
        "certificate_file": str(paths[0]),
        "key_file": str(paths[1]),
        "policies": ["Basic256Sha256"],
        "modes": ["SignAndEncrypt"],
        "variables": 1,
        "reverse_to": f"opc.tcp://127.0.0.1:{listen.port}",
    }
    port = Port()
    async with driven(source, port):
        async with node_plant(tmp_path / "node", **options) as plant:
            await until(lambda: port.values("V0") == [0])
            await plant.ask(tick=1)
            await until(lambda: port.values("V0") == [0, 1])
            await plant.kill()
        async with node_plant(tmp_path / "node", **options):
            await until(lambda: port.values("V0") == [0, 1, 0])


async def call(port, data):
    """Open a connection and say something; return it."""
    stream = await anyio.connect_tcp("127.0.0.1", port)
    await stream.send(data)
    return stream


async def is_hung_up(stream):
    """Wait until the other side ends the connection."""
    with anyio.fail_after(10), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
        await stream.receive()
    await stream.aclose()


async def test_strangers_the_silent_and_the_too_many_are_turned_away(monkeypatch):
    monkeypatch.setattr(reverse_module, "HELLO_S", 0.1)
    listen = ReverseConfig(host="127.0.0.1", port=free_port(), server_uri="urn:plc")
    doors = Doors()
    async with doors.listening(listen):
        await is_hung_up(await call(listen.port, b"GET / HTTP/1.1\r\n\r\n"))
        await is_hung_up(await call(listen.port, hello("urn:stranger")))
        await is_hung_up(await call(listen.port, b"RHE"))  # and then nothing
        calls = [await call(listen.port, hello("urn:plc")) for _ in range(3)]
        await is_hung_up(calls[0])  # the newest two stay
        door = doors._open["127.0.0.1", listen.port][0]
        assert door.turned_away_count == 2
        monkeypatch.setattr(reverse_module, "CALLERS_MAX", 2)
        await is_hung_up(await call(listen.port, hello("urn:plc")))
        assert door.turned_away_count == 3
    for left in calls[1:]:
        await is_hung_up(left)
    assert doors._open == {}


async def test_two_sources_share_an_address_and_each_gets_its_own_server():
    port = free_port()
    doors = Doors()
    one, other = (
        ReverseConfig(host="127.0.0.1", port=port, server_uri=uri) for uri in ("urn:1", "urn:2")
    )
    async with doors.listening(one) as first, doors.listening(other) as second:
        calls = [await call(port, hello(uri)) for uri in ("urn:2", "urn:1")]
        for take, stream in ((first, calls[1]), (second, calls[0])):
            adopt = await take()
            theirs = adopt.__self__._transport.get_extra_info("peername")
            assert theirs == stream.extra(SocketAttribute.local_address)  # noqa: S610 - not Django
        for stream in calls:
            await stream.aclose()


async def test_an_address_that_is_taken_is_said():
    port = free_port()
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port):
        listen = ReverseConfig(host="127.0.0.1", port=port, server_uri="urn:plc")
        with pytest.raises(SourceError, match="cannot listen"):
            async with Doors().listening(listen):
                pass
