"""What `benchmarks.handler` shows: its tables, and how ours stands to stock and to the goals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby

from rich.console import Console
from rich.table import Table

from benchmarks.handler.measures import MODEL_ALONE, Cost
from benchmarks.handler.sides import BUNDLE, OURS, OURS_FLOAT32, SILENT, STOCK, TUNED
from benchmarks.harness import results, verdict
from benchmarks.harness.machine import Machine, versions_line
from benchmarks.harness.verdict import Verdict

GOALS = {OURS: 1 / 3, OURS_FLOAT32: 1 / 10}  # of stock's processor time, at most
ONE_REQUEST_GOAL = 1.15  # times stock's time, at most
LOADS_GOAL = 1

_SPREAD = ("median\nµs", "lowest", "highest")


@dataclass(frozen=True)
class Measured:
    """All that a run has measured. A table that was not asked for is empty."""

    cpu: Sequence[Cost] = ()
    metrics: Sequence[Cost] = ()
    single: Sequence[Cost] = ()
    loads: dict[str, int] = field(default_factory=dict)


def verdicts(measured: Measured) -> list[Verdict]:
    """Return how ours stands to the goals.

    Processor time stands beside both ways to use stock: as it comes, and tuned to the bundle.
    """
    found = []
    for features, costs in _by_features(measured.cpu):
        medians = {cost.title: cost.median_us for cost in costs}
        found += [
            Verdict(
                f"processor time, {features:,} features, {ours} / {stock}",
                medians[ours] / medians[stock],
                goal,
                above=False,
            )
            for ours, goal in GOALS.items()
            if ours in medians
            for stock in (STOCK, TUNED)
        ]
    if measured.single:
        medians = {cost.title: cost.median_us for cost in measured.single}
        ratio = medians[OURS] / medians[STOCK]
        found.append(Verdict("one request at a time, ours / stock", ratio, ONE_REQUEST_GOAL, above=False))
    if measured.loads:
        name = "loads of the model with an idle minute, ours"
        found.append(Verdict(name, measured.loads[OURS], LOADS_GOAL, above=False))
    return found


def show(console: Console, measured: Measured, machine: Machine) -> None:
    """Print the tables of what was measured, and the verdicts."""

    def show_table(title: str, table: Table) -> None:
        results.print_line(console, title)
        console.print(table)

    if measured.cpu:
        show_table(
            f"Processor time for a message: decode, RunInference, encode; one thread, bundles of {BUNDLE}",
            _cpu(measured.cpu),
        )
    if measured.metrics:
        features = measured.metrics[0].features
        show_table(
            f"Processor time of the job's Beam metrics, for a message of {features} features",
            _metrics(measured.metrics),
        )
    if measured.single:
        model = measured.single[0].model
        show_table(
            f"One request at a time, one bundle thread, RunInference alone: {model}", _single(measured.single)
        )
    if measured.loads:
        show_table("Loads of the model by a worker that was idle for a minute", _loads(measured.loads))
    for reached in verdicts(measured):
        results.print_line(console, str(reached))
    results.print_line(console, f"\n{machine}\n{versions_line()}")


def figures(measured: Measured, machine: Machine) -> dict[str, object]:
    """Return everything that was measured, for JSON."""
    return {
        **machine.figures(),
        **asdict(measured),
        "verdicts": verdict.figures(verdicts(measured)),
    }


def _cpu(costs: Sequence[Cost]) -> Table:
    table = results.table((*_SPREAD, "of\nstock", f"of stock,\nbatches of {BUNDLE}"))
    for features, group in _by_features(costs):
        medians = {cost.title: cost.median_us for cost in group}
        table.add_row(f"[bold]{features:,} features, {group[0].model}[/]")
        for cost in group:
            ratios = [f"{cost.median_us / medians[stock]:.3f}" for stock in (STOCK, TUNED)]
            table.add_row(f"  {cost.title}{_body(cost.title)}", *_spread(cost), *ratios)
        table.add_section()
    return table


def _metrics(costs: Sequence[Cost]) -> Table:
    table = results.table(_SPREAD)
    medians = {cost.title: cost.median_us for cost in costs}
    for cost in costs:
        table.add_row(cost.title, *_spread(cost))
    table.add_row("their cost", f"{medians[OURS] - medians[SILENT]:.2f}")
    return table


def _single(costs: Sequence[Cost]) -> Table:
    table = results.table((*_SPREAD, "of\nstock"))
    stock = next(cost.median_us for cost in costs if cost.title == STOCK)
    for cost in costs:
        table.add_row(cost.title, *_spread(cost), f"{cost.median_us / stock:.3f}")
    return table


def _loads(counts: Mapping[str, int]) -> Table:
    table = results.table(("loads",))
    for title, count in counts.items():
        table.add_row(title, str(count))
    return table


def _by_features(costs: Sequence[Cost]) -> list[tuple[int, list[Cost]]]:
    return [(features, list(group)) for features, group in groupby(costs, key=lambda cost: cost.features)]


def _body(title: str) -> str:
    return "" if title in (OURS_FLOAT32, MODEL_ALONE) else ", JSON"


def _spread(cost: Cost) -> tuple[str, str, str]:
    return f"{cost.median_us:,.2f}", f"{min(cost.rounds_us):,.2f}", f"{max(cost.rounds_us):,.2f}"
