from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

from loadtest.display import Progress, progress_display

PROGRESS = Progress(
    phase="sending",
    elapsed=1,
    total=6000,
    sent=1234,
    received=1200,
    outstanding=30,
    dead_lettered=4,
    p50_ms=12.3,
)


def test_plain_lines_come_at_each_phase_and_then_every_five_seconds() -> None:
    console = Console(file=io.StringIO(), width=80)
    with progress_display(console) as display:
        for elapsed in (0.0, 1.0, 4.9, 5.0, 6.0, 10.0):
            display.update(dataclasses.replace(PROGRESS, elapsed=elapsed))
        display.update(dataclasses.replace(PROGRESS, phase="draining", elapsed=10.25))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split()[0] for line in lines] == ["0", "5", "10", "10"]
    assert "sent 1,234 of 6,000, received 1,200, dead letters 4, outstanding 30" in lines[0]
    assert "p50 12.30 ms" in lines[0]


@pytest.mark.parametrize("terminal", [False, True])
def test_how_long_it_goes_on_is_told(terminal: bool) -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=terminal, _environ={"TERM": "xterm"})
    where = "waiting for Pub/Sub at 127.0.0.1:1 (PUBSUB_EMULATOR_HOST)"
    with progress_display(console) as display:
        display.update(Progress("waiting for Pub/Sub", 0, total=9, left=30, waits_for=where))
        display.update(dataclasses.replace(PROGRESS, left=41.6))
        display.update(dataclasses.replace(PROGRESS, phase="draining", left=-0.1))
    output = console.file.getvalue()  # type: ignore[attr-defined]
    for text in (f"{where}, at most 30 s more", ", 42 s left", ", at most 0 s left"):
        assert text in output


def test_a_terminal_sees_the_counts_live() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with progress_display(console) as display:
        display.update(Progress(phase="waiting for the job", elapsed=3, total=10))
        display.update(PROGRESS)
    output = console.file.getvalue()  # type: ignore[attr-defined]
    for text in ("waiting for the job", "1,234", "1,200", "12.30 ms", "sending"):
        assert text in output


def test_the_first_note_is_shown_at_once_and_then_every_five_seconds() -> None:
    console = Console(file=io.StringIO(), width=80)
    waiting = Progress(phase="waiting for the job", elapsed=0, total=1)
    with progress_display(console) as display:
        for elapsed, note in (
            (0.0, ""),
            (1.0, "cannot \x1b[2Jconnect"),
            (2.0, "again"),
            (6.5, "again"),
            (12, "again"),
        ):
            display.update(dataclasses.replace(waiting, elapsed=elapsed, note=note))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.strip() for line in lines if "waiting" not in line] == ["cannot \\x1b[2Jconnect", "again"]
    assert [line.split()[0] for line in lines if "waiting" in line] == ["0", "1", "6", "12"]


def test_a_dumb_terminal_gets_plain_lines() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    with progress_display(console) as display:
        display.update(PROGRESS)
    assert "sent 1,234 of 6,000" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_live_note_shows_no_control_characters() -> None:
    console = Console(file=io.StringIO(), width=60, force_terminal=True, _environ={"TERM": "xterm"})
    with progress_display(console) as display:
        display.update(Progress(phase="waiting for the job", elapsed=3, total=10, note="a\x1b]0;title\x07b"))
    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert "a\\x1b]0;title\\x07b" in output
    assert "\x1b]0" not in output
