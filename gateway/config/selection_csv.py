"""A source's single tags as CSV: out for a spreadsheet, and back in, whole or not at all.

Columns: node, group, name, device, deadband_absolute, gain, offset, and each yes/no key of a tag.
A text that a spreadsheet would take for a formula (it starts with ``= + - @``, a control character
or ``'``) goes out with a leading ``'``, and comes back without it (OWASP CSV injection;
shared/reference/security.md, R38).

An import is the whole list: what it does not name is removed. Keys without a column stay as they
are on tags whose node is there already. Every fault has its line. Limits: ``ROWS_MAX`` rows,
``COLUMNS_MAX`` columns, UTF-8, "," or ";" between columns as the first line has it.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from contract.config import GatewayConfig, OpcUaSourceConfig, Scale, TagConfig
from contract.config_check import check_config
from contract.config_shape import nearest, shown
from contract.errors import ConfigError, Fault

ROWS_MAX = 200_000
COLUMNS_MAX = 50
FAULTS_MAX = 500
_RISKY = re.compile(r"[=+\-@'\x00-\x1f]")
_TEXTS = ("node", "group", "name", "device")
_NUMBERS = ("deadband_absolute", "gain", "offset")
_FLAGS = {f.name: bool(f.default) for f in msgspec.structs.fields(TagConfig) if f.type is bool}
"""The yes/no keys of a tag, with their defaults."""
COLUMNS = (*_TEXTS, *_NUMBERS, *_FLAGS)
_BOOLEANS = dict.fromkeys(("true", "1", "yes"), True) | dict.fromkeys(("false", "0", "no"), False)
_TAG_PATH = re.compile(r"^(sources\[\d+\])\.tags\[(\d+)\]\.?(.*)$")


class LineFault(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a line, and in which column; line 1 is the header."""

    line: int
    column: str
    code: str
    message: str
    remedy: str = ""


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an import would do, or why it does nothing.

    Attributes:
        ok: no fault: the whole document with these tags can be run.
        added: tags whose node is not selected now.
        changed: tags that are there and get other settings.
        removed: tags that the file does not name.
        unchanged: tags that stay as they are.
        faults: by line; at most ``FAULTS_MAX``.
        nodes_checked: the server was asked whether it knows the nodes.
        document: the source's ``tags:`` as YAML, when ok and not a dry run.
    """

    ok: bool
    added: int
    changed: int
    removed: int
    unchanged: int
    faults: list[LineFault]
    nodes_checked: bool = False
    document: str = ""


def export_csv(tags: Sequence[TagConfig]) -> str:
    """Write tags as CSV, one line each."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for tag in tags:
        scale = tag.scale or Scale()
        flags = ["true" if getattr(tag, name) else "false" for name in _FLAGS]
        deadband = getattr(tag.deadband, "absolute", None)
        numbers = [
            _number_text(deadband),
            _number_text(scale.gain if tag.scale else None),
            _number_text(scale.offset if tag.scale else None),
        ]
        texts = [_safe(getattr(tag, name) or "") for name in _TEXTS]
        writer.writerow([*texts, *numbers, *flags])
    return out.getvalue()


def _safe(text: str) -> str:
    return "'" + text if _RISKY.match(text) else text


def _number_text(value: float | None) -> str:
    return "" if value is None else repr(value)


def read_csv(
    data: bytes, source: OpcUaSourceConfig
) -> tuple[list[TagConfig], list[int], list[LineFault]]:
    """Read tags from CSV.

    Returns the tags that could be read, the line of each, and the faults.
    """
    faults: list[LineFault] = []
    before = {tag.node: tag for tag in source.tags}
    tags: list[TagConfig] = []
    lines: list[int] = []
    for line, row in _rows(data, faults):
        tag = _tag(line, row, before, faults)
        if tag is not None:
            tags.append(tag)
            lines.append(line)
    return tags, lines, faults[:FAULTS_MAX]


def _rows(data: bytes, faults: list[LineFault]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"byte {error.start} is not UTF-8 text"
        faults.append(_fault(1, "", "csv.not_utf8", message, "save the file as CSV UTF-8"))
        return
    head = text[: text.find("\n")] if "\n" in text else text
    delimiter = ";" if head.count(";") > head.count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if not _header_is_good(header, faults):
            return
        for number, row in enumerate(reader):
            line = reader.line_num
            if number >= ROWS_MAX or len(faults) >= FAULTS_MAX:
                message = f"there are over {ROWS_MAX} lines, or too many faults: the rest is unread"
                faults.append(_fault(line, "", "csv.too_many", message))
                return
            if not any(row):
                continue
            if len(row) != len(header):
                message = f"the line has {len(row)} columns, the first line {len(header)}"
                faults.append(_fault(line, "", "csv.ragged", message, "check quotes and commas"))
                continue
            yield line, dict(zip(header, row, strict=True))
    except csv.Error as error:
        faults.append(_fault(reader.line_num, "", "csv.syntax", str(error), "check the quotes"))


def _header_is_good(header: list[str], faults: list[LineFault]) -> bool:
    if len(header) > COLUMNS_MAX or len(set(header)) != len(header):
        message = "the first line names a column twice, or too many"
        faults.append(_fault(1, "", "csv.bad_header", message, f"columns: {', '.join(COLUMNS)}"))
        return False
    for name in header:
        if name not in COLUMNS:
            message = f"unknown column {shown(name)}"
            faults.append(_fault(1, name, "csv.unknown_column", message, nearest(name, COLUMNS)))
    for name in ("node", "group"):
        if name not in header:
            message = f"the column {name} is missing"
            faults.append(_fault(1, name, "csv.missing_column", message, f"add {name}"))
    return not faults


def _fault(line: int, column: str, code: str, message: str, remedy: str = "") -> LineFault:
    return LineFault(line=line, column=column[:60], code=code, message=message, remedy=remedy)


def _tag(
    line: int, row: dict[str, str], before: dict[str, TagConfig], faults: list[LineFault]
) -> TagConfig | None:
    texts = {name: _plain(row[name]) for name in _TEXTS if name in row}
    numbers: dict[str, float] = {}
    flags: dict[str, bool] = {}
    count = len(faults)
    for name in _NUMBERS:
        text = row.get(name, "").strip()
        if not text:
            continue
        try:
            numbers[name] = float(text)
        except ValueError:
            message = f"{shown(text)} is no number"
            faults.append(_fault(line, name, "csv.bad_number", message, "write 0.5, with a point"))
    for name, default in _FLAGS.items():
        if name not in row:
            continue
        text = row[name].strip().lower()
        if not text:
            flags[name] = default
        elif text not in _BOOLEANS:
            message = f"{shown(text)} is neither true nor false"
            faults.append(_fault(line, name, "csv.bad_flag", message, "write true or false"))
        else:
            flags[name] = _BOOLEANS[text]
    if len(faults) > count:
        return None
    node = texts["node"]
    known = msgspec.to_builtins(before[node]) if node in before else {"node": node}
    wanted = known | {name: text or None for name, text in texts.items()} | flags
    wanted |= _nested(row, numbers, known)
    try:
        return msgspec.convert(wanted, TagConfig)
    except msgspec.ValidationError as error:
        column = str(error).partition("$.")[2].rstrip("`") or ""
        message = str(error).partition(" - at ")[0]
        faults.append(_fault(line, column, "csv.bad_value", message))
        return None


def _nested(
    row: dict[str, str], numbers: dict[str, float], known: dict[str, Any]
) -> dict[str, Any]:
    """Return deadband and scale as the columns say; those without a column stay."""
    found: dict[str, Any] = {}
    if "deadband_absolute" in row:
        absolute = numbers.get("deadband_absolute")
        held = known.get("deadband") or {}
        if absolute is not None:
            found["deadband"] = held | {"absolute": absolute}
        elif held.get("absolute") is not None:
            found["deadband"] = None
    if "gain" in row or "offset" in row:
        given = {name: numbers[name] for name in ("gain", "offset") if name in numbers}
        found["scale"] = given or None
    return found


def _plain(text: str) -> str:
    text = text.strip()
    return text.removeprefix("'")


def plan_import(
    config: GatewayConfig,
    source_index: int,
    data: bytes,
    *,
    unknown_nodes: dict[str, str] | None = None,
) -> tuple[ImportReport, list[TagConfig]]:
    """Check an import against the whole document; return the report and the tags it names.

    Args:
        config: the configuration that runs.
        source_index: which source.
        data: the CSV file.
        unknown_nodes: by node, why the server has no such variable; None: it was not asked.
    """
    source = config.sources[source_index]
    assert isinstance(source, OpcUaSourceConfig)
    tags, lines, faults = read_csv(data, source)
    faults += _twice(tags, lines)
    for tag, line in zip(tags, lines, strict=True):
        if unknown_nodes and tag.node in unknown_nodes:
            message = unknown_nodes[tag.node]
            faults.append(_fault(line, "node", "csv.unknown_node", message))
    if not faults:
        faults += _faults_of_whole(config, source_index, tags, lines)
    before = {tag.node: tag for tag in source.tags}
    named = {tag.node for tag in tags}
    report = ImportReport(
        ok=not faults,
        added=sum(tag.node not in before for tag in tags),
        changed=sum(tag.node in before and before[tag.node] != tag for tag in tags),
        unchanged=sum(before.get(tag.node) == tag for tag in tags),
        removed=sum(node not in named for node in before),
        faults=sorted(faults, key=lambda fault: fault.line)[:FAULTS_MAX],
        nodes_checked=unknown_nodes is not None,
    )
    return report, tags


def _twice(tags: Sequence[TagConfig], lines: Sequence[int]) -> Iterator[LineFault]:
    seen: dict[str, int] = {}
    for tag, line in zip(tags, lines, strict=True):
        first = seen.setdefault(tag.node, line)
        if first != line:
            message = f"the node stands on line {first} already: one node is one tag"
            yield _fault(line, "node", "csv.duplicate_node", message, "remove one of the two")


def _faults_of_whole(
    config: GatewayConfig, source_index: int, tags: list[TagConfig], lines: Sequence[int]
) -> Iterator[LineFault]:
    """Check the whole document with these tags, as at a start."""
    plain = msgspec.to_builtins(config)
    plain["sources"][source_index]["tags"] = msgspec.to_builtins(tags)
    try:
        check_config(plain)
    except ConfigError as error:
        for fault in error.faults:
            yield _on_its_line(fault, source_index, lines)


def _on_its_line(fault: Fault, source_index: int, lines: Sequence[int]) -> LineFault:
    found = _TAG_PATH.match(fault.path)
    if found is None or found[1] != f"sources[{source_index}]":
        message = f"{fault.path}: {fault.message}" if fault.path else fault.message
        return _fault(1, "", fault.code, message, fault.remedy)
    here = f"sources[{source_index}].tags["
    message = re.sub(
        re.escape(here) + r"(\d+)\]", lambda m: f"line {lines[int(m[1])]}", fault.message
    )
    return _fault(lines[int(found[2])], found[3], fault.code, message, fault.remedy)


def tags_as_yaml(tags: Sequence[TagConfig]) -> str:
    """Write tags as the ``tags:`` part of a source, one line each (YAML's JSON form)."""
    lines = ["tags:"]
    fields = msgspec.structs.fields(TagConfig)
    for tag in tags:
        given = {f.name for f in fields if getattr(tag, f.name) != f.default}
        plain = {key: value for key, value in msgspec.to_builtins(tag).items() if key in given}
        lines.append(f"  - {json.dumps(plain, ensure_ascii=False)}")
    return "\n".join(lines) + "\n" if tags else "tags: []\n"
