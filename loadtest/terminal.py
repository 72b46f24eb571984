"""Text for a person: whatever comes from elsewhere is shown, and does nothing."""

from __future__ import annotations

import io
import re
import shutil
import sys
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.text import Text


def make_console() -> Console:
    """Make the console on standard output. What its encoding lacks is shown by its code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    console = Console()
    # rich takes a dumb terminal for one of 80 columns.
    return Console(width=shutil.get_terminal_size().columns) if console.is_dumb_terminal else console


def say(console: Console, text: str, style: str = "", *, whole: bool = False) -> None:
    """Print one sentence: on a terminal broken between words, elsewhere on one line.

    Args:
        console: Printed to.
        text: Nothing in it is markup.
        style: Of rich.
        whole: Whether a terminal gets it on one line, too, so that a path in it can be copied.
    """
    console.print(Text(printable(text), style=style), soft_wrap=whole or not console.is_terminal)


def say_file(console: Console, path: Path, told: str = "") -> None:
    """Print where a file is, and what it holds, indented.

    A terminal that is too narrow for one line gets the path on a line of its own; a path that is longer than
    that is broken after a separator.

    Args:
        console: Printed to.
        path: Of the file.
        told: What it holds; empty where that is clear.
    """
    line = f"  {path}  {told}" if told else f"  {path}"
    if not console.is_terminal or cell_len(printable(line)) <= console.width:
        say(console, line, whole=True)
        return
    row = "  "
    for part in re.findall(r"[^/]*/|[^/]+$", printable(str(path))):
        if row.strip() and cell_len(row + part) > console.width:
            say(console, row, whole=True)
            row = "  "
        row += part
    say(console, row, whole=True)
    if told:
        console.print(Padding(Text(printable(told)), (0, 0, 0, 4)))


def complain(text: str) -> None:
    """Print on the standard error what is wrong: on a terminal broken between words, else as it is."""
    console = Console(stderr=True)
    for line in text.splitlines():
        say(console, line)


def printable(text: str) -> str:
    """Return the text with the escape of each character that a terminal would act on, line ends included."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
