"""The publish loop: ask, decode, hand over, acknowledge what is durable.

asyncua acknowledges before anything is stored and makes a task per value; this loop does neither.
A notification is acknowledged only after its journal commit, so that the server can repeat what a
crash took. Several publish requests are outstanding, so that the server never waits for one.
Sequence numbers are checked; a skipped one is asked for again (Republish) and, if the server no
longer has it, entered in the loss ledger. Source: OPC 10000-4, 5.14.5, 6.7.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import anyio
from asyncua import ua
from asyncua.ua.uaerrors import UaError

from gateway.errors import SourceError
from gateway.sources.opcua.decode import (
    DecodeError,
    NotFastError,
    Notification,
    decode_publish_response,
)
from gateway.sources.opcua.fallback import decode_item, decode_struct, from_asyncua
from gateway.sources.opcua.session import Session
from gateway.sources.opcua.subscribe import Subscription, following
from runtime.log import logger

OUTSTANDING = 3
ACKNOWLEDGEMENTS_MAX = 1000
SILENCE_S = 30.0
"""The least time without any response after which a session is taken as lost."""
REPUBLISH_MAX = 1000
"""The most notifications of one gap that are asked for again: servers hold far fewer."""
_SERVICE_FAULT = b"\x01\x00\x8d\x01"  # FourByte NodeId i=397

Arrived = Callable[[Subscription, Notification, Callable[[], None]], Awaitable[None]]
"""Takes a notification with data, and what to call once it is durable; waits as back-pressure."""
Missed = Callable[[Subscription, int, str], None]
"""Told of a notification that the server sent and can no longer repeat."""


class PublishLoop:
    """Publishing for all subscriptions of one session. ``run`` ends only by an error."""

    def __init__(
        self,
        session: Session,
        arrived: Arrived,
        missed: Missed,
        silence_s_max: float | None = None,
    ) -> None:
        self._session = session
        self._arrived = arrived
        self._missed = missed
        self._silence_s_max = SILENCE_S if silence_s_max is None else silence_s_max
        self._subscriptions: dict[int, Subscription] = {}
        self._acknowledge: deque[tuple[int, int]] = deque()
        self.responses_count = 0
        self._has_subscription = anyio.Event()
        self._waiting: deque[asyncio.Future[Any]] = deque()

    def responses(self) -> dict[int, int]:
        """Return how many responses came about each subscription."""
        return {number: s.responses_count for number, s in self._subscriptions.items()}

    def add(self, subscription: Subscription) -> None:
        """Publish for a subscription too."""
        subscription.responses_count = 0
        self._has_subscription.set()
        self._subscriptions[subscription.id] = subscription
        self._silence_s_max = max(self._silence_s_max, 3 * subscription.keep_alive_s)

    def acknowledge(self, subscription_id: int, sequence: int) -> None:
        """Acknowledge a durable notification with the next request."""
        self._acknowledge.append((subscription_id, sequence))

    async def republish(self, subscription: Subscription, sequence: int) -> bool:
        """Ask for a notification again and hand it over; False if the server no longer has it."""
        try:
            message = await self._session.services.republish(subscription.id, sequence)
        except (OSError, TimeoutError) as error:
            raise SourceError(f"Republish failed: {error}") from error
        except UaError:
            return False
        if int(message.SequenceNumber) != sequence:
            return False
        notification = from_asyncua(subscription.id, message)
        if notification.items_count or notification.events:
            await self._hand_over(subscription, notification)
        else:
            self.acknowledge(subscription.id, sequence)
        return True

    async def catch_up(self, subscription: Subscription, available: Sequence[int]) -> None:
        """Fetch what the server still holds of a subscription that was taken over.

        What is durable is acknowledged; what is on its way into the journal is left alone.
        """
        expected = subscription.next_sequence
        for sequence in sorted(available):
            if sequence >= expected:
                await self._fill(subscription, following(sequence))
            elif sequence not in subscription.unstored:
                self.acknowledge(subscription.id, sequence)

    async def run(self) -> None:
        """Publish until the session is lost, from the first subscription on.

        Raises:
            SourceError: the link is gone, the server is silent, or a subscription is lost.
        """
        await self._has_subscription.wait()
        try:
            while True:
                self._send_requests()
                notification = self._decode(await self._next_response())
                self.responses_count += 1
                for result in notification.acknowledge_results:
                    if result:
                        # the server had already dropped it: nothing is lost, it is durable here
                        logger().debug("opcua.acknowledge_refused", status=hex(result))
                await self._take(notification)
        finally:
            for future in self._waiting:
                future.add_done_callback(_forget)

    def _send_requests(self) -> None:
        protocol = self._session.client.uaclient.protocol
        if protocol is None:
            raise SourceError("the connection was lost")
        while len(self._waiting) < OUTSTANDING:
            request = ua.PublishRequest()
            count = min(len(self._acknowledge), ACKNOWLEDGEMENTS_MAX)
            request.Parameters.SubscriptionAcknowledgements = [
                _acknowledgement(*self._acknowledge.popleft()) for _ in range(count)
            ]
            try:
                # the private call returns the raw body: OPC 10000-4 decoding is ours (decode.py)
                future = protocol._send_request(request, timeout=0)  # noqa: SLF001 - pinned
            except (OSError, UaError) as error:
                raise SourceError(f"the connection was lost: {error}") from error
            self._waiting.append(future)

    async def _next_response(self) -> Any:
        future = self._waiting[0]
        try:
            with anyio.fail_after(self._silence_s_max):
                body = await asyncio.shield(future)
        except TimeoutError as error:
            raise SourceError(
                f"connected, but the server sent nothing for {self._silence_s_max:.0f} s"
            ) from error
        except (OSError, UaError) as error:
            raise SourceError(f"the connection was lost: {error}") from error
        del self._waiting[0]
        return body

    def _decode(self, body: Any) -> Notification:
        data, position = body._data, body.cur_pos  # noqa: SLF001 - asyncua's Buffer, pinned
        try:
            if data[position : position + 4] == _SERVICE_FAULT:
                fault, _ = decode_struct(ua.ServiceFault, data, position)
                raise SourceError(f"the server answered {fault.ResponseHeader.ServiceResult.name}")
            try:
                return decode_publish_response(data, position, decode_item)
            except NotFastError:
                response, _ = decode_struct(ua.PublishResponse, data, position)
            response.ResponseHeader.ServiceResult.check()
        except DecodeError as error:
            raise SourceError(f"the server sent a malformed publish response: {error}") from error
        except UaError as error:
            raise SourceError(f"publishing failed: {error}") from error
        result = response.Parameters
        notification = from_asyncua(result.SubscriptionId, result.NotificationMessage)
        notification.available = [int(n) for n in (result.AvailableSequenceNumbers or [])]
        return notification

    async def _take(self, notification: Notification) -> None:
        subscription = self._subscriptions.get(notification.subscription_id)
        if subscription is None:
            return
        subscription.responses_count += 1
        if notification.status_change is not None:
            raise SourceError(
                f"the server ended the subscription: status {notification.status_change:#010x}"
            )
        await self._fill_gap(subscription, notification)
        if notification.is_keep_alive:
            return
        subscription.next_sequence = following(notification.sequence_number)
        if notification.items_count or notification.events:
            await self._hand_over(subscription, notification)
        else:
            self.acknowledge(subscription.id, notification.sequence_number)

    async def _fill_gap(self, subscription: Subscription, notification: Notification) -> None:
        """Ask again for what was skipped; a keep-alive names the next number and shows gaps too."""
        expected = subscription.next_sequence
        arrived = notification.sequence_number
        if expected == 0:
            subscription.next_sequence = arrived
            return
        if arrived == expected or (arrived - expected) % 0x1_0000_0000 > 0x7FFF_FFFF:
            return
        await self._fill(subscription, arrived)

    async def _fill(self, subscription: Subscription, until: int) -> None:
        """Ask for all notifications before ``until`` that have not come; report what is gone."""
        missing = subscription.next_sequence
        skipped = (until - missing) % 0x1_0000_0000 - REPUBLISH_MAX
        if skipped > 0:
            self._missed(subscription, missing, f"{skipped} notifications are missing from there")
            missing = (missing + skipped) % 0x1_0000_0000 or 1
        while missing != until:
            if not await self.republish(subscription, missing):
                self._missed(subscription, missing, "the server no longer holds it")
            missing = following(missing)
        subscription.next_sequence = until

    async def _hand_over(self, subscription: Subscription, notification: Notification) -> None:
        sequence = notification.sequence_number
        subscription.unstored.add(sequence)
        await self._arrived(
            subscription, notification, partial(self._stored, subscription, sequence)
        )

    def _stored(self, subscription: Subscription, sequence: int) -> None:
        subscription.unstored.discard(sequence)
        self.acknowledge(subscription.id, sequence)


def _forget(future: asyncio.Future[Any]) -> None:
    """Take the error of a request that nobody waits for any more."""
    if not future.cancelled():
        future.exception()


def _acknowledgement(subscription_id: int, sequence: int) -> Any:
    acknowledgement = ua.SubscriptionAcknowledgement()
    acknowledgement.SubscriptionId = subscription_id
    acknowledgement.SequenceNumber = sequence
    return acknowledgement
