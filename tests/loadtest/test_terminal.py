from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from loadtest.terminal import complain, printable, say, say_file


def test_what_a_terminal_would_act_on_is_shown() -> None:
    assert printable("a\x1b[2J\r\n\u202e\u009bé→") == "a\\x1b[2J\\r\\n\\u202e\\x9bé→"


def test_a_sentence_is_broken_between_words_on_a_terminal_only() -> None:
    text = "one two three four"
    for terminal, whole, expected in ((True, False, 3), (True, True, 1), (False, False, 1)):
        console = Console(file=io.StringIO(), width=8, force_terminal=terminal)
        say(console, text, whole=whole)
        assert len(console.file.getvalue().splitlines()) == expected  # type: ignore[attr-defined]


LONG = Path("/var/lib/somewhere/runs/20261127-121314-with-a-name/report.json")


@pytest.mark.parametrize("width", [20, 30, 60, 80, 200])
def test_the_line_of_a_file_breaks_at_separators_alone(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, _environ={"TERM": "xterm"})
    told = "every figure of the run"
    say_file(console, LONG, told)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    path = [line for line in lines if not line.startswith("    ")]
    if len(lines) == 1:
        assert lines == [f"  {LONG}  {told}"]
        assert len(lines[0]) <= width
        return
    assert "".join(line.removeprefix("  ") for line in path) == str(LONG)
    assert all(line.endswith("/") for line in path[:-1])
    assert all(len(line) <= width or line.count("/") == line.endswith("/") for line in path)
    assert " ".join(line.strip() for line in lines[len(path) :]) == told


def test_the_line_of_a_file_is_whole_where_nobody_looks() -> None:
    console = Console(file=io.StringIO(), width=20)
    say_file(console, LONG, "every figure")
    assert console.file.getvalue() == f"  {LONG}  every figure\n"  # type: ignore[attr-defined]


def test_a_complaint_is_broken_between_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "loadtest: the driver missed its schedule: give it a processor of its own or lower --rate"
    complain(f"{text}\nsecond")
    assert capsys.readouterr().err == f"{text}\nsecond\n"
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "30")):
        monkeypatch.setenv(name, value)
    complain(text)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 2
    assert max(map(len, lines)) <= 30
    assert " ".join(line.strip() for line in lines) == text


def test_what_the_encoding_lacks_ends_no_run() -> None:
    script = "from loadtest.terminal import make_console, say; say(make_console(), '3 × é')"
    run = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONIOENCODING": "ascii"}, capture_output=True, text=True
    )
    assert (run.returncode, run.stdout) == (0, "3 \\xd7 \\xe9\n"), run.stderr
