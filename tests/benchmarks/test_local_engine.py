"""The logic between the measuring and the table; nothing is started, nothing is timed."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.local_engine import report
from benchmarks.local_engine.__main__ import parse
from benchmarks.local_engine.ladder import Row, Step, is_sustained, ratios
from benchmarks.local_engine.sides import SIDES
from benchmarks.local_engine.usage import Usage
from loadtest.summary import Summary
from local.topics import Topics
from tests.benchmarks.conftest import UsageError

SUMMARY = Summary(
    run="cafe0123",
    sent=3000,
    received=3000,
    duplicates=0,
    dead_lettered=0,
    answered_both=0,
    lost=0,
    publish_errors=0,
    foreign=0,
    unreadable_results=0,
    unacknowledged=0,
    warmup_messages=0,
    dead_letter_reasons=[],
    censored=0,
    offered_rate=100.0,
    achieved_rate=100.0,
    backlog_slope=0.1,
    schedule_error_ms={"p50": 0.1, "p99": 1.0, "max": 2.0},
    latency_ms=dict.fromkeys(("p50", "p90", "p95", "p99", "p99_9", "max"), 10.0),
    stages_ms={},
    auc=None,
    auc_note=None,
    error=None,
    last_publish_error=None,
    versions={"python": "3.11"},
    cpus=2,
)


def row(key: str, *steps: tuple[float, bool], p50: float = 10.0, more: bool = False) -> Row:
    """Return a row of (rate, sustained), with one more rate in its ladder if asked for."""
    climbed = Row(key, SIDES[key].title, [rate for rate, _ in steps] + [9e9] * more)
    summary = dataclasses.replace(SUMMARY, latency_ms={**SUMMARY.latency_ms, "p50": p50})
    usage = Usage({"job": 0.5, "broker": 0.25, "driver": float("nan")}, 480.0)
    climbed.steps = [Step(rate, summary, usage, sustained, False) for rate, sustained in steps]
    return climbed


@pytest.mark.parametrize(
    ("changes", "sustained"),
    [
        ({}, True),
        ({"backlog_slope": -20.0}, True),
        ({"backlog_slope": 0.99}, True),
        ({"backlog_slope": 1.0}, False),
        ({"backlog_slope": None}, False),
        ({"lost": 1}, False),
        ({"dead_lettered": 1}, False),
        ({"publish_errors": 1}, False),
        ({"error": "interrupted after 3 of 9 messages"}, False),
        ({"duplicates": 5}, True),
    ],
)
def test_when_a_step_is_sustained(changes: dict[str, object], sustained: bool) -> None:
    assert is_sustained(100.0, dataclasses.replace(SUMMARY, **changes)) is sustained  # type: ignore[arg-type]


def test_the_slope_allowed_grows_with_the_rate() -> None:
    assert is_sustained(5000.0, dataclasses.replace(SUMMARY, backlog_slope=49.0))


def test_the_highest_step_sustained() -> None:
    climbed = row("a", (50, True), (100, True), (150, False), more=True)
    assert climbed.sustained is climbed.steps[1]
    assert not climbed.reached_the_top
    assert climbed.step_at(150) is climbed.steps[2]
    assert climbed.step_at(200) is None
    assert row("a", (50, False)).sustained is None
    assert row("a").sustained is None


def test_the_top_of_the_ladder_is_reached_only_by_sustaining_it() -> None:
    assert row("c", (50, True), (100, True)).reached_the_top
    assert not row("c", (50, True), (100, False)).reached_the_top
    assert not row("c", (50, True), more=True).reached_the_top  # interrupted
    assert not row("c", more=True).reached_the_top


def test_ratios_of_ours_over_stock() -> None:
    stock = row("a", (100, True), (150, True), (200, False), p50=100.0)
    ours = row("c", (100, True), (3000, True), p50=12.0)
    assert dataclasses.astuple(ratios([stock, ours])) == (20.0, 0.12)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row("a", (100, True))],
        [row("a", (100, True)), row("b", (100, True))],
        [row("a", (100, False)), row("c", (100, True))],
        [row("a"), row("c")],
    ],
)
def test_no_ratios_without_both_rows(rows: list[Row]) -> None:
    assert dataclasses.astuple(ratios(rows)) == (None, None)


def test_no_ratio_of_a_latency_that_was_not_sustained() -> None:
    stock = row("a", (50, True), (100, False))
    found = ratios([stock, row("c", (100, True))])
    assert (found.sustainable, found.p50) == (2.0, None)


def test_flags() -> None:
    defaults = parse([])
    assert (defaults.seconds, defaults.warmup, defaults.rates, defaults.rows) == (
        30,
        5,
        None,
        ("a", "b", "c"),
    )
    options = parse(["--rates=500,50,500", "--rows=c,a", "--seconds=2", "--warmup=0"])
    assert (options.seconds, options.warmup, options.rates, options.rows) == (2, 0, (50, 500), ("a", "c"))


@pytest.mark.parametrize(
    "flag",
    [
        "--rates=",
        "--rates=0,50",
        "--rates=nan",
        "--rates=inf",
        "--rates=fast",
        "--rows=d",
        "--rows=",
        "--seconds=0.5",
        "--seconds=nan",
        "--warmup=-1",
        "--json=/no/such/folder/figures.json",
        "--rate=100",
    ],
)
def test_wrong_flags_end_with_exit_code_2(flag: str, usage_error: UsageError) -> None:
    assert flag.split("=")[0] in usage_error(parse, flag)


def test_json_goes_into_the_file_named(tmp_path: Path) -> None:
    assert parse([f"--json={tmp_path / 'new.json'}"]).json == tmp_path / "new.json"


def test_every_ladder_climbs_and_has_the_rate_that_latencies_are_compared_at() -> None:
    for side in SIDES.values():
        assert list(side.ladder) == sorted(set(side.ladder))
        assert 100.0 in side.ladder


def test_every_job_reads_and_writes_the_topics_of_the_run(tmp_path: Path) -> None:
    topics = Topics.fresh("cafe")
    commands = {key: side.command(topics, tmp_path) for key, side in SIDES.items()}
    assert [command[2] for command in commands.values()] == [
        "benchmarks.harness.stock_job",
        "benchmarks.local_engine.hybrid_job",
        "pipeline",
    ]
    for command in commands.values():
        assert {
            f"--input_subscription={topics.input_subscription}",
            f"--output_topic={topics.output_topic}",
        } <= set(command)


def test_the_tables_fit_and_say_how_it_stands_to_the_goals() -> None:
    late = row("b", (100, True), (123456, False), p50=123456.7)
    late.steps[0] = dataclasses.replace(late.steps[0], schedule_missed=True)
    failed = row("c")
    failed.error = "the job ended with exit code 1:\n[red]"
    text = _shown([row("a", (100, True)), late, failed])
    assert max(map(len, text.splitlines())) <= 100
    assert "100*" in text
    assert "missed its schedule" in text
    assert "[red]" in text
    assert "unknown" in text

    text = _shown([row("a", (100, True), p50=100.0), row("c", (100, True), (1400, True), p50=12.0)])
    assert "≥ 1,400" in text
    assert "14.00 (goal: at least 15): not met" in text
    assert "0.12 (goal: at most 0.2): met" in text


def test_figures_hold_the_whole_summary() -> None:
    figures: dict[str, Any] = report.figures([row("a", (100, True), (150, False))])
    assert figures["cpus"] == 2
    stock = figures["rows"][0]
    assert stock["sustainable_rate"] == 100
    assert stock["steps"][0]["summary"] == dataclasses.asdict(SUMMARY)
    assert stock["steps"][0]["usage"]["cores"]["job"] == 0.5


def _shown(rows: list[Row]) -> str:
    console = Console(file=io.StringIO(), width=100)
    report.show(console, rows)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
