"""Who may publish and subscribe what at the MQTT broker, as an access list for mosquitto.

An edge node may publish its own Sparkplug messages and read its own commands and its primary host's
STATE; a host application may read the namespace, command nodes and say its own STATE. Nothing else
is allowed: a node that was taken over can neither speak for another nor command it.

The list goes by user name, so broker and gateway have to agree on it: a password, or a client
certificate whose common name is the user (mosquitto's ``use_identity_as_username``).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from contract.errors import AclError

_NODE_MESSAGES = ("NBIRTH", "NDATA", "NDEATH")
_DEVICE_MESSAGES = ("DBIRTH", "DDATA", "DDEATH")
_WILDCARDS = frozenset("+#")
_HEAD = """\
# Made by `factoryplus gateway broker-acl`; do not edit.
# Who is not named here may neither publish nor read anything."""


class AclEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What one user may do.

    Attributes:
        username: as the broker knows it.
        title: who that is, for the comment.
        publish: topic filters that it may publish to; its Will's topic is among them.
        subscribe: topic filters whose messages it may read.
        identity: ``node GROUP/NODE`` or ``host HOST_ID``: may stand in a list once.
    """

    username: str
    title: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    identity: str


def node_entry(
    username: str, group: str, node: str, *, primary_host: str | None = None
) -> AclEntry:
    """Return what an edge node needs, and no more.

    Source: Sparkplug 3.0, 4.2 (topics); the subscriptions are those of 5.4 and 5.6, STATE of the
    primary host alone.

    Raises:
        AclError: a name that is empty, holds wildcards, ``/`` or control characters.
    """
    for what, name in (("group", group), ("edge node", node)):
        _check(name, what, forbidden=_WILDCARDS | {"/"})
    base = f"spBv1.0/{group}"
    publish = [f"{base}/{message}/{node}" for message in _NODE_MESSAGES]
    publish += [f"{base}/{message}/{node}/+" for message in _DEVICE_MESSAGES]
    subscribe = [f"{base}/NCMD/{node}", f"{base}/DCMD/{node}/+"]
    if primary_host is not None:
        _check(primary_host, "host", forbidden=_WILDCARDS | {"/"})
        subscribe.append(f"spBv1.0/STATE/{primary_host}")
    return AclEntry(
        username=_user(username),
        title=f"edge node {group}/{node}",
        publish=tuple(publish),
        subscribe=tuple(subscribe),
        identity=f"node {group}/{node}",
    )


def host_entry(username: str, host_id: str) -> AclEntry:
    """Return what a host application needs: it reads all, commands nodes and says its STATE.

    Raises:
        AclError: a name that is empty, holds wildcards, ``/`` or control characters.
    """
    _check(host_id, "host", forbidden=_WILDCARDS | {"/"})
    return AclEntry(
        username=_user(username),
        title=f"host application {host_id}",
        publish=(f"spBv1.0/STATE/{host_id}", "spBv1.0/+/NCMD/+", "spBv1.0/+/DCMD/+/+"),
        subscribe=("spBv1.0/#",),
        identity=f"host {host_id}",
    )


def mosquitto_acl(entries: Sequence[AclEntry]) -> str:
    """Write the entries as an ``acl_file`` of mosquitto; anybody who is not in it may do nothing.

    Raises:
        AclError: an edge node or host stands in it twice (its descriptor has to be unique,
            tck-id-intro-edge-node-id-uniqueness), or two nodes share a user.
    """
    identities: dict[str, str] = {}
    nodes: dict[str, str] = {}
    for entry in entries:
        key = entry.identity.casefold()
        if key in identities:
            raise AclError(
                f"{entry.identity} stands in the list twice, also as {identities[key]}: each edge"
                " node and host of a broker needs a name of its own, in any case of letters"
            )
        identities[key] = f"{entry.identity} for the user {entry.username!r}"
        is_node = entry.identity.startswith("node ")
        other = nodes.setdefault(entry.username, entry.identity) if is_node else entry.identity
        if other != entry.identity:
            raise AclError(
                f"{other} and {entry.identity} have one user, {entry.username!r}: each could speak"
                " for the other; give each a user of its own"
            )
    blocks = [_HEAD]
    for entry in entries:
        lines = [f"# {entry.title}", f"user {entry.username}"]
        lines += [f"topic write {topic}" for topic in entry.publish]
        lines += [f"topic read {topic}" for topic in entry.subscribe]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _user(username: str) -> str:
    _check(username, "user", forbidden=_WILDCARDS)
    return username


def _check(name: str, what: str, *, forbidden: frozenset[str]) -> None:
    """A line of the file is one rule: a name may not end it, nor widen a filter."""
    if not name or name != name.strip():
        raise AclError(f"the {what} name {name!r} is empty or begins or ends with a space")
    found = sorted(c for c in set(name) if c in forbidden or not c.isprintable())
    if found:
        raise AclError(f"the {what} name {name!r} holds {found}: a rule would mean more than it")
