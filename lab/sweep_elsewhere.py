"""A sweep of a job that runs elsewhere: nobody but its user restarts it, so the commands are told."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
from rich.console import Console

from lab.sweep_flags import Combination
from loadtest.terminal import say

_JOB = "JOB"
# Of the sweep alone, or of each search anew.
_NOT_OF_A_SEARCH = {"sweep", "out", "resume", "config", "json", "quiet"}


@dataclass(frozen=True)
class Commands:
    """What to run for one combination.

    Attributes:
        flags: Of the job, with their values.
        replace: Launches the job with them in the place of the one that runs.
        search: Loads it.
    """

    flags: dict[str, str]
    replace: str
    search: str


def commands(given: argparse.Namespace, combinations: Sequence[Combination], out: Path) -> list[Commands]:
    """Return the commands for each combination.

    Args:
        given: Flags of the sweep.
        combinations: In the order in which they are to be searched.
        out: Gets a folder for each search.
    """
    search = ["./launch.sh", "loadtest", "search"]
    for name, value in vars(given).items():
        if name not in _NOT_OF_A_SEARCH and value:
            search += [f"--{name}={each}" for each in (value if isinstance(value, list) else [value])]
    return [
        Commands(
            dict(each.flags),
            shlex.join(["./launch.sh", "replace", _JOB, "--", *each.arguments]),
            shlex.join([*search, f"--out={out / f'{number:02d}'}"]),
        )
        for number, each in enumerate(combinations, start=1)
    ]


def tell(found: Sequence[Commands], console: Console, *, json: bool) -> None:
    """Print the commands, for people or as JSON."""
    if json:
        content = {"measured": False, "combinations": [asdict(each) for each in found]}
        options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        sys.stdout.write(orjson.dumps(content, option=options).decode())
        return
    say(
        console,
        "Nothing was measured: the job runs elsewhere. Run these one after the other. "
        f"{_JOB} is its name; give all of the flags that it was launched with beside the one here.",
        style="bold",
    )
    for each in found:
        say(console, "")
        say(console, each.replace, whole=True)
        say(console, each.search, whole=True)
