"""What a person sees while an endpoint is measured: what is done, why, and how it goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from rich.console import Console
from rich.status import Status

from loadtest.endpoint.calls import Recorder
from loadtest.figures import milliseconds
from loadtest.terminal import printable

# Calls whose median latency is shown.
_RECENT = 500


class Progress:
    """A progress that shows nothing; the base of those that show something."""

    def say(self, text: str) -> None:
        """Show what is done now."""

    def watch(self, due: int, recorder: Recorder) -> None:
        """Show how a load goes; see `loops.Watch`."""


class _Lines(Progress):
    """A line for each thing that is done."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


class _Live(Progress):
    """A line that changes."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._doing = ""

    def say(self, text: str) -> None:
        self._doing = printable(text)
        self._show("")

    def watch(self, due: int, recorder: Recorder) -> None:
        recent = slice(max(0, due - _RECENT), due)
        latency = recorder.ended_at[recent] - recorder.intended[recent]
        latency = latency[~np.isnan(latency)]
        p50 = milliseconds(float(np.median(latency)) * 1e3) if len(latency) else "-"
        left = float(recorder.intended[-1] - recorder.intended[max(0, due - 1)])
        self._show(
            f": {due:,} of {len(recorder.intended):,} calls due, {recorder.served:,} served, "
            f"{recorder.failed:,} failed, p50 {p50}, {left:.0f} s left"
        )

    def _show(self, state: str) -> None:
        # Text in brackets is no markup.
        self._status.update(f"{self._doing}{state}".replace("[", r"\["))


@contextmanager
def shown_progress(*, quiet: bool) -> Iterator[Progress]:
    """Yield a progress on the standard error: live on a terminal, lines elsewhere, none if quiet."""
    console = Console(stderr=True)
    if quiet:
        yield Progress()
    elif console.is_terminal and not console.is_dumb_terminal:
        with console.status("") as status:
            yield _Live(status)
    else:
        yield _Lines(console)
