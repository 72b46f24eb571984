"""What `benchmarks.endpoint` shows: three tables, and how ours stands to stock and to the goals."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.endpoint.measures import (
    BUNDLE,
    CALL,
    CALL_S,
    CONCURRENCY,
    CPU_ROWS,
    CPU_WIDTH,
    Cpu,
    Refusal,
    Throughput,
)
from benchmarks.endpoint.sides import OURS_JSON, OURS_RAW, STOCK, STOCK_SHARED
from benchmarks.harness import results, verdict
from benchmarks.harness.machine import versions, versions_line
from benchmarks.harness.verdict import Verdict

CPU_GOALS = {OURS_JSON: 1 / 3, OURS_RAW: 1 / 10}  # of stock's time, at most
THROUGHPUT_GOALS = {1: 6.0, 12: 2.0}  # times stock's rate, at least, by bundle threads
REFUSAL_GOAL_MS = 200.0  # at most

_PACKAGES = ("apache-beam", "google-cloud-aiplatform", "grpcio", "protobuf", "aiohttp", "orjson", "numpy")


@dataclass(frozen=True)
class Measured:
    """All that a run has measured. A table that was not asked for is empty."""

    cpu: Sequence[Cpu] = ()
    throughput: Sequence[Throughput] = ()
    refusal: Sequence[Refusal] = ()


def verdicts(measured: Measured) -> list[Verdict]:
    """Return a verdict for each goal for which both sides were measured.

    Processor time and throughput stand beside each way of stock's. The goals of processor time were set
    with the first way in mind, its gRPC to a shared endpoint.
    """
    found = []
    cpu = {row.title: row.median_ms for row in measured.cpu}
    for ours, goal in CPU_GOALS.items():
        for stock in STOCK:
            if {ours, stock} <= cpu.keys():
                name = f"processor time, {ours} / {stock}"
                found.append(Verdict(name, cpu[ours] / cpu[stock], goal, above=False))
    rates = {(row.title, row.threads): row.instances_per_s for row in measured.throughput}
    for threads, goal in THROUGHPUT_GOALS.items():
        for stock in STOCK:
            mine, other = rates.get((OURS_JSON, threads)), rates.get((stock, threads))
            if mine is not None and other:
                name = f"throughput, {_threads(threads)}, {OURS_JSON} / {stock}"
                found.append(Verdict(name, mine / other, goal, above=True))
    for row in measured.refusal:
        if row.title not in STOCK and row.median_ms is not None:
            name = f"one 429, {row.title}"
            found.append(Verdict(name, row.median_ms, REFUSAL_GOAL_MS, above=False, unit=" ms"))
    return found


def show(console: Console, measured: Measured) -> None:
    """Print the tables of what was measured, and the verdicts."""
    if measured.cpu:
        console.print(_cpu(measured.cpu))
    if measured.throughput:
        console.print(_throughput(measured.throughput))
    if measured.refusal:
        console.print(_refusal(measured.refusal))
    for reached in verdicts(measured):
        results.print_line(console, str(reached))
    results.print_line(console, f"\n{os.cpu_count()} cores; {versions_line(_PACKAGES)}")


def figures(measured: Measured) -> dict[str, object]:
    """Return everything that was measured, for JSON."""
    return {
        "versions": versions(_PACKAGES),
        "cpus": os.cpu_count(),
        **asdict(measured),
        "verdicts": verdict.figures(verdicts(measured)),
    }


def _cpu(rows: Sequence[Cpu]) -> Table:
    table = results.table(
        ("median\nms", "lowest", "highest", "rounds", "of stock's\ngRPC"),
        f"Processor time of the client: {CPU_ROWS} × {CPU_WIDTH} float32 there and back",
    )
    base = next((row.median_ms for row in rows if row.title == STOCK_SHARED), None)
    for row in rows:
        table.add_row(
            row.title,
            f"{row.median_ms:.2f}",
            f"{min(row.batch_ms):.2f}",
            f"{max(row.batch_ms):.2f}",
            str(len(row.batch_ms)),
            f"{row.median_ms / base:.3f}" if base else "–",
        )
    return table


def _throughput(rows: Sequence[Throughput]) -> Table:
    table = results.table(
        ("threads", "instances/s", "calls in flight\nat the peak", "cores\nclient", "cores\nserver"),
        f"Throughput: {CALL_S * 1e3:g} ms a call, {CONCURRENCY} at once; "
        f"bundles of {BUNDLE}, calls of {CALL}",
    )
    for row in rows:
        table.add_row(
            row.title,
            str(row.threads),
            f"{row.instances_per_s:,.0f}",
            str(row.counts.in_flight_peak),
            f"{row.client_cores:.2f}",
            f"{row.server_cores:.2f}",
        )
    return table


def _refusal(rows: Sequence[Refusal]) -> Table:
    table = results.table(("median\nms", "lowest", "highest", "times"), "What one answer 429 adds to a call")
    for row in rows:
        if row.failed is not None:
            table.add_row(row.title, "not retried:\nthe batch fails", "–", "–", "–")
            continue
        table.add_row(
            row.title,
            f"{row.median_ms:,.0f}",
            f"{min(row.added_ms):,.0f}",
            f"{max(row.added_ms):,.0f}",
            str(len(row.added_ms)),
        )
    return table


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
