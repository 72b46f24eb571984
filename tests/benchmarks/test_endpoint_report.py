"""The verdicts, the tables and the figures of the endpoint benchmark."""

from __future__ import annotations

import io
import re

import orjson
from rich.console import Console

from benchmarks.endpoint import report
from benchmarks.endpoint.measures import Cpu, Refusal, Throughput
from benchmarks.endpoint.report import Measured, verdicts
from benchmarks.endpoint.server import (
    Counts,
)
from benchmarks.endpoint.sides import (
    OURS_JSON,
    OURS_RAW,
    STOCK_DEDICATED,
    STOCK_SHARED,
)


def rate(title: str, threads: int, instances_per_s: float) -> Throughput:
    return Throughput(title, threads, instances_per_s, 0.5, float("nan"), Counts(in_flight_peak=12))


MEASURED = Measured(
    cpu=[
        Cpu(STOCK_SHARED, (50.0, 60.0, 90.0)),
        Cpu(STOCK_DEDICATED, (9.0,)),
        Cpu(OURS_JSON, (1.0, 3.0, 80.0)),
        Cpu(OURS_RAW, (0.6, 1.8)),
    ],
    throughput=[
        rate(STOCK_SHARED, 1, 180),
        rate(OURS_JSON, 1, 1080),
        rate(STOCK_SHARED, 12, 2000),
        rate(STOCK_DEDICATED, 12, 1000),
        rate(OURS_JSON, 12, 3998),
    ],
    refusal=[
        Refusal(STOCK_SHARED, (2600.0, 4000.0, 4900.0)),
        Refusal(STOCK_DEDICATED, (), "ValueError: [429]"),
        Refusal(OURS_JSON, (30.0, 40.0, 900.0)),
        Refusal(OURS_RAW, (250.0,)),
    ],
)


def test_verdicts_go_by_medians_and_stand_beside_each_way_of_stocks() -> None:
    found = {verdict.name: (round(verdict.value, 4), verdict.met) for verdict in verdicts(MEASURED)}
    assert found == {
        f"processor time, {OURS_JSON} / {STOCK_SHARED}": (0.05, True),
        f"processor time, {OURS_JSON} / {STOCK_DEDICATED}": (0.3333, True),
        f"processor time, {OURS_RAW} / {STOCK_SHARED}": (0.02, True),
        f"processor time, {OURS_RAW} / {STOCK_DEDICATED}": (0.1333, False),
        f"throughput, 1 thread, {OURS_JSON} / {STOCK_SHARED}": (6.0, True),
        f"throughput, 12 threads, {OURS_JSON} / {STOCK_SHARED}": (1.999, False),
        f"throughput, 12 threads, {OURS_JSON} / {STOCK_DEDICATED}": (3.998, True),
        f"one 429, {OURS_JSON}": (40.0, True),
        f"one 429, {OURS_RAW}": (250.0, False),
    }


def test_no_verdict_without_both_sides() -> None:
    assert verdicts(Measured()) == []
    assert verdicts(Measured(cpu=MEASURED.cpu[:2], throughput=MEASURED.throughput[:1])) == []
    assert verdicts(Measured(cpu=MEASURED.cpu[2:], refusal=MEASURED.refusal[:2])) == []


def test_tables_fit_and_say_how_it_stands() -> None:
    console = Console(file=io.StringIO(), width=110)
    report.show(console, MEASURED)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    tables = text[: text.index("processor time,")]
    assert max(map(len, tables.splitlines())) <= 100
    assert re.search(rf"{re.escape(STOCK_SHARED)} +60\.00 +50\.00 +90\.00 +3 +1\.000", tables)
    assert re.search(rf"{OURS_JSON} +3\.00 +1\.00 +80\.00 +3 +0\.050", tables)
    assert re.search(rf"{OURS_JSON} +12 +3,998 +12 +0\.50", tables)
    assert "not retried" in tables
    assert "6 (goal: at least 6): met" in text
    assert "250 ms (goal: at most 200 ms): not met" in text
    assert "apache-beam" in text


def test_figures_hold_every_round() -> None:
    figures = orjson.loads(orjson.dumps(report.figures(MEASURED)))
    assert figures["cpu"][0] == {"title": STOCK_SHARED, "batch_ms": [50.0, 60.0, 90.0]}
    assert figures["throughput"][0]["counts"]["in_flight_peak"] == 12
    assert figures["refusal"][1]["failed"] == "ValueError: [429]"
    assert [verdict["met"] for verdict in figures["verdicts"]].count(False) == 3
