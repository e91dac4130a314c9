"""Structures, enumerations and unions of a server's own, read by their definitions."""

import struct
from pathlib import Path

import pytest
from asyncua import ua
from asyncua.common.structures104 import new_enum, new_struct, new_struct_field

from contract.config import TagConfig
from gateway.sources.opcua.decode import DecodeError
from gateway.sources.opcua.requests import Requests
from gateway.sources.opcua.source import OpcUaSource
from gateway.sources.opcua.split import MEMBERS_MAX, SplitError, split_of
from gateway.sources.opcua.structures import Field, Shape, TypeInfo, read_structure
from runtime.clock import SystemClock
from sparkplug_b import DataType
from tests.gateway.sources.plc import URI, VT, Plc, Port, config, driven, opened, until

FLOAT, INT32, TEXT = TypeInfo(10), TypeInfo(6), TypeInfo(12)
MODE = TypeInfo(29, "Mode", {0: "Off", 1: "Auto"})


def field(name, info, **rest):
    return Field(name=name, data_type=None, type_info=info, **rest)


POSITION = TypeInfo(22, "Position", structure=Shape([field("x", FLOAT), field("y", FLOAT)]))
PART = Shape(
    [
        field("id", INT32),
        field("at", POSITION),
        field("note", TEXT, is_optional=True),
        field("mode", MODE, is_optional=True),
        field("marks", INT32, is_array=True),
    ],
    has_optional=True,
)
EITHER = Shape([field("number", INT32), field("text", TEXT)], is_union=True)


def body(*parts):
    return ua.ExtensionObject(TypeId=ua.NodeId(1, 1), Body=b"".join(parts))


def i32(*numbers):
    return struct.pack(f"<{len(numbers)}i", *numbers)


def f32(*numbers):
    return struct.pack(f"<{len(numbers)}f", *numbers)


PART_BODY = (i32(2), i32(7), f32(1.5, 2.5), i32(1), i32(2, 10, 11))  # only mode is there


def test_nested_members_optional_fields_and_arrays_are_read():
    assert read_structure(PART, body(*PART_BODY)) == {
        "id": 7,
        "at": {"x": 1.5, "y": 2.5},
        "mode": 1,
        "marks": [10, 11],
    }


def test_a_union_has_the_member_it_names_or_none():
    assert read_structure(EITHER, body(i32(1, 5))) == {"number": 5}
    assert read_structure(EITHER, body(i32(2, 1), b"a")) == {"text": "a"}
    assert read_structure(EITHER, body(i32(0))) == {}


@pytest.mark.parametrize("cut", range(1, 28))
def test_every_truncation_of_a_structure_is_refused(cut):
    whole = b"".join(PART_BODY)
    with pytest.raises(DecodeError):
        read_structure(PART, body(whole[:-cut]))


@pytest.mark.parametrize(
    "hostile",
    [
        (i32(2), i32(7), f32(1.5, 2.5), i32(1), i32(2**31 - 1)),  # a huge array
        (i32(2), i32(7), f32(1.5, 2.5), i32(1), i32(-2)),
        (*PART_BODY, b"more"),
        (i32(1), i32(7), f32(1.5, 2.5), i32(2**31 - 1), i32(-1)),  # a huge text
    ],
)
def test_lengths_that_lie_are_refused(hostile):
    try:
        read_structure(PART, body(*hostile))
    except DecodeError:
        return
    assert hostile[-1] == i32(-2)  # a null array, by another number


def test_a_structure_within_itself_ends():
    looped = TypeInfo(22, "Loop", structure=Shape([]))
    looped.structure.fields.append(field("again", looped))
    looped.structure.fields.append(field("n", INT32))
    assert len(split_of(looped, ()).members) <= 10
    with pytest.raises(DecodeError, match="nested"):
        read_structure(looped.structure, body(i32(*range(50))))


def test_what_is_too_large_or_not_known_is_refused_with_a_reason():
    with pytest.raises(SplitError, match=str(MEMBERS_MAX)) as refused:
        split_of(FLOAT, (1000, 1000))
    assert refused.value.code == "split_too_many"
    with pytest.raises(SplitError) as refused:
        split_of(TypeInfo(22), ())
    assert refused.value.code == "structure_unknown"
    with pytest.raises(SplitError) as refused:
        split_of(FLOAT, (0,))
    assert refused.value.code == "array_empty"


# -- a server's own types ---


@pytest.fixture(scope="module")
async def plc():
    plc = Plc()
    await plc.start(fill=_types)
    yield plc
    await plc.stop()


async def _types(plc):
    server, index = plc.server, plc.index
    mode = await new_enum(server, index, "Mode", ["Off", "Auto"])
    position, _ = await new_struct(
        server, index, "Position", [new_struct_field(n, VT.Float) for n in "xy"]
    )
    note = new_struct_field("note", VT.String, optional=True)
    fields = [
        new_struct_field("id", VT.Int32),
        new_struct_field("at", position),
        note,
        new_struct_field("mode", mode, optional=True),
        new_struct_field("marks", VT.Int32, array=True),
    ]
    part, encodings = await new_struct(server, index, "Part", fields)
    value = ua.ExtensionObject(TypeId=encodings[0].nodeid, Body=b"".join(PART_BODY))
    objects = server.nodes.objects
    name = ua.QualifiedName("Part", index)
    await objects.add_variable(plc.node_id("Part"), name, value, datatype=part.nodeid)
    name = ua.QualifiedName("Parts", index)
    await objects.add_variable(plc.node_id("Parts"), name, [value, value], datatype=part.nodeid)
    name = ua.QualifiedName("Mode", index)
    await objects.add_variable(
        plc.node_id("Mode"), name, 1, varianttype=VT.Int32, datatype=mode.nodeid
    )


@pytest.mark.slow
async def test_a_servers_own_structures_and_enumerations_become_tags(plc, tmp_path):
    tags = [
        TagConfig(node=f"nsu={URI};s={n}", group="g", split=True) for n in ("Part", "Parts", "Mode")
    ]
    source = OpcUaSource(
        config(plc.endpoint, tags=tags), SystemClock(), Path(tmp_path) / "sessions"
    )
    port = Port()
    async with driven(source, port):
        await until(lambda: source.status().state == "up")
        assert source.status().troubles == []
        await until(lambda: port.count() == 6 + 12 + 1)
    specs = {spec.name: spec for spec in port.specs}
    assert [n for n in specs if n.startswith("Part/")] == [
        f"Part/{n}" for n in ("id", "at/x", "at/y", "note", "mode", "marks")
    ]
    assert (specs["Part/at/x"].data_type, specs["Part/mode"].data_type) == (
        DataType.FLOAT,
        DataType.INT32,
    )
    assert specs["Part/marks"].data_type == DataType.INT32_ARRAY
    assert specs["Part/mode"].description == "Part (0 = Off, 1 = Auto)"
    assert specs["Mode"].description == "Mode (0 = Off, 1 = Auto)"
    assert [port.values(f"Part/{n}") for n in ("id", "at/y", "note", "mode")] == [
        [7], [2.5], [None], [1],
    ]  # fmt: skip
    assert port.values("Part/marks") == [i32(10, 11)]
    assert port.values("Parts/1/at/x") == [1.5]
    assert specs["Parts/1/id"].address == f"nsu={URI};s=Parts#1/id"


@pytest.mark.slow
async def test_a_server_that_refuses_batches_is_asked_node_by_node(plc, monkeypatch):
    service = plc.server.iserver.attribute_service
    plain = service.read
    seen = []

    def read(parameters):
        seen.append(len(parameters.NodesToRead))
        if len(parameters.NodesToRead) > 3:
            raise ua.uaerrors.BadTooManyOperations
        if any(n.NodeId.Identifier == "hated" for n in parameters.NodesToRead):
            raise ua.uaerrors.BadInternalError
        return plain(parameters)

    wanted = config(plc.endpoint)
    async with opened(wanted) as session:
        monkeypatch.setattr(service, "read", read)
        requests = Requests(session)
        nodes = [plc.node_id(n) for n in ("Part", "Mode", "hated", "Parts", "nowhere", "Mode")]
        values = await requests.read(nodes, ua.AttributeIds.BrowseName)
        names = [v.Value.Value.Name if v.Value is not None and v.Value.Value else None
                 for v in values]  # fmt: skip
        assert names == ["Part", "Mode", None, "Parts", None, "Mode"]
        assert values[2].StatusCode.name == "BadInternalError"
        assert requests.refused_parts > 0
        monkeypatch.undo()
