"""`python -m planner COMMAND`, which is `./launch.sh plan COMMAND`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from launch.settings.setting import SettingsError
from loadtest.profile.profile import ProfileError
from pipeline.process.output import until_output_closes
from planner.assembly import PlanError
from planner.commands.compare import HELP as COMPARE_HELP
from planner.commands.compare import compare_command
from planner.commands.predict import HELP as PREDICT_HELP
from planner.commands.predict import predict_command
from planner.commands.size import HELP as SIZE_HELP
from planner.commands.size import size_command
from planner.commands.validate import help_text as validate_help
from planner.commands.validate import validate_command
from planner.cost.prices import PriceError
from planner.runs import RunsError

COMMANDS: Mapping[str, tuple[Callable[[Sequence[str]], int], str, Callable[[], str]]] = {
    "predict": (predict_command, "what a job would do with a workload, and what it would cost", PREDICT_HELP),
    "size": (size_command, "the cheapest configuration that meets objectives", SIZE_HELP),
    "compare": (compare_command, "configurations side by side, each in a YAML file", COMPARE_HELP),
    "validate": (
        validate_command,
        "measured runs beside what is predicted of them",
        validate_help,
    ),
}


def main(arguments: Sequence[str]) -> int:
    """Run the command named first; return 0, 1 where there is no answer, or 2 where flags are wrong."""
    if not arguments or arguments[0] not in COMMANDS:
        asked_for_help = bool(arguments) and arguments[0] in ("-h", "--help")
        lines = ["usage: ./launch.sh plan COMMAND [flags]", ""]
        lines += [f"  {name:<10}{told}" for name, (_, told, _) in COMMANDS.items()]
        lines += ["", "./launch.sh plan COMMAND --help lists the flags of that command."]
        print("\n".join(lines), file=sys.stdout if asked_for_help else sys.stderr)
        return 0 if asked_for_help else 2
    command, _, help_text = COMMANDS[arguments[0]]
    if {"-h", "--help"} & set(arguments[1:]):
        print(help_text())
        return 0
    try:
        return command(arguments[1:])
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except (PlanError, ProfileError, PriceError, RunsError) as error:
        print(f"plan: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(until_output_closes(lambda: main(sys.argv[1:])))
