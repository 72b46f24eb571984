"""What `benchmarks.model_calls` shows: a table for each model, and the goals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console

from benchmarks.harness.results import print_line, table
from benchmarks.harness.verdict import Verdict
from benchmarks.model_calls.measures import Cost
from benchmarks.model_calls.sides import OURS, TRACED, UNGUARDED


def verdicts(costs: Sequence[Cost], model: str) -> list[Verdict]:
    """Return the goals for single rows of `model`, and how the figures stand to them."""
    single = {cost.side: cost.median_us for cost in costs if cost.model == model and cost.rows == 1}

    def ratio(other: str) -> float:
        return single[OURS] / single[other] if {OURS, other} <= single.keys() else math.nan

    return [
        Verdict(f"{model}, 1 row: ours / {UNGUARDED}", ratio(UNGUARDED), 0.5, above=False),
        Verdict(f"{model}, 1 row: ours / {TRACED}", ratio(TRACED), 1.3, above=False),
    ]


def show(console: Console, costs: Sequence[Cost], model: str, machine: str) -> None:
    """Print the tables and the goals.

    Args:
        console: Where to print.
        costs: In the order of the tables.
        model: Whose goals are shown.
        machine: Of the figures.
    """
    for title in dict.fromkeys(cost.model for cost in costs):
        of_model = [cost for cost in costs if cost.model == title]
        sizes = sorted({cost.rows for cost in of_model})
        headings = [f"{rows} row{'s' * (rows > 1)}" for rows in sizes]
        shown = table([*headings, "to make it, ms"], f"{title}: µs of processor time a call")
        for side in dict.fromkeys(cost.side for cost in of_model):
            by_rows = {cost.rows: cost for cost in of_model if cost.side == side}
            shown.add_row(
                side,
                *(_text(by_rows[rows].median_us) for rows in sizes),
                f"{by_rows[sizes[0]].making_ms:.1f}",
            )
        console.print(shown)
    print_line(console, "one thread; medians of the rounds; all answer alike, within 1e-6")
    print_line(console, "none: a trace of 2 rows that fails on this number, or answers otherwise")
    for verdict in verdicts(costs, model):
        print_line(console, str(verdict))
    print_line(console, machine)


def _text(median_us: float) -> str:
    return "none" if math.isnan(median_us) else f"{median_us:,.1f}"
