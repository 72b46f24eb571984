"""What a person sees: progress while a run lasts, and the table at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from loadtest.summary import Summary

PLAIN_INTERVAL_S = 5.0

Phase = Literal["waiting for the job", "sending", "draining"]


@dataclass(frozen=True)
class Progress:
    """The counts of a run at one moment.

    Attributes:
        phase: What the run is doing.
        elapsed: Seconds since the waiting, or the sending, began.
        total: Messages in the schedule.
        sent: Messages handed over for publishing.
        received: Distinct requests with a result.
        dead_lettered: Distinct requests with a dead letter.
        duplicates: Deliveries beyond the first of each request.
        outstanding: Requests sent and not answered.
        rate: Answers a second, over about the last second.
        p50_ms: Median latency of the latest requests.
    """

    phase: Phase
    elapsed: float
    total: int
    sent: int = 0
    received: int = 0
    dead_lettered: int = 0
    duplicates: int = 0
    outstanding: int = 0
    rate: float = 0.0
    p50_ms: float | None = None


class Display:
    """A display that shows nothing; the base of those that show something."""

    def update(self, progress: Progress) -> None:
        """Show the present state; called about four times a second from the thread that called `run`."""


class _LiveDisplay(Display):
    def __init__(self, live: Live) -> None:
        self._live = live

    def update(self, progress: Progress) -> None:
        self._live.update(_panel(progress), refresh=True)


class _PlainDisplay(Display):
    """A display of plain lines: one at each change of phase and every five seconds."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._shown: tuple[str, float] = ("", 0.0)

    def update(self, progress: Progress) -> None:
        phase, elapsed = self._shown
        if progress.phase == phase and progress.elapsed - elapsed < PLAIN_INTERVAL_S:
            return
        self._shown = (progress.phase, progress.elapsed)
        self._write(_line(progress))


@contextmanager
def progress_display(console: Console) -> Iterator[Display]:
    """Yield a display that is live on a terminal and writes plain lines elsewhere."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            yield _LiveDisplay(live)
    else:
        yield _PlainDisplay(lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True))


def _line(progress: Progress) -> str:
    if progress.phase == "waiting for the job":
        return f"{progress.elapsed:6.0f} s  waiting for the job to answer a first request"
    return (
        f"{progress.elapsed:6.0f} s  {progress.phase}: sent {progress.sent:,} of {progress.total:,}, "
        f"received {progress.received:,}, dead letters {progress.dead_lettered:,}, "
        f"outstanding {progress.outstanding:,}, {progress.rate:,.0f}/s, p50 {milliseconds(progress.p50_ms)}"
    )


def _panel(progress: Progress) -> RenderableType:
    if progress.phase == "waiting for the job":
        return Text(
            f"{progress.elapsed:.0f} s  waiting for the job to answer a first request", style="yellow"
        )
    grid = Table.grid(padding=(0, 2))
    for _ in range(6):
        grid.add_column(justify="right")
    grid.add_row(
        Text("sent", style="dim"), f"{progress.sent:,}",
        Text("received", style="dim"), f"{progress.received:,}",
        Text("outstanding", style="dim"), f"{progress.outstanding:,}",
    )  # fmt: skip
    grid.add_row(
        Text("rate", style="dim"), f"{progress.rate:,.0f}/s",
        Text("p50", style="dim"), milliseconds(progress.p50_ms),
        Text("dead letters", style="dim"), f"{progress.dead_lettered:,}",
    )  # fmt: skip
    bar = Table.grid()  # alone, a bar does not end its line
    bar.add_row(ProgressBar(total=max(1, progress.total), completed=progress.sent, width=60))
    return Group(Text(f"{progress.phase}  {progress.elapsed:.0f} s", style="bold"), bar, grid)


def print_summary(console: Console, summary: Summary) -> None:
    """Print the final table; the last line is the ROC AUC, or why there is none."""
    console.print(_counts(summary))
    console.print(_latencies(summary))
    if summary.auc is not None:
        console.print(f"ROC AUC {summary.auc:.6f}", highlight=False)
    else:
        console.print(f"ROC AUC none: {summary.auc_note}", markup=False, highlight=False, soft_wrap=True)


def _counts(summary: Summary) -> Table:
    table = Table(title=f"Run {summary.run}", title_justify="left", show_header=False, width=76)
    for width in (20, 14, 20, 14):
        table.add_column(justify="left" if width == 20 else "right", width=width)
    bad = "bold red"
    error = summary.schedule_error_ms
    table.add_row("sent", f"{summary.sent:,}", "offered rate", rate(summary.offered_rate))
    table.add_row("received", f"{summary.received:,}", "achieved rate", rate(summary.achieved_rate))
    table.add_row("duplicates", f"{summary.duplicates:,}", "schedule error p50", milliseconds(error["p50"]))
    table.add_row(
        "dead letters", f"{summary.dead_lettered:,}",
        "schedule error p99", Text(milliseconds(error["p99"]), style=bad if summary.schedule_missed else ""),
    )  # fmt: skip
    table.add_row(
        "lost", Text(f"{summary.lost:,}", style=bad if summary.lost else "green"),
        "schedule error max", milliseconds(error["max"]),
    )  # fmt: skip
    more = [
        ("publish errors", summary.publish_errors),
        ("result + dead letter", summary.answered_both),
        ("unreadable results", summary.unreadable_results),
        ("foreign messages", summary.foreign),
        ("unacknowledged", summary.unacknowledged),
        ("warm-up messages", summary.warmup_messages),
    ]
    shown = [(name, f"{count:,}") for name, count in more if count]
    for left, right in zip(shown[::2], [*shown[1::2], ("", "")], strict=False):
        table.add_row(*left, *right)
    return table


def _latencies(summary: Summary) -> Table:
    title = "Milliseconds, from when a request was due"
    if summary.censored:
        title += f" ({summary.censored:,} lost: waited so far)"
    names = ("p50", "p90", "p95", "p99", "p99_9", "max")
    table = Table(title=title, title_justify="left", width=76)
    table.add_column("")
    for name in names:
        table.add_column(name.replace("_", "."), justify="right")
    table.add_row("latency", *(figure(summary.latency_ms[name]) for name in names), style="bold")
    for stage, figures in summary.stages_ms.items():
        if stage == "server" and figures["p50"] is None:
            continue
        table.add_row(f"  {stage_label(stage)}", *(figure(figures[n]) if n in figures else "" for n in names))
    return table


def stage_label(stage: str) -> str:
    """Return a stage's name for people; the server's time is indented, as a part of inference above it."""
    return "  of it server" if stage == "server" else stage.replace("_", " ")


def figure(value: float | None) -> str:
    """Return a number for people, "-" for none."""
    if value is None:
        return "-"
    return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"


def milliseconds(value: float | None) -> str:
    """Return a duration for people, "-" for none."""
    return "-" if value is None else f"{figure(value)} ms"


def rate(value: float | None) -> str:
    """Return a rate for people, "-" for none."""
    return "-" if value is None else f"{value:,.1f}/s"
