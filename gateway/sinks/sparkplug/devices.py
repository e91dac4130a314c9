"""Which devices are born, and which should be. Pure: it tells the sink what to send.

The rule. A device is born while one of its sources is up. When the last one goes down it dies at
once (DDEATH); in a device that lives on, the tags of the source that went become stale by DATA,
and are told anew when it is back. Samples of a dead device that are still in the journal are not
lost and do not wait: the device is born for its history (``for_history``), all values stale, gets
them as historical, and dies again when no backlog is left. A device whose birth the broker or
Sparkplug does not take is refused, and its neighbours go on: its samples are journalled only,
until its tags change or the node is born anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from contract.upload import TagDefinition
from gateway.sinks.base import TagView
from gateway.sinks.sparkplug.encode import TagPlaces
from gateway.sinks.sparkplug.factoryplus import Conventions

Content = list[tuple[TagDefinition, bool]]
"""What a birth says of a device, but for values: its tags, and whether they may be written."""


@dataclass(slots=True)
class _Born:
    content: Content
    up: frozenset[str]
    for_history: bool
    names: dict[str, int] | None = None


@dataclass(slots=True)
class Changes:
    """What to send, in this order.

    Attributes:
        dying: devices to send a DDEATH for.
        coming: devices to send a DBIRTH for; those born before are in ``dying`` too.
        stale: tags of born devices whose source went down.
        fresh: tags of born devices whose source came back.
    """

    dying: list[str] = field(default_factory=list)
    coming: list[str] = field(default_factory=list)
    stale: list[TagDefinition] = field(default_factory=list)
    fresh: list[TagDefinition] = field(default_factory=list)


class DeviceBook:
    """The devices of one edge node, from NBIRTH to NBIRTH.

    Attributes:
        places: where samples of born devices go.
        dead_places: where those of devices go that are in use and not born.
        refused: why a device has no birth, by device.
    """

    def __init__(self, tags: TagView, conventions: Conventions) -> None:
        self._tags = tags
        self._conventions = conventions
        self._wanted: dict[str, list[TagDefinition]] = {}
        self._born: dict[str, _Born] = {}
        self._refused_content: dict[str, Content] = {}
        self._seen: tuple[int, int] | None = None
        self.places = TagPlaces(())
        self.dead_places = TagPlaces(())
        self.refused: dict[str, str] = {}

    def begin(self) -> None:
        """Forget all births: an NBIRTH is sent, or the session is over."""
        self._born.clear()
        self._refused_content.clear()
        self.refused.clear()
        self._seen = None
        self.settle()

    @property
    def born(self) -> list[str]:
        """The devices that are born."""
        return list(self._born)

    @property
    def for_history(self) -> list[str]:
        """The devices that are born for their history only."""
        return [device for device, born in self._born.items() if born.for_history]

    @property
    def is_outdated(self) -> bool:
        """Tags or sources have changed since ``changes``."""
        return self._seen != (self._tags.generation, self._tags.liveness)

    def changes(self) -> Changes:
        """Compare what is born with what should be; note that it was seen."""
        self._seen = (self._tags.generation, self._tags.liveness)
        self._wanted = {}
        for definition in self._conventions.allowed(self._tags.in_use()):
            self._wanted.setdefault(definition.device, []).append(definition)
        found = Changes()
        found.dying = [device for device in self._born if device not in self._wanted]
        for device in [device for device in self.refused if device not in self._wanted]:
            self._forget_refusal(device)
        for device, definitions in self._wanted.items():
            self._compare(device, definitions, found)
        return found

    def _compare(self, device: str, definitions: list[TagDefinition], found: Changes) -> None:
        born, up = self._born.get(device), self._up(definitions)
        content = self._content(definitions)
        if not up:
            if born is not None and not (born.for_history and born.content == content):
                found.dying.append(device)
            return
        if self._refused_content.get(device) == content:
            return
        self._forget_refusal(device)
        if born is None:
            found.coming.append(device)
        elif born.for_history or born.content != content:
            found.dying.append(device)
            found.coming.append(device)
        else:
            found.stale += [d for d in definitions if d.source in born.up - up]
            found.fresh += [d for d in definitions if d.source in up - born.up]
            born.up = up

    def definitions(self, device: str) -> list[TagDefinition]:
        """Return the tags of a device, as ``changes`` saw them."""
        return self._wanted.get(device, [])

    def bear(self, device: str, *, for_history: bool = False) -> None:
        """Note a DBIRTH; call ``settle`` after the last one."""
        definitions = self._wanted[device]
        self._born[device] = _Born(
            self._content(definitions), self._up(definitions), for_history=for_history
        )

    def refuse(self, device: str, why: str) -> None:
        """Note that a device cannot be born as it is."""
        self.refused[device] = why
        self._refused_content[device] = self._content(self._wanted[device])

    def _forget_refusal(self, device: str) -> None:
        self.refused.pop(device, None)
        self._refused_content.pop(device, None)

    def bury(self, device: str) -> None:
        """Note a DDEATH; call ``settle`` after the last one."""
        del self._born[device]

    def settle(self) -> None:
        """Work out anew where samples go."""
        self.places = self._places(d for born in self._born.values() for d, _ in born.content)
        self.dead_places = self._places(
            definition
            for device, definitions in self._wanted.items()
            if device not in self._born and device not in self.refused
            for definition in definitions
        )

    def _places(self, definitions: Iterable[TagDefinition]) -> TagPlaces:
        conventions = self._conventions
        return TagPlaces(list(definitions), conventions.is_transient, conventions.unit)

    def tag_of(self, device: str, name: str) -> int | None:
        """Return the tag index of a metric of a born device."""
        born = self._born.get(device)
        if born is None:
            return None
        if born.names is None:
            born.names = {definition.name: definition.index for definition, _ in born.content}
        return born.names.get(name)

    def _content(self, definitions: Iterable[TagDefinition]) -> Content:
        return [(d, self._tags.is_writable(d.index)) for d in definitions]

    def _up(self, definitions: Iterable[TagDefinition]) -> frozenset[str]:
        sources = {definition.source for definition in definitions}
        return frozenset(source for source in sources if self._tags.source_is_up(source))
