"""What `benchmarks.local_engine` shows: a line as each step ends, two tables and the verdict at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from benchmarks.harness import results
from benchmarks.local_engine.ladder import COMPARED_AT, P50_GOAL, SUSTAINABLE_GOAL, Row, Step, ratios

PROCESSES = ("job", "broker", "driver")


def one_line(step: Step) -> str:
    """Return the outcome of a step in words."""
    summary = step.summary
    warning = summary.schedule_warning()
    return (
        f"    {'sustained' if step.sustained else 'not sustained'}: "
        f"p50 {_number(summary.latency_ms['p50'])} ms, p99 {_number(summary.latency_ms['p99'])} ms, "
        f"lost {summary.lost:,}, backlog {_number(summary.backlog_slope, signed=True)} msg/s"
        + (f"\n    {warning}" if warning else "")
    )


def show(console: Console, rows: Sequence[Row]) -> None:
    """Print all steps, the comparison, and how it stands to the goals."""
    console.print(_steps(rows))
    console.print(_comparison(rows))
    if any(step.schedule_missed for row in rows for step in row.steps):
        console.print("* the driver missed its schedule at this step: do not trust its latencies")
    for row in rows:
        if row.error:
            console.print(f"({row.key}) ended early: {row.error}", markup=False, highlight=False)
        for step in reversed(row.steps):
            if step.summary.auc is not None:
                console.print(f"({row.key}) ROC AUC of the streamed scores: {step.summary.auc:.6f}")
                break
    found = ratios(rows)
    console.print(_verdict("sustainable rate, c / a", found.sustainable, "at least", SUSTAINABLE_GOAL))
    console.print(_verdict(f"p50 at {COMPARED_AT:g} msg/s, c / a", found.p50, "at most", P50_GOAL))


def figures(rows: Sequence[Row]) -> dict[str, object]:
    """Return everything that was measured, for JSON."""
    summaries = [step.summary for row in rows for step in row.steps]
    return {
        "versions": summaries[0].versions if summaries else None,
        "cpus": summaries[0].cpus if summaries else None,
        "rows": [
            {
                **asdict(row),
                "sustainable_rate": row.sustained.rate if row.sustained else None,
                "reached_the_top": row.reached_the_top,
            }
            for row in rows
        ],
        "ratios": ratios(rows),
        "goals": {"sustainable": SUSTAINABLE_GOAL, "p50": P50_GOAL},
    }


def _steps(rows: Sequence[Row]) -> Table:
    headings = (
        "msg/s",
        "achieved",
        "lost",
        "backlog\nmsg/s",
        "p50\nms",
        "p99\nms",
        *(f"cores\n{name}" for name in PROCESSES),
        "job\nMiB",
    )
    title = "Steps: latency from the intended send time; cores and memory while it was measured"
    table = results.table(headings, title, first="job")
    table.add_column("sustained")
    for row in rows:
        for step in row.steps:
            summary = step.summary
            table.add_row(
                f"({row.key})",
                f"{step.rate:,g}{'*' if step.schedule_missed else ''}",
                _number(summary.achieved_rate),
                f"{summary.lost:,}",
                _number(summary.backlog_slope, signed=True),
                _number(summary.latency_ms["p50"]),
                _number(summary.latency_ms["p99"]),
                *_cores(step),
                _number(step.usage.job_rss_mib),
                "yes" if step.sustained else "no",
            )
        table.add_section()
    return table


def _comparison(rows: Sequence[Row]) -> Table:
    headings = (
        "msg/s",
        f"p50/p99 ms\nat {COMPARED_AT:g}/s",
        "p50/p99 ms\nsustained",
        *(f"cores\n{name}" for name in PROCESSES),
        "job\nMiB",
    )
    table = results.table(headings, "Sustainable rates, and the cores and memory that they took", first="job")
    for row in rows:
        best = row.sustained
        table.add_row(
            f"({row.key}) {row.title}",
            _sustainable(row),
            _latencies(row.step_at(COMPARED_AT)),
            _latencies(best),
            *(_cores(best) if best else ["–"] * len(PROCESSES)),
            _number(best.usage.job_rss_mib) if best else "–",
        )
    return table


def _sustainable(row: Row) -> str:
    best = row.sustained
    if best is None:
        return f"< {row.steps[0].rate:,g}" if row.steps else "–"
    mark = "*" if best.schedule_missed else ""
    return f"{'≥ ' if row.reached_the_top else ''}{best.rate:,g}{mark}"


def _latencies(step: Step | None) -> str:
    if step is None:
        return "–"
    latency = step.summary.latency_ms
    return f"{_number(latency['p50'])} / {_number(latency['p99'])}{'*' if step.schedule_missed else ''}"


def _cores(step: Step) -> list[str]:
    shares = [step.usage.cores[name] for name in PROCESSES]
    return ["–" if math.isnan(share) else f"{share:.2f}" for share in shares]


def _number(value: float | None, *, signed: bool = False) -> str:
    if value is None or math.isnan(value):
        return "–"
    sign = "+" if signed else ""
    return f"{value:{sign}.1f}" if abs(value) < 100 else f"{value:{sign},.0f}"


def _verdict(name: str, ratio: float | None, bound: str, goal: float) -> str:
    if ratio is None:
        return f"{name}: unknown, as one of the two was not sustained or not run (goal: {bound} {goal:g})"
    met = ratio >= goal if bound == "at least" else ratio <= goal
    return f"{name}: {ratio:.2f} (goal: {bound} {goal:g}): {'met' if met else 'not met'}"
