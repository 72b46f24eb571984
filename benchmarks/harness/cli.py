"""What the command lines of the experiments share. Each has flags, defaults and help of its own.

It imports the standard library alone: not all machines that run an experiment have more.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Collection
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "results"


def new_parser(experiment: str, doc: str) -> argparse.ArgumentParser:
    """Return the parser of `python -m benchmarks.EXPERIMENT`, which exits with code 2 for wrong flags.

    Args:
        experiment: The folder's name.
        doc: The docstring of its `__main__`. The first line becomes the description.
    """
    return argparse.ArgumentParser(
        prog=f"python -m benchmarks.{experiment}", description=doc.splitlines()[0], allow_abbrev=False
    )


def add_out(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Add --out, the folder that gets the results."""
    parser.add_argument("--out", metavar="FOLDER", type=folder, default=FOLDER, help=meaning)


def folder(text: str) -> Path:
    """Return the folder that a flag names. It is checked now rather than after some minutes.

    Raises:
        argparse.ArgumentTypeError: The folder does not exist.
    """
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder that exists")
    return Path(text)


def add_number(parser: argparse.ArgumentParser, flag: str, default: float, meaning: str) -> None:
    """Add a flag for a number of the default's type. The help is `meaning` and the default."""
    parser.add_argument(flag, type=type(default), default=default, help=f"{meaning} (default: %(default)g)")


def add_names(parser: argparse.ArgumentParser, flag: str, known: Collection[str]) -> None:
    """Add a flag such as --tables, for some of the `known` names: X,X. The default is all of them.

    The value is a tuple in the order of `known`, whatever order is given.
    """

    def names(text: str) -> tuple[str, ...]:
        given = set(text.split(","))
        if not given <= set(known):
            raise argparse.ArgumentTypeError(
                f"{text!r}: the {flag.removeprefix('--')} are {', '.join(known)}"
            )
        return tuple(name for name in known if name in given)

    parser.add_argument(
        flag, metavar="X,X", type=names, default=tuple(known), help=f"of {', '.join(known)} (default: all)"
    )


def is_positive(number: float) -> bool:
    """Return whether a number is above 0 and finite."""
    return 0 < number < math.inf


def progress(line: str) -> None:
    """Tell a person who waits how far the run is, on stderr."""
    print(line, file=sys.stderr, flush=True)
