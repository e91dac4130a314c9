"""PLC profiles: each value has its source, each server its profile, and a call gets no larger."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from contract.config import GroupConfig, TagConfig
from gateway.sources.opcua import profiles as profiles_module
from gateway.sources.opcua.limits import CallLimits
from gateway.sources.opcua.profiles import (
    IN_REPOSITORY,
    BuildInfo,
    Profile,
    ProfileLimits,
    chosen,
    detect,
    part_limits,
    profile_notes,
    profiles,
    with_profile,
)
from tests.gateway.sources.acting_plant import node
from tests.gateway.sources.plc import Plc, Port, driven, until
from tests.gateway.sources.test_source import source

ROOT = Path(profiles_module.__file__).parents[3]
FILES = sorted((ROOT / IN_REPOSITORY).glob("*.yaml"))
KINDS = {
    "asyncua", "b-and-r", "codesys", "kepware", "node-opcua", "open62541", "prosys", "s7-1200",
    "s7-1500", "twincat",
}  # fmt: skip


def test_every_kind_has_a_file_that_can_be_read():
    assert {profile.name for profile in profiles()} == KINDS
    assert {file.stem for file in FILES} == KINDS


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_value_stands_below_a_comment_that_says_where_it_is_from(file):
    block, comment, valued = "", "", 0
    whole_file = re.search(r"All values: measured here|Source of all numbers: ", file.read_text())
    for line in file.read_text().splitlines():
        if line.lstrip().startswith("#"):
            comment += line
        elif re.match(r"\w+:", line):
            block, comment = line.partition(":")[0], ""
        elif block in {"limits", "supports"}:
            assert comment, f"{line.strip()} has no comment"
            says = re.search(r"https?://|measured here|was re|accepted|answered|[A-Z]\w+:", comment)
            assert says, f"{line.strip()}: {comment}"
            assert "http" in comment or whole_file, f"{line.strip()} names no source"
            valued += 1
    profile = msgspec.yaml.decode(file.read_bytes(), type=Profile)
    known = [
        value
        for part in (profile.limits, profile.supports)
        for value in msgspec.structs.astuple(part)
        if value is not None
    ]
    assert valued == len(known)


def test_a_wheel_has_the_files_where_they_are_looked_for():
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    into = built["targets"]["wheel"]["force-include"][str(IN_REPOSITORY)]
    assert ROOT / into == Path(profiles_module.__file__).parent / profiles_module.FOLDER


@pytest.mark.parametrize(
    ("told", "name"),
    [
        (
            {"product_uri": "https://www.siemens.com/s7-1500", "manufacturer": "Siemens AG"},
            "s7-1500",
        ),
        ({"product": "SIMATIC S7-1200"}, "s7-1200"),
        ({"manufacturer": "Beckhoff Automation"}, "twincat"),
        ({"manufacturer": "Bernecker + Rainer Industrie-Elektronik"}, "b-and-r"),
        ({"product": "KEPServerEX V6"}, "kepware"),
        ({"product": "CODESYS Control", "manufacturer": "WAGO"}, "codesys"),
        ({"product_uri": "urn:prosysopc.com:OPCUA:SimulationServer"}, "prosys"),
        ({"product_uri": "urn:freeopcua.github.io:python:server"}, "asyncua"),
        ({"product_uri": "NodeOPCUA-Server", "product": "mine"}, "node-opcua"),
        ({"manufacturer": "open62541"}, "open62541"),
        ({"manufacturer": "Somebody Else"}, None),
        ({}, None),
    ],
)
def test_a_server_is_told_by_what_it_says_of_itself(told, name):
    found = detect(BuildInfo(**told))
    assert (found.name if found else None) == name


def test_the_document_has_the_last_word():
    build = BuildInfo(manufacturer="open62541")
    assert chosen(None, build).shown == "open62541 (detected)"
    assert chosen("none", build).profile is None
    assert chosen("codesys", build).shown == "codesys (configured)"
    unknown = chosen("s7-9000", build)
    assert unknown.profile is None
    (note,) = profile_notes(unknown, [], {})
    assert "s7-9000" in note
    assert "s7-1500" in note, "it names those that there are"


def test_a_profile_only_makes_calls_smaller():
    codesys = chosen("codesys", BuildInfo()).profile
    assert with_profile(CallLimits(), codesys) == CallLimits(
        nodes_per_read=100, nodes_per_register=100
    )
    assert part_limits(codesys) == {"read": 100, "browse": 100}
    assert part_limits(None) == {}
    small = CallLimits(nodes_per_read=7, nodes_per_history_read=3)
    assert with_profile(small, codesys).nodes_per_read == 7
    assert with_profile(small, None) is small


def test_what_is_asked_beyond_a_profile_is_noted():
    limits = ProfileLimits(
        sampling_interval_ms_min=5000, items_per_subscription_max=10, subscriptions_max=1
    )
    profile = Profile(name="x", title="X", match=["xxxx"], limits=limits)
    detected = profiles_module.Detected(profile=profile, shown="x (detected)")
    groups = [GroupConfig(name="a"), GroupConfig(name="b"), GroupConfig(name="c", mode="poll")]
    items, subscriptions = profile_notes(detected, groups, {"a": 11, "b": 10, "c": 99})
    assert "group a has 11 tags" in items
    assert subscriptions.startswith("X: 2 groups")


def test_a_damaged_file_is_left_out_and_the_others_stay(tmp_path, monkeypatch):
    (tmp_path / "good.yaml").write_bytes(FILES[0].read_bytes())
    (tmp_path / "bad.yaml").write_text("name: [")
    (tmp_path / "unknown.yaml").write_text("name: x\ntitle: X\nmatch: [xxxx]\nlimit: {}\n")
    monkeypatch.setattr(profiles_module, "_files", lambda: iter(tmp_path.iterdir()))
    assert len(profiles.__wrapped__()) == 1


@pytest.mark.slow
async def test_a_session_finds_its_servers_profile_and_shows_it(tmp_path):
    plc = Plc()
    await plc.start()
    await plc.variable("V", 1.0)
    tags = [TagConfig(node=node("V"), group="g")]
    as_codesys = source(tmp_path, plc.endpoint, tags=tags, profile="codesys")
    async with driven(as_codesys, Port()):
        await until(lambda: as_codesys.status().state == "up")
        assert as_codesys.status().profile == "codesys (configured)"
        assert as_codesys.hands._nodes._types._requests.limits["browse"] == 100
    driving = source(tmp_path, plc.endpoint, tags=tags)
    async with driven(driving, Port()):
        await until(lambda: driving.status().state == "up")
        status = driving.status()
    await plc.stop()
    assert status.profile == "asyncua (detected)"
    assert status.notices == [], "what the server revises is shown with its groups"
