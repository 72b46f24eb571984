"""What `benchmarks.batching` shows: its table, and how ours stands to stock and to the goals."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby

from rich.console import Console
from rich.table import Table

from benchmarks.batching.measures import Run
from benchmarks.harness import results, verdict
from benchmarks.harness.machine import Machine, versions_line
from benchmarks.harness.request_sides import OURS, STOCK
from benchmarks.harness.verdict import Verdict


@dataclass(frozen=True)
class Goals:
    """Shares that ours is to reach, by bundle threads.

    Attributes:
        rate: Of stock's rate, at least.
        p99: Of stock's p99, at most.
        plain: Of the rate of the best plain forward passes, at least.
    """

    rate: Mapping[int, float]
    p99: Mapping[int, float] = field(default_factory=dict)
    plain: Mapping[int, float] = field(default_factory=dict)


CPU_GOALS = Goals(rate={1: 1 / 1.15, 12: 1.5, 48: 3.0}, p99={12: 1 / 3})
GPU_GOALS = Goals(rate={48: 5.0}, plain={48: 0.8})


@dataclass(frozen=True)
class Measured:
    """All that a run has measured.

    Attributes:
        model: The model's title.
        seconds: Of each side in a round.
        runs: The rounds of all sides.
        plain: Requests a second by batch size; empty where the plan has no plain forward passes.
    """

    model: str
    seconds: float
    runs: Sequence[Run]
    plain: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A side's rounds with one number of threads and one size of bundles: medians, the spread of the rate."""

    title: str
    threads: int
    bundle: int
    requests_per_s: float
    lowest: float
    highest: float
    p50_ms: float
    p99_ms: float
    mean_batch: float


def rows(runs: Sequence[Run]) -> list[Row]:
    """Return a row for each bundle, number of threads and side, in this order."""

    def key(run: Run) -> tuple[int, int, bool]:
        return run.bundle, run.threads, run.title == OURS

    return [_row(list(rounds)) for _, rounds in groupby(sorted(runs, key=key), key)]


def verdicts(measured: Measured, goals: Goals) -> list[Verdict]:
    """Return a verdict for each goal whose threads were measured."""
    found = []
    by_side = {(row.title, row.threads, row.bundle): row for row in rows(measured.runs)}
    for (title, threads, bundle), ours in by_side.items():
        if title != OURS:
            continue
        stock = by_side[STOCK, threads, bundle]
        where = f"{'1 thread' if threads == 1 else f'{threads} threads'}, bundles of {bundle}"
        if threads in goals.rate:
            ratio = ours.requests_per_s / stock.requests_per_s
            found.append(Verdict(f"rate, {where}, ours / stock", ratio, goals.rate[threads], above=True))
        if threads in goals.p99:
            ratio = ours.p99_ms / stock.p99_ms
            found.append(Verdict(f"p99, {where}, ours / stock", ratio, goals.p99[threads], above=False))
        if threads in goals.plain and measured.plain:
            ratio = ours.requests_per_s / max(measured.plain.values())
            name = f"rate, {where}, ours / best plain passes"
            found.append(Verdict(name, ratio, goals.plain[threads], above=True))
    return found


def show(console: Console, measured: Measured, goals: Goals, machine: Machine) -> None:
    """Print the table of what was measured, and the verdicts."""
    results.print_line(
        console,
        f"Bundle threads that send bundle after bundle, {measured.seconds:g} s a round: {measured.model}",
    )
    console.print(_runs(measured))
    if measured.plain:
        each = ", ".join(f"{size}: {rate:,.0f}" for size, rate in measured.plain.items())
        results.print_line(console, f"Plain forward passes, requests/s by batch size: {each}\n")
    for reached in verdicts(measured, goals):
        results.print_line(console, str(reached))
    results.print_line(console, f"\n{machine}\n{versions_line()}")


def figures(measured: Measured, goals: Goals, machine: Machine) -> dict[str, object]:
    """Return everything that was measured, for JSON."""
    return {
        **machine.figures(),
        **asdict(measured),
        "rows": rows(measured.runs),
        "verdicts": verdict.figures(verdicts(measured, goals)),
    }


def _row(rounds: Sequence[Run]) -> Row:
    rates = [run.requests_per_s for run in rounds]
    return Row(
        rounds[0].title,
        rounds[0].threads,
        rounds[0].bundle,
        statistics.median(rates),
        min(rates),
        max(rates),
        statistics.median(run.p50_ms for run in rounds),
        statistics.median(run.p99_ms for run in rounds),
        statistics.median(run.mean_batch for run in rounds),
    )


def _runs(measured: Measured) -> Table:
    headings = (
        "bundle",
        "threads",
        "requests/s\nmedian",
        "lowest",
        "highest",
        "p50\nms",
        "p99\nms",
        "mean\nbatch",
        "rate of\nstock's",
        "p99 of\nstock's",
    )
    table = results.table(headings)
    stock = {}
    for row in rows(measured.runs):
        if row.title == STOCK:
            stock[row.bundle, row.threads] = row
        base = stock[row.bundle, row.threads]
        table.add_row(
            row.title,
            str(row.bundle),
            str(row.threads),
            f"{row.requests_per_s:,.0f}",
            f"{row.lowest:,.0f}",
            f"{row.highest:,.0f}",
            f"{row.p50_ms:,.1f}",
            f"{row.p99_ms:,.1f}",
            f"{row.mean_batch:.1f}",
            f"{row.requests_per_s / base.requests_per_s:.2f}",
            f"{row.p99_ms / base.p99_ms:.2f}",
            end_section=row.title == OURS,
        )
    return table
