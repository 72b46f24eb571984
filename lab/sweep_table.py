"""A comparison of searches for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from loadtest.figures import figure
from loadtest.report.sweep_section import headline, sentences
from loadtest.search.outcome import Outcome, pareto
from loadtest.terminal import printable, say

_IN_SET = "Pareto"


def print_outcomes(console: Console, outcomes: Sequence[Outcome], tier: str) -> None:
    """Print a table that fits the console's width, which sustains the most, and what came to no end.

    Args:
        console: Printed to.
        outcomes: To be compared.
        tier: The objectives.
    """
    names = dict.fromkeys(name for each in outcomes for name in each.flags)
    title = f"Sustained within {tier}, by {' and '.join(names)}"
    wide = _table(
        f"{title}; p99, the job's processor time for each answer and batch size at that rate",
        "messages/s", "fails at", "fit, spread", "p99 ms", "95 %", "µs each", "batch", "probes", "",
    )  # fmt: skip
    narrow = _table(title, "msg/s", "fails at", "p99 ms", "µs each", "batch", "")
    for each, in_set in zip(outcomes, pareto(outcomes), strict=True):
        boundary, name = each.boundary, printable(", ".join(each.flags.values()) or each.name)
        p99, cpu, batch = figure(each.p99_ms), figure(each.cpu_us), figure(each.batch_size)
        rates = (_claim(each), _rate(boundary.infeasible_min))
        fit, interval = _interval(boundary.ci), _interval(each.p99_interval_ms)
        mark, style = (_IN_SET, "bold") if in_set else ("", "")
        probes = f"{boundary.probes:,}"
        wide.add_row(name, *rates, fit, p99, interval, cpu, batch, probes, mark, style=style)
        narrow.add_row(name, *rates, p99, cpu, batch, "*" if in_set else "", style=style)
    unbounded = console.options.update(max_width=1_000)
    fits = console.measure(wide, options=unbounded).maximum <= console.width
    console.print(wide if fits else narrow)
    say(console, headline(outcomes, tier), style="bold")
    for sentence in sentences(outcomes):
        say(console, sentence)


def _claim(outcome: Outcome) -> str:
    if outcome.boundary.claim is None:
        return "ended" if outcome.ended else "none"
    return _rate(outcome.boundary.claim)


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _interval(ends: tuple[float, float] | None) -> str:
    return "-" if ends is None else f"{figure(ends[0])}–{figure(ends[1])}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=printable(title), title_justify="left")
    table.add_column("value", overflow="fold")
    for name in columns:
        table.add_column(name, justify="right" if name else "left", overflow="fold")
    return table
