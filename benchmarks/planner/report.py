"""What `benchmarks.planner` shows: its tables, and how the figures stand to the goals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console

from benchmarks.harness import results, verdict
from benchmarks.harness.machine import versions
from benchmarks.harness.verdict import Verdict
from benchmarks.planner import fluid_table
from benchmarks.planner.exact_servers import OverloadRow
from benchmarks.planner.fluid_table import FluidRow
from benchmarks.planner.measures import (
    TARGET,
    ClosedForm,
    Container,
    Sensitivity,
    Speed,
    errors,
    predicted,
)
from planner.calibration.judge import Judged


@dataclass(frozen=True)
class Measured:
    """All figures; empty where a table was not asked for."""

    closed_forms: Sequence[ClosedForm] = ()
    calibrations: Sequence[Judged] = ()
    sensitivity: Sequence[Sensitivity] = ()
    containers: Sequence[Container] = ()
    speeds: Sequence[Speed] = ()
    overloads: Sequence[OverloadRow] = ()
    fluid: Sequence[FluidRow] = ()


def verdicts(measured: Measured) -> list[Verdict]:
    """Return how the figures stand to the goals."""
    found = []
    if measured.closed_forms:
        latency = max(abs(one.simulated_ms / one.latency_ms - 1) for one in measured.closed_forms)
        length = max(abs(one.simulated_length / one.length - 1) for one in measured.closed_forms)
        found += [
            Verdict("closed forms, largest error of the mean latency", 100 * latency, 2, False, " %"),
            Verdict("closed forms, largest error of the queue's length", 100 * length, 2, False, " %"),
        ]
    if measured.calibrations:
        cells = predicted(measured.calibrations)
        wrong = sum(not cell.right for cell in cells)
        done, p50 = errors(cells)
        found += [
            Verdict(f"of {len(cells)} predicted cells, told wrongly whether they kept up", wrong, 0, False),
            Verdict("predicted cells, largest error of the done rate", 100 * done, 10, False, " %"),
            Verdict("predicted cells that kept up, largest error of p50", 100 * p50, 25, False, " %"),
        ]
    if measured.containers:
        single = next(one for one in measured.containers if one.processes == 1)
        found.append(
            Verdict("CPU of the single-process container, full", 100 * single.cpu, 100 * TARGET, False, " %")
        )
    if measured.fluid:
        found += fluid_table.verdicts(measured.fluid)
    return found


def show(console: Console, measured: Measured) -> None:
    """Print the tables and the verdicts."""
    if measured.closed_forms:
        _show_closed_forms(console, measured.closed_forms)
    if measured.calibrations:
        _show_calibrations(console, measured.calibrations)
    if measured.sensitivity:
        _show_sensitivity(console, measured.sensitivity)
    if measured.containers:
        _show_containers(console, measured.containers)
    if measured.speeds:
        _show_speeds(console, measured.speeds)
    if measured.overloads:
        _show_overloads(console, measured.overloads)
    if measured.fluid:
        _show_fluid(console, measured.fluid)
    for one in verdicts(measured):
        results.print_line(console, str(one))
    results.print_line(console, ", ".join(f"{name} {number}" for name, number in versions().items()))


def figures(measured: Measured) -> dict[str, object]:
    """Return all figures for JSON."""
    return {
        **asdict(measured),
        "verdicts": verdict.figures(verdicts(measured)),
        "versions": versions(),
    }


def _show_closed_forms(console: Console, rows: Sequence[ClosedForm]) -> None:
    table = results.table(
        ("load", "latency ms", "simulated", "error %", "length", "simulated", "error %"),
        "Queues of known latency, mean service 10 ms",
    )
    for row in rows:
        table.add_row(
            row.name,
            f"{row.load:g}",
            f"{row.latency_ms:.3f}",
            f"{row.simulated_ms:.3f}",
            f"{100 * (row.simulated_ms / row.latency_ms - 1):+.2f}",
            f"{row.length:.3f}",
            f"{row.simulated_length:.3f}",
            f"{100 * (row.simulated_length / row.length - 1):+.2f}",
        )
    console.print(table)


def _show_calibrations(console: Console, judged: Sequence[Judged]) -> None:
    headings = (
        "offered", "done", "predicted", "fitted %", "error %", "p50 ms", "predicted", "fitted %", "error %",
        "told",
    )  # fmt: skip
    table = results.table(headings, "Published rows of one worker; * its latency is not explained by a law")
    for one in judged:
        for cell in one.cells:
            row, found = cell.row, cell.predicted
            error, p50 = f"{100 * cell.done_error:+.1f}", f"{100 * cell.p50_error:+.0f}"
            mark = "*" if row.unexplained else ""
            table.add_row(
                one.name if cell is one.cells[0] else "",
                f"{row.offered:g}",
                f"{row.done:g}",
                f"{found.done:.1f}",
                *((error, "") if cell.fitted else ("", error)),
                f"{row.p50_ms:,.0f}{mark}",
                f"{found.p50_ms:,.0f}",
                *((p50, "") if cell.fitted else ("", p50)),
                ("" if cell.fitted else "right" if cell.right else "wrong"),
            )
    console.print(table)
    for one in judged:
        law = one.worker.law
        results.print_line(
            console,
            f"{one.name}: a bundle takes {law.fixed.value:.1f} ms + {law.each.value:.2f} ms a message, "
            f"{one.worker.outside_ms:.0f} ms are outside; {law.fixed.basis}: {law.fixed.source}",
        )


def _show_sensitivity(console: Console, rows: Sequence[Sensitivity]) -> None:
    table = results.table(
        ("spread ms", "cells", "told", "done, worst %", "p50, worst %"),
        "Each configuration on its own rows, were the service other than assumed",
        "looks every ms",
    )
    for row in rows:
        table.add_row(
            f"{row.look_ms:g}",
            f"{row.spread_ms:g}",
            f"{row.cells}",
            f"{row.told}",
            f"{100 * row.done_error:.1f}",
            f"{100 * row.p50_error:,.0f}",
        )
    console.print(table)


def _show_containers(console: Console, rows: Sequence[Container]) -> None:
    table = results.table(
        ("calls/s", "CPU %", "p50 ms"),
        f"Containers on four vCPUs, 64 calls at once; the autoscaler adds replicas above {100 * TARGET:g} %",
        "processes",
    )
    for row in rows:
        table.add_row(
            f"{row.processes}",
            f"{row.calls_per_second:,.0f}",
            f"{100 * row.cpu:.0f}",
            f"{row.p50_ms:.1f}",
        )
    console.print(table)


def _show_speeds(console: Console, rows: Sequence[Speed]) -> None:
    table = results.table(
        ("messages/s", "mean batch", "simulated/s", "curve s"), "Simulated messages a second of this machine"
    )
    for row in rows:
        table.add_row(
            row.worker,
            f"{row.rate:,.0f}",
            f"{row.batch_size:.1f}",
            f"{row.per_second:,.0f}",
            f"{row.curve_s:.1f}",
        )
    console.print(table)


def _show_overloads(console: Console, rows: Sequence[OverloadRow]) -> None:
    table = results.table(
        ("overload", "mean s", "fluid", "p50 s", "fluid", "p99 s", "fluid"),
        "Servers in overload for a minute, by events and by the fluid layer",
        "servers",
    )
    for row in rows:
        values = (
            row.exact_mean, row.fluid_mean, row.exact_p50, row.fluid_p50, row.exact_p99, row.fluid_p99,
        )  # fmt: skip
        table.add_row(f"{row.servers}", f"{row.overload:g}", *(f"{value:.2f}" for value in values))
    console.print(table)


def _show_fluid(console: Console, rows: Sequence[FluidRow]) -> None:
    table = results.table(
        ("workers", "steps", "draws", "fluid s", "latencies s", "MiB", "of them before"),
        "What a prediction costs: processor time and memory",
        "messages/s",
    )
    for row in rows:
        table.add_row(
            f"{row.case.rate:,.0f}",
            f"{row.case.workers:,}",
            f"{row.steps:,}",
            f"{row.case.draws}",
            f"{row.simulate_s:.2f}",
            f"{row.latencies_s:.2f}",
            f"{row.memory_mib:,.0f}",
            f"{row.bare_mib:,.0f}",
        )
    console.print(table)
