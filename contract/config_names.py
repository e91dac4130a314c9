"""Which names and addresses a configuration may hold. Pure functions, one fault or None each."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
import uuid
from urllib.parse import SplitResult, urlsplit

from contract.config_shape import shown
from contract.errors import Fault

_UNSEEN = re.compile("[\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""Zero-width, bidi and line-separator characters: a name that holds one cannot be told apart."""

_RESERVED_METRICS = ("Node Control/", "Device Control/", "bdSeq")
"""Source: Sparkplug 3.0, tck-id-topics-nbirth-bdseq-included and -rebirth-metric."""

_NODE = re.compile(
    r"(?:nsu=(?P<uri>[^;]+);|ns=(?P<index>\d+);)(?P<kind>[isgb])=(?P<id>.+)", re.DOTALL
)
_BARE_NODE = re.compile(r"[isgb]=.+", re.DOTALL)
_LOOSE_INDEX = re.compile(r"ns=(?P<index>\d+);", re.DOTALL)


def same_key(name: str) -> str:
    """Return what two names share when they differ only in case or in how accents are coded."""
    return unicodedata.normalize("NFC", name).casefold()


def fault_of_id(name: str, path: str, what: str) -> Fault | None:
    """Check a Sparkplug group, node, device or host id: one level of a topic.

    Source: Sparkplug 3.0, tck-id-topic-structure-namespace-valid-group-id (and -edge-node-id,
    -device-id): a UTF-8 string without ``+``, ``/`` and ``#``.
    """
    if not name.strip():
        return _illegal(path, f"the {what} id is empty", "give it a name")
    found = sorted(set(name) & set("+/#"))
    if found:
        return _illegal(
            path,
            f"the {what} id {shown(name)} holds {' '.join(found)}, which separates or joins topics",
            "use letters, digits, - and _ instead",
        )
    return _fault_of_text(name, path)


def fault_of_metric(name: str, path: str) -> Fault | None:
    """Check a metric's name: ``/`` makes folders; what Sparkplug reserves is refused."""
    if not name.strip() or name.strip("/") == "":
        return _illegal(path, "the metric's name is empty", "give it a name")
    if name.startswith(_RESERVED_METRICS):
        return _illegal(
            path,
            f"the metric's name {shown(name)} is reserved by Sparkplug",
            "choose a name that does not start with Node Control/, Device Control/ or bdSeq",
        )
    return _fault_of_text(name, path)


def _fault_of_text(name: str, path: str) -> Fault | None:
    if name.isascii() and name.isprintable() and name == name.strip():
        return None
    if any(unicodedata.category(c) in {"Cc", "Cs"} for c in name) or _UNSEEN.search(name):
        return _illegal(
            path,
            f"the name {shown(name)} holds control or invisible characters",
            "write it again with visible characters",
        )
    if name != name.strip():
        return _illegal(path, f"the name {shown(name)} starts or ends with a space", "remove it")
    return None


def fault_of_node(node: str, path: str) -> Fault | None:
    """Check an OPC UA node id: ``nsu=URI;i=..`` (s, g, b), or ``ns=0;i=..``.

    A namespace index other than 0 is refused: a server may number its namespaces anew at each
    restart, and another node would be read under the old name.
    """
    loose = _LOOSE_INDEX.match(node)
    if loose is not None and loose["index"].strip("0"):
        return _bad_node(
            path,
            f"the node id has namespace index {shown(loose['index'])}, which a server may change",
            "name the namespace by its URI: nsu=urn:example:plant;s=...",
        )
    whole = _NODE.fullmatch(node)
    if whole is None:
        if _BARE_NODE.fullmatch(node):
            return _bad_node(
                path, "the node id names no namespace", f"write ns=0;{node[:40]} or nsu=URI;..."
            )
        return _bad_node(
            path,
            f"{shown(node)} is not a node id",
            "write nsu=URI;s=Name, nsu=URI;i=5 or ns=0;i=85",
        )
    if any(unicodedata.category(c) in {"Cc", "Cs"} for c in node):
        return _bad_node(path, "the node id holds control characters", "write it again")
    if not _identifier_fits(whole["kind"], whole["id"]):
        wanted = {
            "i": "a number from 0 to 4294967295",
            "g": "a GUID",
            "b": "base64",
            "s": "at most 4096 characters of text",
        }[whole["kind"]]
        return _bad_node(path, f"after {whole['kind']}= has to stand {wanted}", "")
    return None


_NOT_LINEAR = re.compile(r"(?<!\\)(?:\\\\)*(\(\?(?:=|!|<=|<!|P=|\(|>)|\\[1-9])")
"""Look-around, back-references, conditions, atomic groups: what RE2 has not, for good reason."""


def fault_of_regex(pattern: str, path: str) -> Fault | None:
    """Check a regular expression that is matched in linear time (RE2's language)."""
    found = _NOT_LINEAR.search(pattern)
    if found is not None:
        return Fault(
            code="config.bad_regex",
            path=path,
            message=f"{shown(found[1])} is look-around or a back-reference: its time has no bound",
            remedy="leave it out; use exclude for what must not match",
        )
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return Fault(
            code="config.bad_regex",
            path=path,
            message=f"this is no regular expression: {str(error)[:200]}",
            remedy="check brackets and backslashes; in YAML put it in single quotes",
        )
    return None


def _identifier_fits(kind: str, text: str) -> bool:
    if kind == "i":
        return text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) < 2**32
    try:
        if kind == "g":
            uuid.UUID(text)
        elif kind == "b":
            base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return False
    return True


def fault_of_url(url: str, path: str, schemes: tuple[str, ...]) -> Fault | None:
    """Check an endpoint's or broker's URL: known scheme, a host, a port in range, no password."""
    parts = _split(url)
    if parts is not None and (parts.username is not None or parts.password is not None):
        return Fault(
            code="config.secret_in_url",
            path=path,
            message="the URL holds a user name or password, which would show in logs",
            remedy="use the keys username and password",
        )
    wrong = "the URL cannot be read" if parts is None else _wrong_in_url(url, parts, schemes)
    if not wrong:
        return None
    return Fault(
        code="config.bad_url",
        path=path,
        message=wrong,
        remedy=f"write {schemes[0]}://HOST:PORT",
    )


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # it is read, and refused, only when asked for
    except ValueError:
        return None
    return parts


def _wrong_in_url(url: str, parts: SplitResult, schemes: tuple[str, ...]) -> str:
    if not url.isascii() or not url.isprintable() or " " in url:
        return "the URL holds spaces, control or non-ASCII characters"
    if parts.scheme not in schemes or not url.startswith(f"{parts.scheme}://"):
        return f"the URL has to start with {':// or '.join(schemes)}://"
    if not parts.hostname or parts.port == 0:
        return "the URL names no host, or port 0"
    if "opc.tcp" not in schemes and (parts.path.strip("/") or parts.query or parts.fragment):
        return "the URL holds more than scheme, host and port"
    return ""


def _illegal(path: str, message: str, remedy: str) -> Fault:
    return Fault(code="config.illegal_name", path=path, message=message, remedy=remedy)


def _bad_node(path: str, message: str, remedy: str) -> Fault:
    return Fault(code="config.bad_node", path=path, message=message, remedy=remedy)
