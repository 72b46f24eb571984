"""`./launch.sh loadtest combined`: job and endpoint together, which of the two limits, and their ratio."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from google.api_core.exceptions import GoogleAPICallError
from rich.console import Console

from lab.container import container_here
from lab.endpoint import parse_endpoint
from lab.found import Found
from lab.pages import write_page
from lab.search import find
from lab.search_command import finish, parse_search
from lab.target import started
from lab.together import COMBINED, TOGETHER, combine, sentences
from loadtest.driver.errors import RunError
from loadtest.driver.pubsub import PubsubError
from loadtest.endpoint.connections import NotServedError
from loadtest.endpoint.experiment import run_endpoint
from loadtest.endpoint.findings import EndpointReport
from loadtest.endpoint.options import EndpointOptions
from loadtest.endpoint.progress import shown_progress
from loadtest.endpoint.report import JSON_FILE, print_report, to_json
from loadtest.interrupt import Stop, stop_on_signals
from loadtest.options import RunOptions
from loadtest.run_folder import FolderError, held, make_fresh, make_private, replace_file
from loadtest.search.tiers import TiersSearch
from loadtest.terminal import complain, make_console, say, say_file
from local.children import ChildError
from local.job_flags import JobFlags
from pipeline.options.address import Address
from pipeline.options.job_options import ENDPOINT
from pipeline.request.errors import EndpointError, TransientError

ALONE = "endpoint"  # the folder
ALONE_FLAGS = ("--rows=1,4,16,64", "--seconds=2")
# Of a job, and no figure of an endpoint.
_OF_A_JOB = frozenset({"dead_letters", "duplicates"})


@dataclass(frozen=True)
class CombinedLine:
    """What a command line says, without problems.

    Attributes:
        search: Of the job.
        run: Of each of its runs.
        flags: Of the job in endpoint mode, and of the container.
        endpoint: How the container is measured alone.
        out: Folder for all.
        names_out: Whether it is the user's choice.
        hold_s: Seconds to sustain the job's rate for.
        json: Whether JSON is printed.
        quiet: Whether no progress is shown.
    """

    search: TiersSearch
    run: RunOptions
    flags: JobFlags
    endpoint: EndpointOptions
    out: Path
    names_out: bool
    hold_s: float
    json: bool
    quiet: bool


def combined_command(arguments: Sequence[str]) -> int:
    """Search the job, measure the container alone, and return the exit code.

    Returns:
        0 if both have a confirmed rate; 2 for wrong flags; 1 otherwise.
    """
    line, problems = parse_combined(arguments)
    if line is None:
        print("\n".join(problems), file=sys.stderr)
        return 2
    console = Console(stderr=True, quiet=line.quiet)
    try:
        if not line.names_out:
            out = make_fresh(line.out)
            endpoint = replace(line.endpoint, out=out / ALONE)
            line = replace(line, out=out, endpoint=endpoint)
        with held(line.out), stop_on_signals() as stop:
            found, report = _measure(line, stop, console)
            combined = combine(found, report)
            replace_file(line.out / COMBINED, combined.to_json())
    except (
        ChildError, EndpointError, FolderError, GoogleAPICallError, NotServedError, PubsubError, RunError,
        TransientError,
    ) as error:  # fmt: skip
        complain(f"loadtest: {error}")
        return 1
    except KeyboardInterrupt:
        complain("loadtest: ended at once by a second interrupt")
        return 130
    page = write_page(line.out)
    if line.json:
        sys.stdout.write(combined.to_json().decode())
    else:
        shown = make_console()
        finish(found, line.out / TOGETHER, json=False)
        if report is not None:
            print_report(shown, report, line.out / ALONE)
        for text in sentences(combined):
            say(shown, text, style="bold")
        for path in (page, line.out / COMBINED):
            say_file(shown, path)
    return 0 if not combined.ended and combined.job is not None and combined.endpoint is not None else 1


def parse_combined(arguments: Sequence[str]) -> tuple[CombinedLine | None, list[str]]:
    """Return what a command line says, None where something is wrong, and every problem with it."""
    split = list(arguments).index("--") if "--" in arguments else len(arguments)
    of_job = [*arguments[split + 1 :], f"--inference_mode={ENDPOINT}"]
    parsed, search, hold_s = parse_search(
        [*arguments[:split], "--", *of_job],
        "combined",
        "Search the highest rate of the job in endpoint mode together with the endpoint container, load the "
        "container alone, and say which of the two limits.",
    )
    problems = parsed.problems
    if parsed.given.resume:
        problems.append("--resume: both are measured in one go: leave it out")
    if parsed.flags is not None and not parsed.flags.needs_container:
        problems.append("--endpoint, --endpoint_url: the container is started here: leave them out after --")
    if search is None or parsed.flags is None or problems:
        return None, problems
    out = parsed.options.out
    asked = [one for one in search.tiers[0].objectives if one.metric not in _OF_A_JOB]
    alone = parse_endpoint(
        [
            *ALONE_FLAGS, f"--out={out / ALONE}",
            f"--budget={search.settings.budget_s:g}",
            *(f"--objective={one}" for one in asked),
            *([f"--input={parsed.given.input}"] if parsed.given.input else []),
            "--", *shlex.split(parsed.flags.text),
        ]
    )  # fmt: skip
    if alone.options is None:
        return None, alone.problems
    return CombinedLine(
        search, parsed.options, parsed.flags, alone.options, out, parsed.names_out, hold_s,
        bool(parsed.given.json), bool(parsed.given.quiet),
    ), []  # fmt: skip


def _measure(line: CombinedLine, stop: Stop, console: Console) -> tuple[Found, EndpointReport | None]:
    """Search the job, then the container alone; None of the second where the first was interrupted."""
    folder = line.out / TOGETHER
    make_private(folder)
    with started(line.run, line.flags, folder, stop, console) as target:
        found = find(line.search, target, folder, line.hold_s, stop, None if line.quiet else console)
    if stop.is_set():
        return found, None
    folder = line.out / ALONE
    make_private(folder)
    with container_here(line.flags, folder, stop, lambda text: say(console, text)) as served:
        target_alone = replace(line.endpoint.target, address=Address(served.url, needs_token=False))
        with shown_progress(quiet=line.quiet) as progress:
            report = run_endpoint(replace(line.endpoint, target=target_alone), progress=progress, stop=stop)
        report.healthy_after_s = served.healthy_after_s
    replace_file(folder / JSON_FILE, to_json(report))
    return found, report
