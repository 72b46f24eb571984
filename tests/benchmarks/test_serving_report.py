"""The goals, the tables and the figures of the serving benchmark."""

from __future__ import annotations

import io
import math
import re

import orjson
import pytest
from rich.console import Console

from benchmarks.harness.verdict import Verdict
from benchmarks.serving import report
from benchmarks.serving.goals import verdicts
from benchmarks.serving.measures import Case, Cell, Figures
from benchmarks.serving.report import Measured

MANY = Case("mlp", "json", 1, 64)
BINARY = Case("mlp", "binary", 1, 64)
ALONE = Case("mlp", "json", 1, 1)


def cell(case: Case, server: str, *rates: float, cpu_us: float = 300.0, p99_ms: float = 5.0) -> Cell:
    return Cell(case, server, tuple(Figures(rate, 4.0, p99_ms, cpu_us) for rate in rates))


MEASURED = Measured(
    cells=[
        cell(ALONE, "ours", 99.0, cpu_us=900.0),
        cell(ALONE, "Triton", 100.0),
        # The machine was twice as slow in the second round, for all of them.
        cell(MANY, "ours", 2400.0, 1200.0, 2500.0, cpu_us=290.0, p99_ms=6.0),
        cell(MANY, "Triton", 2000.0, 1000.0, 1900.0),
        cell(MANY, "mosec", 3000.0, 1500.0, 3000.0),
        Cell(MANY, "BentoML", (), "left out: BentoML ended by itself"),
        cell(BINARY, "ours", 3000.0, cpu_us=239.0),
        cell(BINARY, "Triton", 2999.0, cpu_us=238.0),
    ],
    forwards={"mlp": [180.0, 500.0, 179.0]},
    setting={"machine": "two cores", "load": "wrk 4"},
)


def test_goals_go_by_ratios_within_a_round() -> None:
    found = {reached.name: (round(reached.value, 3), reached.met) for reached in verdicts_of(MEASURED)}
    alone, many, binary = "mlp, json, 1 core, 1", "mlp, json, 1 core, 64", "mlp, binary, 1 core, 64"
    assert found == {
        f"{alone} at once: throughput / Triton's": (0.99, False),
        f"{alone} at once: p99 / Triton's": (1.0, True),
        f"{many} at once: throughput / best peer's (mosec)": (0.8, False),
        f"{many} at once: throughput / Triton's": (1.2, True),
        f"{many} at once: p99 / Triton's": (1.2, False),
        f"{many} at once: processor time / Triton's": (0.967, True),
        f"{many} at once: processor time beyond the forward pass": (110.0, True),
        f"{binary} at once: throughput / Triton's": (1.0, True),
        f"{binary} at once: processor time / Triton's": (1.004, False),
        f"{binary} at once: processor time beyond the forward pass": (59.0, True),
    }


def test_what_failed_is_not_measured() -> None:
    failed = Cell(MANY, "ours", (), "row 7 has a wrong answer")
    found = verdicts([failed, cell(MANY, "Triton", 1.0)], {"mlp": [180.0]})
    assert all(math.isnan(reached.value) and reached.met is None for reached in found)
    assert len(found) == 5
    assert verdicts([cell(MANY, "Triton", 1.0)], {}) == []
    (best, *_) = verdicts([cell(MANY, "ours", 1.0), Cell(MANY, "mosec", (), "gone")], {})
    assert (best.name.endswith("(none)"), best.met) == (True, None)


def test_tables_fit_and_say_how_it_stands() -> None:
    console = Console(file=io.StringIO(), width=110)
    report.show(console, MEASURED)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    tables = text[: text.index("mlp: the plain")]
    assert max(map(len, tables.splitlines())) <= 110
    assert re.search(r"mosec +64 +3,000 +4\.00 +5\.00 +300 +0\.80 +0\.97", tables)
    assert re.search(r"BentoML +64 +failed", tables)
    assert "BentoML: left out: BentoML ended by itself" in tables
    assert tables.index("; json; 1 core, 1 worker") < tables.index("; binary; 1 core, 1 worker")
    assert "the plain forward pass takes 180.0 µs of CPU a row" in text
    assert "1.2 (goal: at least 1.2): met" in text
    assert "machine: two cores" in text


def test_a_later_run_adds_to_an_earlier_one() -> None:
    kept = report.read(orjson.dumps(report.figures(MEASURED)))
    assert kept == Measured(list(MEASURED.cells), MEASURED.forwards, MEASURED.setting)
    again = cell(MANY, "ours", 9.0)
    merged = kept.with_more(Measured([again], {"mlp": [181.0], "autoencoder": [1.0]}, MEASURED.setting))
    # Not beside the peers of the earlier run, whose rounds were others.
    assert [each for each in merged.cells if each.case == MANY] == [again]
    assert [each for each in merged.cells if each.case != MANY] == [
        each for each in MEASURED.cells if each.case != MANY
    ]
    assert merged.forwards == {"mlp": [180.0, 500.0, 179.0, 181.0], "autoencoder": [1.0]}
    with pytest.raises(ValueError, match=r"another setting \(load\)"):
        kept.with_more(Measured(setting={"machine": "two cores", "load": "wrk 5"}))


def verdicts_of(measured: Measured) -> list[Verdict]:
    return verdicts(measured.cells, measured.forwards)
