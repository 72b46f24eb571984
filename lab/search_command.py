"""`./launch.sh loadtest search`: the highest rate that meets the objectives."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import orjson
from google.api_core.exceptions import GoogleAPICallError
from rich.console import Console

from lab import words
from lab.command_line import CommandLine, new_parser, parse_command_line
from lab.found import Found, limit_of, where
from lab.pages import write_page
from lab.probing import SCHEDULE
from lab.search import add_cloud_metrics, find
from lab.search_flags import add_search_flags, number, search_flags
from lab.sweep_table import print_outcomes
from lab.target import started
from lab.trying import NothingToTryError, Tried, try_change
from loadtest.driver.errors import RunError
from loadtest.driver.pubsub import PubsubError
from loadtest.interrupt import stop_on_signals
from loadtest.raw_log import RawLogError
from loadtest.report.limit_section import limit_lines, limit_section
from loadtest.run_folder import FolderError, held, make_fresh
from loadtest.search.search_file import SEARCH, SearchFileError, resume
from loadtest.search.tiers import TiersSearch
from loadtest.terminal import complain, make_console, say, say_file
from local.children import ChildError

TRY = "try"  # the flag; a word of Python's
_DESCRIPTION = (
    "Find the highest rate that meets the objectives, with confirmation and a shown failure above it."
)


def search_command(arguments: Sequence[str]) -> int:
    """Search, and return the exit code.

    Returns:
        0 if each tier has a confirmed answer; 2 for wrong flags; 1 otherwise.
    """
    line, search, hold_s = parse_search(arguments)
    if search is None:
        print("\n".join(line.problems), file=sys.stderr)
        return 2
    options, given = line.options, line.given
    console = Console(stderr=True)
    told = None if given.quiet else console
    tried = None
    try:
        if not line.names_out:
            options = replace(options, out=make_fresh(options.out))
        with held(options.out), stop_on_signals() as stop:
            with started(options, line.flags, options.out, stop, console, line.metrics) as target:
                found = find(search, target, options.out, hold_s, stop, told)
                add_cloud_metrics(found, target, stop, told)
            if getattr(given, TRY) and line.flags is not None and not stop.is_set():
                try:
                    tried = try_change(found, options, line.flags, stop, told)
                except NothingToTryError as error:
                    print(f"--try: {error}", file=sys.stderr)
            finish(found, options.out, tried, json=bool(given.json))
    except (ChildError, FolderError, RunError, RawLogError, PubsubError, GoogleAPICallError) as error:
        complain(f"loadtest: {error}")
        return 1
    except KeyboardInterrupt:
        complain("loadtest: ended at once by a second interrupt; --resume goes on from it")
        return 130
    return 0 if found.complete else 1


def parse_search(
    arguments: Sequence[str], command: str = "search", description: str = _DESCRIPTION
) -> tuple[CommandLine, TiersSearch | None, float]:
    """Return the command line, the search (None where something is wrong) and the seconds to hold.

    Args:
        arguments: The command line.
        command: That searches, for its help.
        description: Of it, likewise.
    """
    parser = new_parser(command, description)
    add_search_flags(parser, tiers="several")
    parser.add_argument("--hold", help="seconds to sustain the answer for afterwards (default: 0)")
    if command == "search":
        parser.add_argument(
            "--try", action="store_true",
            help="make the change that the answer names, if it is a flag of the job, and search again",
        )  # fmt: skip
    line = parse_command_line(parser, arguments, {"rate": "1", "duration": "1", "schedule": SCHEDULE})
    given, problems = line.given, line.problems
    hold_s = number(given, "hold", 0.0, problems, or_zero=True)
    flags = search_flags(given, line.options.seed, problems)
    if getattr(given, TRY, False) and line.flags is None:
        problems.append("--try: it restarts a job that runs here: leave out --input_topic")
    if flags is None or problems:
        return line, None, 0.0
    if given.resume:
        try:
            return line, resume(line.options.out / SEARCH), hold_s
        except SearchFileError as error:
            problems.append(f"--resume: {error}")
            return line, None, 0.0
    return line, TiersSearch(flags.tiers, flags.settings), hold_s


def finish(found: Found, out: Path, tried: Tried | None = None, *, json: bool) -> None:
    """Write the page, and print the answers or, as JSON, all that the search's file holds.

    Args:
        found: By the search.
        out: Its folder.
        tried: The change that it named; None where none was tried.
        json: Whether to print JSON.
    """
    limit = limit_of(found)
    page = write_page(out)
    if json:
        content = orjson.loads((out / SEARCH).read_bytes())
        content["ended"] = found.ended
        content["limit"] = asdict(limit[1]) if limit else None
        content["tried"] = tried.to_json() if tried else None
        sys.stdout.write(
            orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
        )
        return
    console = make_console()
    for sentence in words.answers(found.search):
        say(console, sentence, style="bold")
    if found.ended:
        say(console, f"ended early: {found.ended}; --resume --out={out} goes on")
    if limit:
        for text in limit_lines(limit_section(limit[1], where(limit[0]))):
            say(console, text)
    if tried:
        print_outcomes(console, (tried.before, tried.after), str(found.search.tiers[0]))
        say(console, tried.sentence(), style="bold")
    if found.held:
        say(console, f"held: {found.held.analysis.verdict.headline}")
    say_file(console, page)
    say_file(console, out / SEARCH)
