"""What a benchmark leaves behind: tables on the terminal, and the same with all figures in a folder."""

import argparse
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import orjson
from rich import box
from rich.console import Console
from rich.table import Table

FOLDER = Path(__file__).parents[1] / "results"
WIDTH = 110  # of the tables in the file, and where there is no terminal


def folder(text: str) -> Path:
    """A flag's value; checked now rather than after some minutes."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder that exists")
    return Path(text)


def table(headings: Sequence[str]) -> Table:
    """A table of a first column without a heading and further ones of numbers."""
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    made.add_column("")
    for heading in headings:
        made.add_column(heading, justify="right")
    return made


def publish(out: Path, name: str, show: Callable[[Console], None], figures: Mapping[str, object]) -> None:
    """Shows the tables here, and writes NAME.txt and NAME.json into `out`."""
    # Without a terminal rich assumes 80 columns.
    show(Console(width=None if sys.stdout.isatty() else WIDTH))
    text = io.StringIO()
    show(Console(file=text, width=WIDTH))
    (out / f"{name}.txt").write_text(text.getvalue())
    (out / f"{name}.json").write_bytes(
        orjson.dumps(figures, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
    )
