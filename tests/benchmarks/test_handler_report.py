"""The verdicts, the tables and the figures of the handler benchmark."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import orjson
from rich.console import Console

from benchmarks.handler import report
from benchmarks.handler.measures import (
    MODEL_ALONE,
    Cost,
)
from benchmarks.handler.report import Measured, verdicts
from benchmarks.handler.sides import (
    OURS,
    OURS_FLOAT32,
    SILENT,
    STOCK,
    TUNED,
)
from benchmarks.harness import results
from tests.benchmarks.test_handler import CPU


def cost(features: int, title: str, *rounds_us: float) -> Cost:
    return Cost(features, "a model", title, rounds_us)


MEASURED = Measured(
    cpu=[
        cost(30, STOCK, 40.0, 44.0, 90.0),
        cost(30, TUNED, 60.0),
        cost(30, OURS, 10.0, 11.0, 100.0),
        cost(30, MODEL_ALONE, 0.5),
        cost(1024, STOCK, 1200.0),
        cost(1024, TUNED, 900.0, 800.0),
        cost(1024, OURS, 425.0),
        cost(1024, OURS_FLOAT32, 85.0),
        cost(1024, MODEL_ALONE, 0.5),
    ],
    metrics=[cost(30, OURS, 11.0), cost(30, SILENT, 9.5)],
    single=[cost(1024, STOCK, 2000.0), cost(1024, OURS, 2400.0)],
    loads={STOCK: 2, OURS: 1},
)


def test_verdicts_go_by_medians_and_by_both_ways_to_use_stock() -> None:
    found = {verdict.name: (round(verdict.value, 4), verdict.met) for verdict in verdicts(MEASURED)}
    assert found == {
        "processor time, 30 features, ours / stock": (0.25, True),
        "processor time, 30 features, ours / stock, batches of 100": (0.1833, True),
        "processor time, 1,024 features, ours / stock": (0.3542, False),
        "processor time, 1,024 features, ours / stock, batches of 100": (0.5, False),
        "processor time, 1,024 features, ours, float32 body / stock": (0.0708, True),
        "processor time, 1,024 features, ours, float32 body / stock, batches of 100": (0.1, True),
        "one request at a time, ours / stock": (1.2, False),
        "loads of the model with an idle minute, ours": (1, True),
    }


def test_no_verdict_on_what_was_not_measured() -> None:
    assert verdicts(Measured()) == []
    assert len(verdicts(replace(MEASURED, cpu=()))) == 2
    assert [verdict.met for verdict in verdicts(Measured(loads={STOCK: 2, OURS: 2}))] == [False]


def test_tables_fit_and_say_how_it_stands() -> None:
    console = Console(file=io.StringIO(), width=results.WIDTH)
    report.show(console, MEASURED, CPU)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= results.WIDTH
    assert "30 features, a model" in text
    assert re.search(r"stock, JSON +44\.00 +40\.00 +90\.00 +1\.000 +0\.733", text)
    assert re.search(r"ours, JSON +11\.00 +10\.00 +100\.00 +0\.250 +0\.183", text)
    assert re.search(r"ours, float32 body +85\.00 +85\.00 +85\.00 +0\.071 +0\.100", text)
    assert re.search(r"their cost +1\.50", text)
    assert re.search(r"ours +2,400\.00 +2,400\.00 +2,400\.00 +1\.200", text)
    assert "1.2 (goal: at most 1.15): not met" in text
    assert "torch threads: 1" in text
    assert "apache-beam" in text


def test_figures_hold_every_round() -> None:
    figures = orjson.loads(orjson.dumps(report.figures(MEASURED, CPU)))
    assert figures["cpu"][0]["rounds_us"] == [40.0, 44.0, 90.0]
    assert figures["loads"] == {STOCK: 2, OURS: 1}
    assert (figures["device"], figures["torch_threads"]) == ("cpu", 1)
    assert [verdict["met"] for verdict in figures["verdicts"]].count(False) == 3
