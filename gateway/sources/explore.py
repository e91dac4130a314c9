"""The seam of looking into a source's address space: what may be asked, and what is answered.

A source kind without an address space has no explorer. Answers are pages; everything that costs
the device something is bounded, and an answer that is not whole says so and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import msgspec

from contract.config import TagConfig
from gateway.sources.base import PendingChanges

NODES_PER_PAGE_MAX = 500
PEEK_NODES_MAX = 200


class ExploreError(Exception):
    """Raised when a question about the address space is not answered.

    Attributes:
        code: stable; ``source.busy``, ``source.unreachable``, ``browse.node_unknown``,
            ``browse.continuation_expired``, ``changes.other``.
        remedy: what to do.
    """

    def __init__(self, code: str, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.remedy = remedy


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """A node of the tree.

    Attributes:
        node: its address, as tags and rules name it.
        name: browse name; the last part of its path.
        display_name: for people, in the server's language.
        kind: object (opens), variable (has a value; may open too).
        type_definition: address of its type.
        data_type: name of the variable's data type.
        tag_type: Sparkplug type a tag of it has; "" when it cannot be one as it is.
        dimensions: lengths of an array; [0] when not known; empty for a single value.
        labels: names of an enumeration's numbers.
        unit: engineering unit.
        low: low end of the EU range.
        high: high end of the EU range.
        description: for people.
        readable: this login may read it.
        writable: this login may write it.
        members: tags that ``split: true`` gives, by the end of their names; the first 20.
        members_count: all of them.
        trouble: why it cannot be a tag as it is, and the remedy.
        path: browse path below where the search began; "" in a browse.
    """

    node: str
    name: str
    display_name: str
    kind: Literal["object", "variable"]
    type_definition: str = ""
    data_type: str = ""
    tag_type: str = ""
    dimensions: list[int] = []
    labels: dict[int, str] = {}
    unit: str = ""
    low: float | None = None
    high: float | None = None
    description: str = ""
    readable: bool = False
    writable: bool = False
    members: list[str] = []
    members_count: int = 0
    trouble: str = ""
    path: str = ""


class NodePage(msgspec.Struct, frozen=True, kw_only=True):
    """Part of an answer.

    Attributes:
        nodes: in the server's order.
        continuation: to be given for the next page; "" when there is none. Held for 30 s.
        complete: nothing is left out, up to here.
        reason: why not.
        looked_at: nodes seen by the search so far; those of the page in a browse.
        live: asked over the session that reads the data; else over a short one of its own.
    """

    nodes: list[NodeView]
    continuation: str = ""
    complete: bool = True
    reason: str = ""
    looked_at: int = 0
    live: bool = False


class PeekValue(msgspec.Struct, frozen=True, kw_only=True):
    """A node's value now. Arrays, texts and structures are cut for the screen."""

    node: str
    value: float | int | bool | str | None
    type: str
    status: int
    status_name: str
    source_time_us: int | None
    server_time_us: int | None


class SourceExplorer(Protocol):
    """Looks into one source's address space. Every call raises ExploreError when it cannot."""

    async def browse(self, node: str, continuation: str, limit: int) -> NodePage:
        """Return the nodes right below a node ("" for the root), page by page."""
        ...

    async def search(self, node: str, text: str, continuation: str, limit: int) -> NodePage:
        """Look for nodes below a node whose name holds the text; slice by slice."""
        ...

    async def peek(self, nodes: Sequence[str]) -> list[PeekValue]:
        """Read the values of nodes once."""
        ...

    async def unknown(self, nodes: Sequence[str]) -> dict[str, str]:
        """Return the nodes that are no variables of the server, each with the reason."""
        ...

    def pending(self) -> PendingChanges | None:
        """Return what the rules find that is not read."""
        ...

    async def selected(self) -> list[TagConfig]:
        """Return what the rules have selected, as single tags."""
        ...

    async def apply(self, changes_id: str) -> PendingChanges:
        """Take pending changes into the selection; return what was applied."""
        ...

    async def run(self) -> None:
        """Answer questions for ever; one at a time."""
        ...


@runtime_checkable
class Explorable(Protocol):
    """A source that has an address space."""

    @property
    def explorer(self) -> SourceExplorer:
        """What looks into it."""
        ...
