"""`python -m loadtest run`: the load driver alone, for a job wherever it runs.

Its exit code says whether each request has its result; `./launch.sh loadtest run` (`lab/`) judges the system.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from loadtest.display import progress_display
from loadtest.driver.errors import RunError
from loadtest.driver.pubsub import PubsubError
from loadtest.driver.run import run
from loadtest.driver.system import System
from loadtest.interrupt import stop_on_signals
from loadtest.options import parse
from loadtest.report.last_screen import print_report
from loadtest.run_folder import FolderError, held, note_of_earlier_results
from loadtest.terminal import complain, make_console
from pipeline.process.output import until_output_closes
from pipeline.pubsub.emulator import emulator_problems


def run_command(arguments: Sequence[str]) -> int:
    """Run the driver and return the exit code.

    Returns:
        0 if nothing was lost, there are results and the schedule was kept; 2 for wrong flags; 1 otherwise.
    """
    options, problems = parse(arguments)
    problems += emulator_problems()
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 2
    console = make_console()
    try:
        with held(options.out), stop_on_signals() as stop:
            if note := note_of_earlier_results(options.out):
                complain(f"loadtest: {note}")
            with progress_display(console) as display:
                summary = run(options, system=System({"kind": "job"}), display=display, stop=stop)
    except (FolderError, RunError, PubsubError) as error:
        complain(f"loadtest: {error}")
        return 1
    except KeyboardInterrupt:
        complain("loadtest: ended at once by a second interrupt; no summary was written")
        return 130
    print_report(console, summary, options.out)
    failures = summary.failures()
    warning = summary.schedule_warning()
    if warning:
        failures.append(warning)
    for failure in failures:
        complain(f"loadtest: {failure}")
    return 1 if failures else 0


def main(arguments: Sequence[str]) -> int:
    """Run the command named first, `run`, and return its exit code."""
    if arguments and arguments[0] == "run":
        return run_command(arguments[1:])
    asked_for_help = bool(arguments) and arguments[0] in ("-h", "--help")
    print(
        "give a command: python -m loadtest run --help; ./launch.sh loadtest lists those that report, too",
        file=sys.stdout if asked_for_help else sys.stderr,
    )
    return 0 if asked_for_help else 2


if __name__ == "__main__":
    sys.exit(until_output_closes(lambda: main(sys.argv[1:])))
