from __future__ import annotations

import io

import pytest
from rich.console import Console

from loadtest.endpoint.caller import Answer
from loadtest.endpoint.calls import Recorder
from loadtest.endpoint.progress import _Live, shown_progress

NAN = float("nan")


def recorder() -> Recorder:
    """Return one of 10 calls, 100 ms apart: three are served in 5 ms, and one is refused."""
    made = Recorder(10, rows=1)
    made.intended[:] = [number / 10 for number in range(10)]
    for number in range(4):
        failure = "429" if number == 3 else ""
        made.put(number, Answer(failure, failure, False, number / 10, number / 10 + 0.005, NAN, NAN, 0.0))
    return made


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress(quiet=True) as progress:
        progress.say("something")
        progress.watch(4, recorder())
    assert capsys.readouterr() == ("", "")


def test_off_a_terminal_there_is_a_line_for_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress(quiet=False) as progress:
        progress.say("batch size 8: [8] connections")
        progress.watch(4, recorder())
    assert capsys.readouterr() == ("", "batch size 8: [8] connections\n")


def test_on_a_terminal_the_line_says_how_it_goes() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=200, color_system=None)
    with console.status("") as status:
        live = _Live(status)
        live.say("probe [1]\x1b")
        live.watch(4, recorder())
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "probe [1]\\x1b: 4 of 10 calls due, 3 served, 1 failed, p50 5.00 ms, 1 s left" in text
