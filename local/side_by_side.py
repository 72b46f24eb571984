"""The table of a comparison: a column for each run."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from loadtest.figures import figure, rate, stage_label
from loadtest.summary import Summary
from loadtest.terminal import say

_LATENCIES = ("p50", "p90", "p95", "p99", "max")
_STAGE_PERCENTILES = ("p50", "p99")


def print_side_by_side(console: Console, summaries: Mapping[str, Summary | None]) -> None:
    """Print the figures that matter in a comparison.

    Args:
        console: Printed to; two columns of figures need 60 characters.
        summaries: By the name of the column, at least one; None for a run that did not take place.
    """
    runs = [summary for summary in summaries.values() if summary]
    with_server = any(run.stages_ms["server"]["p50"] is not None for run in runs)
    columns = [summary and _sections(summary, with_server) for summary in summaries.values()]
    table = Table(title="Side by side; times in milliseconds", title_justify="left")
    table.add_column("", overflow="fold")
    for name in summaries:
        table.add_column(name, justify="right", overflow="fold")
    for number, section in enumerate(_sections(runs[0], with_server)):
        for label in section:
            table.add_row(label, *(column[number][label] if column else "-" for column in columns))
        table.add_section()
    console.print(table)


def print_areas(console: Console, summaries: Mapping[str, Summary | None]) -> None:
    """Print the ROC AUC of each in one line, where it was asked of any."""
    if all(run is None or (run.auc is None and run.auc_note is None) for run in summaries.values()):
        return
    aucs = ", ".join(f"{_auc(summary)} {name}" for name, summary in summaries.items())
    say(console, f"ROC AUC {aucs}")


def _sections(run: Summary, with_server: bool) -> list[dict[str, str]]:
    """Return the cells of one column by their row's label, section by section."""
    counts = {
        "sent": run.sent,
        "received": run.received,
        "dead letters": run.dead_lettered,
        "lost": run.lost,
        "duplicates": run.duplicates,
    }
    stages = [stage for stage in run.stages_ms if stage != "server" or with_server]
    return [
        {label: f"{count:,}" for label, count in counts.items()} | {"achieved rate": rate(run.achieved_rate)},
        {f"latency {name}": figure(run.latency_ms[name]) for name in _LATENCIES},
        *(
            {f"{stage_label(stage)} {name}": figure(run.stages_ms[stage][name]) for stage in stages}
            for name in _STAGE_PERCENTILES
        ),
    ]


def _auc(summary: Summary | None) -> str:
    if summary is None:
        return "none (not run)"
    return f"none ({summary.auc_note})" if summary.auc is None else f"{summary.auc:.6f}"
