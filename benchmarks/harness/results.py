"""What an experiment leaves behind: tables on the terminal, and the same tables with all figures in files."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import orjson
from rich import box
from rich.console import Console
from rich.table import Table

WIDTH = 110  # of the tables in the file, and where there is no terminal


def table(headings: Sequence[str], title: str | None = None, first: str = "") -> Table:
    """Return an empty table: a first column of text, then a column of numbers for each heading.

    Args:
        headings: Of the columns of numbers.
        title: Stands above the table, on the left.
        first: The heading of the first column.
    """
    empty = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    empty.add_column(first)
    for heading in headings:
        empty.add_column(heading, justify="right")
    return empty


def print_line(console: Console, text: str) -> None:
    """Print a line as it is: numbers without colour, and left to the terminal to wrap."""
    console.print(text, highlight=False, soft_wrap=True)


def terminal(width: int = WIDTH) -> Console:
    """Return a console on stdout.

    Args:
        width: Used where there is no terminal. Rich would take 80 columns, too few for the tables.
    """
    return Console(width=None if sys.stdout.isatty() else width)


def publish(out: Path, name: str, show: Callable[[Console], None], figures: Mapping[str, object]) -> None:
    """Show the tables here, and write NAME.txt and NAME.json into `out`."""
    show(terminal())
    text = io.StringIO()
    show(Console(file=text, width=WIDTH))
    (out / f"{name}.txt").write_text(text.getvalue())
    (out / f"{name}.json").write_bytes(
        orjson.dumps(figures, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
    )
