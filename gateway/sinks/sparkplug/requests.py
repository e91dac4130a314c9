"""What hosts ask an edge node for. Read on the MQTT callback, acted upon by the session's task.

A rebirth is a flag: a storm of requests is one. A write goes to the ``CommandPort``, which queues
it. Retained commands are of unknown age and never obeyed; a write (or Next Server) that says it is
older than the limit is not either, but a rebirth is: it harms nobody, and a host whose clock is
wrong must be able to ask.
"""

from __future__ import annotations

from collections import Counter

from gateway.sinks.base import CommandPort, WriteCommand
from gateway.sinks.sparkplug.births import NEXT_SERVER
from gateway.sinks.sparkplug.devices import DeviceBook
from runtime.clock import Clock
from sparkplug_b.command import Command
from sparkplug_b.edge import EdgeNodeSession


class Requests:
    """Requests of hosts to one edge node, over all its sessions.

    Attributes:
        rebirth: the node has to be born anew.
        rebirth_of: devices that have to.
        next_server: the node has to go to its next broker.
        counts: by outcome here or reason of drop; writes that were submitted as ``submitted``.
        port: where writes go; None refuses them all.
    """

    def __init__(self, age_s_max: float, clock: Clock) -> None:
        self._age_s_max = age_s_max
        self._clock = clock
        self.rebirth = False
        self.rebirth_of: set[str] = set()
        self.next_server = False
        self.counts: Counter[str] = Counter()
        self.port: CommandPort | None = None

    def begin(self) -> None:
        """Forget what was asked of an earlier session."""
        self.rebirth = self.next_server = False
        self.rebirth_of.clear()

    def take(
        self,
        session: EdgeNodeSession,
        devices: DeviceBook,
        message: tuple[str, bytes, bool],
        broker: str,
    ) -> None:
        """Take a message (topic, payload, retained) that came on a command topic."""
        topic, payload, retained = message
        for command in session.on_command(topic, payload, retained=retained):
            if command.kind == "rebirth":
                self.counts["rebirth"] += 1
                if command.device_id is None:
                    self.rebirth = True
                else:
                    self.rebirth_of.add(command.device_id)
            else:
                self._write(command, devices, f"{broker} {topic}")
        self.counts.update(session.command_drops)
        session.command_drops.clear()

    def _write(self, command: Command, devices: DeviceBook, origin: str) -> None:
        is_old = self._is_old(command)
        if command.device_id is None and command.name == NEXT_SERVER and not is_old:
            self.next_server = command.value is True
            self.counts["next_server"] += self.next_server
            return
        device = command.device_id or ""
        wish = WriteCommand(
            tag=devices.tag_of(device, command.name),
            device=device,
            name=command.name,
            value=command.value,
            origin=origin,
            sent_ms=command.time_ms,
        )
        if self.port is None:
            self.counts["no_port"] += 1
        elif is_old:
            self.counts["too_old"] += 1
            self.port.refuse(wish, "too_old")
        else:
            self.counts["submitted" if self.port.submit(wish) else "refused"] += 1

    def _is_old(self, command: Command) -> bool:
        if not self._age_s_max or command.time_ms is None:
            return False
        return self._clock.wall_us() / 1000 - command.time_ms > 1000 * self._age_s_max
