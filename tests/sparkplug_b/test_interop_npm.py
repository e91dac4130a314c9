"""Both ways against an independent codec: the npm package sparkplug-payload 1.0.3 (Tahu).

What it cannot do, and is therefore not compared (its own code, not the format):
- arrays (22 to 34): it knows no such types and writes no value;
- DATA without datatype: it reads the value as null (alias and timestamp are compared);
- reading DataSet cells and template parameters of types other than Int64, UInt32, Float, Double,
  Boolean and String, and null cells: it throws (those it writes are compared one way);
- a parameter without a default: it throws on reading; a negative Int64 cell: it reads it unsigned;
- an absent template version or template_ref: it reads an empty text;
- UInt32 above 2**31 - 1 when reading: it returns the number minus 2**32.
"""

import base64
import json
import math
import subprocess
from pathlib import Path

import numpy as np
import pytest

from sparkplug_b import (
    DataSet,
    DataType,
    MetricColumn,
    Payload,
    PropertySet,
    PropertySetList,
    Template,
    data_payload,
    decode,
    encode,
    encode_metrics,
)
from tests.sparkplug_b.interop_cases import (
    CASES,
    LONGS,
    NPM_NAME,
    WRITTEN_ONLY,
    T,
    metric_of,
    payload_of,
)

FOLDER = Path(__file__).parent / "interop"


class Peer:
    """The npm package behind one JSON line per request (interop.mjs)."""

    def __init__(self, process):
        self._process = process

    def _ask(self, request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "ok" in answer, answer
        return answer["ok"]

    def encode(self, payload):
        return base64.b64decode(self._ask({"encode": payload}))

    def decode(self, data):
        return self._ask({"decode": base64.b64encode(data).decode()})


@pytest.fixture(scope="module")
def peer():
    if not (FOLDER / "node_modules" / "sparkplug-payload").is_dir():
        pytest.fail(f"{FOLDER}/node_modules is missing: run `make setup`", pytrace=False)
    with subprocess.Popen(
        ["node", "interop.mjs"],
        cwd=FOLDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        yield Peer(process)
        process.stdin.close()
        assert process.wait(10) == 0


# --- our data as the npm package has it ---------------------------------------------------------


def long(value):
    return None if value is None else {"$long": str(value)}


def theirs(data_type, value):
    if isinstance(value, DataSet | Template | PropertySet | PropertySetList):
        return THEIR_FORM[type(value)](value)
    if value is not None and data_type in LONGS:
        return long(value)
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": "Infinity" if value > 0 else "-Infinity"}
    return value


def their_dataset(value):
    rows = [[theirs(t, v) for t, v in zip(value.types, row, strict=True)] for row in value.rows]
    return {
        "numOfColumns": long(len(value.columns)),
        "types": [NPM_NAME[t] for t in value.types],
        "columns": list(value.columns),
        "rows": rows,
    }


def their_template(value):
    return {
        "version": value.version,
        "templateRef": value.template_ref,
        "isDefinition": value.is_definition,
        "metrics": [their_metric(member) for member in value.metrics],
        "parameters": [
            {"name": p.name, "type": NPM_NAME[p.data_type], "value": theirs(p.data_type, p.value)}
            for p in value.parameters
        ],
    }


def their_properties(value):
    return {
        key: {"type": NPM_NAME[p.data_type], "value": theirs(p.data_type, p.value)}
        for key, p in value.entries.items()
    }


THEIR_FORM = {
    DataSet: their_dataset,
    Template: their_template,
    PropertySet: their_properties,
    PropertySetList: lambda value: [their_properties(one) for one in value.sets],
}


def present(**fields):
    return {name: value for name, value in fields.items() if value is not None}


def as_they_read(found):
    """Their reading gives an absent version or template_ref as an empty text."""
    if isinstance(found, list):
        return [as_they_read(one) for one in found]
    if not isinstance(found, dict):
        return found
    texts = {"version", "templateRef"}
    return {k: "" if k in texts and v is None else as_they_read(v) for k, v in found.items()}


def their_metric(metric):
    metadata = metric.metadata
    found = present(
        name=metric.name,
        alias=long(metric.alias),
        timestamp=long(metric.time_ms),
        type=NPM_NAME[metric.data_type],
        isHistorical=metric.is_historical or None,
        isTransient=metric.is_transient or None,
        metadata=metadata
        and present(
            isMultiPart=metadata.is_multi_part,
            contentType=metadata.content_type,
            size=long(metadata.size),
            seq=long(metadata.seq),
            fileName=metadata.file_name,
            fileType=metadata.file_type,
            md5=metadata.md5,
            description=metadata.description,
        ),
        properties=metric.properties and theirs(None, metric.properties),
    )
    return found | {"value": theirs(metric.data_type, metric.value)}


def their_payload(payload):
    return present(
        timestamp=long(payload.timestamp_ms),
        seq=long(payload.seq),
        uuid=payload.uuid,
        body=None if payload.body is None else theirs(None, payload.body),
        metrics=[their_metric(metric) for metric in payload.metrics],
    )


def case_id(metric):
    return f"{metric.data_type.name}-{str(metric.value)[:20]!r}"


@pytest.mark.parametrize("metric", CASES, ids=case_id)
def test_our_bytes_read_equal_in_the_npm_package(peer, metric):
    payload = payload_of(metric)
    assert peer.decode(encode(payload)) == as_they_read(their_payload(payload))


@pytest.mark.parametrize("metric", CASES + WRITTEN_ONLY, ids=case_id)
def test_the_npm_package_s_bytes_read_equal_here(peer, metric):
    payload = payload_of(metric)
    assert decode(peer.encode(their_payload(payload))) == payload


def test_a_whole_payload_passes_both_ways(peer):
    payload = Payload(timestamp_ms=0, seq=255, uuid="u", body=b"\x00b", metrics=tuple(CASES))
    assert peer.decode(encode(payload)) == as_they_read(their_payload(payload))
    assert decode(peer.encode(their_payload(payload))) == payload


def test_nan_passes_both_ways(peer):
    data = encode(payload_of(metric_of(DataType.DOUBLE, math.nan)))
    found = peer.decode(data)
    assert found["metrics"][0]["value"] == {"$float": "NaN"}
    assert math.isnan(decode(peer.encode(found)).metrics[0].value)


def test_the_fast_encoder_s_rows_are_read_in_order(peer):
    count = 300
    column = MetricColumn(
        DataType.DOUBLE,
        np.arange(count, dtype=np.uint64),
        np.arange(T, T + count, dtype=np.int64),
        np.linspace(-1, 1, count),
        np.where(np.arange(count) % 7 == 0, 500, 192).astype(np.int32),
        np.arange(count) % 11 == 0,
    )
    body = encode_metrics(column, is_historical=True).body
    found = peer.decode(data_payload(body, timestamp_ms=T, seq=0))
    assert (found["timestamp"], found["seq"]) == (long(T), long(0))
    quality = {"Quality": {"type": "Int32", "value": 500}}
    for i, metric in enumerate(found["metrics"]):
        assert (metric["alias"], metric["timestamp"]) == (long(i), long(T + i))
        assert metric["isHistorical"]
        assert metric.get("properties") == (quality if i % 7 == 0 else None)
    assert len(found["metrics"]) == count
