"""The codec's benchmark measures what its budgets name."""

import tomllib

import anyio

from bench.codec import CodecLoad, run_codec
from bench.results import BUDGETS


def test_every_budget_of_the_codec_is_measured(tmp_path):
    load = CodecLoad(metrics=100, payloads=2, birth_metrics=30)
    figures = anyio.run(run_codec, load, tmp_path)
    assert (figures["metrics"], figures["birth_metrics"]) == (100, 30)
    tables = tomllib.loads(BUDGETS.read_text())["codec"]
    limited = {key[:-4] for table in tables for key in table if key.endswith(("_max", "_min"))}
    assert limited <= figures.keys()
    assert all(figures[name] > 0 for name in limited)
