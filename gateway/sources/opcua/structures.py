"""Structures (ExtensionObjects) read by their DataTypeDefinition, member by member.

asyncua would compile classes out of what the server sends; here a definition is data, and a body
is read from its bytes by it. Promise: values as asyncua decodes their types; nested structures
as mappings; nothing is read past the end, and nothing deeper than ``DEPTH_MAX``.
Structures that allow subtyped values are not read (their members have no fixed type).
Source: OPC 10000-3, 8.48 (StructureDefinition); OPC 10000-6, 5.2.6 and 5.2.7 (Structure, optional
fields), 5.2.8 (Union).
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua import ua_binary

from gateway.sources.opcua.decode import DecodeError
from gateway.sources.opcua.fallback import DECODER_ERRORS, ForwardBuffer

DEPTH_MAX = 8
FIELDS_MAX = 500
ITEMS_MAX = 65_536
"""Elements of one array within a structure."""
STRUCTURE, ENUMERATION = 22, 29


@dataclasses.dataclass(slots=True)
class TypeInfo:
    """A data type as the server describes it.

    Attributes:
        built_in: number of the built-in type it is encoded as; 22 a structure, 29 an enumeration;
            0 when that is not known (abstract types: Number, BaseDataType).
        name: for people.
        labels: names of an enumeration's values.
        structure: how a structure lies in bytes; None where the server does not tell.
    """

    built_in: int
    name: str = ""
    labels: dict[int, str] = dataclasses.field(default_factory=dict)
    structure: Shape | None = None


@dataclasses.dataclass(slots=True)
class Field:
    """A member of a structure; ``type_info`` is filled in when all types are known."""

    name: str
    data_type: Any
    is_array: bool = False
    is_optional: bool = False
    type_info: TypeInfo | None = None


@dataclasses.dataclass(slots=True)
class Shape:
    """The members of a structure in order, and how they are told apart in bytes."""

    fields: list[Field]
    is_union: bool = False
    has_optional: bool = False


def shape_of_definition(definition: Any) -> Shape | None:
    """Return the shape that a StructureDefinition gives; None for those that are not read."""
    kind = int(definition.StructureType)
    fields = list(definition.Fields or [])
    if kind not in {0, 1, 2} or len(fields) > FIELDS_MAX:
        return None
    if any((field.ValueRank or -1) > 1 for field in fields):
        return None  # matrices in structures lie in other bytes
    return Shape(
        [
            Field(
                name=str(field.Name or ""),
                data_type=field.DataType,
                is_array=(field.ValueRank if field.ValueRank is not None else -1) >= 0,
                is_optional=bool(field.IsOptional),
            )
            for field in fields
        ],
        is_union=kind == 2,
        has_optional=kind == 1,
    )


def shape_of_standard(type_name: str) -> Shape | None:
    """Return the shape of a structure of the standard that asyncua knows by name."""
    known = getattr(ua, type_name, None)
    if known is None or not dataclasses.is_dataclass(known):
        return None
    fields = []
    for field in dataclasses.fields(known):
        declared = str(field.type).replace("'", "").removeprefix("ua.")
        number = getattr(ua.ObjectIds, declared, None)
        if number is None or field.name == "Encoding":
            return None
        fields.append(Field(name=field.name, data_type=ua.NodeId(number)))
    return Shape(fields)


def read_structure(shape: Shape, value: Any) -> dict[str, Any]:
    """Read an ExtensionObject's members; a member that is not there has no entry.

    Raises DecodeError: the bytes are of another type, or lie.
    """
    body = value.Body if isinstance(value, ua.ExtensionObject) else _encoded(value)
    if not isinstance(body, bytes):
        raise DecodeError("the structure has no binary body")
    buffer = ForwardBuffer(body)
    members = _members(shape, buffer, 0)
    if len(buffer):
        raise DecodeError(f"{len(buffer)} bytes are left behind the structure's members")
    return members


def _encoded(value: Any) -> bytes:
    """Write a structure of the standard, which asyncua has decoded, as bytes again."""
    try:
        return bytes(ua_binary.struct_to_binary(value))
    except DECODER_ERRORS as error:
        raise DecodeError(f"{type(value).__name__} is no structure") from error


def _members(shape: Shape, buffer: Buffer, depth: int) -> dict[str, Any]:
    if depth > DEPTH_MAX:
        raise DecodeError(f"a structure is nested over {DEPTH_MAX} levels deep")
    if shape.is_union:
        chosen = _unsigned(buffer)
        if not chosen:
            return {}
        if chosen > len(shape.fields):
            raise DecodeError(f"a union names member {chosen} of {len(shape.fields)}")
        field = shape.fields[chosen - 1]
        return {field.name: _member(field, buffer, depth)}
    present = _unsigned(buffer) if shape.has_optional else 0
    members: dict[str, Any] = {}
    bit = 0
    for field in shape.fields:
        if shape.has_optional and field.is_optional:
            bit += 1
            if not present >> (bit - 1) & 1:
                continue
        members[field.name] = _member(field, buffer, depth)
    return members


def _member(field: Field, buffer: Buffer, depth: int) -> Any:
    if not field.is_array:
        return _single(field, buffer, depth)
    count = _unsigned(buffer)
    if count >= 0x80000000:
        return None
    if count > min(ITEMS_MAX, len(buffer)):
        raise DecodeError(f"member {field.name} names {count} elements")
    return [_single(field, buffer, depth) for _ in range(count)]


def _single(field: Field, buffer: Buffer, depth: int) -> Any:
    info = field.type_info
    if info is None or not info.built_in or info.built_in > ENUMERATION:
        raise DecodeError(f"the type of member {field.name} is not known")
    if info.built_in == STRUCTURE:
        if info.structure is None:
            raise DecodeError(f"the structure of member {field.name} is not known")
        return _members(info.structure, buffer, depth + 1)
    vtype = ua.VariantType(6 if info.built_in == ENUMERATION else info.built_in)
    try:
        return ua_binary.unpack_uatype(vtype, buffer)
    except DECODER_ERRORS as error:
        raise DecodeError(f"member {field.name}: {type(error).__name__}: {error}") from error


def _unsigned(buffer: Buffer) -> int:
    try:
        (number,) = struct.unpack("<I", buffer.read(4))
    except DECODER_ERRORS as error:
        raise DecodeError("a structure ends early") from error
    return int(number)
