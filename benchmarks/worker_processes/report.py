"""What `benchmarks.worker_processes` shows: a table for each model."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console

from benchmarks.harness import results
from benchmarks.harness.machine import versions, versions_line
from benchmarks.worker_processes.measures import Turn
from benchmarks.worker_processes.sides import Arrangement


@dataclass(frozen=True)
class Row:
    """One model in one arrangement, round by round."""

    model: str
    arrangement: Arrangement
    turns: tuple[Turn, ...]

    @property
    def medians(self) -> dict[str, float]:
        """The medians of the rounds, by name."""
        return {
            "requests_per_s": statistics.median(turn.requests_per_s for turn in self.turns),
            "p99_ms": statistics.median(turn.p99_ms for turn in self.turns),
            "memory_mib": statistics.median(turn.memory_mib for turn in self.turns),
            "resident_mib": statistics.median(turn.resident_mib for turn in self.turns),
        }


def show(console: Console, rows: Sequence[Row]) -> None:
    """Print a table for each model."""
    for model in dict.fromkeys(row.model for row in rows):
        table = results.table(
            ("processes", "bundle\nthreads", "requests/s", "p99\nms", "memory\nMiB", "RSS\nMiB"),
        )
        for row in rows:
            if row.model != model:
                continue
            medians = row.medians
            table.add_row(
                row.arrangement.title,
                str(row.arrangement.processes),
                f"{row.arrangement.processes} × {row.arrangement.threads}",
                f"{medians['requests_per_s']:,.0f}",
                f"{medians['p99_ms']:.1f}",
                f"{medians['memory_mib']:,.0f}",
                f"{medians['resident_mib']:,.0f}",
            )
        results.print_line(console, f"{model}: bundles of one request")
        console.print(table)
    results.print_line(
        console,
        "medians of the rounds; memory: each process's own, and the files that they share once; RSS counts "
        f"these for each.\n{os.cpu_count()} cores; {versions_line()}",
    )


def figures(rows: Sequence[Row]) -> dict[str, object]:
    """Return everything that was measured, for JSON."""
    return {
        "versions": versions(),
        "cpus": os.cpu_count(),
        "rows": [{**asdict(row), "medians": row.medians} for row in rows],
    }
