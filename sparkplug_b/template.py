"""Templates in births: definitions in the NBIRTH, instances that keep to them.

Pure rules, checked before anything is sent. Source: Sparkplug 3.0, 6.4.14 and 6.4.15; the ids stand
with each function.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sparkplug_b.birth import BirthMetric, DeviceBirth
from sparkplug_b.datatype import BASIC_TYPES, DataType
from sparkplug_b.encoder import ENCODE_DEPTH_MAX
from sparkplug_b.errors import EncodeError
from sparkplug_b.payload import Metric, Template

#: Template definitions of an NBIRTH by the name of their metric.
Definitions = Mapping[str, Template]


def check_templates(node: DeviceBirth, devices: Sequence[DeviceBirth]) -> Definitions:
    """Check all templates of a birth sequence; return its definitions.

    Source: Sparkplug 3.0, tck-id-topics-nbirth-templates,
    tck-id-payloads-template-definition-nbirth, -definition-is-definition, -definition-members,
    -definition-parameters.

    Raises:
        EncodeError: sparkplug.encode, with the metric in `field`.
    """
    definitions = {
        metric.name: template for metric, template in _templates(node) if template.is_definition
    }
    for name, definition in definitions.items():
        _check_definition(definition, definitions, name)
    for metric, template in _templates(node):
        if not template.is_definition:
            _check_instance(template, definitions, metric.name, 0)
    for device in devices:
        check_device_templates(device, definitions)
    return definitions


def check_device_templates(device: DeviceBirth, definitions: Definitions) -> None:
    """Check the templates of a DBIRTH against the definitions of the NBIRTH.

    Source: Sparkplug 3.0, tck-id-payloads-template-definition-nbirth-only, -definition-nbirth.

    Raises:
        EncodeError: sparkplug.encode, with the metric in `field`.
    """
    for metric, template in _templates(device):
        if template.is_definition:
            raise EncodeError("a template definition stands in the NBIRTH only", field=metric.name)
        _check_instance(template, definitions, metric.name, 0)


def _templates(birth: DeviceBirth) -> Iterator[tuple[BirthMetric, Template]]:
    for metric in birth.metrics:
        if metric.data_type is DataType.TEMPLATE and isinstance(metric.value, Template):
            yield metric, metric.value


def _check_definition(definition: Template, definitions: Definitions, path: str) -> None:
    """Check a definition: tck-id-payloads-template-definition-ref, -ref-definition,
    -parameter-name-required, -parameter-type-req, -parameter-type-value.
    """  # noqa: D205 -- a list of ids
    if definition.template_ref is not None:
        raise EncodeError("a definition has no template_ref", field=path)
    names: set[str] = set()
    for member in definition.metrics:
        name, field = member.name, f"{path}/{member.name}"
        if not name or name in names:
            raise EncodeError("a member needs a name of its own", field=field)
        names.add(name)
        if not member.data_type:
            raise EncodeError("a member needs a data type", field=field)
        inner = member.value
        if isinstance(inner, Template):
            if inner.is_definition:
                raise EncodeError(
                    "a definition in a definition; give it a metric of its own", field=field
                )
            _definition_of(inner, definitions, field)
    parameters: set[str] = set()
    for parameter in definition.parameters:
        field = f"{path}/{parameter.name}"
        if not parameter.name or parameter.name in parameters:
            raise EncodeError("a parameter needs a name of its own", field=field)
        parameters.add(parameter.name)
        if parameter.data_type not in BASIC_TYPES:
            raise EncodeError("a parameter needs a basic data type", field=field)


def _definition_of(instance: Template, definitions: Definitions, path: str) -> Template:
    """Find the definition: tck-id-payloads-template-instance-ref, -ref-instance."""
    found = definitions.get(instance.template_ref or "")
    if found is None:
        raise EncodeError(
            f"the NBIRTH defines no template {instance.template_ref!r}; add the definition",
            field=path,
        )
    return found


def _check_instance(instance: Template, definitions: Definitions, path: str, depth: int) -> None:
    """Check an instance: tck-id-payloads-template-instance-members, -instance-members-birth,
    -instance-is-definition, -instance-parameters, -definition-parameters.
    """  # noqa: D205 -- a list of ids
    if depth > ENCODE_DEPTH_MAX:
        raise EncodeError(f"nested deeper than {ENCODE_DEPTH_MAX}", field=path)
    definition = _definition_of(instance, definitions, path)
    defined = {member.name: member for member in definition.metrics}
    said: set[str | None] = set()
    for member in instance.metrics:
        field = f"{path}/{member.name}"
        model = defined.get(member.name)
        if model is None:
            raise EncodeError(f"template {instance.template_ref!r} has no such member", field=field)
        if member.name in said:
            raise EncodeError("a member stands twice", field=field)
        said.add(member.name)
        _check_member(member, model, definitions, field, depth)
    missing = sorted(str(name) for name in defined.keys() - said)
    if missing:
        raise EncodeError(f"in a birth an instance has all members; add {missing}", field=path)
    parameters = {parameter.name: parameter.data_type for parameter in definition.parameters}
    for parameter in instance.parameters:
        if parameters.get(parameter.name) is not parameter.data_type:
            raise EncodeError(
                f"template {instance.template_ref!r} has no such parameter of this type",
                field=f"{path}/{parameter.name}",
            )


def _check_member(
    member: Metric, model: Metric, definitions: Definitions, path: str, depth: int
) -> None:
    if member.data_type is not model.data_type:
        said = "no data type" if member.data_type is None else member.data_type.name
        wanted = "none" if model.data_type is None else model.data_type.name
        raise EncodeError(f"{said} for a member defined as {wanted}", field=path)
    inner = member.value
    if isinstance(inner, Template):
        if inner.is_definition:
            raise EncodeError("a definition in an instance", field=path)
        wanted_ref = model.value.template_ref if isinstance(model.value, Template) else None
        if wanted_ref is not None and inner.template_ref != wanted_ref:
            raise EncodeError(
                f"an instance of {inner.template_ref!r} where {wanted_ref!r} is defined", field=path
            )
        _check_instance(inner, definitions, path, depth + 1)
