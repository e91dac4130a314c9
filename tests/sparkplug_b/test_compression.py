"""Compressed payloads: bounded, refused when damaged, and as npm's sparkplug-client writes them."""

import base64
import json
import subprocess
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkplug_b import (
    COMPRESSED_UUID,
    BirthMetric,
    DataType,
    DecodeError,
    DeviceBirth,
    EdgeNodeSession,
    EdgeOptions,
    Limits,
    Metric,
    MetricValues,
    Payload,
    compressed,
    decode,
    decode_columns,
    encode,
)
from tests.sparkplug_b.strategies import PAYLOADS
from tests.sparkplug_b.test_host_bench import Bench, body

T = 1_790_000_000_000
FOLDER = Path(__file__).parent / "interop"
INNER = Payload(
    timestamp_ms=T,
    seq=7,
    metrics=tuple(
        Metric(name=f"m{n}", time_ms=T, data_type=DataType.INT32, value=n) for n in range(200)
    ),
)
READERS = {
    "objects": lambda data, **rest: decode(data, inflate=True, **rest),
    "columns": lambda data, **rest: decode_columns(data, inflate=True, **rest).payload(),
}


@pytest.fixture(params=READERS)
def read(request):
    return READERS[request.param]


@given(PAYLOADS.filter(lambda p: p.uuid != COMPRESSED_UUID), st.sampled_from(["DEFLATE", "GZIP"]))
@settings(max_examples=40, deadline=None)
def test_a_compressed_payload_comes_back_equal(payload, algorithm):
    outer = encode(compressed(encode(payload), algorithm=algorithm))
    assert decode(outer, inflate=True) == payload
    assert decode_columns(outer, inflate=True).payload() == payload


def test_without_being_asked_the_outer_payload_is_returned():
    outer = decode(encode(compressed(encode(INNER), timestamp_ms=T, seq=7)))
    assert (outer.uuid, outer.seq, outer.timestamp_ms) == (COMPRESSED_UUID, 7, T)
    assert [(m.name, m.value) for m in outer.metrics] == [("algorithm", "DEFLATE")]
    assert len(outer.body) < len(encode(INNER)) / 2


def test_what_the_inner_payload_lacks_is_taken_from_the_outer_one(read):
    inner = Payload(metrics=INNER.metrics)
    found = read(encode(compressed(encode(inner), timestamp_ms=T, seq=9)))
    assert (found.seq, found.timestamp_ms, found.uuid) == (9, T, None)
    assert read(encode(compressed(encode(INNER), timestamp_ms=1, seq=9))) == INNER


def outer_of(stream, algorithm=None):
    said = Metric(name="algorithm", data_type=DataType.STRING, value=algorithm)
    return encode(
        Payload(uuid=COMPRESSED_UUID, body=stream, metrics=() if algorithm is None else (said,))
    )


def test_deflate_is_meant_where_nothing_is_said_and_may_be_raw(read):
    packer = zlib.compressobj(wbits=-15)
    raw = packer.compress(encode(INNER)) + packer.flush()
    assert read(outer_of(zlib.compress(encode(INNER)))) == INNER
    assert read(outer_of(raw, "deflate")) == INNER


def cause_of(read, data, **limits):
    with pytest.raises(DecodeError) as caught:
        read(data, limits=Limits(**limits))
    return caught.value.cause


def test_a_bomb_is_refused_at_the_limit_of_a_payload(read):
    bomb = zlib.compress(zlib.compress(bytes(32 * 1024 * 1024), 9), 9)
    once = zlib.compress(bytes(32 * 1024 * 1024), 9)
    assert len(once) < 70_000
    data = outer_of(once)
    tracemalloc.start()
    try:
        assert cause_of(read, data) == "too_large"
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 12 * 1024 * 1024  # it is refused while it grows
    assert cause_of(read, outer_of(bomb)) in {"malformed", "too_large"}
    exact = len(encode(INNER))
    assert cause_of(read, outer_of(zlib.compress(encode(INNER))), payload_bytes_max=exact - 1) == (
        "too_large"
    )
    assert read(outer_of(zlib.compress(encode(INNER))), limits=Limits(payload_bytes_max=exact))


GOOD = zlib.compress(encode(INNER))


@pytest.mark.parametrize(
    "data",
    [
        outer_of(GOOD[:-5]),
        outer_of(GOOD[:10]),
        outer_of(b""),
        outer_of(GOOD + b"x"),
        outer_of(GOOD[:20] + bytes((GOOD[20] ^ 0xFF,)) + GOOD[21:]),
        outer_of(GOOD, "GZIP"),
        outer_of(GOOD, "BROTLI"),
        outer_of(zlib.compress(b"\xff\xff")),
        encode(
            Payload(
                uuid=COMPRESSED_UUID,
                body=GOOD,
                metrics=(Metric(name="algorithm", data_type=DataType.INT32, value=1),),
            )
        ),
    ],
)
def test_a_damaged_or_unknown_stream_is_malformed(read, data):
    assert cause_of(read, data) == "malformed"


def test_a_compressed_payload_in_a_compressed_payload_is_too_deep(read):
    assert cause_of(read, outer_of(zlib.compress(outer_of(GOOD)))) == "too_deep"


def edge(algorithm):
    found = EdgeNodeSession("G", "N", bd_seq=7, options=EdgeOptions(compression=algorithm))
    found.connected()
    return found


@pytest.mark.parametrize("algorithm", ["DEFLATE", "GZIP"])
def test_a_node_that_compresses_is_heard_by_a_host(algorithm):
    bench = Bench()
    bench.edge = edge(algorithm)
    many = [
        BirthMetric(name=f"m{n}", alias=n, data_type=DataType.INT32, value=n, time_ms=T)
        for n in range(1, 101)
    ]
    births = bench.births(DeviceBirth(metrics=many), ())
    assert decode(births[0].payload).uuid == COMPRESSED_UUID
    bench.give(*births)
    data = bench.edge.data(None, b"".join(body(n, 5) for n in range(1, 101)), T)
    assert decode(data.payload).uuid == COMPRESSED_UUID
    (values,) = bench.give(data)
    assert isinstance(values, MetricValues)
    assert set(values.values) == {5}
    small = bench.edge.data(None, body(1, 6), T)
    assert decode(small.payload).uuid is None  # it would only grow
    bench.give(small)
    assert bench.value("m1") == 6
    assert bench.host.take_drops() == []


def test_a_host_that_is_told_so_does_not_look_into_compressed_payloads():
    bench = Bench(is_inflated=False)
    bench.edge = edge("DEFLATE")
    many = [BirthMetric(name=f"m{n}", data_type=DataType.INT32, time_ms=T) for n in range(50)]
    bench.give(*bench.births(DeviceBirth(metrics=many), ()))
    assert [*bench.node.scope.metrics] == ["algorithm"]


def test_a_compressed_command_is_read():
    node = EdgeNodeSession("G", "N", bd_seq=0)
    node.connected()
    speed = BirthMetric(name="speed", data_type=DataType.INT32, value=1, time_ms=T)
    list(node.birth(DeviceBirth(metrics=[speed]), [], T))
    write = Metric(name="speed", data_type=DataType.INT32, value=2)
    ncmd = encode(compressed(encode(Payload(timestamp_ms=T, metrics=(write,)))))
    (command,) = node.on_command("spBv1.0/G/NCMD/N", ncmd, retained=False)
    assert command.value == 2


# --- against npm's sparkplug-client ------------------------------------------------------------


class Peer:
    """The npm client behind one JSON line per request (compress.mjs)."""

    def __init__(self, process):
        self._process = process

    def ask(self, **request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "ok" in answer, answer
        return base64.b64decode(answer["ok"])


@pytest.fixture(scope="module")
def peer():
    if not (FOLDER / "node_modules" / "sparkplug-client").is_dir():
        pytest.fail(f"{FOLDER}/node_modules is missing: run `make setup`", pytrace=False)
    with subprocess.Popen(
        ["node", "compress.mjs"],
        cwd=FOLDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        yield Peer(process)
        process.stdin.close()


@pytest.mark.parametrize("algorithm", [None, "DEFLATE", "GZIP"])
def test_what_the_npm_client_compresses_is_read(peer, read, algorithm):
    inner = base64.b64encode(encode(INNER)).decode()
    assert read(peer.ask(compress=inner, algorithm=algorithm)) == INNER


@pytest.mark.parametrize("algorithm", ["DEFLATE", "GZIP"])
def test_the_npm_client_reads_what_we_compress(peer, algorithm):
    outer = encode(compressed(encode(INNER), algorithm=algorithm, timestamp_ms=T, seq=7))
    assert peer.ask(inflate=base64.b64encode(outer).decode()) == encode(INNER)
