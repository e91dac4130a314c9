"""One MQTT connection: fences, half-open links, refusals; and what gmqtt has to keep."""

import asyncio
import contextlib

import anyio
import pytest
from gmqtt import Client
from gmqtt.mqtt.connection import MQTTConnection
from gmqtt.mqtt.constants import UNLIMITED_RECONNECTS, MQTTCommands
from gmqtt.mqtt.handler import MqttPackageHandler
from gmqtt.mqtt.protocol import MQTTProtocol

from bench.processes import Broker, running
from contract.config import BrokerConfig
from plant.ports import free_port
from runtime import mqtt
from runtime.clock import SystemClock
from runtime.mqtt import MqttError, connect
from tests.gateway.sinks.broker_host import DEADLINE_S, hosting, until

WILL = ("spBv1.0/G/NDEATH/N", b"", 1)
CLOCK = SystemClock()


@pytest.fixture
async def broker(tmp_path):
    async with running(Broker(tmp_path)) as broker:
        yield broker


async def connected(broker, **config):
    return await connect(BrokerConfig(url=broker.url, **config), "client", WILL, CLOCK)


def is_set_soon(event):
    async def wait():
        with anyio.fail_after(DEADLINE_S):
            await event.wait()

    return wait()


@pytest.mark.broker
@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
async def test_a_fence_passes_after_everything_before_it_was_read(broker, version):
    async with hosting(broker.port) as host:
        connection = await connected(broker, version=version)
        passed = []
        done = anyio.Event()
        connection.publish("spBv1.0/STATE/a", b"x" * 100_000)
        connection.fence(lambda: passed.append(1))
        connection.publish("spBv1.0/STATE/b", b"y")
        connection.fence(lambda: (passed.append(2), done.set()))
        assert (passed, connection.fences_open) == ([], 2)
        await is_set_soon(done)
        assert passed == [1, 2]
        assert connection.fences_open == 0
        await host.until(lambda: len(host.messages) == 2)
        await connection.close()
        assert connection.is_lost


@pytest.mark.broker
async def test_gmqtts_own_pings_do_not_pass_a_fence_early(broker):
    connection = await connected(broker)
    passed = []
    done = anyio.Event()
    connection._client._connection._send_ping_request()
    connection.fence(lambda: (passed.append("ours"), done.set()))
    assert connection.fences_open == 2
    await is_set_soon(done)
    assert connection.fences_open == 0
    assert passed == ["ours"]
    await connection.close()


@pytest.mark.broker
async def test_a_frozen_broker_is_found_out_by_its_silence(broker, monkeypatch):
    monkeypatch.setattr(mqtt, "FENCE_TIMEOUT_S", 0.2)
    connection = await connected(broker)
    broker.freeze()
    lost = anyio.Event()
    connection.on_lost = lost.set
    passed = []
    connection.publish("spBv1.0/STATE/a", b"lost in the half-open link")
    connection.fence(lambda: passed.append(1))
    connection.check()

    def given_up():
        try:
            connection.check()
        except MqttError:
            return True
        return False

    await until(given_up)
    assert "half-open" in connection.lost_reason
    assert lost.is_set()
    assert passed == []
    with pytest.raises(MqttError):
        connection.publish("t", b"")
    assert connection.write_buffer_bytes() == 0
    broker.thaw()


@pytest.mark.broker
async def test_a_broker_that_dies_is_told_at_once(broker):
    connection = await connected(broker)
    lost = anyio.Event()
    connection.on_lost = lost.set
    await broker.kill()
    await is_set_soon(lost)
    with pytest.raises(MqttError, match="closed the connection"):
        connection.check()
    await connection.close()


@pytest.mark.broker
async def test_a_message_comes_with_its_topic_and_whether_it_was_retained(broker):
    async with hosting(broker.port) as host:
        await host.say_state(1, online=True)
        await host.until(lambda: host.messages)
        connection = await connected(broker)
        seen = []
        got = anyio.Event()
        connection.on_message = lambda *message: (seen.append(message), got.set())
        await connection.subscribe("spBv1.0/STATE/scada", 1)
        await is_set_soon(got)
        assert seen == [("spBv1.0/STATE/scada", b'{"online":true,"timestamp":1}', True)]
        got = anyio.Event()
        await host.say_state(2, online=False)
        await is_set_soon(got)
        assert seen[1][2] is False
        await connection.close()


async def test_a_lost_connection_stays_lost_whatever_gmqtt_would_like():
    port = free_port()
    connects = []
    cut = asyncio.Event()

    async def handle(reader, writer):
        connects.append(await reader.read(100))
        writer.write(b"\x20\x02\x00\x00")
        await cut.wait()
        writer.close()

    async with tcp_server(port, handle):
        broker = BrokerConfig(url=f"mqtt://127.0.0.1:{port}")
        connection = await connect(broker, "c", WILL, CLOCK)
        connection._client._connection_state.config["reconnect_delay"] = 0
        assert not connection._client._allow_reconnect()
        cut.set()
        await until(lambda: connection.is_lost)
        # gmqtt's own reconnection would come at once
        for _ in range(20):
            await anyio.sleep(0.005)
        assert len(connects) == 1


@contextlib.asynccontextmanager
async def scripted(connack, **config):
    """A connection to a broker of MQTT 5 that answers CONNECT so; and the bytes it received."""
    port, received = free_port(), bytearray()

    async def handle(reader, writer):
        while data := await reader.read(1_000):
            if not received:
                writer.write(connack)
            received.extend(data)

    async with tcp_server(port, handle):
        broker = BrokerConfig(url=f"mqtt://127.0.0.1:{port}", version="5.0", **config)
        connection = await connect(broker, "c", WILL, CLOCK)
        yield connection, received
        connection.abandon()


PACKET_MAX_2000 = b"\x20\x08\x00\x00\x05\x27\x00\x00\x07\xd0"
RECEIVE_MAX_2 = b"\x20\x06\x00\x00\x03\x21\x00\x02"
NO_LIMITS = b"\x20\x03\x00\x00\x00"


@pytest.mark.parametrize(("own_limit", "limit"), [(None, 2_000), (1_500, 1_500), (9_000, 2_000)])
async def test_no_packet_is_larger_than_the_broker_or_the_configuration_allows(own_limit, limit):
    async with scripted(PACKET_MAX_2000, packet_bytes_max=own_limit) as (connection, received):
        assert connection.packet_bytes_max == limit
        room = connection.payload_bytes_max("t")
        with pytest.raises(MqttError, match="more than the broker takes"):
            connection.publish("t", b"x" * (room + 1))
        before = len(received)
        connection.publish("t", b"x" * room)
        await until(lambda: len(received) > before + room)
        assert len(received) - before <= limit
        assert not connection.is_lost


async def test_no_more_qos_1_messages_are_under_way_than_the_broker_takes():
    async with scripted(RECEIVE_MAX_2) as (connection, _):
        for _ in range(2):
            connection.publish("t", b"x", qos=1)
        with pytest.raises(MqttError, match="has not acknowledged 2 messages"):
            connection.publish("t", b"x", qos=1)
        # QoS 0 is not bounded by it
        connection.publish("t", b"x")


async def test_the_session_is_clean_expires_at_once_and_ends_with_the_will_when_asked():
    async with scripted(NO_LIMITS) as (connection, received):
        flags, properties = received[9], received[12:18]
        # clean start and Will flag; session expiry interval 0
        assert flags & 0b110 == 0b110
        assert properties == b"\x05\x11\x00\x00\x00\x00"
        await connection.close(with_will=True)
        await until(lambda: received.endswith(b"\xe0\x02\x04\x00"))


async def test_a_broker_that_does_not_read_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(mqtt, "SETTLE_TIMEOUT_S", 0.05)
    async with scripted(NO_LIMITS) as (connection, _):
        # it answers no PINGREQ
        assert not await connection.settle()
        connection.abandon()
        assert not await connection.settle()


# -- connections that do not come about ---


@contextlib.asynccontextmanager
async def tcp_server(port, handle):
    """Serve TCP on a port; connections still open at the end are cut."""
    writers = []

    async def keep(reader, writer):
        writers.append(writer)
        await handle(reader, writer)

    server = await asyncio.start_server(keep, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


async def failing(answer=b""):
    """Connect to something that answers with fixed bytes, or never; return what was raised."""
    port = free_port()

    async def handle(reader, writer):
        await reader.read(100)
        writer.write(answer)

    async with tcp_server(port, handle):
        with anyio.fail_after(DEADLINE_S), pytest.raises(MqttError) as caught:
            await connect(BrokerConfig(url=f"mqtt://127.0.0.1:{port}"), "c", WILL, CLOCK)
    return str(caught.value)


async def test_a_broker_that_refuses_the_credentials_says_so():
    assert "not authorised" in await failing(b"\x20\x02\x00\x05")
    assert "user name" in await failing(b"\x20\x02\x00\x04")


async def test_a_broker_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(mqtt, "CONNECT_TIMEOUT_S", 0.2)
    assert "did not answer" in await failing()


async def test_where_nothing_listens_there_is_no_broker():
    with (
        anyio.fail_after(DEADLINE_S),
        pytest.raises(MqttError, match=r"refused|failed"),
    ):
        await connect(BrokerConfig(url=f"mqtt://127.0.0.1:{free_port()}"), "c", WILL, CLOCK)


async def test_a_host_name_that_does_not_exist_is_a_sink_error():
    with anyio.fail_after(DEADLINE_S), pytest.raises(MqttError):
        await connect(BrokerConfig(url="mqtt://no.such.host.invalid:1"), "c", WILL, CLOCK)


# -- what gmqtt 0.8.0 has to keep: mqtt.py leans on it ---


@pytest.mark.broker
async def test_the_parts_of_gmqtt_that_are_used_are_there(broker):
    connection = await connected(broker)
    client = connection._client
    assert isinstance(client, Client)
    inner = client._connection
    assert isinstance(inner, MQTTConnection)
    assert isinstance(inner._protocol, MQTTProtocol)
    assert isinstance(client._package_handler, MqttPackageHandler)
    assert client._package_handler._handler_cache[0xD0] == connection._ponged
    assert MQTTCommands.PINGRESP == 0xD0
    assert callable(inner._protocol.send_ping_request)
    assert inner._transport.get_write_buffer_size() == 0
    assert inner._keep_connection_callback.when() > 0
    assert UNLIMITED_RECONNECTS > mqtt.NO_RECONNECTS
    assert not client._allow_reconnect()
    await connection.close()
    assert inner._transport.is_closing()


def test_gmqtts_keep_alive_goes_through_the_method_that_is_replaced():
    names = MQTTConnection._keep_connection.__code__.co_names
    assert "_send_ping_request" in names
