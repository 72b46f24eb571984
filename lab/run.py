"""`./launch.sh loadtest run`: one schedule, with the verdict on it and what limits it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import orjson
from google.api_core.exceptions import GoogleAPICallError
from rich.console import Console

from lab import words
from lab.audit import REPEATED, UNIQUE, Audit, audit, payloads
from lab.checks import Check, Condition, check, conditions, tightest_latency_s
from lab.command_line import CommandLine, new_parser, parse_command_line
from lab.metrics_flags import MetricsFlags
from lab.pages import HTML_FILE, Content
from lab.target import started
from lab.unique_bodies import NoUniqueBodiesError, unique_bodies
from loadtest.analysis.analyse import Analysis, analyse
from loadtest.analysis.settings import Settings, keep
from loadtest.display import progress_display
from loadtest.driver.errors import RunError
from loadtest.driver.pubsub import PubsubError
from loadtest.driver.run import run
from loadtest.interrupt import Stop, stop_on_signals
from loadtest.options import RunOptions
from loadtest.raw_log import RUN, RawLog
from loadtest.records import Records
from loadtest.report.json_file import NAME as JSON_FILE
from loadtest.report.json_file import to_json
from loadtest.report.limit_section import limit_lines, limit_section
from loadtest.run_folder import FolderError, held, make_fresh, note_of_earlier_results, replace_file
from loadtest.terminal import complain, make_console, say, say_file
from local.children import ChildError
from local.endpoint_totals import keep_endpoint_totals
from local.job_flags import JobFlags

AUDIT_FILE = "audit.json"

_DEFAULTS = {"rate": "100", "duration": "60"}
_SCHEDULE = ("schedule", "rate", "duration", "warmup", "to_rate", "steps", "period", "width", "trace")


@dataclass(frozen=True)
class Asked:
    """What the command's own flags ask for.

    Attributes:
        objectives: That bound the schedule error, and are told of.
        failures: Of which each decides the exit code.
        payloads: What is sent, by the name of the run; one run has none. Empty where the flags are wrong.
    """

    objectives: list[Condition]
    failures: list[Condition]
    payloads: Mapping[str, Records]

    @property
    def tightest_s(self) -> float | None:
        """The shortest latency that is asked for, seconds."""
        return tightest_latency_s([*self.objectives, *self.failures])


@dataclass
class Made:
    """What was measured.

    Attributes:
        folders: Of the runs that left a raw log, by name.
        ids: Of the same runs.
        warm_up_s: What is cut from the start of each at least.
        failure: How a process ended by itself; empty where none did.
    """

    folders: dict[str, Path]
    ids: dict[str, str]
    warm_up_s: float = 0.0
    failure: str = ""


def run_command(arguments: Sequence[str]) -> int:
    """Run one schedule, or two for the cache audit, and return the exit code.

    Returns:
        0 for a valid run that was not cut short, got an answer and did not fail by `--fail-if`; 2 for wrong
        flags; 1 otherwise.
    """
    line, asked = parse_run(arguments)
    if line.problems:
        print("\n".join(line.problems), file=sys.stderr)
        return 2
    options, json = line.options, bool(line.given.json)
    console = Console(stderr=True, quiet=bool(line.given.quiet))
    try:
        if not line.names_out:
            options = replace(options, out=make_fresh(options.out))
        with held(options.out), stop_on_signals() as stop:
            made = make_runs(options, line.flags, asked.payloads, stop, console, line.metrics)
            return finish(made, asked, options.out, json=json)
    except (ChildError, FolderError, RunError, PubsubError, GoogleAPICallError) as error:
        complain(f"loadtest: {error}")
        return 1
    except KeyboardInterrupt:
        complain("loadtest: ended at once by a second interrupt; there is no report")
        return 130


def parse_run(arguments: Sequence[str]) -> tuple[CommandLine, Asked]:
    """Return the command line and what it asks for; without `problems` both can be used."""
    parser = new_parser(
        "run", "Send one schedule, by default 100/s for 60 s, and say what it shows.", _SCHEDULE
    )
    parser.add_argument(
        "--objective", action="append", metavar="OBJECTIVE",
        help="such as p99<250ms; bounds how late the driver may send; repeat it",
    )  # fmt: skip
    parser.add_argument(
        "--fail_if", action="append", metavar="FAILURE",
        help="such as p99>50ms or lost>0: the exit code is 1 then; repeat it",
    )  # fmt: skip
    parser.add_argument(
        "--audit", action="store_true",
        help="run the schedule with one body over and over and again with unique ones: does a cache answer?",
    )  # fmt: skip
    line = parse_command_line(parser, arguments, _DEFAULTS)
    given, problems = line.given, line.problems
    objectives = conditions(given.objective or [], failures=False, problems=problems)
    failures = conditions(given.fail_if or [], failures=True, problems=problems)
    sent: Mapping[str, Records] = {}
    if not problems:
        sent = _audited(line) if given.audit else {"": line.options.input}
    return line, Asked(objectives, failures, sent)


def _audited(line: CommandLine) -> Mapping[str, Records]:
    if line.flags is not None and line.flags.has_decode_hook:
        line.problems.append(
            "--audit: with --decode_hook, you alone know what a request looks like: no unique bodies can be "
            "made"
        )
        return {}
    options = line.options
    try:
        count = len(options.arrivals.offsets())
        return payloads(unique_bodies(options.input, max(1, count), options.seed))
    except NoUniqueBodiesError as error:
        line.problems.append(f"--audit: no unique bodies can be made: {error}")
        return {}


def make_runs(
    options: RunOptions,
    flags: JobFlags | None,
    sent: Mapping[str, Records],
    stop: Stop,
    console: Console,
    metrics: MetricsFlags,
) -> Made:
    """Start the job, if it is to run here, make the runs, and stop it.

    Args:
        options: Of each run, but for what is sent.
        flags: Of the job; None for one that runs elsewhere.
        sent: By the name of the run, which is that of its folder, too.
        stop: Ends the run early, and those after it.
        console: Shown the progress.
        metrics: What is sampled beside the messages and the processes.

    Raises:
        ChildError: A process did not start, or ended by itself before there was anything to report.
        RunError: A run could not begin, or ended before its first message.
        PubsubError, GoogleAPICallError: The broker cannot be used.
    """
    made = Made({}, {})
    job_log = None
    try:
        with started(options, flags, options.out, stop, console, metrics) as target:
            made.warm_up_s, job_log = target.warm_up_s, target.job_log
            for name, records in sent.items():
                if stop.is_set():
                    break
                folder = options.out / name
                if note := note_of_earlier_results(folder):
                    say(console, note, whole=True)
                if name:
                    say(console, f"{name} bodies, into {folder}", whole=True)
                with progress_display(console) as display:
                    summary = run(
                        replace(target.options, input=records, out=folder),
                        system=target.system,
                        display=target.noted(display),
                        stop=stop,
                    )
                # A run that has not begun leaves what an earlier one left there.
                if not (folder / RUN).is_file() or RawLog.read(folder).facts.run != summary.run:
                    raise RunError(f"there is nothing to report: {summary.error}")
                made.folders[name], made.ids[name] = folder, summary.run
                if target.cloud is not None:
                    target.cloud.add_to(folder, stop, partial(say, console))
    except ChildError as error:
        if not made.folders:
            raise
        made.failure = str(error)
    if flags is not None and job_log is not None and len(sent) == 1:
        for name, folder in made.folders.items():
            keep_endpoint_totals(folder, made.ids[name], flags, job_log)
    return made


def finish(made: Made, asked: Asked, out: Path, *, json: bool) -> int:
    """Write the reports, print them, and return the exit code."""
    settings = Settings(tightest_objective_s=asked.tightest_s, warm_up_floor_s=made.warm_up_s)
    for folder in made.folders.values():
        keep(settings, folder)
    analyses = {name: analyse(RawLog.read(folder), settings) for name, folder in made.folders.items()}
    reports = {name: to_json(analysis) for name, analysis in analyses.items()}
    for name, content in reports.items():
        replace_file(made.folders[name] / JSON_FILE, content)
    page = out / HTML_FILE
    replace_file(page, Content(runs={made.folders[name]: one for name, one in analyses.items()}).page())
    found = None
    if REPEATED in analyses and UNIQUE in analyses:
        found = audit(analyses[REPEATED], analyses[UNIQUE])
        replace_file(out / AUDIT_FILE, orjson.dumps(asdict(found), option=orjson.OPT_INDENT_2))
    # Of an audit, the run with unique bodies: no cache has answered there.
    latest = list(analyses.values())[-1]
    failed = check(asked.failures, latest)
    if json:
        sys.stdout.write(_as_json(reports, found))
    else:
        _print(analyses, [*check(asked.objectives, latest), *failed], found)
        console = make_console()
        for path in (page, *(made.folders[name] / JSON_FILE for name in analyses)):
            say_file(console, path)
    problems = [made.failure] if made.failure else []
    if len(analyses) < len(asked.payloads):
        problems.append("the audit has one of its two runs")
    problems += [_told(name, text) for name, one in analyses.items() for text in _why_not(one)]
    if json:
        problems += [str(each) for each in failed if not each.met]
    for problem in problems:
        complain(f"loadtest: {problem}")
    return 1 if problems or not all(each.met for each in failed) else 0


def _why_not(analysis: Analysis) -> list[str]:
    """Return why a run fails by itself, whatever was asked for."""
    found = []
    if analysis.facts.partial is not None:
        found.append(f"partial: {analysis.facts.partial}")
    if analysis.verdict.outcome in ("INVALID", "no answer"):
        found.append(f"{analysis.verdict.outcome}: {analysis.verdict.headline}")
    return found


def _told(name: str, text: str) -> str:
    return f"{name} bodies: {text}" if name else text


def _as_json(reports: Mapping[str, bytes], found: Audit | None) -> str:
    if list(reports) == [""]:
        return reports[""].decode()
    content = {"audit": None if found is None else asdict(found)}
    content |= {name: orjson.loads(report) for name, report in reports.items()}
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _print(analyses: Mapping[str, Analysis], checks: Sequence[Check], found: Audit | None) -> None:
    console = make_console()
    for name, analysis in analyses.items():
        partial = "" if analysis.facts.partial is None else ", partial"
        say(console, _told(name, f"{analysis.verdict.outcome}{partial}"), style="bold")
        for text in words.verdict_lines(analysis):
            say(console, f"  {text}")
        if analysis.bottleneck is not None:
            for text in limit_lines(limit_section(analysis.bottleneck)):
                say(console, text)
    if found is not None:
        say(console, found.sentence, style="bold")
    for each in checks:
        say(console, str(each), style="" if each.met else "bold red")
