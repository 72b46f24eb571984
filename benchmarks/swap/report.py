"""What `benchmarks.swap` shows: a table, and how it stands to the goals."""

from __future__ import annotations

import os
from dataclasses import asdict

from rich.console import Console

from benchmarks.harness import results, verdict
from benchmarks.harness.machine import versions, versions_line
from benchmarks.swap.job import REFRESH_S
from benchmarks.swap.measures import Measured


def show(console: Console, measured: Measured) -> None:
    """Print the table and the verdicts."""
    results.print_line(
        console, f"Latency while the model is swapped ({measured.mode} mode), at {measured.rate:g} msg/s"
    )
    table = results.table(("messages", "p50 ms", "p95 ms", "p99 ms", "max ms"))
    for title, count, latency in (
        ("between swaps", measured.messages_between, measured.between_ms),
        ("during a swap", measured.messages_during, measured.during_ms),
    ):
        table.add_row(title, f"{count:,}", *(f"{value:.1f}" for value in latency.values()))
    console.print(table)
    results.print_line(
        console,
        f"swaps: {measured.swaps}, each {min(measured.swap_s):.2f} to {max(measured.swap_s):.2f} s from "
        f"writing the pointer until all results were of the new model (looked at every {REFRESH_S:g} s)",
    )
    results.print_line(console, f"sent: {measured.sent:,}")
    for reached in measured.verdicts:
        results.print_line(console, str(reached))
    results.print_line(
        console, f"\n{os.cpu_count()} cores for job, broker and load driver\n{versions_line()}"
    )


def figures(measured: Measured) -> dict[str, object]:
    """Return everything that was measured, for JSON."""
    return {
        "cpus": os.cpu_count(),
        "versions": versions(),
        **asdict(measured),
        "ratio": measured.ratio,
        "verdicts": verdict.figures(measured.verdicts),
    }
