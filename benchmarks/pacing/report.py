"""What `benchmarks.pacing` shows: a table of all rows, and the goals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console

from benchmarks.harness.results import print_line, table
from benchmarks.harness.verdict import Verdict
from benchmarks.pacing.measures import Row

DEFAULT = "http2, 0.5 ms"
"""The side that `loadtest run` uses with an emulator."""

_HEADINGS = ("broker", "msg/s", "sent", "p50 ms late", "p99", "max", "calls/s", "sender", "collector",
             "broker")  # fmt: skip


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """Return the goals and how the figures stand to them; NaN where a row was not measured."""

    def one(broker: str, rate: float) -> Row | None:
        return next((r for r in rows if (r.side, r.broker, r.rate) == (DEFAULT, broker, rate)), None)

    embedded, null = one("embedded", 5000), one("null", 20_000)
    return [
        Verdict(
            "p99 of the schedule error at 5,000 msg/s, embedded broker",
            embedded.error_ms["p99"] if embedded else math.nan, 1.0, above=False, unit=" ms",
        ),
        Verdict(
            "one driver process, null broker",
            (null.sent - null.errors) / null.seconds / 1e3 if null else math.nan, 0.999 * 20, above=True,
            unit=" thousand msg/s",
        ),
        Verdict(
            "messages that were not sent, of all rows",
            max((1 - row.sent / row.messages for row in rows), default=math.nan) * 100, 0.1, above=False,
            unit=" %",
        ),
    ]  # fmt: skip


def show(console: Console, rows: Sequence[Row], machine: str) -> None:
    """Print the table and the goals.

    Args:
        console: Where to print.
        rows: In the order of the table.
        machine: Of the figures.
    """
    shown = table(_HEADINGS, "How late messages leave, and what that costs")
    for row in rows:
        collector = "" if row.collector_cores is None else f"{row.collector_cores:.2f}"
        shown.add_row(
            row.side, row.broker, f"{row.rate:,.0f}", f"{row.sent:,}",
            *(f"{row.error_ms[name]:.2f}" for name in ("p50", "p99", "max")),
            f"{row.calls_s:,.0f}", f"{row.sender_cores:.2f}", collector, f"{row.broker_cores:.2f}",
        )  # fmt: skip
    console.print(shown)
    print_line(
        console, "late: written to the socket - due; a side's ms: what is due so soon after a call waits"
    )
    print_line(
        console, "whole run: with a collector on the same cores; its answers are the messages themselves"
    )
    print_line(console, "sender, collector, broker: processor time over time, in cores")
    for verdict in verdicts(rows):
        print_line(console, str(verdict))
    print_line(console, machine)
