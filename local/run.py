"""One local run: broker, the endpoint container if one is needed, job and load driver on this machine.

The load driver runs in this process; the others are started as processes by their public commands.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from loadtest.display import progress_display
from loadtest.driver.errors import RunError
from loadtest.driver.run import run
from loadtest.driver.system import System
from loadtest.interrupt import Stop
from loadtest.options import RunOptions
from loadtest.run_folder import make_private, note_of_earlier_results
from loadtest.summary import Summary
from loadtest.terminal import say
from local.endpoint_totals import keep_endpoint_totals
from local.job_flags import JobFlags
from local.job_note import NotedDisplay
from local.processes import running
from local.topics import Topics

EXAMPLE = Path(__file__).parents[1] / "examples" / "breast_cancer"


@dataclass(frozen=True)
class Outcome:
    """How a local run ended.

    Attributes:
        summary: Of the load driver.
        failures: Why the run counts as failed, a line each.
        warnings: What else the user should know, a line each.
    """

    summary: Summary
    failures: list[str]
    warnings: list[str]


def run_local(options: RunOptions, topics: Topics, flags: JobFlags, stop: Stop, console: Console) -> Outcome:
    """Start everything, drive the job as `options` say, and stop everything.

    `stop` ends the run early; it is also set when a process ends by itself.

    Raises:
        ChildError: A process did not start, or ended by itself before the first request was sent.
        RunError: The run could not begin.
        PubsubError, GoogleAPICallError: The broker cannot be used.
        FolderError: `options.out` cannot be made.
    """
    make_private(options.out)
    if warning := note_of_earlier_results(options.out):
        say(console, warning, whole=True)
    with running(topics, flags, options.out, stop, console) as processes:
        job, log, note = processes.job, processes.job_log, processes.note
        try:
            with progress_display(console) as display:
                system = System({"kind": "local job", "flags": flags.text}, processes.pids)
                summary = run(options, system=system, display=NotedDisplay(display, note), stop=stop)
        except RunError as error:
            raise RunError(f"{error}. {note.text() or 'The job has logged no trouble'}; see {log}") from error
        finally:
            unclean = processes.stop()
        keep_endpoint_totals(options.out, summary.run, flags, log)
        if processes.failure and not summary.sent:
            raise processes.failure
    failures = summary.failures() + unclean
    if processes.failure:
        failures.append(str(processes.failure))
    warnings = []
    if job.restarts:
        warnings.append(f"{note.text()}; see {log}")
    missed = summary.schedule_warning()
    if missed:
        warnings.append(missed)
    return Outcome(summary, failures, warnings)
