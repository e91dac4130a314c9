"""One MQTT server of the host: the inbox has a bound, and the oldest go first."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from central.ingest.sparkplug import link as link_module
from central.ingest.sparkplug.link import Link, LinkContext, NodeKey
from contract.config import BrokerConfig
from runtime.mqtt import MqttError
from sparkplug_b import HostEvent, HostSession
from tests.gateway.manual_clock import ManualClock


async def _keep(_server: str, _time_ms: int) -> None: ...


def _take(_link: Link, _key: NodeKey | None, _events: Sequence[HostEvent]) -> None: ...


def make_link(inbox_messages_max: int = 3, *, may_act: bool = True) -> Link:
    context = LinkContext(
        client_id="host",
        inbox_messages_max=inbox_messages_max,
        keep_state_time=_keep,
        take=_take,
        known_nodes=lambda _link: (),
        may_act=lambda: may_act,
        clock=ManualClock(),
    )
    broker = BrokerConfig(url="mqtt://127.0.0.1:1")
    return Link("server", "127.0.0.1:1", broker, HostSession("Hub"), context)


def test_a_full_inbox_drops_the_oldest_and_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    link = make_link()
    for number in range(5):
        link._received(f"topic{number}", b"x" * 10, False)
    assert [topic for topic, _, _ in link._inbox] == ["topic2", "topic3", "topic4"]
    assert (link.inbox_count, link.inbox_dropped_count) == (3, 2)
    monkeypatch.setattr(link_module, "INBOX_BYTES_MAX", 25)
    link._received("topic5", b"x" * 10, False)
    assert (link.inbox_count, link.inbox_dropped_count, link._inbox_bytes) == (2, 4, 20)


async def test_a_hub_without_the_lease_does_not_connect() -> None:
    link = make_link(may_act=False)
    with pytest.raises(MqttError, match="another hub may be the host"):
        await link._connect_and_serve()
    assert link.session.state == "offline"
