"""`./launch.sh loadtest search`: the highest rate that meets the objectives."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson
from google.api_core.exceptions import GoogleAPICallError
from rich.console import Console

from lab import words
from lab.command_line import CommandLine, new_parser, parse_command_line
from lab.probing import (
    SCHEDULE,
    Probed,
    ProbeError,
    ProbeInterruptedError,
    make_probe,
    observe,
    tightest_latency,
)
from lab.target import Target, started
from loadtest.bottleneck.diagnose import diagnose
from loadtest.bottleneck.diagnosis import Diagnosis
from loadtest.bottleneck.reading import evidence
from loadtest.bottleneck.thresholds import QUICK_S
from loadtest.display import Display, progress_display
from loadtest.driver.errors import RunError
from loadtest.driver.pubsub import PubsubError
from loadtest.interrupt import Stop, stop_on_signals
from loadtest.report.command import HTML_FILE
from loadtest.report.page import to_html
from loadtest.run_folder import FolderError, held, make_fresh, replace_file
from loadtest.search.answer import Settings
from loadtest.search.objectives import ObjectiveError, Tier
from loadtest.search.probes import Probe
from loadtest.search.search_file import SEARCH, SearchFileError, resume, write
from loadtest.search.tiers import TiersSearch
from loadtest.terminal import make_console, say
from local.children import ChildError

DEFAULT_TIER = "p99<250ms,lost=0"
PROBES = "probes"
_DESCRIPTION = (
    "Find the highest rate that meets the objectives, with confirmation and a shown failure above it."
)
# A quarter of it, as the first probes are, still tells the slope of a backlog.
LEAST_PROBE_S = 12.0
# More messages than the percentiles need, as a Poisson schedule may bring fewer than rate times seconds.
_SPARE = 1.1
# Tries of a probe that the driver could not keep the schedule of.
_TRIES = 2
_NUMBERS = {"start": 100.0, "probe_s": 60.0, "probe_max_s": 600.0, "budget": 7200.0, "hold": 0.0}


@dataclass
class Found:
    """What a search came to.

    Attributes:
        search: With its history and boundaries.
        probed: The runs of this process, by the number of their probe.
        ended: Why it ended early; empty where it did not.
        held: The run just below the edge; None where none was asked for.
    """

    search: TiersSearch
    probed: dict[int, Probed]
    ended: str = ""
    held: Probed | None = None

    @property
    def complete(self) -> bool:
        """Whether every tier has an answer."""
        boundaries = self.search.boundaries()
        return not self.ended and all(one.converged and one.claim is not None for one in boundaries)


def search_command(arguments: Sequence[str]) -> int:
    """Search, and return the exit code.

    Returns:
        0 if each tier has a confirmed answer; 2 for wrong flags; 1 otherwise.
    """
    line, search, hold_s = parse_search(arguments)
    if search is None:
        print("\n".join(line.problems), file=sys.stderr)
        return 2
    options = line.options
    console = Console(stderr=True)
    try:
        if not line.names_out:
            options = replace(options, out=make_fresh(options.out))
        with held(options.out), stop_on_signals() as stop:
            with started(options, line.flags, options.out, stop, console) as target:
                quiet = bool(line.given.quiet)
                found = find(search, target, options.out, hold_s, stop, None if quiet else console)
            finish(found, options.out, json=bool(line.given.json))
    except (ChildError, FolderError, RunError, PubsubError, GoogleAPICallError) as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("loadtest: ended at once by a second interrupt; --resume goes on from it", file=sys.stderr)
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
    parser.add_argument(
        "--objective", action="append", metavar="OBJECTIVE",
        help="such as p99<250ms or lost=0; repeat it: all must be met",
    )  # fmt: skip
    parser.add_argument(
        "--tier", action="append", metavar="OBJECTIVES",
        help=f"objectives such as p99<100ms,lost=0; repeat it: one boundary each (default: {DEFAULT_TIER})",
    )  # fmt: skip
    parser.add_argument("--start", help="first rate, messages a second (default: 100)")
    parser.add_argument("--probe_s", help="seconds of a probe at least (default: 60)")
    parser.add_argument("--probe_max_s", help="seconds of a probe at most (default: 600)")
    parser.add_argument("--budget", help="seconds of all probes together (default: 7200)")
    parser.add_argument("--hold", help="seconds to sustain the answer for afterwards (default: 0)")
    parser.add_argument("--resume", action="store_true", help="go on from the search in --out")
    line = parse_command_line(parser, arguments, {"rate": "1", "duration": "1", "schedule": SCHEDULE})
    given, problems = line.given, line.problems
    numbers = {}
    for name, default in _NUMBERS.items():
        text = getattr(given, name)
        try:
            numbers[name] = default if text is None else float(text)
        except ValueError:
            numbers[name] = math.nan
        if not 0 <= numbers[name] < math.inf or (name != "hold" and not numbers[name]):
            problems.append(f"--{name}={text} must be a number above 0")
    if numbers["probe_s"] < LEAST_PROBE_S:
        problems.append(
            f"--probe_s={given.probe_s} must be at least {LEAST_PROBE_S:g}: the first probes take a quarter"
        )
    tiers = []
    texts = [*(given.tier or []), *([",".join(given.objective)] if given.objective else [])]
    for text in texts or [DEFAULT_TIER]:
        try:
            tiers.append(Tier.parse(text))
        except ObjectiveError as error:
            problems.append(f"--tier or --objective: {error}")
    if given.resume and given.out is None:
        problems.append("--resume: give the folder of the search by --out")
    if problems:
        return line, None, 0.0
    if given.resume:
        try:
            return line, resume(line.options.out / SEARCH), numbers["hold"]
        except SearchFileError as error:
            problems.append(f"--resume: {error}")
            return line, None, 0.0
    settings = Settings(
        numbers["start"],
        numbers["probe_s"],
        numbers["probe_max_s"],
        numbers["budget"],
        line.options.seed,
        math.ceil(_SPARE * max(tier.least_messages for tier in tiers)),
    )
    return line, TiersSearch(tiers, settings), numbers["hold"]


def find(
    search: TiersSearch, target: Target, out: Path, hold_s: float, stop: Stop, console: Console | None
) -> Found:
    """Make the probes that a search asks for, and write its file after each.

    Args:
        search: Begun or not.
        target: What is loaded.
        out: Gets search.json, and a folder for each probe.
        hold_s: Seconds to sustain the first tier's answer for, afterwards; 0: not at all.
        stop: Once set, the search ends, and can be resumed.
        console: Told what is done, and why; None: nobody.

    Raises:
        RunError: A run could not begin.
    """
    found = Found(search, {})
    tightest = tightest_latency(search.tiers)
    write(out / SEARCH, search)
    try:
        while (probe := search.next()) is not None:
            number = len(search.history) + 1
            spent = sum(each.seconds for each, _ in search.history)
            _tell(console, words.announced(number, probe, target.warm_up_s, spent, search.settings.budget_s))
            folder = out / PROBES / f"{number:02d}"
            probed = _valid_probe(target, probe, tightest, folder, stop, console)
            if probed is None:
                search.unreachable(probe)
                write(out / SEARCH, search)
                continue
            observations = observe(probe, probed.analysis, search.tiers)
            search.observe(probe, observations)
            found.probed[number] = probed
            write(out / SEARCH, search)
            for tier, observation in zip(search.tiers, observations, strict=True):
                _tell(console, f"  {tier}: {words.outcome(observation)}")
        claim = search.boundaries()[0].claim
        if hold_s and claim is not None:
            _tell(console, f"holding {claim:,.6g}/s for {hold_s:g} s")
            probe = Probe(claim, hold_s, search.settings.seed + len(search.history), "confirm")
            found.held = _valid_probe(target, probe, tightest, out / "hold", stop, console)
            if found.held is None:
                found.ended = f"the driver could not hold {claim:,.6g}/s"
    except (ProbeError, ProbeInterruptedError) as error:
        found.ended = str(error)
    return found


def _valid_probe(
    target: Target, probe: Probe, tightest_s: float | None, folder: Path, stop: Stop, console: Console | None
) -> Probed | None:
    """Return a probe whose driver kept its schedule; None where it did not, twice."""
    for _ in range(_TRIES):
        shown: AbstractContextManager[Display] = (
            nullcontext(Display()) if console is None else progress_display(console)
        )
        with shown as display:
            probed = make_probe(target, probe, tightest_s, folder, display, stop)
        if probed.analysis.validity.valid:
            return probed
        _tell(console, f"  INVALID: {'; '.join(probed.analysis.validity.reasons)}")
    return None


def _tell(console: Console | None, text: str) -> None:
    if console is not None:
        say(console, text)


def limit_of(found: Found) -> tuple[Probed, Diagnosis] | None:
    """Return the probe that failed most clearly, and what limits it; None where this process made none.

    Just above the answer hardly anything is wrong yet: what limits a system shows where it is overloaded.
    """
    failed = [
        (observations[0].margin, number)
        for number, (_, observations) in enumerate(found.search.history, start=1)
        if observations and not observations[0].passed and number in found.probed
    ]
    if not failed:
        return None
    probed = found.probed[max(failed)[1]]
    tightest = tightest_latency(found.search.tiers)
    start, end = probed.analysis.window
    return probed, diagnose(evidence(probed.log, start, end, QUICK_S if tightest is None else tightest))


def finish(found: Found, out: Path, *, json: bool) -> None:
    """Write the page, and print the answers or, as JSON, all that the search's file holds."""
    limit = limit_of(found)
    page = write_page(found, out)
    if json:
        content = orjson.loads((out / SEARCH).read_bytes())
        content["ended"] = found.ended
        content["limit"] = asdict(limit[1]) if limit else None
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
        probed, diagnosis = limit
        offered = probed.analysis.rates["offered"].value or 0.0
        for text in words.limit_lines(f"at {offered:,.6g}/s", diagnosis):
            say(console, text)
    if found.held:
        say(console, f"held: {found.held.analysis.verdict.headline}")
    say(console, f"  {page}", whole=True)
    say(console, f"  {out / SEARCH}", whole=True)


def write_page(found: Found, out: Path) -> Path:
    """Write the page of a search and its most telling runs, and return its path."""
    shown = _shown(found)
    page = out / HTML_FILE
    html = to_html([each.analysis for each in shown.values()], list(shown), [found.search])
    replace_file(page, html.encode())
    return page


def _shown(found: Found) -> dict[str, Probed]:
    """Return the runs for the page, by name: the answer's, and the failure above it; else the latest."""
    numbers = words.by_rate(found.search.history)
    boundary = found.search.boundaries()[0]
    rates = {"confirmed": boundary.claim, "fails": boundary.infeasible_min}
    shown = {
        f"{rate:,.6g}/s, {what}": found.probed[numbers[rate]]
        for what, rate in rates.items()
        if rate is not None and numbers.get(rate) in found.probed
    }
    if found.held:
        shown["held"] = found.held
    if not shown and found.probed:
        number, probed = max(found.probed.items())
        shown[f"probe {number}"] = probed
    return shown
