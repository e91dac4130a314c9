"""Hold a document of plain values against a Struct type and name everything that does not fit.

msgspec stops at the first fault; a person wants all of them at once. So a part is converted whole
first (one call in C: a good document costs nothing more) and only a part that fails is opened,
field by field, until each fault has its own path, message and remedy.

Messages never hold the value of a field, so that no secret can reach a log or an answer.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from difflib import get_close_matches
from functools import cache
from itertools import islice
from typing import Annotated, Any, TypeVar, cast

import msgspec
from msgspec import inspect

from contract.errors import Fault

T = TypeVar("T")

NAME_SHOWN_CHARS_MAX = 60
FAULTS_MAX = 500
"""More faults than a person mends in one go; the rest is not looked for."""


def try_convert(value: object, wanted: type[T]) -> T | None:
    """Convert a plain value to the type, or return None when it does not fit."""
    try:
        return msgspec.convert(value, wanted)
    # deep nesting in a key that is not ours ends in RecursionError, huge numbers in OverflowError
    except (msgspec.ValidationError, RecursionError, OverflowError):
        return None


def convert_part(value: object, wanted: type[T], path: str, faults: list[Fault]) -> T | None:
    """Convert a part of a document; on failure add every fault below it and return None."""
    converted = try_convert(value, wanted)
    room_count = FAULTS_MAX - len(faults)
    if converted is None and room_count > 0:
        found = list(islice(_faults_of(value, _type_info(cast("Any", wanted)), path), room_count))
        assert found, f"{path}: refused, but no fault was found"
        faults.extend(found)
    return converted


def joined(path: str, name: str) -> str:
    """Return the path of a field: ``sources[0]`` and ``name`` give ``sources[0].name``."""
    return f"{path}.{name}" if path else name


def nearest(name: str, known: Iterable[str]) -> str:
    """Word the known name that is nearest, or all of them when there are few."""
    names = sorted(set(known))
    folded = {n.casefold(): n for n in names}
    close = get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)
    if close:
        return f"did you mean {folded[close[0]]!r}?"
    return f"known: {', '.join(names)}" if 0 < len(names) <= 12 else ""


def shown(name: object) -> str:
    """Show a key or name in a message: quoted, escaped, cut to ``NAME_SHOWN_CHARS_MAX``."""
    text = name if isinstance(name, str) else repr(name)
    if len(text) > NAME_SHOWN_CHARS_MAX:
        text = text[: NAME_SHOWN_CHARS_MAX - 1] + "…"
    return "'" + text.encode("unicode_escape").decode("ascii").replace("\\u2026", "…") + "'"


def key_in_path(key: object) -> str:
    """Return a key as it stands in a path: quoted where it is more than a word."""
    text = key if isinstance(key, str) else repr(key)
    if len(text) <= NAME_SHOWN_CHARS_MAX and text.replace("_", "").replace("-", "").isalnum():
        return text
    return shown(key)


@cache
def _type_info(wanted: Hashable) -> inspect.Type:
    return inspect.type_info(wanted)


def _faults_of(value: object, wanted: inspect.Type, path: str) -> Iterable[Fault]:
    match wanted:
        case inspect.StructType():
            yield from _faults_of_struct(value, wanted, path)
        case inspect.ListType() | inspect.VarTupleType():
            yield from _faults_of_list(value, wanted, path)
        case inspect.DictType():
            yield from _faults_of_dict(value, wanted, path)
        case inspect.UnionType():
            yield from _faults_of_union(value, wanted, path)
        case _:
            if (fault := _fault_of_leaf(value, wanted, path)) is not None:
                yield fault


def _faults_of_union(value: object, wanted: inspect.UnionType, path: str) -> Iterable[Fault]:
    """Look into ``X | None``, the only union of the document, or a union of tagged structs."""
    parts = [t for t in wanted.types if not isinstance(t, inspect.NoneType)]
    if value is None and len(parts) < len(wanted.types):
        return
    if len(parts) == 1:
        yield from _faults_of(value, parts[0], path)
        return
    structs = [t for t in parts if isinstance(t, inspect.StructType)]
    field = structs[0].tag_field if structs else None
    assert field is not None, "a union of untagged types is not checked here"
    kind = value.get(field) if isinstance(value, dict) else None
    chosen = [t for t in structs if t.tag == kind]
    if chosen:
        yield from _faults_of_struct(value, chosen[0], path)
    else:
        yield _wrong_tag(kind, field, [str(t.tag) for t in structs], path)


def _faults_of_struct(value: object, wanted: inspect.StructType, path: str) -> Iterable[Fault]:
    if not isinstance(value, dict):
        yield _wrong_type(value, "a mapping of keys to values", path)
        return
    if wanted.tag_field is not None and value.get(wanted.tag_field, wanted.tag) != wanted.tag:
        yield _wrong_tag(value[wanted.tag_field], wanted.tag_field, [str(wanted.tag)], path)
        return
    fields = {f.encode_name: f for f in wanted.fields}
    known = [*fields, wanted.tag_field] if wanted.tag_field else list(fields)
    for key in value:
        if key not in known:
            yield Fault(
                code="config.unknown_key",
                path=joined(path, key_in_path(key)),
                message=f"unknown key {shown(key)}",
                remedy=nearest(str(key), known),
            )
    # a tag may be left out by hand-written documents of one kind only where msgspec allows it
    for name, field in fields.items():
        if name in value:
            yield from _faults_of(value[name], field.type, joined(path, name))
        elif field.required:
            yield Fault(
                code="config.missing_key",
                path=joined(path, name),
                message=f"the key {name!r} is missing",
                remedy=f"add {name!r}: {_described(field.type)}",
            )


def _faults_of_list(
    value: object, wanted: inspect.ListType | inspect.VarTupleType, path: str
) -> Iterable[Fault]:
    if not isinstance(value, list):
        yield _wrong_type(value, "a list", path)
        return
    if wanted.max_length is not None and len(value) > wanted.max_length:
        yield Fault(
            code="config.too_many",
            path=path,
            message=f"has {len(value)} entries, at most {wanted.max_length} are allowed",
            remedy="split it",
        )
        return
    if wanted.min_length is not None and len(value) < wanted.min_length:
        yield Fault(
            code="config.too_few",
            path=path,
            message=f"has {len(value)} entries, at least {wanted.min_length} is needed",
        )
    for index, item in enumerate(value):
        yield from _faults_of(item, wanted.item_type, f"{path}[{index}]")


def _faults_of_dict(value: object, wanted: inspect.DictType, path: str) -> Iterable[Fault]:
    """Look into a mapping whose keys are names that people choose."""
    if not isinstance(value, dict):
        yield _wrong_type(value, "a mapping of names to values", path)
        return
    if wanted.max_length is not None and len(value) > wanted.max_length:
        yield Fault(
            code="config.too_many",
            path=path,
            message=f"has {len(value)} entries, at most {wanted.max_length} are allowed",
            remedy="split it",
        )
    for key, item in value.items():
        at = joined(path, key_in_path(key))
        if not isinstance(key, str):
            yield _wrong_type(key, "a name (text)", at)
        yield from _faults_of(item, wanted.value_type, at)


def _fault_of_leaf(value: object, wanted: inspect.Type, path: str) -> Fault | None:
    if isinstance(wanted, inspect.LiteralType):
        if value in wanted.values and not isinstance(value, bool):
            return None
        allowed = [str(v) for v in wanted.values]
        quoted = "; put it in quotes" if value is None and "None" in allowed else ""
        hint = nearest(value, allowed) if isinstance(value, str) else ""
        return Fault(
            code="config.not_allowed",
            path=path,
            message=f"has to be one of {', '.join(allowed)}{quoted}",
            remedy=hint if hint.startswith("did you mean") else "",
        )
    try:
        msgspec.convert(value, _python_type(wanted))
    except (msgspec.ValidationError, OverflowError):
        if not _is_of_type(value, wanted):
            return _wrong_type(value, _base_word(wanted), path)
        return Fault(
            code="config.out_of_range",
            path=path,
            message=f"has to be {_described(wanted)}",
        )
    return None


def _python_type(wanted: inspect.Type) -> Any:  # noqa: ANN401 - a type as msgspec takes it
    """Build the annotated type again from what msgspec says of it."""
    match wanted:
        case inspect.StrType():
            meta: dict[str, Any] = {
                "min_length": wanted.min_length,
                "max_length": wanted.max_length,
                "pattern": wanted.pattern,
            }
            plain: type = str
        case inspect.IntType() | inspect.FloatType():
            meta = {"gt": wanted.gt, "ge": wanted.ge, "lt": wanted.lt, "le": wanted.le}
            plain = int if isinstance(wanted, inspect.IntType) else float
        case inspect.BoolType():
            return bool
        case _:
            raise AssertionError(f"no rule for a field of type {wanted}")
    given: dict[str, Any] = {name: limit for name, limit in meta.items() if limit is not None}
    if not given:
        return plain
    return Annotated[plain, msgspec.Meta(**given)]


def _is_of_type(value: object, wanted: inspect.Type) -> bool:
    match wanted:
        case inspect.StrType():
            return isinstance(value, str)
        case inspect.IntType():
            return isinstance(value, int) and not isinstance(value, bool)
        case inspect.FloatType():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            return False


def _wrong_type(value: object, described: str, path: str) -> Fault:
    remedy = ""
    if described == "text" and isinstance(value, int | float):
        remedy = "put it in quotes"
    elif described == "true or false":
        remedy = "write true or false, without quotes"
    elif isinstance(value, str) and "number" in described:
        remedy = "write it as a number, without quotes"
    return Fault(
        code="config.wrong_type",
        path=path,
        message=f"has to be {described}, but is {_kind_of(value)}",
        remedy=remedy,
    )


def _wrong_tag(kind: object, field: str, known: list[str], path: str) -> Fault:
    if kind is None:
        return Fault(
            code="config.missing_key",
            path=joined(path, field),
            message=f"the key {field!r} is missing",
            remedy=f"one of: {', '.join(known)}",
        )
    return Fault(
        code="config.not_allowed",
        path=joined(path, field),
        message=f"unknown {field} {shown(kind)}",
        remedy=nearest(str(kind), known),
    )


_KIND_WORDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number"),
    (str, "text"),
    (list, "a list"),
    (dict, "a mapping"),
)


def _kind_of(value: object) -> str:
    if value is None:
        return "empty"
    return next((word for kind, word in _KIND_WORDS if isinstance(value, kind)), "something else")


def _base_word(wanted: inspect.Type) -> str:
    match wanted:
        case inspect.StrType():
            return "text"
        case inspect.IntType():
            return "a whole number"
        case inspect.FloatType():
            return "a number"
        case inspect.BoolType():
            return "true or false"
        case inspect.ListType() | inspect.VarTupleType():
            return "a list"
        case _:
            return "a mapping of keys to values"


def _described(wanted: inspect.Type) -> str:
    """Word what a field takes: ``a whole number at least 10 and at most 3600000``."""
    match wanted:
        case inspect.StrType():
            return "text" + _length_words(wanted)
        case inspect.IntType() | inspect.FloatType():
            return _base_word(wanted) + _range_words(wanted)
        case inspect.LiteralType():
            return "one of " + ", ".join(str(v) for v in wanted.values)
        case inspect.UnionType():
            parts = [t for t in wanted.types if not isinstance(t, inspect.NoneType)]
            return " or ".join(_described(t) for t in parts)
        case _:
            return _base_word(wanted)


def _range_words(wanted: inspect.IntType | inspect.FloatType) -> str:
    words = []
    if wanted.gt is not None:
        words.append(f"above {wanted.gt:g}")
    if wanted.ge is not None:
        words.append(f"at least {wanted.ge}")
    if wanted.lt is not None:
        words.append(f"below {wanted.lt:g}")
    if wanted.le is not None:
        words.append(f"at most {wanted.le}")
    return " " + " and ".join(words) if words else ""


_PATTERN_WORDS = {
    r"^[A-Za-z0-9][A-Za-z0-9_.-]*$": "letters, digits, _ . - only, a letter or digit first",
}


def _length_words(wanted: inspect.StrType) -> str:
    words = []
    if wanted.min_length is not None:
        words.append(f"at least {wanted.min_length} character{'s' * (wanted.min_length > 1)}")
    if wanted.max_length is not None:
        words.append(f"at most {wanted.max_length}")
    text = " of " + " and ".join(words) if words else ""
    if wanted.pattern is not None:
        text += f" ({_PATTERN_WORDS.get(wanted.pattern, wanted.pattern)})"
    return text
