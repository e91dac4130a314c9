"""The publish loop against scripted answers: order, gaps, acknowledgements, ends."""

import asyncio
from types import SimpleNamespace

import anyio
import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_to_binary

from gateway.errors import SourceError
from gateway.sources.opcua import publish
from gateway.sources.opcua.publish import OUTSTANDING, PublishLoop
from gateway.sources.opcua.subscribe import Subscription, following
from tests.gateway.sources.notifications import VT, items_of, publish_response

PLAIN = {
    "status": 0,
    "source_us": 10**16,
    "server_us": None,
    "source_pico": None,
    "server_pico": None,
}


def message(value):
    """The parts of a notification message with one Double."""
    change = ua.DataChangeNotification()
    change.MonitoredItems = items_of([("scalar", VT.Double, [float(value)], PLAIN)])
    return [change]


class Server:
    """Answers publish requests from a script; keeps what it can repeat."""

    def __init__(self):
        self.requests = []
        self.futures = []
        self.held = {}
        self.republished = []
        self.gone = None
        protocol = SimpleNamespace(_send_request=self._send_request)
        self.client = SimpleNamespace(uaclient=SimpleNamespace(protocol=protocol))
        self.services = SimpleNamespace(republish=self._republish)

    def _send_request(self, request, timeout):
        assert timeout == 0
        if self.gone is not None:
            raise self.gone
        future = asyncio.get_running_loop().create_future()
        self.requests.append(request)
        self.futures.append(future)
        return future

    async def _republish(self, _subscription, sequence):
        self.republished.append(sequence)
        if sequence not in self.held:
            raise ua.uaerrors.BadMessageNotAvailable
        found = ua.NotificationMessage()
        found.SequenceNumber = sequence
        found.NotificationData = message(self.held[sequence])
        return found

    def answer(self, data):
        next(f for f in self.futures if not f.done()).set_result(Buffer(b"??" + data, 2))

    def send(self, sequence, value=None, subscription=7):
        parts = [] if value is None else message(value)
        self.answer(publish_response([], sequence=sequence, subscription=subscription, parts=parts))

    @property
    def acknowledged(self):
        return [
            (a.SubscriptionId, a.SequenceNumber)
            for request in self.requests
            for a in request.Parameters.SubscriptionAcknowledgements
        ]


class World:
    """A running loop, and what it handed over."""

    def __init__(self):
        self.server = Server()
        self.arrived = []
        self.missed = []
        self.stored = {}
        self.changed = asyncio.Event()
        self.loop = PublishLoop(self.server, self._arrive, self._miss, silence_s_max=30)
        self.subscription = Subscription(
            id=7, group="g", publishing_interval_ms=100, keep_alive_s=5, next_sequence=1
        )
        self.loop.add(self.subscription)

    async def _arrive(self, subscription, notification, stored):
        assert subscription is self.subscription
        values = [float(v) for segment in notification.segments for v in segment.value]
        self.arrived.append((notification.sequence_number, *values))
        self.stored[notification.sequence_number] = stored
        self.changed.set()

    def _miss(self, _subscription, sequence, _why):
        self.missed.append(sequence)
        self.changed.set()

    async def until(self, condition):
        with anyio.fail_after(5):
            while not condition():  # noqa: ASYNC110 - everything happens on this loop
                await asyncio.sleep(0)


@pytest.fixture
async def world():
    world = World()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.loop.run)
        yield world
        tasks.cancel_scope.cancel()


async def test_several_requests_are_outstanding_all_the_time(world):
    await world.until(lambda: len(world.server.requests) == OUTSTANDING)
    world.server.send(1, 1.0)
    await world.until(lambda: len(world.server.requests) == OUTSTANDING + 1)
    assert world.arrived == [(1, 1.0)]


async def test_nothing_is_acknowledged_before_it_is_stored(world):
    await world.until(lambda: world.server.requests)
    for sequence in (1, 2, 3):
        world.server.send(sequence, sequence)
        await world.until(lambda wanted=sequence: len(world.arrived) == wanted)
    assert world.server.acknowledged == []
    world.stored[2]()
    world.stored[1]()
    world.server.send(4, 4)
    await world.until(lambda: len(world.server.requests) == OUTSTANDING + 4)
    assert world.server.acknowledged == [(7, 2), (7, 1)]


async def test_acknowledgements_are_spread_over_requests(world, monkeypatch):
    monkeypatch.setattr(publish, "ACKNOWLEDGEMENTS_MAX", 2)
    await world.until(lambda: len(world.server.requests) == OUTSTANDING)
    for sequence in range(1, 6):
        world.loop.acknowledge(7, sequence)
    for sequence in range(1, 4):
        world.server.send(sequence, 0)
    await world.until(lambda: len(world.server.requests) == OUTSTANDING + 3)
    sizes = [len(r.Parameters.SubscriptionAcknowledgements) for r in world.server.requests]
    assert sizes[OUTSTANDING:] == [2, 2, 1]
    assert world.server.acknowledged == [(7, n) for n in range(1, 6)]


async def test_a_skipped_notification_is_asked_for_again_and_comes_first(world):
    await world.until(lambda: world.server.requests)
    world.server.held = {2: 2.0, 3: 3.0}
    world.server.send(1, 1)
    world.server.send(4, 4)
    await world.until(lambda: len(world.arrived) == 4)
    assert world.arrived == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]
    assert world.missed == []


async def test_what_the_server_no_longer_holds_is_reported_and_the_rest_goes_on(world):
    await world.until(lambda: world.server.requests)
    world.server.held = {3: 3.0}
    world.server.send(1, 1)
    world.server.send(4, 4)
    await world.until(lambda: len(world.arrived) == 3)
    assert world.arrived == [(1, 1.0), (3, 3.0), (4, 4.0)]
    assert world.missed == [2]


async def test_a_keep_alive_that_shows_a_gap_triggers_republish(world):
    await world.until(lambda: world.server.requests)
    world.server.held = {2: 2.0}
    world.server.send(1, 1)
    world.server.send(3)  # keep-alive: 3 is the next, so 2 was sent
    await world.until(lambda: len(world.arrived) == 2)
    world.server.send(3, 3)
    await world.until(lambda: len(world.arrived) == 3)
    assert world.arrived == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert (world.server.republished, world.missed) == ([2], [])


async def test_a_keep_alive_is_neither_counted_nor_acknowledged(world):
    await world.until(lambda: world.server.requests)
    world.server.send(1)
    world.server.send(1, 1)
    await world.until(lambda: len(world.arrived) == 1)
    world.server.send(2)
    world.server.send(2, 2)
    await world.until(lambda: len(world.arrived) == 2)
    assert (world.server.republished, world.server.acknowledged) == ([], [])


async def test_the_first_notification_of_a_subscription_can_be_missed_too(world):
    await world.until(lambda: world.server.requests)
    world.server.send(2, 2)
    await world.until(lambda: world.arrived)
    assert (world.server.republished, world.missed) == ([1], [1])


async def test_an_absurd_gap_costs_a_bounded_number_of_requests(world):
    await world.until(lambda: world.server.requests)
    world.server.send(1, 1)
    world.server.send(2_000_000_000, 2)
    await world.until(lambda: len(world.arrived) == 2)
    assert len(world.server.republished) <= 1000
    assert world.missed
    assert world.subscription.next_sequence == 2_000_000_001


async def test_a_republish_that_answers_with_another_message_is_a_miss(world):
    async def empty(_subscription, _sequence):
        return ua.NotificationMessage()  # what asyncua's server sends for one it does not hold

    await world.until(lambda: world.server.requests)
    world.server.services.republish = empty
    world.server.send(1, 1)
    world.server.send(3, 3)
    await world.until(lambda: len(world.arrived) == 2)
    assert world.missed == [2]


async def test_a_repeated_notification_is_handed_over_but_counts_no_gap(world):
    await world.until(lambda: world.server.requests)
    for count, sequence in enumerate((1, 2, 2, 3), 1):
        world.server.send(sequence, sequence)
        await world.until(lambda wanted=count: len(world.arrived) == wanted)
    assert (world.server.republished, world.missed) == ([], [])


async def test_sequence_numbers_wrap_to_one(world):
    await world.until(lambda: world.server.requests)
    world.subscription.next_sequence = 0xFFFFFFFF
    world.server.send(0xFFFFFFFF, 1)
    world.server.send(1, 2)
    await world.until(lambda: len(world.arrived) == 2)
    assert (world.server.republished, world.missed) == ([], [])
    assert [following(n) for n in (1, 0xFFFFFFFE, 0xFFFFFFFF)] == [2, 0xFFFFFFFF, 1]


async def test_a_gap_over_the_wrap_is_filled(world):
    await world.until(lambda: world.server.requests)
    world.subscription.next_sequence = 0xFFFFFFFE
    world.server.held = {0xFFFFFFFF: 1.0, 1: 2.0}
    world.server.send(0xFFFFFFFE, 0)
    world.server.send(2, 3)
    await world.until(lambda: len(world.arrived) == 4)
    assert world.server.republished == [0xFFFFFFFF, 1]


async def test_a_notification_of_an_unknown_subscription_is_let_go(world):
    await world.until(lambda: world.server.requests)
    world.server.send(1, 9, subscription=99)
    world.server.send(1, 1)
    await world.until(lambda: world.arrived)
    assert world.arrived == [(1, 1.0)]


async def test_back_pressure_stops_the_asking():
    world = World()
    gate = asyncio.Event()
    arrive = world._arrive

    async def slow(*arguments):
        await arrive(*arguments)
        await gate.wait()

    world.loop._arrived = slow
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.loop.run)
        await world.until(lambda: world.server.requests)
        for sequence in (1, 2, 3):
            world.server.send(sequence, sequence)
        await world.until(lambda: world.arrived)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(world.arrived) == 1
        assert len(world.server.requests) == OUTSTANDING
        gate.set()
        await world.until(lambda: len(world.arrived) == 3)
        tasks.cancel_scope.cancel()


# -- taking over ---


async def test_catching_up_fetches_what_is_held_and_acknowledges_what_is_durable(world):
    world.subscription.next_sequence = 5
    world.subscription.unstored = {4}
    world.server.held = {5: 5.0, 6: 6.0}
    await world.loop.catch_up(world.subscription, [3, 4, 5, 6])
    assert world.arrived == [(5, 5.0), (6, 6.0)]
    assert world.subscription.next_sequence == 7
    await world.until(lambda: world.server.requests)
    world.stored[5]()
    world.server.send(7, 7)
    await world.until(lambda: (7, 5) in world.server.acknowledged)
    assert world.server.acknowledged == [(7, 3), (7, 5)]
    assert world.missed == []


async def test_catching_up_reports_what_the_server_let_go_meanwhile(world):
    world.subscription.next_sequence = 5
    world.server.held = {8: 8.0}
    await world.loop.catch_up(world.subscription, [7, 8])
    assert world.arrived == [(8, 8.0)]
    assert world.missed == [5, 6, 7]


# -- how it ends ---


async def ends_with(disturb):
    world = World()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:

            async def run():
                with pytest.raises(SourceError) as caught:
                    await world.loop.run()
                return str(caught.value)

            texts = []

            async def keep():
                texts.append(await run())

            tasks.start_soon(keep)
            await world.until(lambda: len(world.server.requests) == OUTSTANDING)
            disturb(world)
    return texts[0]


async def test_a_lost_connection_ends_it():
    def cut(world):
        for future in world.server.futures:
            future.set_exception(ConnectionError("connection lost"))

    assert "connection was lost" in await ends_with(cut)


async def test_a_connection_lost_between_two_requests_ends_it():
    def cut(world):
        world.server.gone = ConnectionError("Connection is not open")
        world.server.send(1, 1)

    assert "connection was lost" in await ends_with(cut)


async def test_a_status_change_ends_it():
    change = ua.StatusChangeNotification()
    change.Status = ua.StatusCode(0x800A0000)
    text = await ends_with(lambda w: w.server.answer(publish_response([], parts=[change])))
    assert "0x800a0000" in text


async def test_a_service_fault_ends_it_by_name():
    fault = ua.ServiceFault()
    fault.ResponseHeader.ServiceResult = ua.StatusCode(ua.StatusCodes.BadNoSubscription)
    text = await ends_with(lambda w: w.server.answer(struct_to_binary(fault)))
    assert "BadNoSubscription" in text


async def test_a_publish_response_with_a_bad_result_ends_it():
    response = ua.PublishResponse()
    response.ResponseHeader.ServiceResult = ua.StatusCode(ua.StatusCodes.BadSessionClosed)
    text = await ends_with(lambda w: w.server.answer(struct_to_binary(response)))
    assert "BadSessionClosed" in text


async def test_malformed_bytes_end_it():
    whole = publish_response([], parts=message(1))
    assert "malformed" in await ends_with(lambda w: w.server.answer(whole[:60]))
    assert "malformed" in await ends_with(
        lambda w: w.server.answer(b"\x01\x00\xff\xff" + whole[4:30])
    )


async def test_a_silent_server_ends_it():
    world = World()
    world.loop._silence_s_max = 0.05
    with anyio.fail_after(5), pytest.raises(SourceError, match="sent nothing"):
        await world.loop.run()


async def test_republish_over_a_lost_link_ends_it():
    async def lost(_subscription, _sequence):
        raise ConnectionError("gone")

    def skip(world):
        world.server.services.republish = lost
        world.server.send(3, 3)

    assert "Republish failed" in await ends_with(skip)
