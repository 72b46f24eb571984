"""`./launch.sh loadtest combined`: job and endpoint together, which of the two limits, and their ratio."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson
from google.api_core.exceptions import GoogleAPICallError
from rich.console import Console

from lab import words
from lab.container import container_here
from lab.endpoint import parse_endpoint
from lab.search import Found, find, limit_of
from lab.search_command import finish, parse_search, write_page
from lab.sharing import Costs, Estimate, Limiting, costs, limiting
from lab.target import started
from loadtest.bottleneck.reading import evidence
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
from loadtest.search.answer import Boundary
from loadtest.search.tiers import TiersSearch
from loadtest.terminal import make_console, say
from local.children import ChildError
from local.job_flags import JobFlags
from pipeline.options.address import Address
from pipeline.options.job_options import ENDPOINT
from pipeline.request.errors import EndpointError, TransientError

COMBINED = "combined.json"
TOGETHER, ALONE = "job", "endpoint"
# Of a job, and no figure of an endpoint.
_OF_A_JOB = frozenset({"dead_letters", "duplicates"})
_LIMITS: Mapping[Limiting, str] = {
    "endpoint": "The endpoint limits",
    "job": "The job limits",
    "shared cores": "The cores that both share limit, and neither alone",
    "neither": "Neither limits",
}


@dataclass(frozen=True)
class Combined:
    """What was found out.

    Attributes:
        job: Messages a second that the job carries with one container, all on this machine: the confirmed
            rate, and the lowest that fails. None where none was confirmed.
        endpoint: Rows a second that the container carries alone at `rows` a call; None likewise.
        rows: Its best batch size; None where none met the objectives.
        limits: Which of the two limits the job's rate; None where no run failed.
        because: In words.
        costs: Processor time of a message; None where it was not measured.
        workers_per_replica: Workers of this size whose requests fill one replica of this size, by the rates
            measured, of which the job's was got with shared cores; None where one of them is missing.
        cores: Of this machine, which all processes shared.
        ended: Why it ended early; empty where it did not.
    """

    job: Estimate | None
    endpoint: Estimate | None
    rows: int | None
    limits: Limiting | None
    because: list[str]
    costs: Costs | None
    workers_per_replica: Estimate | None
    cores: int | None
    ended: str


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
            replace_file(line.out / COMBINED, _json(combined))
    except (
        ChildError, EndpointError, FolderError, GoogleAPICallError, NotServedError, PubsubError, RunError,
        TransientError,
    ) as error:  # fmt: skip
        print(f"loadtest: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("loadtest: ended at once by a second interrupt", file=sys.stderr)
        return 130
    if line.json:
        write_page(found, line.out / TOGETHER)
        sys.stdout.write(_json(combined).decode())
    else:
        shown = make_console()
        finish(found, line.out / TOGETHER, json=False)
        if report is not None:
            print_report(shown, report, line.out / ALONE)
        for text in sentences(combined):
            say(shown, text, style="bold")
        say(shown, f"  {line.out / COMBINED}", whole=True)
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
            "--rows=1,4,16,64", "--seconds=2", f"--out={out / ALONE}",
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


def combine(found: Found, report: EndpointReport | None) -> Combined:
    """Return what both measurements say together.

    Args:
        found: The search of the job.
        report: Of the container alone; None where it was not come to.
    """
    boundary = found.search.boundaries()[0]
    job = _carried(boundary, 1)
    degradation = report.degradation if report is not None else None
    endpoint = None if degradation is None else _carried(degradation.boundary, degradation.rows)
    limit = limit_of(found)
    limits: Limiting | None = None
    because: list[str] = []
    cores = None
    if limit is not None:
        probed, diagnosis = limit
        seen = evidence(probed.log, *probed.analysis.window)
        limits, because = limiting(diagnosis, seen)
        because = [f"the job's own limit: {diagnosis.limit}", *because]
        cores = seen.cpus
    number = words.by_rate(found.search.history).get(boundary.claim or 0.0)
    confirmed = found.probed.get(number or 0)
    ended = found.ended or ("" if boundary.converged else boundary.convergence_reason)
    if report is None:
        ended = ended or "the container was not measured alone"
    elif report.partial or report.invalid:
        ended = ended or report.partial or "; ".join(report.invalid)
    return Combined(
        job=job,
        endpoint=endpoint,
        rows=None if report is None else report.best,
        limits=limits,
        because=because,
        costs=None if confirmed is None else costs(confirmed.log, *confirmed.analysis.window),
        workers_per_replica=_over(endpoint, job),
        cores=cores,
        ended=ended,
    )


def _carried(boundary: Boundary, rows: int) -> Estimate | None:
    """Return a confirmed rate, requests a second, with the bracket from it to the lowest that fails."""
    if boundary.claim is None:
        return None
    value, fails = rows * boundary.claim, boundary.infeasible_min
    return Estimate(value, "1/s") if fails is None else Estimate(value, "1/s", value, rows * fails)


def _over(above: Estimate | None, below: Estimate | None) -> Estimate | None:
    if above is None or below is None:
        return None
    value = above.value / below.value
    if above.low is None or above.high is None or below.low is None or below.high is None:
        return Estimate(value, "")
    return Estimate(value, "", above.low / below.high, above.high / below.low)


def sentences(combined: Combined) -> Iterator[str]:
    """Yield what was found out, a sentence each."""
    shared = "this machine" if combined.cores is None else f"the {combined.cores} cores of this machine"
    if combined.job is not None:
        yield f"Together: {combined.job} requests/s, job, container, broker and driver on {shared}"
    if combined.endpoint is not None:
        yield f"The container alone: {combined.endpoint} requests/s, at {combined.rows} a call"
    if combined.limits is not None:
        yield f"{_LIMITS[combined.limits]}: {'; '.join(combined.because)}"
    if combined.costs is not None:
        one = combined.costs
        yield (
            f"Processor time of a request, at {one.rate:,.4g}/s: job {one.job}, container {one.container}. "
            f"So a core of replicas wants {one.ratio} cores of workers; sharing cores does not change that "
            "as it does the rates"
        )
    if combined.workers_per_replica is not None:
        yield (
            f"By the rates, one replica takes the requests of {combined.workers_per_replica} such workers; "
            f"the worker's was measured with {shared} shared, so that one with cores of its own sends more"
        )
    if combined.ended:
        yield f"Ended early: {combined.ended}"


def _json(combined: Combined) -> bytes:
    return orjson.dumps(asdict(combined), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
