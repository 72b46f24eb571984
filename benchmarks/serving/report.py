"""What `benchmarks.serving` shows: a table for each model, body and number of cores, and the goals."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby

import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.harness import results, verdict
from benchmarks.serving.bodies import BODIES
from benchmarks.serving.goals import by_case, cpu_us, median, p50_ms, p99_ms, rate, ratio, verdicts
from benchmarks.serving.measures import Case, Cell, Figures
from benchmarks.serving.served_models import BATCH, TITLES
from benchmarks.serving.servers import OURS

_MOST = 200  # characters of a failure


@dataclass(frozen=True)
class Measured:
    """All that was measured, in one run or several.

    Attributes:
        cells: Of all models.
        forwards: Processor time of the plain forward pass by model, microseconds a row, in each round.
        setting: Machine, versions and how each server is set up, by name.
    """

    cells: Sequence[Cell] = ()
    forwards: Mapping[str, Sequence[float]] = field(default_factory=dict)
    setting: Mapping[str, str] = field(default_factory=dict)

    def with_more(self, later: Measured) -> Measured:
        """Return these and what a later run measured, which replaces the cases that both have.

        It replaces them whole: servers are only held against each other within a run.

        Raises:
            ValueError: The later run had another machine or other versions.
        """
        changed = [name for name, text in later.setting.items() if self.setting.get(name) != text]
        if self.cells and changed:
            raise ValueError(f"the results there are of another setting ({', '.join(changed)})")
        again = {cell.case for cell in later.cells}
        cells = [*(cell for cell in self.cells if cell.case not in again), *later.cells]
        forwards = {model: [*self.forwards.get(model, ()), *new] for model, new in later.forwards.items()}
        return Measured(cells, {**self.forwards, **forwards}, later.setting)


def read(content: bytes) -> Measured:
    """Return what `figures` was made of, from its JSON."""
    told = orjson.loads(content)
    cells = [
        Cell(
            Case(**each["case"]),
            each["server"],
            tuple(Figures(**figures) for figures in each["rounds"]),
            each["failure"],
        )
        for each in told["cells"]
    ]
    return Measured(cells, told["forwards"], told["setting"])


def figures(measured: Measured) -> dict[str, object]:
    """Return everything that was measured, for JSON."""
    return {
        **asdict(measured),
        "verdicts": verdict.figures(verdicts(measured.cells, measured.forwards)),
    }


def show(console: Console, measured: Measured) -> None:
    """Print the tables and the verdicts."""
    cases = by_case(measured.cells)
    ordered = sorted(cases, key=_order)
    for (model, body, cores), group in groupby(ordered, key=lambda case: (case.model, case.body, case.cores)):
        workers = "1 core, 1 worker" if cores == 1 else f"{cores} cores, {cores} workers"
        title = f"{TITLES[model]}; {body}; {workers}"
        console.print(_table(title, [cases[case] for case in group]))
    for model, rounds in sorted(measured.forwards.items()):
        floor = statistics.median(rounds)
        text = f"{model}: the plain forward pass takes {floor:.1f} µs of CPU a row, {BATCH} rows at once"
        results.print_line(console, text)
    for reached in verdicts(measured.cells, measured.forwards):
        results.print_line(console, str(reached))
    results.print_line(console, "")
    for name, text in measured.setting.items():
        results.print_line(console, f"{name}: {text}")


def _order(case: Case) -> tuple[str, int, int, int]:
    return case.model, BODIES.index(case.body), case.cores, case.at_once


def _table(title: str, cases: Sequence[Mapping[str, Cell]]) -> Table:
    headings = (
        *("calls\nat once", "requests/s", "p50\nms", "p99\nms", "µs of CPU\na request"),
        *("ours / it:\nrequests/s", "\nCPU"),
    )
    table = results.table(headings, title)
    failures: dict[str, str] = {}
    for servers in cases:
        ours = servers.get(OURS)
        for cell in servers.values():
            at_once = str(cell.case.at_once)
            if cell.failure:
                failures.setdefault(cell.server, cell.failure)
                table.add_row(cell.server, at_once, "failed", *["–"] * 5)
                continue
            table.add_row(
                cell.server,
                at_once,
                f"{median(cell, rate):,.0f}",
                f"{median(cell, p50_ms):.2f}",
                f"{median(cell, p99_ms):.2f}",
                f"{median(cell, cpu_us):.0f}",
                *(_beside(ours, cell, figure) for figure in (rate, cpu_us)),
            )
        table.add_section()
    if failures:
        lines = [f"{server}: {' '.join(text.split())[:_MOST]}" for server, text in failures.items()]
        table.caption = "\n".join(lines)
        table.caption_justify = "left"
    return table


def _beside(ours: Cell | None, other: Cell, figure: Callable[[Figures], float]) -> str:
    if ours is None or other.server == OURS or ours.failure:
        return ""
    return f"{ratio(ours, other, figure):.2f}"
