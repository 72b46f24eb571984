"""What `benchmarks.search` shows: a row for each system, and how the figures stand to the goals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from rich.console import Console

from benchmarks.harness import results, verdict
from benchmarks.harness.machine import versions
from benchmarks.harness.verdict import Verdict
from benchmarks.search.measures import Searches


@dataclass(frozen=True)
class Measured:
    """All figures.

    Attributes:
        queue: Searches of the M/M/1 queue with enough messages, from starts 100 times off.
        others: Searches of all other systems.
        seeds: Of the two counts that follow.
        missed: Queues at a load of 1.02 that were not called unstable.
        false_alarms: Queues at a load of 0.95 that were.
        slow_minute: By how much a slow first minute moves the p99 at most, by what it was.
        coverage: Share of intervals that hold the truth, by what they were of.
    """

    queue: Sequence[Searches]
    others: Sequence[Searches]
    seeds: int
    missed: int
    false_alarms: int
    slow_minute: dict[str, float]
    coverage: dict[str, float]


def verdicts(measured: Measured) -> list[Verdict]:
    """Return how the figures stand to the goals."""
    errors = [error for one in measured.queue for error in one.errors]
    return [
        Verdict("largest error of a claim", 100 * float(np.max(np.abs(errors))), 5, False, " %"),
        Verdict("largest overclaim", 100 * float(np.max(errors)), 1, False, " %"),
        Verdict("most probes", max(max(one.probes) for one in measured.queue), 15, False),
        Verdict(f"of {measured.seeds} queues at 1.02, not called unstable", measured.missed, 0, False),
        Verdict(f"of {measured.seeds} queues at 0.95, called unstable", measured.false_alarms, 0, False),
        Verdict("p99 moved by a slow minute", 100 * max(measured.slow_minute.values()), 2, False, " %"),
    ]


def show(console: Console, measured: Measured) -> None:
    """Print the tables and the verdicts."""
    headings = (
        "start",
        "error %",
        "least",
        "most",
        "over 1 %",
        "probes",
        "bracket holds",
        "cliffs",
        "flagged",
    )
    table = results.table(headings, "Searches of systems whose boundary is known")
    for one in (*measured.queue, *measured.others):
        errors = 100 * np.array(one.errors)
        table.add_row(
            one.system,
            f"{one.off:g} x",
            *(f"{value:+.1f}" for value in (np.nanmean(errors), np.nanmin(errors), np.nanmax(errors))),
            f"{int((errors > 1).sum())} of {len(errors)}",
            f"{min(one.probes)} to {max(one.probes)}",
            *(str(count) for count in (one.held, one.cliffs, one.flagged)),
        )
    console.print(table)
    for what, share in measured.coverage.items():
        results.print_line(console, f"95 % intervals that hold the truth, {what}: {100 * share:.0f} %")
    for what, moved in measured.slow_minute.items():
        results.print_line(
            console, f"a slow first minute, {what}, moves the p99 by at most {100 * moved:.1f} %"
        )
    for one_verdict in verdicts(measured):
        results.print_line(console, str(one_verdict))
    results.print_line(console, ", ".join(f"{name} {number}" for name, number in versions().items()))


def figures(measured: Measured) -> dict[str, object]:
    """Return all figures for JSON."""
    return {
        **asdict(measured),
        "verdicts": verdict.figures(verdicts(measured)),
        "versions": versions(),
    }
