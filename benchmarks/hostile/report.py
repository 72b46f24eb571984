"""What `benchmarks.hostile` shows: a table, the fate of each hostile input, and the goals."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from benchmarks.harness import results, verdict
from benchmarks.harness.machine import versions, versions_line
from benchmarks.hostile.measures import Measured, Turn, percentiles


def show(console: Console, rate: float, every_s: float, measured: Sequence[Measured]) -> None:
    """Print the tables and the verdicts."""
    results.print_line(
        console,
        f"Good requests at {rate:g} a second, without and beside a hostile input every {every_s:g} s",
    )
    headings = ("sent", "right", "p50 ms", "p95 ms", "p99 ms", "max ms", "peak MiB", "ended")
    table = results.table(headings)
    for one in measured:
        for title, turns in ((one.target, one.quiet), ("  beside hostile inputs", one.hostile)):
            table.add_row(title, *_row(turns))
    console.print(table)
    for one in measured:
        results.print_line(console, f"What became of the hostile inputs: {one.target}")
        for name, counts in one.outcomes.items():
            results.print_line(console, f"  {name}: {_counted(counts)}")
        results.print_line(console, "")
    for one in measured:
        for reached in one.verdicts:
            results.print_line(console, str(reached))
    results.print_line(
        console,
        f"\n{os.cpu_count()} cores for all processes, with those that send\n{versions_line()}",
    )


def figures(rate: float, every_s: float, measured: Sequence[Measured]) -> dict[str, object]:
    """Return everything that was measured, for JSON."""
    return {
        "cpus": os.cpu_count(),
        "versions": versions(),
        "rate": rate,
        "every_s": every_s,
        "targets": {one.target: _figures(one) for one in measured},
        "verdicts": verdict.figures(reached for one in measured for reached in one.verdicts),
    }


def _row(turns: Sequence[Turn]) -> list[str]:
    return [
        f"{sum(turn.sent for turn in turns):,}",
        f"{sum(turn.answered for turn in turns):,}",
        *(f"{value:.1f}" for value in percentiles(turns).values()),
        f"{max(turn.peak_mib for turn in turns):,.0f}",
        f"{sum(turn.restarts for turn in turns)}",
    ]


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{outcome} {count}" for outcome, count in sorted(counts.items()))


def _figures(one: Measured) -> dict[str, Any]:
    return {
        "without": [_turn(turn) for turn in one.quiet],
        "with": [_turn(turn) for turn in one.hostile],
        "outcomes": one.outcomes,
    }


def _turn(turn: Turn) -> dict[str, Any]:
    return {
        "sent": turn.sent,
        "answered": turn.answered,
        "latency_ms": percentiles([turn]),
        "peak_mib": round(turn.peak_mib, 1),
        "restarts": turn.restarts,
    }
