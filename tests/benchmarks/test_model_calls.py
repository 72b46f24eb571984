"""All ways to call a model answer alike, or a trace is left out; and the table. Nothing is timed."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from benchmarks.harness.models import Workload, WrongAnswerError, encoder, example, linear
from benchmarks.harness.results import WIDTH
from benchmarks.model_calls import __main__ as benchmark
from benchmarks.model_calls.__main__ import main, parse
from benchmarks.model_calls.measures import Cost, measure
from benchmarks.model_calls.report import show, verdicts
from benchmarks.model_calls.sides import (
    BY_OPS,
    EAGER,
    OPTIMISED,
    OURS,
    TORCH,
    TRACED,
    TRACES,
    UNGUARDED,
    Side,
    batch_of,
    check,
    sides,
)
from pipeline.model.operator_functions import FUNCTIONS
from tests.benchmarks.conftest import UsageError

ALL = [EAGER, TORCH, UNGUARDED, BY_OPS, OURS, TRACED, OPTIMISED]
SMALL = encoder(layers=1, width=8, heads=2, feed_forward=8, vocabulary=10, length=4)


def cost(side: str, *rounds_us: float, rows: int = 1) -> Cost:
    return Cost("a model", side, rows, rounds_us, 0.25)


@pytest.mark.parametrize("workload", [example(), linear(4)], ids=["file", "module"])
def test_all_ways_answer_alike(workload: Workload) -> None:
    all_sides = sides(workload)
    assert [side.title for side in all_sides] == ALL
    for rows in (1, 2, 5):
        assert check(all_sides, batch_of(workload, rows)) == all_sides
    assert len(FUNCTIONS) > 30


def test_a_trace_with_a_size_written_into_it_is_left_out() -> None:
    costs = measure(SMALL, (3,), rounds=1, seconds=0.001)
    assert [each.side for each in costs] == ALL
    assert {each.side for each in costs if math.isnan(each.median_us)} == set(TRACES)


def test_a_wrong_answer_ends_it() -> None:
    first, *others = sides(linear(4))
    wrong = Side(OURS, lambda batch: first.forward(batch) + 1e-3, 0.0)
    with pytest.raises(WrongAnswerError, match="ours.* answers 2 rows otherwise"):
        check([first, *others, wrong], batch_of(linear(4), 2))


def test_goals() -> None:
    costs = [
        cost(UNGUARDED, 50.0, 52.0, 90.0),
        cost(OURS, 20.8),
        cost(TRACED, 26.0),
        cost(OURS, 99.0, rows=8),
    ]
    met = verdicts(costs, "a model")
    assert [verdict.value for verdict in met] == pytest.approx([0.4, 0.8])
    assert [verdict.met for verdict in met] == [True, True]
    slower = [costs[0], cost(OURS, 40.0), costs[2]]
    assert [verdict.met for verdict in verdicts(slower, "a model")] == [False, False]
    assert [verdict.met for verdict in verdicts(costs, "another")] == [None, None]


def test_the_table() -> None:
    text = io.StringIO()
    costs = [cost(OURS, 20.8), cost(OURS, 31.0, rows=64), cost(TRACED), cost(TRACED, rows=64)]
    show(Console(file=text, width=WIDTH), costs, "a model", "the machine")
    lines = [line.split() for line in text.getvalue().splitlines()]
    assert [*OURS.split(), "20.8", "31.0", "0.2"] in lines
    assert [*TRACED.split(), "none", "none", "0.2"] in lines
    assert text.getvalue().rstrip().endswith("the machine")


def test_the_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "example", lambda: replace(linear(3), title="first"))
    monkeypatch.setattr(benchmark, "encoder", lambda **_: SMALL)
    monkeypatch.setattr(benchmark, "mlp", lambda: linear(5))
    monkeypatch.setattr(benchmark, "SIZES", (1, 3))
    threads = torch.get_num_threads()
    try:
        assert main(["--rounds=1", "--seconds=0.001", f"--out={tmp_path}"]) in (0, 1)
    finally:
        torch.set_num_threads(threads)
    figures = json.loads((tmp_path / "model_calls.json").read_bytes())
    assert len(figures["costs"]) == 3 * 2 * len(ALL)
    assert [verdict["name"].startswith("first, 1 row: ours / ") for verdict in figures["verdicts"]] == [
        True
    ] * 2
    assert OURS in (tmp_path / "model_calls.txt").read_text()


@pytest.mark.parametrize("flag", ["--rounds=0", "--seconds=0", "--seconds=nan"])
def test_wrong_flags(flag: str, usage_error: UsageError) -> None:
    assert "--rounds at least 1, --seconds above 0" in usage_error(parse, flag)
