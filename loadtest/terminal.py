"""Text for a person: whatever comes from elsewhere is shown, and does nothing."""

from __future__ import annotations

import io
import shutil
import sys

from rich.console import Console
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


def printable(text: str) -> str:
    """Return the text with the escape of each character that a terminal would act on, line ends included."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
