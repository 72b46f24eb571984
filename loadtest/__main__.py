"""`python -m loadtest COMMAND`: the load driver's commands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from loadtest.display import progress_display
from loadtest.driver.errors import RunError
from loadtest.driver.pubsub import PubsubError
from loadtest.driver.run import run
from loadtest.driver.system import System
from loadtest.endpoint.command import endpoint_command
from loadtest.interrupt import stop_on_signals
from loadtest.options import parse
from loadtest.report.command import report_command
from loadtest.report.last_screen import print_report
from loadtest.run_folder import FolderError, held, note_of_earlier_results
from loadtest.terminal import make_console
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
                print(f"loadtest: {note}", file=sys.stderr)
            with progress_display(console) as display:
                summary = run(options, system=System({"kind": "job"}), display=display, stop=stop)
    except (FolderError, RunError, PubsubError) as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("loadtest: ended at once by a second interrupt; no summary was written", file=sys.stderr)
        return 130
    print_report(console, summary, options.out)
    failures = summary.failures()
    warning = summary.schedule_warning()
    if warning:
        failures.append(warning)
    for failure in failures:
        print(f"loadtest: {failure}", file=sys.stderr)
    return 1 if failures else 0


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "run": run_command,
    "endpoint": endpoint_command,
    "report": report_command,
}


def main(arguments: Sequence[str]) -> int:
    """Run the command named first and return its exit code."""
    if not arguments or arguments[0] not in COMMANDS:
        asked_for_help = bool(arguments) and arguments[0] in ("-h", "--help")
        stream = sys.stdout if asked_for_help else sys.stderr
        print(f"give a command: python -m loadtest {'|'.join(COMMANDS)} --help", file=stream)
        return 0 if asked_for_help else 2
    return COMMANDS[arguments[0]](arguments[1:])


if __name__ == "__main__":
    sys.exit(until_output_closes(lambda: main(sys.argv[1:])))
