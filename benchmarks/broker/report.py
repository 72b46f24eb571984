"""What `benchmarks.broker` shows: a table of all rows."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.broker.measures import DRAIN_S, Row


def show(console: Console, rows: Sequence[Row], skipped: str | None) -> None:
    """Print the table.

    Args:
        console: Where to print.
        rows: In the order of the table.
        skipped: Why Google's emulator was not measured; None if it was.
    """
    console.print(_table(rows))
    console.print(f"missing: not received within {DRAIN_S:g} s after the last message was sent")
    if skipped:
        console.print(f"Google's emulator was skipped: {skipped}")


def _table(rows: Sequence[Row]) -> Table:
    table = Table(title="One hop: publish to receive, latency from the intended send time")
    table.add_column("broker")
    table.add_column("receiver")
    for heading in (
        "msg/s",
        "achieved",
        "missing",
        "twice",
        "p50 ms",
        "p90",
        "p99",
        "max",
        "broker cores",
        "client",
    ):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.broker,
            row.receiver,
            f"{row.rate:,.0f}",
            f"{row.achieved_rate:,.0f}",
            f"{row.sent - row.received:,}",
            f"{row.duplicates:,}",
            *(f"{row.latency_ms[key]:.1f}" for key in ("p50", "p90", "p99", "max")),
            f"{row.broker_cores:.2f}",
            f"{row.client_cores:.2f}",
        )
    return table
