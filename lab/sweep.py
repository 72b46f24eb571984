"""`./launch.sh loadtest sweep`: the highest rate with each of several values of the job's flags."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from google.api_core.exceptions import GoogleAPICallError
from rich.console import Console

from lab.outcomes import outcome_of
from lab.pages import write_page
from lab.search import search_job
from lab.sweep_elsewhere import commands, tell
from lab.sweep_flags import Combination, parse_sweep
from lab.sweep_table import print_outcomes
from loadtest.driver.pubsub import PubsubError
from loadtest.interrupt import stop_on_signals
from loadtest.raw_log import RawLogError
from loadtest.run_folder import FolderError, held, make_fresh, make_private
from loadtest.search.search_file import SEARCH, SearchFileError, resume
from loadtest.search.sweep_file import SWEEP, Sweep
from loadtest.search.tiers import TiersSearch
from loadtest.terminal import complain, make_console, say, say_file


def sweep_command(arguments: Sequence[str]) -> int:
    """Search with each combination of flags, compare, and return the exit code.

    Returns:
        0 if each has an answer, or the commands for a job elsewhere were told; 2 for wrong flags;
        1 otherwise.
    """
    line, sweep, combinations = parse_sweep(arguments)
    if sweep is None:
        print("\n".join(line.problems), file=sys.stderr)
        return 2
    out = line.options.out
    if line.flags is None:
        tell(commands(line.given, combinations, out), make_console(), json=line.given.json)
        return 0
    try:
        if not line.names_out:
            out = make_fresh(out)
        with held(out):
            ended = run_sweep(sweep, combinations, out, quiet=line.given.quiet, resumed=line.given.resume)
            finish(sweep, out, ended, json=line.given.json)
    except (FolderError, RawLogError, SearchFileError, PubsubError, GoogleAPICallError) as error:
        complain(f"loadtest: {error}")
        return 1
    except KeyboardInterrupt:
        complain("loadtest: ended at once by a second interrupt; --resume goes on from it")
        return 130
    return 0 if not ended and all(outcome.complete for outcome in sweep.outcomes) else 1


def run_sweep(
    sweep: Sweep, combinations: Sequence[Combination], out: Path, *, quiet: bool, resumed: bool
) -> str:
    """Search with each combination that has come to no end, and write the sweep's file after each.

    Args:
        sweep: Begun or not; gets the outcomes.
        combinations: Of it.
        out: Gets sweep.json, and a folder for each search.
        quiet: Whether nobody is told what is done.
        resumed: Whether a search that is there goes on.

    Returns:
        What interrupted it; empty where nothing did.

    Raises:
        SearchFileError: A search that is to go on cannot.
        RawLogError: The raw log of a probe that was made is gone.
        PubsubError, GoogleAPICallError: The broker cannot be used.
    """
    console = Console(stderr=True)
    sweep.write(out / SWEEP)
    for number, combination in enumerate(combinations):
        if number < len(sweep.outcomes) and not sweep.outcomes[number].ended:
            continue
        if not quiet:
            told = f"{' '.join(combination.arguments)} ({number + 1} of {len(combinations)})"
            say(console, told, style="bold")
        folder = out / f"{number + 1:02d}"
        make_private(folder)
        search = TiersSearch([sweep.tier], sweep.settings)
        if resumed and (folder / SEARCH).is_file():
            search = resume(folder / SEARCH)
        with stop_on_signals() as stop:
            line = combination.line
            found = search_job(
                line.options, line.flags, search, folder, stop, None if quiet else console, line.metrics
            )
        outcome = outcome_of(search, folder, combination.flags, found.ended)
        sweep.outcomes[number : number + 1] = [outcome]
        sweep.write(out / SWEEP)
        if stop.by_signal:
            return stop.reason
    return ""


def finish(sweep: Sweep, out: Path, ended: str, *, json: bool) -> None:
    """Write the page, and print the comparison or, as JSON, the sweep's file."""
    page = write_page(out)
    if json:
        sys.stdout.write((out / SWEEP).read_text())
        return
    console = make_console()
    print_outcomes(console, sweep.outcomes, str(sweep.tier))
    if ended:
        say(console, f"ended early: {ended}; --resume --out={out} goes on")
    say_file(console, page)
    say_file(console, out / SWEEP)
