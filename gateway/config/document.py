"""Read a configuration document: YAML or JSON text to plain values, then to ``GatewayConfig``.

Safe and bounded: no tags that build objects, no anchors and aliases (a few lines of them can
stand for billions of values), ``DOCUMENT_BYTES_MAX`` bytes, ``DEPTH_MAX`` levels. A key that
stands twice in one mapping is a fault, not a silent choice.

Plain scalars follow YAML 1.2's core schema, so ``NO`` and ``12:30`` are text, and numbers may have
underscores (``2_000_000``). Text that starts with ``{`` is tried as JSON first: faster.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from contract.config import GatewayConfig
from contract.config_check import check_config
from contract.config_shape import shown
from contract.errors import ConfigError, Fault

DOCUMENT_BYTES_MAX = 20 * 1024 * 1024
DEPTH_MAX = 32
DUPLICATES_SHOWN_MAX = 100

Plain = Any
"""None, bool, int, float, str, or lists and mappings of them."""

_INT = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9_]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Plain] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


def parse_config(data: bytes) -> GatewayConfig:
    """Read and check a whole document.

    Raises:
        ConfigError: with every fault found, each with code, path, message and remedy.
    """
    return check_config(load_document(data))


def read_document_file(path: Path) -> bytes:
    """Read a document's bytes from a file.

    Raises:
        ConfigError: the file cannot be read, or is over ``DOCUMENT_BYTES_MAX``.
    """
    try:
        with path.open("rb") as file:
            return file.read(DOCUMENT_BYTES_MAX + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise _refused(
            "config.unreadable", f"{path} cannot be read: {reason}", "check path and rights"
        ) from error


def load_document(data: bytes) -> Plain:
    """Turn a document's bytes into plain values.

    Raises:
        ConfigError: too large, not UTF-8, not YAML or JSON, too deep, anchors, keys twice.
    """
    if len(data) > DOCUMENT_BYTES_MAX:
        raise _refused(
            "config.too_large",
            f"the document has over {DOCUMENT_BYTES_MAX // 1024 // 1024} MB",
            "use rules instead of single tags, or split it over two gateways",
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(
            "config.not_utf8", f"byte {error.start} is not UTF-8 text", "save the file as UTF-8"
        ) from error
    if text.lstrip()[:1] in {"{", "["}:
        try:
            return _load_json(text)
        except ValueError:
            pass  # a flow mapping of YAML may start so too; its reader says what is wrong
    return _load_yaml(text)


def _refused(code: str, message: str, remedy: str = "") -> ConfigError:
    return ConfigError([Fault(code=code, path="", message=message, remedy=remedy)])


# -- JSON -----------------------------------------------------------------------------------------


class _Twice:
    """Stands for a mapping with a key that it holds twice, until its path is known."""

    def __init__(self, pairs: list[tuple[str, Plain]]) -> None:
        self.pairs = pairs


def _load_json(text: str) -> Plain:
    try:
        value = json.loads(text, object_pairs_hook=_mapping_or_twice)
    except RecursionError:
        raise _too_deep("") from None
    duplicates: list[Fault] = []
    plain = _settled(value, "", 0, duplicates)
    if duplicates:
        raise ConfigError(duplicates)
    return plain


def _mapping_or_twice(pairs: list[tuple[str, Plain]]) -> Plain:
    mapping = dict(pairs)
    return mapping if len(mapping) == len(pairs) else _Twice(pairs)


def _settled(value: Plain, path: str, depth: int, duplicates: list[Fault]) -> Plain:
    """Check depth and text, and name every key that stands twice."""
    if depth > DEPTH_MAX:
        raise _too_deep(path)
    match value:
        case str():
            if not value.isascii():
                _check_text(value, path)
            return value
        case list():
            for index, item in enumerate(value):
                _settled(item, f"{path}[{index}]", depth + 1, duplicates)
        case dict() | _Twice():
            pairs = value.pairs if isinstance(value, _Twice) else list(value.items())
            seen: set[str] = set()
            for key, item in pairs:
                below = f"{path}.{key}" if path else key
                _check_text(key, path)
                if key in seen:
                    _note_duplicate(duplicates, below, key)
                seen.add(key)
                _settled(item, below, depth + 1, duplicates)
    return value


def _check_text(text: str, path: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConfigError(
            [
                Fault(
                    code="config.not_utf8",
                    path=path,
                    message="the text holds half of a surrogate pair",
                    remedy="write the character itself",
                )
            ]
        ) from error


# -- YAML -----------------------------------------------------------------------------------------


class _YamlReader:
    """Builds plain values from YAML events; no object is made that the text asks for."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self.duplicates: list[Fault] = []

    def document(self) -> Plain:
        """Read the one document of the stream; None when there is none."""
        result: Plain = None
        documents_count = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents_count += 1
                if documents_count > 1:
                    raise _refused(
                        "config.many_documents",
                        f"a second document starts on line {_line(event)}",
                        "remove the line '---' and join the two",
                    )
                result = self._value(next(self._events), "", 0)
        return result

    def _value(self, event: yaml.Event, path: str, depth: int) -> Plain:
        if depth > DEPTH_MAX:
            raise _too_deep(path)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _at(event, path, "config.alias", "anchors and aliases are not allowed")
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event, path)
        if not event.implicit and event.tag not in _PLAIN_TAGS:  # type: ignore[attr-defined]
            raise _at(event, path, "config.yaml_tag", "YAML tags (!...) are not allowed")
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Plain] = []
            while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
                items.append(self._value(event, f"{path}[{len(items)}]", depth + 1))
            return items
        assert isinstance(event, yaml.MappingStartEvent)
        return self._mapping(path, depth)

    def _mapping(self, path: str, depth: int) -> dict[str, Plain]:
        mapping: dict[str, Plain] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None:
                raise _at(event, path, "config.bad_key", "a key has to be plain text")
            key = event.value
            below = f"{path}.{key}" if path else key
            if key in mapping:
                _note_duplicate(self.duplicates, below, key)
            mapping[key] = self._value(next(self._events), below, depth + 1)
        return mapping


_PLAIN_TAGS = {
    None,
    "!",
    *(f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map", "int", "float", "bool")),
}


def _scalar(event: yaml.ScalarEvent, path: str) -> Plain:
    text: str = event.value
    if event.tag not in _PLAIN_TAGS:
        raise _at(event, path, "config.yaml_tag", "YAML tags (!...) are not allowed")
    quoted = event.tag is None and not event.implicit[0]
    return text if quoted or event.tag in {"!", "tag:yaml.org,2002:str"} else _resolved(text)


def _resolved(text: str) -> Plain:
    """Say what a plain scalar stands for, by YAML 1.2's core schema with underscores."""
    if text in _WORDS:
        return _WORDS[text]
    if not (text[0].isdigit() or text[0] in "+-."):
        return text
    try:
        if _INT.fullmatch(text):
            return int(text.replace("_", ""))
        if _FLOAT.fullmatch(text):
            return float(text.replace("_", ""))
    except ValueError:  # over 4,300 digits
        return float("inf")
    return text


def _load_yaml(text: str) -> Plain:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    reader = _YamlReader(yaml.parse(text, Loader=loader))
    try:
        plain = reader.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise _refused(
            "config.syntax",
            f"{where}{error.problem or 'not YAML'}",
            "check indentation, quotes and brackets there and on the line before",
        ) from error
    except yaml.YAMLError as error:
        raise _refused("config.syntax", "the text is neither YAML nor JSON") from error
    except RecursionError:
        raise _too_deep("") from None
    if reader.duplicates:
        raise ConfigError(reader.duplicates)
    return plain


def _at(event: yaml.Event, path: str, code: str, message: str) -> ConfigError:
    fault = Fault(
        code=code,
        path=path,
        message=f"line {_line(event)}: {message}",
        remedy="write the value out",
    )
    return ConfigError([fault])


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 0


def _too_deep(path: str) -> ConfigError:
    fault = Fault(
        code="config.too_deep",
        path=path[:200],
        message=f"the document is nested over {DEPTH_MAX} levels deep",
        remedy="no key of ours needs that: check the brackets",
    )
    return ConfigError([fault])


def _note_duplicate(duplicates: list[Fault], path: str, key: str) -> None:
    if len(duplicates) < DUPLICATES_SHOWN_MAX:
        duplicates.append(
            Fault(
                code="config.duplicate_key",
                path=path,
                message=f"the key {shown(key)} stands twice",
                remedy="remove one of the two",
            )
        )
