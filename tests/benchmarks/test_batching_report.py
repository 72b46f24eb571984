"""The verdicts, the table and the figures of the batching benchmark."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import orjson
from rich.console import Console

from benchmarks.batching import report
from benchmarks.batching.measures import Run
from benchmarks.batching.report import CPU_GOALS, GPU_GOALS, Measured, Row, rows, verdicts
from benchmarks.harness import results
from benchmarks.harness.machine import Machine
from benchmarks.harness.request_sides import OURS, STOCK

CPU = Machine("cpu", torch_threads=1)


def run(
    title: str, threads: int, rate: float, p99_ms: float = 10.0, bundle: int = 1, batch: float = 1.0
) -> Run:
    return Run(title, threads, bundle, rate, p99_ms / 2, p99_ms, batch)


ON_CPU = Measured(
    "a model",
    10.0,
    [
        run(STOCK, 1, 100.0),
        run(OURS, 1, 86.0),
        run(STOCK, 12, 200.0, 60.0),
        run(OURS, 12, 50.0, 1.0, batch=11.0),
        run(STOCK, 12, 100.0, 50.0),
        run(OURS, 12, 300.0, 20.0, batch=12.0),
        run(STOCK, 12, 900.0, 100.0),
        run(OURS, 12, 310.0, 900.0, batch=12.0),
        run(STOCK, 48, 200.0),
        run(OURS, 48, 600.0),
    ],
)
ON_GPU = Measured(
    "an encoder",
    10.0,
    [
        run(STOCK, 12, 100.0),
        run(OURS, 12, 100.0),
        run(STOCK, 48, 100.0),
        run(OURS, 48, 490.0),
        run(STOCK, 48, 150.0, bundle=4),
        run(OURS, 48, 800.0, bundle=4),
    ],
    {1: 100.0, 256: 1000.0, 512: 990.0},
)


def test_rows_are_medians_of_rounds() -> None:
    found = rows(ON_CPU.runs)
    assert [(row.threads, row.title) for row in found] == [
        (threads, title) for threads in (1, 12, 48) for title in (STOCK, OURS)
    ]
    assert found[3] == Row(OURS, 12, 1, 300.0, 50.0, 310.0, 10.0, 20.0, 12.0)


def test_verdicts_on_the_cpu() -> None:
    found = {verdict.name: (round(verdict.value, 4), verdict.met) for verdict in verdicts(ON_CPU, CPU_GOALS)}
    assert found == {
        "rate, 1 thread, bundles of 1, ours / stock": (0.86, False),
        "rate, 12 threads, bundles of 1, ours / stock": (1.5, True),
        "p99, 12 threads, bundles of 1, ours / stock": (0.3333, True),
        "rate, 48 threads, bundles of 1, ours / stock": (3.0, True),
    }


def test_verdicts_on_a_gpu() -> None:
    found = {verdict.name: (round(verdict.value, 4), verdict.met) for verdict in verdicts(ON_GPU, GPU_GOALS)}
    assert found == {
        "rate, 48 threads, bundles of 1, ours / stock": (4.9, False),
        "rate, 48 threads, bundles of 1, ours / best plain passes": (0.49, False),
        "rate, 48 threads, bundles of 4, ours / stock": (5.3333, True),
        "rate, 48 threads, bundles of 4, ours / best plain passes": (0.8, True),
    }
    assert len(verdicts(replace(ON_GPU, plain={}), GPU_GOALS)) == 2


def shown(measured: Measured, goals: report.Goals) -> str:
    console = Console(file=io.StringIO(), width=results.WIDTH)
    report.show(console, measured, goals, CPU)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_fits_and_says_how_it_stands() -> None:
    text = shown(ON_CPU, CPU_GOALS)
    assert max(map(len, text.splitlines())) <= results.WIDTH
    assert re.search(r"stock +1 +12 +200 +100 +900 +30\.0 +60\.0 +1\.0 +1\.00 +1\.00", text)
    assert re.search(r"ours +1 +12 +300 +50 +310 +10\.0 +20\.0 +12\.0 +1\.50 +0\.33", text)
    assert "0.86 (goal: at least 0.87): not met" in text
    assert "a model" in text
    assert "torch threads: 1" in text
    assert "Plain" not in text
    assert "256: 1,000" in shown(ON_GPU, GPU_GOALS)


def test_figures_hold_every_round() -> None:
    figures = orjson.loads(
        orjson.dumps(report.figures(ON_GPU, GPU_GOALS, CPU), option=orjson.OPT_NON_STR_KEYS)
    )
    assert len(figures["runs"]) == 6
    assert figures["runs"][0]["requests_per_s"] == 100.0
    assert figures["plain"]["256"] == 1000.0
    assert figures["device"] == "cpu"
    assert [verdict["met"] for verdict in figures["verdicts"]] == [False, False, True, True]
