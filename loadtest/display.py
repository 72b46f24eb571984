"""What a person sees while a run lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from loadtest.figures import milliseconds
from loadtest.terminal import printable, say

PLAIN_INTERVAL_S = 5.0

Phase = Literal["waiting for Pub/Sub", "waiting for the job", "sending", "draining"]


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
        left: Seconds until the last message is due; of a wait, at most. None where that is not known.
        waits_for: What is waited for, and where; empty once the sending has begun.
        note: What else there is to know now, such as the job's last warning; empty for nothing.
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
    left: float | None = None
    waits_for: str = ""
    note: str = ""


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
    """A display of plain lines: one at each change of phase, with the first note, and every five seconds."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._shown = ("", False)
        self._shown_at = 0.0
        self._note = ""

    def update(self, progress: Progress) -> None:
        now = (progress.phase, bool(progress.note))
        if now == self._shown and progress.elapsed - self._shown_at < PLAIN_INTERVAL_S:
            return
        self._shown, self._shown_at = now, progress.elapsed
        self._write(_line(progress))
        if progress.note not in ("", self._note):
            self._write(f"          {progress.note}")
        self._note = progress.note


@contextmanager
def progress_display(console: Console) -> Iterator[Display]:
    """Yield a display that is live on a terminal that can do it, and writes plain lines elsewhere."""
    if console.is_terminal and not console.is_dumb_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            yield _LiveDisplay(live)
    else:
        yield _PlainDisplay(lambda line: say(console, line, whole=True))


def _waiting(progress: Progress) -> str:
    """Return what is waited for, where and how long; empty where the schedule has begun."""
    if not progress.phase.startswith("waiting"):
        return ""
    return f"{progress.waits_for or progress.phase}{_left(progress, ', at most {} more')}"


def _left(progress: Progress, text: str) -> str:
    return "" if progress.left is None else text.format(f"{max(0.0, progress.left):,.0f} s")


def _line(progress: Progress) -> str:
    if waiting := _waiting(progress):
        return f"{progress.elapsed:6.0f} s  {waiting}"
    left = _left(progress, ", at most {} left" if progress.phase == "draining" else ", {} left")
    return (
        f"{progress.elapsed:6.0f} s  {progress.phase}: sent {progress.sent:,} of {progress.total:,}, "
        f"received {progress.received:,}, dead letters {progress.dead_lettered:,}, "
        f"outstanding {progress.outstanding:,}, {progress.rate:,.0f}/s, "
        f"p50 {milliseconds(progress.p50_ms)}{left}"
    )


def _panel(progress: Progress) -> RenderableType:
    note = [Text(printable(progress.note), style="yellow")] if progress.note else []
    if waiting := _waiting(progress):
        return Group(Text(printable(f"{progress.elapsed:.0f} s  {waiting}"), style="yellow"), *note)
    figures = {
        "sent": f"{progress.sent:,}",
        "received": f"{progress.received:,}",
        "outstanding": f"{progress.outstanding:,}",
        "dead letters": f"{progress.dead_lettered:,}",
        "rate": f"{progress.rate:,.0f}/s",
        "p50": milliseconds(progress.p50_ms),
    }
    cells = [Text.assemble((f"{name} ", "dim"), value, end="") for name, value in figures.items()]
    bar = Table.grid()  # alone, a bar does not end its line
    bar.add_row(ProgressBar(total=max(1, progress.total), completed=progress.sent, width=60))
    left = _left(progress, ", at most {} left" if progress.phase == "draining" else ", {} left")
    phase = Text(f"{progress.phase}  {progress.elapsed:.0f} s{left}", style="bold")
    return Group(phase, bar, Columns(cells, padding=(0, 3)), *note)
