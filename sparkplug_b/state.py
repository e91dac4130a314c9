"""STATE of host applications, as an edge node sees it.

Source: Sparkplug 3.0, sections 5.4.1 (primary host) and 6.4.24 (STATE payload).
"""

from __future__ import annotations

from typing import Final

import msgspec

STATE_BYTES_MAX: Final = 4_096


class HostState(msgspec.Struct, frozen=True, kw_only=True):
    """Body of a STATE message.

    Attributes:
        timestamp: UTC ms of the host's CONNECT; the name is the wire's.
    """

    online: bool
    timestamp: int


_DECODER: Final = msgspec.json.Decoder(HostState)


def parse_state(payload: bytes) -> HostState | None:
    """Read a STATE body; None when it is not one (the text form of 2.x included).

    Source: Sparkplug 3.0, tck-id-host-topic-phid-birth-payload, -death-payload;
    tck-id-message-flow-edge-node-birth-publish-phid-wait-online.

    None never means "offline": a waiting node goes on waiting, a node in session goes on.
    """
    if len(payload) > STATE_BYTES_MAX:
        return None
    try:
        state = _DECODER.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return state if 0 <= state.timestamp < 1 << 63 else None


class PrimaryHost:
    """What a node knows of its primary host on one MQTT server.

    Keep one per (server, host id) and keep it over reconnects: an old retained or late STATE must
    not be believed after a reconnect either.

    Attributes:
        host_id: id of the primary host application.
        is_online: the last accepted STATE; False before the first.
        timestamp_ms: of the last accepted STATE; None before the first.
    """

    def __init__(self, host_id: str) -> None:
        self.host_id = host_id
        self.is_online = False
        self.timestamp_ms: int | None = None

    def accept(self, state: HostState) -> bool:
        """Take a STATE over unless it is older than the last accepted; say whether it was taken.

        A STATE counts if its timestamp is not less than that of the previous one.

        Source: Sparkplug 3.0,
        tck-id-operational-behavior-edge-node-termination-host-offline-timestamp;
        tck-id-message-flow-edge-node-birth-publish-phid-wait-timestamp, -phid-offline.
        """
        if self.timestamp_ms is not None and state.timestamp < self.timestamp_ms:
            return False
        self.timestamp_ms = state.timestamp
        self.is_online = state.online
        return True

    def forget_online(self) -> None:
        """Note the loss of the server: wait for a STATE again, but remember its timestamp."""
        self.is_online = False
