"""Writing to a machine: only what is listed, only what fits, once, and read back."""

import random

import anyio
import anyio.lowlevel
import pytest
from asyncua import ua

from contract.config import Scale, TagConfig
from contract.config_acting import ConditionsConfig, MethodConfig, WriteConfig
from gateway.errors import SourceError, WriteRefusedError
from gateway.flow.actions import UnknownError
from gateway.sinks.base import WriteCommand
from gateway.sources.opcua import write as write_module
from gateway.sources.opcua.outgoing import Target, unscaled, variant_of
from tests.gateway.sources.acting_plant import CALL, WRITE, ActingPlc, Rig, counted_services, node
from tests.gateway.sources.plc import DEADLINE_S

pytestmark = pytest.mark.slow  # asyncua builds its address space anew for each server


@pytest.fixture(scope="module")
async def plc():
    plc = ActingPlc()
    await plc.start()
    yield plc
    await plc.stop()


def tag(name, **rest):
    return TagConfig(node=node(name), group="g", name=name, **{"writable": True} | rest)


async def test_a_set_point_is_written_once_read_back_and_stands_in_the_audit(plc, tmp_path):
    names = ["Speed", "On", "Text", "Recipe", "Level", "Mode", "Since"]
    tags = [tag(name) for name in names]
    with counted_services() as counts:
        async with Rig(tmp_path, plc.endpoint, tags=tags).running() as rig:
            outcome, reason, message = await rig.write("Speed", 42.5)
            assert (outcome, reason) == ("written", "")
            assert message == "reads back 42.5"  # asyncua's server dates no write
            assert counts[WRITE] == 1
            for name, value, held in (
                ("On", True, True), ("Text", "ü", "ü"), ("Recipe", [4, 5, 6], [4, 5, 6]),
                ("Level", 0.1, pytest.approx(0.1)),
                ("Mode", 2, 2),
            ):  # fmt: skip
                assert (await rig.write(name, value))[:2] == ("written", ""), name
                assert await plc.value(name) == held
            assert (await rig.write("Since", "2026-01-31T08:30:00Z"))[:2] == ("written", "")
            assert str(await plc.value("Since")) == "2026-01-31 08:30:00+00:00"
            audited = await rig.desk.newest(10)
    assert [c.name for c in audited][::-1] == names
    assert {c.outcome for c in audited} == {"written"}
    assert audited[-1].message == message
    assert audited[-1].address == node("Speed")


@pytest.mark.parametrize(
    ("name", "value", "reason", "says"),
    [
        ("Speed", 100.5, "out_of_range", "the server names: 0 to 100"),
        ("Speed", "fast", "wrong_type", "a number is needed"),
        ("Speed", None, "wrong_type", "a number"),
        ("Count", 40_000, "wrong_type", "from -32768 to 32767"),
        ("Level", 1e39, "out_of_range", "does not fit Float"),
        ("Fixed", 2.0, "read_only", "reading only"),
        ("Mine", 2.0, "access_denied", "this login may not write"),
        ("Recipe", [1, 2, 3, 4], "wrong_shape", "at most 3"),
        ("Recipe", 1, "wrong_type", "a list is needed"),
        ("Mode", 3, "out_of_range", "0 Off, 1 Hand, 2 Auto"),
        ("Limited", 21.0, "out_of_range", "the document's limits: 10 to 20"),
    ],
)
async def test_what_does_not_fit_is_refused_with_the_reason_and_never_sent(
    rig, name, value, reason, says
):
    async with rig as running:
        with counted_services() as counts:
            outcome, why, message = await running.write(name, value)
            assert (outcome, why) == ("refused", reason)
            assert says in message
            assert counts[WRITE] == 0


@pytest.fixture
def rig(plc, tmp_path):
    names = ["Speed", "Count", "Level", "Fixed", "Mine", "Recipe", "Mode"]
    tags = [tag(name) for name in names]
    tags.append(
        TagConfig(
            node=node("Stubborn"), group="g", name="Limited", writable=True,
            write=WriteConfig(low=10, high=20),
        )
    )  # fmt: skip
    return Rig(tmp_path, plc.endpoint, tags=tags).running()


async def test_a_gateway_without_an_allow_list_never_writes_or_calls_whatever_it_is_asked(
    plc, tmp_path
):
    rng = random.Random(7)  # noqa: S311 - R32: it makes wishes, not secrets
    values = [0, -1, 1.5, True, None, "x", [1], {}, 2**70, float("inf"), b"\x00", "9" * 5000]
    names = ["Speed", "Count", "On", "Text", "Recipe", "nowhere", "", "Mixer.Mix"]
    tags = [tag(n, writable=False) for n in names[:5]]
    with counted_services() as counts:
        async with Rig(tmp_path, plc.endpoint, tags=tags).running() as rig:
            hands = rig.source.hands
            for _ in range(300):
                name, value = rng.choice(names), rng.choice(values)
                match rng.randrange(5):
                    case 0:
                        number = rng.choice([None, *range(5)])
                        wish = WriteCommand(
                            tag=number, device="line1", name=name, value=value, origin="fuzz"
                        )
                        assert not rig.desk.submit(wish)
                    case 1:
                        with pytest.raises((WriteRefusedError, SourceError)):
                            await rig.source.write(node(name), value)
                    case 2:
                        with pytest.raises(WriteRefusedError):
                            await hands.call_method(name, {"litres": value})
                    case 3:
                        with pytest.raises(WriteRefusedError):
                            await hands.acknowledge(node(name), b"\x01", "")
                    case _:
                        try:
                            action = await rig.actions.write("line1", name, None, value, "fuzz")
                        except UnknownError:
                            continue
                        assert action.command.outcome == "refused"
                        assert action.command.reason == "not_writable"
        assert counts[WRITE] == 0
        assert counts[CALL] == 0
        assert sum(counts.values()) > 5, "the server was asked for something"


async def test_a_value_that_reads_back_otherwise_is_told_so(plc, tmp_path):
    tags = [tag("Stubborn", write=WriteConfig(read_back_ms=100))]
    async with Rig(tmp_path, plc.endpoint, tags=tags).running() as rig:
        nodes = rig.source.hands._nodes
        real = nodes.session.services.write

        async def swallowed(_parameters):
            return [ua.StatusCode(0)]

        nodes.session.services.write = swallowed
        try:
            outcome, reason, message = await rig.write("Stubborn", 9.0)
        finally:
            nodes.session.services.write = real
        assert (outcome, reason) == ("written", "reads_back_other")
        assert message.startswith("written, reads back 1.0 at ")


async def test_what_the_server_answers_is_told_and_not_tried_again(plc, tmp_path, monkeypatch):
    async with Rig(tmp_path, plc.endpoint, tags=[tag("Fixed")]).running() as rig:
        real = write_module.held

        def permissive(value):
            told = real(value)
            return 3 if isinstance(told, int) and told == 1 else told

        monkeypatch.setattr(write_module, "held", permissive)  # the access level lies
        with counted_services() as counts:
            outcome, reason, message = await rig.write("Fixed", 2.0)
        assert (outcome, reason) == ("refused", "BadUserAccessDenied")
        assert message.startswith("this login may not write the node")
        assert counts[WRITE] == 1


async def test_a_scaled_tag_is_written_as_the_machine_counts(plc, tmp_path):
    tags = [tag("Tenths", scale=Scale(gain=0.1, offset=-1.0))]
    async with Rig(tmp_path, plc.endpoint, tags=tags).running() as rig:
        assert (await rig.write("Tenths", 2.3))[0] == "written"
        assert await plc.value("Tenths") == 33
        outcome, reason, message = await rig.write("Tenths", 2.34)
        assert (outcome, reason) == ("refused", "not_exact")
        assert "2.3 and 2.4" in message
        assert await plc.value("Tenths") == 33


async def test_without_a_session_a_write_fails_and_waits_for_nothing(plc, tmp_path):
    rig = Rig(tmp_path, plc.endpoint, tags=[tag("Speed")])
    with pytest.raises(SourceError, match="no session"):
        await rig.source.write(node("Speed"), 1.0)


# -- methods ---


METHODS = [
    MethodConfig(name="mix", object=node("Mixer"), method=node("Mixer.Mix")),
    MethodConfig(name="stop", object=node("Mixer"), method=node("Mixer.Stop")),
    MethodConfig(name="gone", object=node("Mixer"), method=node("Nowhere")),
]


async def test_a_listed_method_is_called_by_argument_names_and_audited(plc, tmp_path):
    with counted_services() as counts:
        async with Rig(
            tmp_path, plc.endpoint, tags=[tag("Speed")], methods=METHODS
        ).running() as rig:
            told = await rig.actions.describe("line1", "mix")
            assert [(a.name, a.type) for a in told.arguments] == [
                ("litres", "Double"), ("name", "String")
            ]  # fmt: skip
            assert [a.name for a in told.results] == ["doubled", "said"]
            action = await rig.actions.call("line1", "mix", {"name": "dye", "litres": 2}, "me")
            assert action.results == {"doubled": 4.0, "said": "mixed dye"}
            for arguments, says in (
                ({"litres": 2}, "missing: name"),
                ({"litres": 2, "name": "x", "more": 1}, "unknown: more"),
                ({"litres": "2", "name": "x"}, "argument litres: a number is needed"),
                ({"litres": [2.0], "name": "x"}, "argument litres: a single value is needed"),
            ):
                refused = (await rig.actions.call("line1", "mix", arguments, "me")).command
                assert refused.outcome == "refused"
                assert says in refused.message
            assert counts[CALL] == 1
            refused = (await rig.actions.call("line1", "stop", {}, "me")).command
            assert refused.reason == "BadInvalidState"
            refused = (await rig.actions.call("line1", "gone", {}, "me")).command
            assert refused.outcome == "refused"
            with pytest.raises(UnknownError, match="no method other"):
                await rig.actions.call("line1", "other", {}, "me")
            audited = await rig.desk.newest(20)
    assert audited[-1].name == "call mix"
    assert audited[-1].origin == "me"
    assert len(audited) == 7


async def test_actions_of_one_source_are_done_one_after_the_other(plc, tmp_path):
    running = most = 0

    async with Rig(
        tmp_path, plc.endpoint, tags=[tag("Speed")], methods=METHODS[:1]
    ).running() as rig:
        hands = rig.source.hands
        services = hands._nodes.session.services
        real = services.call

        async def slow(requests):
            nonlocal running, most
            running += 1
            most = max(most, running)
            await anyio.lowlevel.checkpoint()
            try:
                return await real(requests)
            finally:
                running -= 1

        services.call = slow
        with anyio.fail_after(DEADLINE_S):
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(hands.call_method, "mix", {"name": "x", "litres": 1})
        assert most == 1


async def test_acknowledging_needs_the_documents_consent(plc, tmp_path):
    async with Rig(tmp_path, plc.endpoint, tags=[tag("Speed")]).running() as rig:
        action = await rig.actions.acknowledge("line1", "ns=0;i=1", b"\x01", "seen", "me")
        assert (action.command.outcome, action.command.reason) == ("refused", "not_allowed")
    allowed = ConditionsConfig(acknowledge=True)
    async with Rig(
        tmp_path, plc.endpoint, tags=[tag("Speed")], conditions=allowed
    ).running() as rig:
        action = await rig.actions.acknowledge("line1", node("Mixer"), b"\x01", "seen", "me")
        assert action.command.outcome == "refused", "asyncua's server has no such condition"
        assert action.command.reason.startswith("Bad")


# -- values ---


def test_a_whole_number_behind_a_scale_is_found_exactly_or_refused():
    rng = random.Random(3)  # noqa: S311 - it makes values, not secrets
    for _ in range(2000):
        raw = rng.randrange(-(2**31), 2**31)
        gain = rng.choice([0.1, 0.01, 2.5, 1 / 3, -4.0, 1e-6, 0.7])
        offset = rng.choice([0.0, 1.0, -273.15, 0.1])
        assert unscaled(raw * gain + offset, gain, offset, to_integer=True) == raw
    with pytest.raises(WriteRefusedError, match="lies between"):
        unscaled(0.25, 0.1, 0.0, to_integer=True)


@pytest.mark.parametrize(
    ("type_id", "rank", "value"),
    [
        (1, -1, 1), (3, -1, 256), (3, -1, -1), (6, -1, 1.5), (9, -1, 2**64), (11, -1, float("nan")),
        (11, -1, 2**53 + 1), (11, -1, "1"), (11, -1, True), (12, -1, 5), (13, -1, "yesterday"),
        (13, -1, "2026-01-01T00:00:00"), (14, -1, "no"), (15, -1, "no base64!"), (17, -1, "i=1"),
        (22, -1, "x"), (6, -1, [1]), (6, 1, 1), (6, 2, [1]), (6, -1, None), (6, 1, [1, "2"]),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_a_type_or_shape_is_never_bent(type_id, rank, value):
    with pytest.raises(WriteRefusedError):
        variant_of(Target(type_id=type_id, rank=rank), value)


def test_an_enumeration_takes_its_own_values_only():
    target = Target(type_id=6, labels={0: "Off", 1: "On"})
    assert variant_of(target, 1).Value == 1
    with pytest.raises(WriteRefusedError, match="0 Off, 1 On"):
        variant_of(target, 2)
