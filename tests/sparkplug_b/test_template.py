"""Templates in births: what the specification asks of definitions and instances."""

import msgspec
import pytest

from sparkplug_b import (
    BirthMetric,
    DataType,
    DeviceBirth,
    EdgeNodeSession,
    EncodeError,
    Metric,
    Parameter,
    Template,
    decode,
)

T = 1_790_000_000_000


def member(name, value=None, data_type=DataType.INT32):
    return Metric(name=name, time_ms=T, data_type=data_type, value=value, is_null=value is None)


MOTOR = Template(
    is_definition=True,
    version="1",
    metrics=(member("speed"), member("torque")),
    parameters=(Parameter(name="poles", data_type=DataType.INT32, value=4),),
)
PUMP = Template(
    is_definition=True,
    metrics=(
        member("flow"),
        member("motor", Template(is_definition=False, template_ref="Motor"), DataType.TEMPLATE),
    ),
)
ONE_MOTOR = Template(
    is_definition=False,
    template_ref="Motor",
    metrics=(member("speed", 70), member("torque", 3)),
    parameters=(Parameter(name="poles", data_type=DataType.INT32, value=6),),
)
ONE_PUMP = Template(
    is_definition=False,
    template_ref="Pump",
    metrics=(member("flow", 5), member("motor", ONE_MOTOR, DataType.TEMPLATE)),
)


def birth_metric(name, value):
    return BirthMetric(name=name, data_type=DataType.TEMPLATE, value=value, time_ms=T)


def device(**values):
    metrics = [birth_metric(name, value) for name, value in values.items()]
    return DeviceBirth(device_id="D", metrics=metrics)


NODE = DeviceBirth(metrics=[birth_metric("Motor", MOTOR), birth_metric("Pump", PUMP)])


def born(node=NODE, devices=()):
    session = EdgeNodeSession("G", "N", bd_seq=0)
    session.connected()
    return session, list(session.birth(node, devices, T))


def fault_of(node=NODE, devices=()):
    with pytest.raises(EncodeError) as caught:
        born(node, devices)
    return str(caught.value)


def test_definitions_and_nested_instances_are_born_with_is_definition_written():
    _, (nbirth, dbirth) = born(devices=[device(motor=ONE_MOTOR, pump=ONE_PUMP)])
    definitions = {m.name: m.value for m in decode(nbirth.payload).metrics}
    assert (definitions["Motor"], definitions["Pump"]) == (MOTOR, PUMP)
    values = [m.value for m in decode(dbirth.payload).metrics]
    assert values == [ONE_MOTOR, ONE_PUMP]
    assert dbirth.payload.count(b"\x28\x00") == 3  # is_definition false, explicitly, at all levels


def changed(template, **rest):
    return msgspec.structs.replace(template, **rest)


INSTANCES = {
    "a name no definition has": (
        changed(ONE_MOTOR, template_ref="Engine"),
        "d: the NBIRTH defines no template 'Engine'; add the definition",
    ),
    "one member too many": (
        changed(ONE_MOTOR, metrics=(*ONE_MOTOR.metrics, member("heat", 1))),
        "d/heat: template 'Motor' has no such member",
    ),
    "one member missing": (
        changed(ONE_MOTOR, metrics=ONE_MOTOR.metrics[:1]),
        "d: in a birth an instance has all members; add ['torque']",
    ),
    "a member twice": (
        changed(ONE_MOTOR, metrics=(*ONE_MOTOR.metrics, ONE_MOTOR.metrics[0])),
        "d/speed: a member stands twice",
    ),
    "a member of another type": (
        changed(ONE_MOTOR, metrics=(member("speed", 1.5, DataType.DOUBLE), member("torque", 1))),
        "d/speed: DOUBLE for a member defined as INT32",
    ),
    "a parameter no definition has": (
        changed(ONE_MOTOR, parameters=(Parameter(name="x", data_type=DataType.INT32, value=1),)),
        "d/x: template 'Motor' has no such parameter of this type",
    ),
    "a definition outside the NBIRTH": (
        MOTOR,
        "d: a template definition stands in the NBIRTH only",
    ),
    "a fault two levels down": (
        changed(
            ONE_PUMP,
            metrics=(
                member("flow", 1),
                member("motor", changed(ONE_MOTOR, metrics=()), DataType.TEMPLATE),
            ),
        ),
        "d/motor: in a birth an instance has all members; add ['speed', 'torque']",
    ),
    "an instance of another template than defined": (
        changed(
            ONE_PUMP, metrics=(member("flow", 1), member("motor", ONE_PUMP, DataType.TEMPLATE))
        ),
        "d/motor: an instance of 'Pump' where 'Motor' is defined",
    ),
}


@pytest.mark.parametrize("case", INSTANCES)
def test_an_instance_that_does_not_keep_to_its_definition_is_refused(case):
    instance, fault = INSTANCES[case]
    assert fault_of(devices=[device(d=instance)]).startswith(fault)
    session, _ = born()
    with pytest.raises(EncodeError) as caught:  # a device that comes later just so
        session.device_birth(device(d=instance), T)
    assert str(caught.value).startswith(fault)
    assert session.seq == 1


def test_a_node_may_have_instances_too_and_they_keep_to_the_same_rules():
    node = DeviceBirth(metrics=[*NODE.metrics, birth_metric("mine", ONE_MOTOR)])
    assert len(born(node)[1]) == 1
    bad = DeviceBirth(
        metrics=[*NODE.metrics, birth_metric("mine", INSTANCES["one member missing"][0])]
    )
    assert fault_of(bad).startswith("mine: in a birth")


DEFINITIONS = {
    "a member without a name": (
        changed(MOTOR, metrics=(member(""),)),
        "Motor/: a member needs a name",
    ),
    "a member twice": (
        changed(MOTOR, metrics=(member("a"),) * 2),
        "Motor/a: a member needs a name",
    ),
    "a member without a type": (
        changed(MOTOR, metrics=(member("a", data_type=None),)),
        "Motor/a: a member needs a data type",
    ),
    "a definition inside": (
        changed(MOTOR, metrics=(member("a", MOTOR, DataType.TEMPLATE),)),
        "Motor/a: a definition in a definition",
    ),
    "an unknown template inside": (
        changed(
            PUMP, metrics=(member("a", changed(ONE_MOTOR, template_ref="X"), DataType.TEMPLATE),)
        ),
        "Motor/a: the NBIRTH defines no template 'X'",
    ),
    "a parameter without a name": (
        changed(MOTOR, parameters=(Parameter(name="", data_type=DataType.INT8),)),
        "Motor/: a parameter needs a name",
    ),
    "a parameter of no basic type": (
        changed(MOTOR, parameters=(Parameter(name="p", data_type=DataType.BYTES),)),
        "Motor/p: a parameter needs a basic data type",
    ),
    "a template_ref": (
        changed(MOTOR, template_ref="Motor"),
        "Motor: a definition has no template_ref",
    ),
}


@pytest.mark.parametrize("case", DEFINITIONS)
def test_a_definition_that_is_none_is_refused(case):
    definition, fault = DEFINITIONS[case]
    node = DeviceBirth(metrics=[birth_metric("Motor", definition)])
    assert fault_of(node).startswith(fault)


def test_a_template_that_contains_itself_does_not_end_the_process():
    endless = Template(
        is_definition=True,
        metrics=(member("a", Template(is_definition=False, template_ref="E"), DataType.TEMPLATE),),
    )
    instance = Template(is_definition=False, template_ref="E")
    for _ in range(40):
        instance = Template(
            is_definition=False,
            template_ref="E",
            metrics=(member("a", instance, DataType.TEMPLATE),),
        )
    node = DeviceBirth(metrics=[birth_metric("E", endless)])
    assert "nested deeper than 32" in fault_of(node, [device(d=instance)])


def test_a_null_instance_says_nothing_and_is_let_pass():
    assert len(born(devices=[device(d=None)])[1]) == 2
