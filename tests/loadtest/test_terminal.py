from __future__ import annotations

import io
import subprocess
import sys

from rich.console import Console

from loadtest.terminal import printable, say


def test_what_a_terminal_would_act_on_is_shown() -> None:
    assert printable("a\x1b[2J\r\n\u202e\u009bé→") == "a\\x1b[2J\\r\\n\\u202e\\x9bé→"


def test_a_sentence_is_broken_between_words_on_a_terminal_only() -> None:
    text = "one two three four"
    for terminal, whole, expected in ((True, False, 3), (True, True, 1), (False, False, 1)):
        console = Console(file=io.StringIO(), width=8, force_terminal=terminal)
        say(console, text, whole=whole)
        assert len(console.file.getvalue().splitlines()) == expected  # type: ignore[attr-defined]


def test_what_the_encoding_lacks_ends_no_run() -> None:
    script = "from loadtest.terminal import make_console, say; say(make_console(), '3 × é')"
    run = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONIOENCODING": "ascii"}, capture_output=True, text=True
    )
    assert (run.returncode, run.stdout) == (0, "3 \\xd7 \\xe9\n"), run.stderr
