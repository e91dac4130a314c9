"""Rules about what stands inside one payload: metrics, properties, data sets, templates."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.sparkplug_conformance import tahu
from tests.sparkplug_conformance.report import Report

UTC_SLACK_MS = 60_000
OLDEST_MS = 1_262_304_000_000
"""2010: a stamp before it is not ms since 1970, or a clock that nobody set."""


@dataclass
class Scope:
    """What the last birth of a node or device said, and the last value in DATA by name.

    The birth's own value is not among them: the sample it shows may follow in DATA, for hosts that
    keep a history of DATA alone.
    """

    types: dict[str, int] = field(default_factory=dict)
    aliases: dict[int, str] = field(default_factory=dict)
    last: dict[str, object] = field(default_factory=dict)

    def name_of(self, metric: Any) -> str | None:
        if metric.HasField("name"):
            return metric.name if metric.name in self.types else None
        return self.aliases.get(metric.alias) if metric.HasField("alias") else None


class MetricsChecker:
    """Checks payloads against the schema and, for templates, against the node's definitions."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._definitions: dict[str, Any] = {}

    def check(self, kind: str, payload: Any, time_ms: int) -> None:
        """Check one payload of a node; `kind` is its message type."""
        judge = self._report.judge
        wrong = list(tahu.misfits(payload))
        judge("schema", not wrong, wrong)
        is_birth = kind.endswith("BIRTH")
        if kind == "NBIRTH":
            self._definitions = {
                m.name: m.template_value for m in payload.metrics if _is_definition(m)
            }
        for metric in payload.metrics:
            self._metric(metric, kind, time_ms)
            self._value(metric, metric.datatype, is_birth=is_birth)
            self._structures(metric, is_birth=is_birth, may_define=kind == "NBIRTH")
        live = [m.timestamp for m in payload.metrics if not m.is_historical]
        if len(live) > 1:
            held = all(a <= b for a, b in pairwise(live))
            judge("n_order" if kind.startswith("N") else "d_order", held, live[:20])

    def _metric(self, metric: Any, kind: str, time_ms: int) -> None:
        judge, is_birth = self._report.judge, kind.endswith("BIRTH")
        if is_birth:
            judge("datatype_birth", metric.HasField("datatype"), metric.name)
        else:
            judge("datatype_data", not metric.HasField("datatype"), metric.name or metric.alias)
        if metric.HasField("datatype"):
            judge("datatype_number", metric.datatype in tahu.METRIC_TYPES, metric.datatype)
        judge("metric_timestamp", metric.HasField("timestamp"), metric.name or metric.alias)
        if metric.HasField("timestamp"):
            sane = OLDEST_MS <= metric.timestamp <= time_ms + UTC_SLACK_MS
            judge("metric_utc", sane, metric.timestamp)
        if is_birth:
            rule = f"{kind.lower()}_metrics"
            has_value = metric.WhichOneof("value") is not None
            whole = bool(metric.name) and metric.HasField("datatype")
            judge(rule, whole and (has_value or metric.is_null), metric.name)
            judge(f"{kind.lower()}_values", has_value != metric.is_null, metric.name)

    def _value(self, metric: Any, datatype: int, *, is_birth: bool) -> None:
        held = metric.WhichOneof("value")
        if held is not None and is_birth:
            fits = held in tahu.FIELDS.get(datatype, ())
            self._report.judge("value_field", fits, f"{metric.name}: {datatype} in {held}")

    def _structures(self, metric: Any, *, is_birth: bool, may_define: bool) -> None:
        if metric.HasField("properties"):
            self._properties(metric.properties, is_birth=is_birth)
        if metric.HasField("dataset_value"):
            self._dataset(metric.dataset_value)
        if metric.HasField("template_value"):
            self._template(metric, is_birth=is_birth, may_define=may_define)

    def _properties(self, found: Any, *, is_birth: bool) -> None:
        judge = self._report.judge
        judge("property_sizes", len(found.keys) == len(found.values), list(found.keys))
        for key, value in zip(found.keys, found.values, strict=False):
            if is_birth:
                judge("property_type_birth", value.HasField("type"), key)
            if value.HasField("type"):
                judge("property_type", value.type in tahu.PROPERTY_TYPES, f"{key}: {value.type}")
            if key == "Quality":
                judge("quality_type", value.type == tahu.INT32, value.type)
                is_known = value.HasField("int_value") and value.int_value in {0, 192, 500}
                judge("quality_value", is_known, value)
            if value.HasField("propertyset_value"):
                self._properties(value.propertyset_value, is_birth=is_birth)
            for one in value.propertysets_value.propertyset:
                self._properties(one, is_birth=is_birth)

    def _dataset(self, found: Any) -> None:
        judge, width = self._report.judge, found.num_of_columns
        widths = {width, len(found.columns), *(len(row.elements) for row in found.rows)}
        judge("dataset_columns", len(widths) == 1, widths)
        judge("dataset_types", len(found.types) == len(found.columns), list(found.types))
        for number in found.types:
            judge("dataset_type_number", number in tahu.BASIC_TYPES, number)
        for row in found.rows:
            for number, cell in zip(found.types, row.elements, strict=False):
                held = cell.WhichOneof("value")
                judge("dataset_value", held in tahu.FIELDS.get(number, ()), held)

    # --- templates

    def _template(self, metric: Any, *, is_birth: bool, may_define: bool) -> None:
        judge, template = self._report.judge, metric.template_value
        judge("template_flag", template.HasField("is_definition"), metric.name)
        if template.HasField("version"):
            judge("template_version", isinstance(template.version, str), metric.name)
        is_instance = template.HasField("template_ref")
        if is_instance and metric.name not in self._definitions:
            judge("template_instance_flag", not template.is_definition, metric.name)
            self._instance(template, is_birth=is_birth)
        else:
            judge("template_definition_place", may_define, metric.name)
            judge("template_definition_flag", template.is_definition, metric.name)
            judge("template_definition_ref", not is_instance, metric.name)
        self._parameters(template, is_definition=not is_instance)
        for member in template.metrics:
            if member.datatype != tahu.TEMPLATE:
                self._value(member, member.datatype, is_birth=is_birth)
            self._structures(member, is_birth=is_birth, may_define=False)

    def _instance(self, template: Any, *, is_birth: bool) -> None:
        judge = self._report.judge
        definition = self._definitions.get(template.template_ref)
        judge("template_instance_ref", definition is not None, template.template_ref)
        if definition is None:
            return
        known = {m.name for m in definition.metrics}
        mine = {m.name for m in template.metrics}
        judge("template_members", mine <= known, mine - known)
        if is_birth:
            judge("template_members_birth", mine >= known, known - mine)
        allowed = {p.name for p in definition.parameters}
        given = {p.name for p in template.parameters}
        judge("template_parameters", given <= allowed, given - allowed)

    def _parameters(self, template: Any, *, is_definition: bool) -> None:
        judge = self._report.judge
        for parameter in template.parameters:
            judge("parameter_name", bool(parameter.name), parameter)
            if is_definition:
                judge("parameter_type_birth", parameter.HasField("type"), parameter.name)
            if parameter.HasField("type"):
                judge("parameter_type", parameter.type in tahu.BASIC_TYPES, parameter.type)
            held = parameter.WhichOneof("value")
            if held is not None:
                fits = held in tahu.FIELDS.get(parameter.type, ())
                judge("parameter_value", fits, f"{parameter.name}: {parameter.type} in {held}")


def _is_definition(metric: Any) -> bool:
    return metric.HasField("template_value") and metric.template_value.is_definition
