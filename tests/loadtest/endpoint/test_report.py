"""The last screen at any width, and the JSON beside it."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from loadtest.endpoint.batch_sizes import Alone, BatchSize, Throughput, best_size
from loadtest.endpoint.connections import ConnectionCost, FirstCall
from loadtest.endpoint.findings import EndpointReport, Load
from loadtest.endpoint.load_figures import figures_of
from loadtest.endpoint.rates import Degradation, ProbeResult
from loadtest.endpoint.report import print_report, to_json
from loadtest.endpoint.service_law import fit_law
from loadtest.search.answer import Boundary
from loadtest.search.probes import Breach
from tests.loadtest.endpoint.conftest import evenly
from tests.loadtest.endpoint.made_calls import START, made_calls

GOOD = figures_of(made_calls(evenly(1_000, 0.01), np.full(1_000, 0.004)), 0.1)
REFUSED = figures_of(
    made_calls(
        evenly(100, 0.01), np.full(100, 0.004), failures=np.array(["429"] * 9 + [""] * 91),
        reasons={"429": "429 quota [of] \x1b[31mcalls"}, retry_after_s=np.full(100, 7.0),
    ),
    0.1,
)  # fmt: skip
LATE = figures_of(
    made_calls(evenly(1_000, 0.01), np.full(1_000, 0.04), sent_at=START + evenly(1_000, 0.01) + 0.02), 0.1
)


def size(rows: int, row_rate: float, *, meets: bool = True) -> BatchSize:
    most = Throughput(rows, 8, 100, row_rate / rows, 12.5, {}, driver_limited=False)
    return BatchSize(Alone(rows, 50, 30.0, 2.0 + rows, 3.0 + rows, {}, ""), most, GOOD, meets)


@pytest.fixture
def whole() -> EndpointReport:
    boundary = Boundary(
        claim=88.5, feasible_max=88.5, infeasible_min=97.3, first_breach=Breach("p99", "p99<100ms", 0.14),
        kind="smooth", root=90.0, ci=(88.0, 92.0), detectable_overload=0.031, converged=True,
        convergence_reason="confirmed", non_monotone_warning="", probes=2, seconds=30.0,
    )  # fmt: skip
    return EndpointReport(
        run="ab12cd34",
        url="http://127.0.0.1:8080/predict",
        protocol="predict",
        objectives="p99<100ms",
        first=FirstCall(12.5, 7, 840.0, 0.6),
        connection=ConnectionCost(20, 3.1, 4.2, 0.5, 0),
        sizes=[size(1, 300.0), size(8, 2_000.0), BatchSize(Alone(999, 0, math.nan, math.nan, math.nan,
                                                               {"413": 12}, "413 too large"))],
        law=fit_law([1, 8, 32], [3.0, 10.0, 34.5]),
        best=8,
        connections=[Throughput(8, number, 100, 250.0, 31.0, {}, number == 4) for number in (1, 2, 4)],
        degradation=Degradation(
            8,
            boundary,
            (
                ProbeResult(88.5, 20.0, "confirm", True, None, GOOD),
                ProbeResult(97.3, 10.0, "breach", False, Breach("p99", "p99<100ms", 0.14), REFUSED),
                ProbeResult(99.0, 10.0, "bisect", False, Breach("backlog_slope", "stable", 3.0), GOOD),
                ProbeResult(99.0, 10.0, "bisect", None, None, LATE),
            ),
            "",
            invalid=False,
        ),
        invalid=["search: the driver sent late"],
        partial="interrupted (SIGINT)",
        raw_logs=["loads/probe-01", "loads/probe-02"],
    )  # fmt: skip


def shown(report: EndpointReport, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    print_report(console, report, Path("runs/1"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [120, 60])
def test_nothing_is_cropped(whole: EndpointReport, width: int) -> None:
    text = shown(whole, width)
    assert all(len(line) <= width for line in text.splitlines() if "runs/1" not in line)
    assert "…" not in text.replace("loads/probe-01 …", "")
    for number in ("2,000", "88.50", "97.30", "413", "429"):
        assert number in text
    assert "\x1b" not in text


def test_each_question_has_its_sentence(whole: EndpointReport) -> None:
    text = shown(whole, 160)
    for sentence in (
        "First call of all: 840 ms, 0.60 ms of it for the connection, after 12.5 s and 7 attempts that were "
        "not served",
        "Warm, median of 20: 3.10 ms on a kept connection, 4.20 ms on a new one (0.50 ms to open it)",
        "Best batch size: 8 rows, 2,000 rows/s possible with 8 connections",
        "It carries 88.50 calls/s, 708 rows/s; confirmed, to within an overload of 3.1%",
        "It degrades at 97.30 calls/s: p99<100ms is not met",
        "Failed, 429: 9; the first: 429 quota [of] \\x1b[31mcalls",
        "Failed, 413: 12; the first: 413 too large",
        "Refusals asked to wait up to 7 s (Retry-After)",
        "INVALID, the driver's figures and not the endpoint's: search: the driver sent late",
        "Partial: interrupted (SIGINT)",
        "?: too few calls for this percentile; for diagnosis only",
        "  runs/1/loads/probe-01 …  2 raw logs",
    ):
        assert sentence in text
    assert "ms a row (R² " in text
    assert "piles up" in text
    assert "not p99<100ms" in text


def test_a_schedule_has_a_row_for_each_batch_size(whole: EndpointReport) -> None:
    report = replace(
        whole, sizes=[], connections=[], degradation=None, schedule="ramp --rate=10 --to_rate=20",
        loads=[
            Load(GOOD, met=True), Load(replace(REFUSED, rows=8, waited=3), met=False), Load(LATE, met=True)
        ],
    )  # fmt: skip
    for width in (120, 60):
        text = shown(report, width)
        assert "ramp --rate=10 --to_rate=20" in text
        assert "yes" in text
        assert "INVALID" in text
        assert all(len(line) <= width for line in text.splitlines() if "runs/1" not in line)
    assert "8 rows: 3 of 100 calls waited for a connection" in shown(report, 120)


def test_a_first_call_on_a_connection_that_was_open(whole: EndpointReport) -> None:
    text = shown(replace(whole, first=FirstCall(1.0, 1, 840.0, math.nan)), 120)
    assert "First call of all: 840 ms, after 1.0 s and 1 attempts that were not served" in text


def test_no_size_meets_the_objectives(whole: EndpointReport) -> None:
    text = shown(replace(whole, best=None), 120)
    assert "No batch size meets p99<100ms at half of its throughput" in text


def test_the_smallest_of_the_sizes_that_are_as_good_is_the_best() -> None:
    sizes = [size(1, 300.0), size(8, 1_990.0), size(32, 2_000.0), size(128, 9_000.0, meets=False)]
    best = best_size(sizes)
    assert best is not None
    assert best.rows == 8
    assert best_size([size(1, 300.0, meets=False)]) is None


def test_the_json_holds_all_of_it_and_no_nan(whole: EndpointReport) -> None:
    read = json.loads(to_json(whole))
    assert read["sizes"][2]["alone"]["p50_ms"] is None
    assert read["degradation"]["probes"][1]["figures"]["failures"] == {"429": 9}
    assert read["law"]["b_ms"] == pytest.approx(1.02, rel=0.1)
    assert to_json(whole) == to_json(whole)
