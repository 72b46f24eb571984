"""`python -m lab COMMAND`, which is `./launch.sh loadtest COMMAND`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from lab.combined import combined_command
from lab.endpoint import endpoint_command
from lab.profile import profile_command
from lab.report import report_command
from lab.run import run_command
from lab.search_command import search_command
from lab.sweep import sweep_command
from pipeline.process.output import until_output_closes

COMMANDS: Mapping[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "run": (run_command, "one schedule: the verdict on it, and what limits it"),
    "search": (search_command, "the highest rate that meets objectives, with a shown failure above it"),
    "sweep": (sweep_command, "that rate with each of several values of the job's flags, compared"),
    "endpoint": (endpoint_command, "an endpoint or a container straight, without the pipeline"),
    "combined": (combined_command, "job and endpoint together: which of the two limits, and their ratio"),
    "profile": (profile_command, "what job, model and endpoint cost, as profile.json, to predict from"),
    "report": (report_command, "one page of what was measured, from its folder"),
}


def main(arguments: Sequence[str]) -> int:
    """Run the command named first and return its exit code."""
    if not arguments or arguments[0] not in COMMANDS:
        asked_for_help = bool(arguments) and arguments[0] in ("-h", "--help")
        lines = ["usage: ./launch.sh loadtest COMMAND [flags]", ""]
        lines += [f"  {name:<10}{told}" for name, (_, told) in COMMANDS.items()]
        lines += ["", "./launch.sh loadtest COMMAND --help lists the flags of that command."]
        print("\n".join(lines), file=sys.stdout if asked_for_help else sys.stderr)
        return 0 if asked_for_help else 2
    command, _ = COMMANDS[arguments[0]]
    return command(arguments[1:])


if __name__ == "__main__":
    sys.exit(until_output_closes(lambda: main(sys.argv[1:])))
